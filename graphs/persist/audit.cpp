#include <array>
#include <random>
#include <string>

#include "corvid/base/hash.hpp"
#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/savers.hpp"
#include "persist/rules.hpp"

namespace corvid {
namespace {

void add_length(Sha256& hash, std::uint64_t n) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(n >> (8 * i));
  hash.update(bytes);
}

// Lengths and numbers as eight bytes, least first: no two different entries give the same bytes.
void add(Sha256& hash, std::string_view text) {
  add_length(hash, text.size());
  hash.update(text);
}

void add(Sha256& hash, std::int64_t number) {
  add_length(hash, 8);
  add_length(hash, static_cast<std::uint64_t>(number));
}

}  // namespace

std::string audit_hash(const AuditRecord& entry, std::string_view previous_hash) {
  Sha256 hash;
  add(hash, previous_hash);
  add(hash, entry.seq);
  add(hash, entry.at_ms);
  add(hash, entry.actor);
  add(hash, entry.action);
  add(hash, entry.subject);
  add(hash, std::string_view(reinterpret_cast<const char*>(entry.detail.data()), entry.detail.size()));
  return to_hex(hash.finish());
}

Status verify_audit(const std::vector<AuditRecord>& log) {
  std::string previous(64, '0');
  std::int64_t seq = 0;
  for (const auto& entry : log) {
    ++seq;
    const auto wrong = [&](std::string_view what) {
      return fail(Error::bad_input("the audit log was changed: entry " + std::to_string(seq) + " " + std::string(what) +
                                   "; trust the entries before it, and compare the rest with a copy of the store")
                      .at_key(entry.subject.empty() ? "audit entry " + std::to_string(seq) : entry.subject));
    };
    if (entry.seq != seq) return wrong("is missing (the next one is " + std::to_string(entry.seq) + ")");
    if (entry.previous_hash != previous) return wrong("does not follow the one before it");
    if (entry.hash != audit_hash(entry, previous)) return wrong("is not what was written");
    previous = entry.hash;
  }
  return {};
}

Status Checkpointer::check_audit() {
  CORVID_TRY(const auto log, audit());
  return verify_audit(log);
}

Result<std::size_t> expire_threads(Checkpointer& saver, std::int64_t older_than_ms) {
  CORVID_TRY(const auto threads, saver.threads());
  std::size_t removed = 0;
  for (const auto& thread : threads) {
    if (thread.updated_ms == 0 || thread.updated_ms >= older_than_ms || thread.open_interrupts > 0 || !thread.lease_owner.empty()) continue;
    // Leased while it is looked at again: a run that began since then is left alone, and none can begin before it is gone.
    const std::string me = "expiry " + std::to_string(std::random_device{}());
    if (auto taken = saver.lease(thread.thread_id, {LeaseChange::Kind::acquire, me, 60'000}); !taken) {
      if (taken.error().code() == ErrorCode::conflict) continue;
      return fail(std::move(taken).error());
    }
    ListOptions newest;
    newest.limit = 1;
    CORVID_TRY(const auto last, saver.list(thread.thread_id, "", newest));
    CORVID_TRY(const auto asked, saver.open_interrupts(thread.thread_id));
    const bool same = (last.empty() ? std::string() : last.front().id) == thread.last_checkpoint_id && asked.empty();
    if (same) {
      CORVID_TRY_STATUS(saver.delete_thread(thread.thread_id));
      ++removed;
    } else {
      CORVID_TRY_STATUS(saver.lease(thread.thread_id, {LeaseChange::Kind::release, me, 0}));
    }
  }
  return removed;
}

}  // namespace corvid
