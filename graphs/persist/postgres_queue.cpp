#include "graphs/persist/postgres_queue.hpp"

#include "graphs/persist/postgres_saver.hpp"
#include "graphs/persist/rules.hpp"

namespace corvid::postgres {

namespace {

const char* const kEnqueue = "INSERT INTO queue (run_id, thread_id, graph, input) VALUES ($1, $2, $3, $4) ON CONFLICT (run_id) DO NOTHING";

// $1 owner, $2 milliseconds, $3 token. Rows that another worker is claiming are passed over instead of waited for. Two workers may pick
// two runs of one thread at the same time: the unique index then refuses the second.
const char* const kClaim =
    "WITH picked AS (SELECT q.run_id FROM queue q WHERE (q.state = 0 OR (q.state = 1 AND q.expires_ms <= " CORVID_PG_NOW
    ")) "
    "AND q.state < 2 AND NOT EXISTS (SELECT FROM queue r WHERE r.thread_id = q.thread_id AND r.state = 1 AND r.run_id <> q.run_id) "
    "ORDER BY q.seq LIMIT 1 FOR UPDATE SKIP LOCKED) "
    "UPDATE queue q SET state = 1, owner = $1, expires_ms = " CORVID_PG_NOW
    " + $2, attempt = q.attempt + 1, token = $3 "
    "FROM picked WHERE q.run_id = picked.run_id RETURNING q.run_id, q.thread_id, q.graph, q.input, q.attempt";
const char* const kClaimedBefore =
    "SELECT run_id, thread_id, graph, input, attempt FROM queue WHERE state = 1 AND owner = $1 AND token = $2";

const char* const kRenew = "UPDATE queue SET expires_ms = " CORVID_PG_NOW " + $3 WHERE run_id = $1 AND owner = $2 AND state = 1";
const char* const kFinish = "UPDATE queue SET state = 2, outcome = $3, token = $4 WHERE run_id = $1 AND owner = $2 AND state = 1";
const char* const kWhose = "SELECT state, owner, token FROM queue WHERE run_id = $1";

const char* const kCounts =
    "SELECT count(*) FILTER (WHERE state = 0 OR (state = 1 AND expires_ms <= " CORVID_PG_NOW
    ")), "
    "count(*) FILTER (WHERE state = 1 AND expires_ms > " CORVID_PG_NOW "), count(*) FILTER (WHERE state = 2) FROM queue";

Status check_ttl(std::int64_t ttl_ms) {
  if (ttl_ms > 0) return {};
  return fail(Error::invalid_argument("a claim of " + std::to_string(ttl_ms) + " ms; give it a positive time"));
}

/// Why `owner` cannot renew or finish the run. Success: it has been finished by the call with this token.
Status lost(Connection& connection, std::string_view run_id, std::string_view owner, std::int64_t token) {
  Step step{kWhose, {}};
  step.params.text(run_id);
  CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
  const std::string run = "run '" + std::string(run_id) + "'";
  if (rows.empty()) return fail(Error::not_found("no " + run + " in the queue"));
  const auto state = rows.integer(0, 0);
  if (state == 2 && token != 0 && rows.integer(0, 2) == token) return {};
  if (state == 2) return fail(Error::conflict(run + " was ended by '" + rows.string(0, 1) + "'"));
  if (state == 0) return fail(Error::conflict(run + " is not claimed by '" + std::string(owner) + "': it waits"));
  return fail(Error::conflict(run + " is no longer '" + std::string(owner) + "'s: '" + rows.string(0, 1) + "' took it over"));
}

}  // namespace

Status Queue::enqueue(const QueuedRun& run) {
  CORVID_TRY_STATUS(persist::check_name("a run's id", run.run_id));
  CORVID_TRY_STATUS(persist::check_name("a thread's id", run.thread_id));
  return pool_->call([&](Connection& connection, bool) -> Status {
    Step step{kEnqueue, {}};
    step.params.text(run.run_id).text(run.thread_id).text(run.graph).bytes(run.input);
    CORVID_TRY_STATUS(connection.run_one(std::move(step)));
    return {};
  });
}

Result<std::optional<ClaimedRun>> Queue::claim(std::string_view owner, std::int64_t ttl_ms) {
  CORVID_TRY_STATUS(persist::check_name("a claim's owner", owner));
  CORVID_TRY_STATUS(check_ttl(ttl_ms));
  const auto token = new_token();
  return pool_->call([&](Connection& connection, bool resent) -> Result<std::optional<ClaimedRun>> {
    const auto read = [](const Rows& rows) {
      return ClaimedRun{{rows.string(0, 0), rows.string(0, 1), rows.string(0, 2), rows.bytes(0, 3)},
                        static_cast<std::int32_t>(rows.integer(0, 4))};
    };
    if (resent) {
      Step before{kClaimedBefore, {}};
      before.params.text(owner).integer(token);
      CORVID_TRY(const auto rows, connection.run_one(std::move(before)));
      if (!rows.empty()) return read(rows);
    }
    while (true) {
      Step step{kClaim, {}};
      step.params.text(owner).integer(ttl_ms).integer(token);
      auto rows = connection.run_one(std::move(step));
      // Another worker has claimed a run of the same thread meanwhile; its row is visible now, so another run is picked.
      if (!rows && connection.sqlstate() == "23505") continue;
      if (!rows) return fail(std::move(rows).error());
      if (rows->empty()) return std::nullopt;
      return read(*rows);
    }
  });
}

Status Queue::renew(std::string_view run_id, std::string_view owner, std::int64_t ttl_ms) {
  CORVID_TRY_STATUS(check_ttl(ttl_ms));
  return pool_->call([&](Connection& connection, bool) -> Status {
    Step step{kRenew, {}};
    step.params.text(run_id).text(owner).integer(ttl_ms);
    CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
    return rows.affected() == 1 ? Status{} : lost(connection, run_id, owner, 0);
  });
}

Status Queue::finish(std::string_view run_id, std::string_view owner, std::string_view status) {
  const auto token = new_token();
  return pool_->call([&](Connection& connection, bool) -> Status {
    Step step{kFinish, {}};
    step.params.text(run_id).text(owner).text(status).integer(token);
    CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
    return rows.affected() == 1 ? Status{} : lost(connection, run_id, owner, token);
  });
}

Result<QueueCounts> Queue::counts() {
  return pool_->call([&](Connection& connection, bool) -> Result<QueueCounts> {
    CORVID_TRY(const auto rows, connection.run_one({kCounts, {}}));
    return QueueCounts{static_cast<std::size_t>(rows.integer(0, 0)), static_cast<std::size_t>(rows.integer(0, 1)),
                       static_cast<std::size_t>(rows.integer(0, 2))};
  });
}

}  // namespace corvid::postgres
