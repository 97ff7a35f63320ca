#include <random>

#include "graphs/persist/postgres_saver.hpp"
#include "graphs/persist/rules.hpp"

namespace corvid::postgres {

namespace {

// $1 thread or nothing: all; $2: expired ones too
const char* const kOpen =
    "SELECT id, thread_id, ns, checkpoint_id, task_id, node, asked_ms, expires_ms, body FROM interrupts WHERE open "
    "AND ($1 = '' OR thread_id = $1) AND ($2 = 1 OR expires_ms = 0 OR expires_ms > " CORVID_PG_NOW ") ORDER BY asked_ms, id, thread_id";

// $1 id, $2 thread or nothing: any
const char* const kFind =
    "SELECT thread_id, open, expires_ms, coalesce(answered_by, ''), coalesce(answered_ms, 0), answered_by IS NOT NULL FROM interrupts "
    "WHERE id = $1 AND ($2 = '' OR thread_id = $2) ORDER BY thread_id FOR UPDATE";

const char* const kStoreAnswer =
    "UPDATE interrupts SET open = false, answered_by = $3, answered_ms = $4, answer = $5 WHERE thread_id = $1 AND id = $2";

const char* const kHeadLocked = "SELECT seq, hash FROM audit_head FOR UPDATE";
const char* const kHead = "SELECT seq, hash FROM audit_head";
const char* const kAppend =
    "INSERT INTO audit_log (seq, at_ms, actor, action, subject, detail, previous_hash, hash, token) VALUES ($1, $2, $3, $4, $5, $6, $7, "
    "$8, $9)";
const char* const kMoveHead = "UPDATE audit_head SET seq = $1, hash = $2";
// Only the newest are looked at: it is asked for entries that were sent a moment ago.
const char* const kAppended = "SELECT seq FROM audit_log WHERE token = $1 AND seq > (SELECT seq FROM audit_head) - 10000";
const char* const kAudit = "SELECT seq, at_ms, actor, action, subject, detail, previous_hash, hash FROM audit_log ORDER BY seq";

struct AuditLog {
  std::vector<AuditRecord> entries;
  std::int64_t head_seq = 0;
  std::string head_hash;
};

Result<AuditLog> read_audit(Pool& pool) {
  return pool.call([&](Connection& connection, bool) -> Result<AuditLog> {
    std::vector<Step> steps;
    steps.push_back({kAudit, {}});
    steps.push_back({kHead, {}});
    CORVID_TRY(const auto rows, connection.snapshot(std::move(steps)));
    AuditLog log;
    for (int i = 0; i < rows[0].size(); ++i) {
      const auto& r = rows[0];
      log.entries.push_back({r.integer(i, 0), r.integer(i, 1), r.string(i, 2), r.string(i, 3), r.string(i, 4), r.bytes(i, 5),
                             r.string(i, 6), r.string(i, 7)});
    }
    if (!rows[1].empty()) {
      log.head_seq = rows[1].integer(0, 0);
      log.head_hash = rows[1].string(0, 1);
    }
    return log;
  });
}

/// The steps that append `entry` behind `head`, whose row is locked. `kept` holds what they borrow.
void append_steps(const Rows& head, const AuditRecord& entry, std::int64_t token, AuditRecord& kept, std::vector<Step>& steps) {
  kept = entry;
  kept.seq = head.integer(0, 0) + 1;
  kept.previous_hash = head.string(0, 1);
  kept.hash = audit_hash(kept, kept.previous_hash);
  Step append{kAppend, {}};
  append.params.integer(kept.seq).integer(kept.at_ms).text(kept.actor).text(kept.action).text(kept.subject).bytes(kept.detail);
  append.params.text(kept.previous_hash).text(kept.hash).integer(token);
  steps.push_back(std::move(append));
  Step move{kMoveHead, {}};
  move.params.integer(kept.seq).text(kept.hash);
  steps.push_back(std::move(move));
  steps.push_back({kCommit, {}});
}

Error no_head() { return Error::bad_input("the audit log's head is missing; restore the store from a copy"); }

/// The row of the question that `answer` is for, or why there is none. -1: it was stored before.
Result<int> choose(const Rows& found, const AnswerRecord& answer, std::int64_t now_ms, bool resent) {
  int open = -1, answered = -1;
  for (int i = 0; i < found.size(); ++i) {
    if (found.integer(i, 1)) {
      if (open >= 0) return fail(persist::asked_by_several(answer.interrupt_id));
      open = i;
    } else if (found.integer(i, 5)) {
      if (resent && found.text(i, 3) == answer.by && found.integer(i, 4) == answer.answered_ms) return -1;
      answered = i;
    }
  }
  if (open < 0 && answered >= 0)
    return fail(persist::answered_already(answer.interrupt_id, found.text(answered, 3), found.integer(answered, 4)));
  if (open < 0) return fail(persist::no_open_question(answer.interrupt_id));
  const auto expires = found.integer(open, 2);
  if (expires != 0 && expires <= now_ms) return fail(persist::question_expired(answer.interrupt_id, expires));
  return open;
}

}  // namespace

std::int64_t new_token() {
  std::random_device random;
  return static_cast<std::int64_t>(std::uint64_t{random()} << 32 | random());
}

Result<std::vector<InterruptRecord>> Saver::open_interrupts(std::string_view thread_id, bool with_expired) {
  return pool_->call([&](Connection& connection, bool) -> Result<std::vector<InterruptRecord>> {
    Step step{kOpen, {}};
    step.params.text(thread_id).integer(with_expired);
    CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
    std::vector<InterruptRecord> open;
    for (int i = 0; i < rows.size(); ++i) open.push_back(interrupt_in(rows, i));
    return open;
  });
}

Status Saver::answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now_ms) {
  CORVID_TRY_STATUS(persist::check_name("an answer's interrupt", answer.interrupt_id));
  CORVID_TRY_STATUS(persist::check_name("an answer's author", answer.by));
  const auto token = new_token();
  return pool_->call([&](Connection& connection, bool resent) -> Status {
    std::vector<Step> start;
    start.push_back({kBegin, {}});
    Step find{kFind, {}};
    find.params.text(answer.interrupt_id).text(answer.thread_id);
    start.push_back(std::move(find));
    start.push_back({kHeadLocked, {}});
    CORVID_TRY(const auto rows, connection.run(std::move(start)));
    const Rows& found = rows[1];
    auto chosen = choose(found, answer, now_ms, resent);
    if (!chosen || *chosen < 0) {
      connection.roll_back();
      return chosen ? Status{} : fail(std::move(chosen).error());
    }
    if (rows[2].empty()) return fail(no_head());
    std::vector<Step> steps;
    Step store{kStoreAnswer, {}};
    store.params.text(found.text(*chosen, 0)).text(answer.interrupt_id).text(answer.by).integer(answer.answered_ms).bytes(answer.body);
    steps.push_back(std::move(store));
    AuditRecord kept;
    append_steps(rows[2], audit, token, kept, steps);
    CORVID_TRY_STATUS(connection.run(std::move(steps)));
    return {};
  });
}

