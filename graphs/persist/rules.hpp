// What every store decides alike: which commits are well-formed, who may hold a lease, which answers are taken, and the words for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "corvid/base/result.hpp"
#include "corvid/graphs/checkpoint.hpp"

namespace corvid::persist {

std::int64_t system_now_ms();
std::string utc_text(std::int64_t unix_ms);  ///< 2026-01-31T12:00:00Z

/// A name that every store can keep: not empty unless allowed, without NUL bytes. `what` is the field, for the message.
Status check_name(std::string_view what, std::string_view name, bool may_be_empty = false);
Status check_lease(const LeaseChange& change);
Status check_commit(const Commit& commit);

struct LeaseState {
  std::string owner;  ///< empty: nobody has had it since it was given back
  std::int64_t expires_ms = 0;
};
/// The state after `change`, or conflict.
Result<LeaseState> change_lease(const LeaseState& held, const LeaseChange& change, std::string_view thread_id, std::int64_t now_ms);

Error answered_already(std::string_view interrupt_id, std::string_view by, std::int64_t answered_ms);
Error question_expired(std::string_view interrupt_id, std::int64_t expires_ms);
Error no_open_question(std::string_view interrupt_id);
Error asked_by_several(std::string_view interrupt_id);
Error not_latest(std::string_view thread_id, std::string_view expected, std::string_view newest);
Error broken_chain(std::string_view thread_id, std::string_view ns, std::string_view channel, std::uint64_t version);
Error no_thread(std::string_view thread_id);
Error thread_exists(std::string_view thread_id);

}  // namespace corvid::persist
