// From the server's SQLSTATE codes (appendix A of its manual) to ours.
#pragma once

#include <string>
#include <string_view>

#include "corvid/base/error.hpp"
#include "graphs/persist/postgres_connection.hpp"

namespace corvid::postgres {

Failure failure_of(std::string_view sqlstate);
Error to_error(std::string_view sqlstate, const std::string& message);

// A statement of ours that finds that it must not go on says so with a cast that cannot work, 'corvid:WORD:…:!'::bigint: the transaction
// fails in the same round trip, without server-side code. This is what stands between, whatever
// language and quotes the server speaks in; empty: the message is not of that kind.
std::string_view refusal(std::string_view message, std::string_view word);

}  // namespace corvid::postgres