Status Saver::append_audit(const AuditRecord& entry) {
  const auto token = new_token();
  return pool_->call([&](Connection& connection, bool resent) -> Status {
    std::vector<Step> start;
    start.push_back({kBegin, {}});
    start.push_back({kHeadLocked, {}});
    if (resent) {
      Step appended{kAppended, {}};
      appended.params.integer(token);
      start.push_back(std::move(appended));
    }
    CORVID_TRY(const auto rows, connection.run(std::move(start)));
    if (resent && !rows[2].empty()) {
      connection.roll_back();
      return {};
    }
    if (rows[1].empty()) return fail(no_head());
    std::vector<Step> steps;
    AuditRecord kept;
    append_steps(rows[1], entry, token, kept, steps);
    CORVID_TRY_STATUS(connection.run(std::move(steps)));
    return {};
  });
}

Result<std::vector<AuditRecord>> Saver::audit() {
  CORVID_TRY(auto log, read_audit(*pool_));
  return std::move(log.entries);
}

Status Saver::check_audit() {
  CORVID_TRY(const auto log, read_audit(*pool_));
  CORVID_TRY_STATUS(verify_audit(log.entries));
  const bool empty = log.entries.empty();
  if (log.head_seq != (empty ? 0 : log.entries.back().seq) || (!empty && log.head_hash != log.entries.back().hash)) {
    return fail(Error::bad_input("the audit log ends before entry " + std::to_string(log.head_seq) + ": its last entries are missing"));
  }
  return {};
}

}  // namespace corvid::postgres
