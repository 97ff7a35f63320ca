// SqliteSaver: questions and answers, the audit log, cached results.
#include <optional>
#include <utility>

#include "persist/rows.hpp"
#include "persist/rules.hpp"
#include "persist/sqlite_schema.hpp"

namespace corvid::persist {
namespace {

std::int64_t sum_of(const InterruptRecord& q) {
  return RowSum()
      .add(q.id)
      .add(q.ns)
      .add(q.checkpoint_id)
      .add(q.task_id)
      .add(q.node)
      .add(q.asked_ms)
      .add(q.expires_ms)
      .add(q.body)
      .finish();
}

std::int64_t sum_of(const AnswerRecord& a) { return RowSum().add(a.interrupt_id).add(a.by).add(a.answered_ms).add(a.body).finish(); }

Status chain_audit(Database& db, AuditRecord entry) {
  {
    CORVID_TRY(CachedStatement last, db.cached("SELECT seq, hash FROM graph_audit ORDER BY seq DESC LIMIT 1"));
    CORVID_TRY(const bool any, last->step());
    entry.seq = any ? last->integer(0) + 1 : 1;
    entry.previous_hash = any ? std::string(last->text(1)) : std::string(64, '0');
  }
  entry.hash = audit_hash(entry, entry.previous_hash);
  CORVID_TRY(CachedStatement row, db.cached("INSERT INTO graph_audit(seq, at_ms, actor, action, subject, detail, previous, hash)"
                                            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  row->bind(1, entry.seq);
  row->bind(2, entry.at_ms);
  row->bind(3, entry.actor);
  row->bind(4, entry.action);
  row->bind(5, entry.subject);
  row->bind(6, entry.detail);
  row->bind(7, entry.previous_hash);
  row->bind(8, entry.hash);
  return row->run();
}

// From a row whose columns `first`, … are: id, ns, checkpoint, task, node, asked_ms, expires_ms, body, sum.
Result<InterruptRecord> question_of(Statement& row, std::string_view thread_id, int first) {
  InterruptRecord q;
  q.thread_id = thread_id;
  q.id = row.text(first);
  q.ns = row.text(first + 1);
  q.checkpoint_id = row.text(first + 2);
  q.task_id = row.text(first + 3);
  q.node = row.text(first + 4);
  q.asked_ms = row.integer(first + 5);
  q.expires_ms = row.integer(first + 6);
  q.body = to_bytes(row.blob(first + 7));
  if (sum_of(q) != row.integer(first + 8)) return fail(damaged_row("a question", q.id));
  return q;
}

struct Asked {
  std::int64_t thread = 0, expires_ms = 0;
};

// The open question that an answer is to.
Result<Asked> find_open(Database& db, const AnswerRecord& answer) {
  CORVID_TRY(CachedStatement row, db.cached("SELECT i.thread, i.expires_ms, i.closed, i.answered_by, i.answered_ms FROM graph_interrupts i"
                                            " JOIN graph_states t ON t.space = i.thread AND t.kind = 0 WHERE i.id = ?1 AND (?2 = '' OR t.name = ?2)"));
  row->bind(1, answer.interrupt_id);
  row->bind(2, answer.thread_id);
  std::optional<Asked> open;
  std::optional<Error> answered;
  while (true) {
    CORVID_TRY(const bool more, row->step());
    if (!more) break;
    if (!row->is_null(3)) {
      answered = answered_already(answer.interrupt_id, row->text(3), row->integer(4));
    } else if (row->integer(2) == 0) {
      if (open) return fail(asked_by_several(answer.interrupt_id));
      open = Asked{row->integer(0), row->integer(1)};
    }
  }
  if (open) return *open;
  return fail(answered ? std::move(*answered) : no_open_question(answer.interrupt_id));
}

}  // namespace

Status put_question(Database& db, std::int64_t thread, const InterruptRecord& asked) {
  CORVID_TRY(
      CachedStatement row,
      db.cached("INSERT OR IGNORE INTO graph_interrupts(thread, id, ns, checkpoint, task, node, asked_ms, expires_ms, body, sum, closed)"
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0)"));
  row->bind(1, thread);
  row->bind(2, asked.id);
  row->bind(3, asked.ns);
  row->bind(4, asked.checkpoint_id);
  row->bind(5, asked.task_id);
  row->bind(6, asked.node);
  row->bind(7, asked.asked_ms);
  row->bind(8, asked.expires_ms);
  row->bind(9, asked.body);
  row->bind(10, sum_of(asked));
  return row->run();
}

Status put_foreign_answer(Database& db, std::int64_t thread, std::string_view ns, std::string_view checkpoint_id,
                          const AnswerRecord& answer) {
  InterruptRecord asked;
  asked.id = answer.interrupt_id;
  asked.ns = ns;
  asked.checkpoint_id = checkpoint_id;
  CORVID_TRY(CachedStatement row,
             db.cached("INSERT OR IGNORE INTO graph_interrupts VALUES(?1, ?2, ?3, ?4, '', '', 0, 0, ?5, ?6, 1, ?7, ?8, ?9, ?10)"));
  row->bind(1, thread);
  row->bind(2, asked.id);
  row->bind(3, ns);
  row->bind(4, checkpoint_id);
  row->bind(5, asked.body);
  row->bind(6, sum_of(asked));
  row->bind(7, answer.by);
  row->bind(8, answer.answered_ms);
  row->bind(9, answer.body);
  row->bind(10, sum_of(answer));
  return row->run();
}

Status load_questions(Database& db, std::int64_t thread, std::string_view thread_id, std::string_view ns, LoadedCheckpoint& loaded) {
  CORVID_TRY(CachedStatement row,
             db.cached("SELECT id, ns, checkpoint, task, node, asked_ms, expires_ms, body, sum, closed, answered_by, answered_ms,"
                       " answer, answer_sum FROM graph_interrupts INDEXED BY graph_interrupts_checkpoint"
                       " WHERE thread = ?1 AND checkpoint = ?2 AND ns = ?3 ORDER BY answered_by IS NULL,"
                       " CASE WHEN answered_by IS NULL THEN asked_ms ELSE 0 END, id"));
  row->bind(1, thread);
  row->bind(2, loaded.record.id);
  row->bind(3, ns);
  while (true) {
    CORVID_TRY(const bool more, row->step());
    if (!more) return {};
    if (!row->is_null(10)) {
      AnswerRecord answer{std::string(row->text(0)), std::string(row->text(10)), row->integer(11), to_bytes(row->blob(12)),
                          std::string(thread_id)};
      if (sum_of(answer) != row->integer(13)) return fail(damaged_row("an answer", answer.interrupt_id));
      loaded.answers.push_back(std::move(answer));
    } else if (row->integer(9) == 0) {
      CORVID_TRY(auto question, question_of(*row, thread_id, 0));
      loaded.interrupts.push_back(std::move(question));
    }
  }
}

Result<std::vector<InterruptRecord>> SqliteSaver::open_interrupts(std::string_view thread_id, bool with_expired) {
  std::vector<InterruptRecord> open;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(CachedStatement row,
               db.cached("SELECT t.name, i.id, i.ns, i.checkpoint, i.task, i.node, i.asked_ms, i.expires_ms, i.body, i.sum"
                         " FROM graph_interrupts i JOIN graph_states t ON t.space = i.thread AND t.kind = 0"
                         " WHERE i.answered_by IS NULL AND i.closed = 0 AND (?1 = '' OR t.name = ?1)"
                         " AND (?2 OR i.expires_ms = 0 OR i.expires_ms > ?3) ORDER BY i.asked_ms, i.id, t.name"));
    row->bind(1, thread_id);
    row->bind(2, std::int64_t{with_expired});
    row->bind(3, system_now_ms());
    while (true) {
      CORVID_TRY(const bool more, row->step());
      if (!more) return {};
      CORVID_TRY(auto question, question_of(*row, row->text(0), 1));
      open.push_back(std::move(question));
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return open;
}

Status SqliteSaver::answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now_ms) {
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const Asked asked, find_open(db, answer));
    if (asked.expires_ms != 0 && now_ms >= asked.expires_ms) return fail(question_expired(answer.interrupt_id, asked.expires_ms));
    {
      CORVID_TRY(CachedStatement row,
                 db.cached("UPDATE graph_interrupts SET answered_by = ?3, answered_ms = ?4, answer = ?5, answer_sum = ?6"
                           " WHERE thread = ?1 AND id = ?2"));
      row->bind(1, asked.thread);
      row->bind(2, answer.interrupt_id);
      row->bind(3, answer.by);
      row->bind(4, answer.answered_ms);
      row->bind(5, answer.body);
      row->bind(6, sum_of(answer));
      CORVID_TRY_STATUS(row->run());
    }
    return chain_audit(db, audit);
  };
  return workspace_->write(body);
}

Status SqliteSaver::append_audit(const AuditRecord& entry) {
  const auto body = [&](Database& db) { return chain_audit(db, entry); };
  return workspace_->write(body);
}

Result<std::vector<AuditRecord>> SqliteSaver::audit() {
  std::vector<AuditRecord> log;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(CachedStatement row,
               db.cached("SELECT seq, at_ms, actor, action, subject, detail, previous, hash FROM graph_audit ORDER BY seq"));
    while (true) {
      CORVID_TRY(const bool more, row->step());
      if (!more) return {};
      log.push_back({row->integer(0), row->integer(1), std::string(row->text(2)), std::string(row->text(3)), std::string(row->text(4)),
                     to_bytes(row->blob(5)), std::string(row->text(6)), std::string(row->text(7))});
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return log;
}

Result<std::optional<Bytes>> SqliteSaver::cache_get(std::string_view key, std::int64_t now_ms) {
  std::optional<Bytes> value;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(CachedStatement row,
               db.cached("SELECT value, expires_ms, sum FROM graph_cache WHERE key = ?1 AND (expires_ms = 0 OR expires_ms > ?2)"));
    row->bind(1, key);
    row->bind(2, now_ms);
    CORVID_TRY(const bool found, row->step());
    if (!found) return {};
    if (RowSum().add(key).add(row->integer(1)).add(row->blob(0)).finish() != row->integer(2))
      return fail(damaged_row("a cached result", key));
    value = to_bytes(row->blob(0));
    return {};
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return value;
}

Status SqliteSaver::cache_put(std::string_view key, const Bytes& value, std::int64_t expires_ms) {
  CORVID_TRY_STATUS(check_name("a cache key", key));
  const auto body = [&](Database& db) -> Status {
    {
      CORVID_TRY(CachedStatement sweep, db.cached("DELETE FROM graph_cache WHERE expires_ms <> 0 AND expires_ms <= ?1"));
      sweep->bind(1, system_now_ms());
      CORVID_TRY_STATUS(sweep->run());
    }
    CORVID_TRY(CachedStatement row, db.cached("INSERT OR REPLACE INTO graph_cache(key, value, expires_ms, sum) VALUES(?1, ?2, ?3, ?4)"));
    row->bind(1, key);
    row->bind(2, value);
    row->bind(3, expires_ms);
    row->bind(4, RowSum().add(key).add(expires_ms).add(value).finish());
    return row->run();
  };
  return workspace_->write(body);
}

}  // namespace corvid::persist
