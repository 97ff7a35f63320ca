#include <algorithm>
#include <limits>

#include "graphs/persist/postgres_errors.hpp"
#include "graphs/persist/postgres_saver.hpp"
#include "graphs/persist/rules.hpp"

namespace corvid::postgres {

namespace {

// What works on a whole thread holds its row, so no commit comes in between. $1 is the thread.
const char* const kLockThread = "SELECT 1 FROM threads WHERE thread_id = $1 FOR UPDATE";

#define CORVID_PG_LESS_USERS                                                                                                  \
  "UPDATE blob_contents c SET users = c.users - d.n FROM (SELECT content, count(*) AS n FROM gone WHERE content IS NOT NULL " \
  "GROUP BY content) d WHERE c.content = d.content"
const char* const kDropContents = "DELETE FROM blob_contents WHERE users <= 0";

const char* const kDeleteBlobs = "WITH gone AS (DELETE FROM checkpoint_blobs WHERE thread_id = $1 RETURNING content) " CORVID_PG_LESS_USERS;
const char* const kDeleteCheckpoints = "DELETE FROM checkpoints WHERE thread_id = $1";
const char* const kDeleteWrites = "DELETE FROM pending_writes WHERE thread_id = $1";
const char* const kDeleteInterrupts = "DELETE FROM interrupts WHERE thread_id = $1";
const char* const kDeleteThread = "DELETE FROM threads WHERE thread_id = $1";

// $2 the copy, $3 a token. Says "exists" or "absent" by a cast that fails, as commits do.
const char* const kMakeCopy =
    "WITH made AS (INSERT INTO threads AS t (thread_id, recent) "
    "SELECT $2, ARRAY[$3] WHERE EXISTS (SELECT FROM threads WHERE thread_id = $1) OR EXISTS (SELECT FROM threads WHERE thread_id = $2) "
    "ON CONFLICT (thread_id) DO UPDATE SET lease_expires_ms = "
    "(CASE WHEN $3 = ANY (t.recent) THEN 'corvid:applied:' ELSE 'corvid:exists:' END || t.thread_id || ':!')::bigint RETURNING 1) "
    "SELECT CASE WHEN EXISTS (SELECT FROM made) THEN 0 ELSE ('corvid:absent:' || (SELECT count(*) FROM made) || ':!')::bigint END";
const char* const kCopyCheckpoints =
    "INSERT INTO checkpoints (thread_id, ns, id, parent_id, step, source, created_ms, body, channels, versions) "
    "SELECT $2, ns, id, parent_id, step, source, created_ms, body, channels, versions FROM checkpoints WHERE thread_id = $1";
const char* const kCopyBlobs =
    "WITH copied AS (INSERT INTO checkpoint_blobs (thread_id, ns, channel, version, base_version, bytes, content) "
    "SELECT $2, ns, channel, version, base_version, bytes, content FROM checkpoint_blobs WHERE thread_id = $1 RETURNING content) "
    "UPDATE blob_contents c SET users = c.users + d.n FROM (SELECT content, count(*) AS n FROM copied WHERE content IS NOT NULL "
    "GROUP BY content) d WHERE c.content = d.content";
const char* const kCopyWrites =
    "INSERT INTO pending_writes (thread_id, ns, checkpoint_id, task_id, idx, channel, bytes) "
    "SELECT $2, ns, checkpoint_id, task_id, idx, channel, bytes FROM pending_writes WHERE thread_id = $1";
const char* const kCopyInterrupts =
    "INSERT INTO interrupts (thread_id, id, ns, checkpoint_id, task_id, node, asked_ms, expires_ms, body, open, answered_by, answered_ms, "
    "answer) "
    "SELECT $2, id, ns, checkpoint_id, task_id, node, asked_ms, expires_ms, body, open, answered_by, answered_ms, answer FROM interrupts "
    "WHERE thread_id = $1 AND NOT open";

// $2 how many stay in each namespace, $3 created before, or 0
const char* const kPrune =
    "WITH old AS (SELECT ns, id FROM (SELECT ns, id, created_ms, row_number() OVER (PARTITION BY ns ORDER BY id DESC) AS n FROM "
    "checkpoints "
    "WHERE thread_id = $1) r WHERE r.n > $2 AND ($3 = 0 OR r.created_ms < $3) AND NOT EXISTS (SELECT FROM interrupts i "
    "WHERE i.thread_id = $1 AND i.ns = r.ns AND i.checkpoint_id = r.id AND i.open AND (i.expires_ms = 0 OR i.expires_ms > " CORVID_PG_NOW
    "))), "
    "writes AS (DELETE FROM pending_writes w USING old WHERE w.thread_id = $1 AND w.ns = old.ns AND w.checkpoint_id = old.id), "
    "questions AS (DELETE FROM interrupts i USING old WHERE i.thread_id = $1 AND i.ns = old.ns AND i.checkpoint_id = old.id) "
    "DELETE FROM checkpoints k USING old WHERE k.thread_id = $1 AND k.ns = old.ns AND k.id = old.id";
const char* const kPruneBlobs =
    "WITH RECURSIVE needed AS (SELECT k.ns, c.channel, c.version FROM checkpoints k, unnest(k.channels, k.versions) AS c(channel, version) "
    "WHERE k.thread_id = $1 UNION SELECT n.ns, n.channel, b.base_version FROM needed n JOIN checkpoint_blobs b "
    "ON b.thread_id = $1 AND b.ns = n.ns AND b.channel = n.channel AND b.version = n.version AND b.base_version > 0), "
    "gone AS (DELETE FROM checkpoint_blobs b WHERE b.thread_id = $1 AND NOT EXISTS (SELECT FROM needed n "
    "WHERE n.ns = b.ns AND n.channel = b.channel AND n.version = b.version) RETURNING content) " CORVID_PG_LESS_USERS;

Step of_thread(const char* sql, std::string_view thread_id) {
  Step step{sql, {}};
  step.params.text(thread_id);
  return step;
}

}  // namespace

Status Saver::delete_thread(std::string_view thread_id) {
  return pool_->call([&](Connection& connection, bool) -> Status {
    std::vector<Step> steps;
    for (const char* sql : {kLockThread, kDeleteBlobs, kDeleteCheckpoints, kDeleteWrites, kDeleteInterrupts, kDeleteThread}) {
      steps.push_back(of_thread(sql, thread_id));
    }
    steps.push_back({kDropContents, {}});
    CORVID_TRY_STATUS(connection.transaction(std::move(steps)));
    return {};
  });
}

Status Saver::copy_thread(std::string_view from, std::string_view to) {
  CORVID_TRY_STATUS(persist::check_name("a thread's id", to));
  const auto token = new_token();
  return pool_->call([&](Connection& connection, bool) -> Status {
    std::vector<Step> steps;
    steps.push_back(of_thread(kLockThread, from));
    steps.push_back(of_thread(kMakeCopy, from));
    steps.back().params.text(to).integer(token);
    for (const char* sql : {kCopyCheckpoints, kCopyBlobs, kCopyWrites, kCopyInterrupts}) {
      steps.push_back(of_thread(sql, from));
      steps.back().params.text(to);
    }
    auto done = connection.transaction(std::move(steps));
    if (done) return {};
    const auto& message = done.error().message();
    if (!refusal(message, "applied").empty()) return {};
    if (!refusal(message, "absent").empty()) return fail(persist::no_thread(from));
    if (!refusal(message, "exists").empty()) return fail(persist::thread_exists(to));
    return fail(std::move(done).error());
  });
}

Result<std::size_t> Saver::prune(std::string_view thread_id, const PruneOptions& options) {
  return pool_->call([&](Connection& connection, bool) -> Result<std::size_t> {
    std::vector<Step> steps;
    steps.push_back(of_thread(kLockThread, thread_id));
    steps.push_back(of_thread(kPrune, thread_id));
    const auto most = static_cast<std::size_t>(std::numeric_limits<std::int64_t>::max());
    steps.back().params.integer(static_cast<std::int64_t>(std::min(options.keep_last, most))).integer(options.older_than_ms);
    steps.push_back(of_thread(kPruneBlobs, thread_id));
    steps.push_back({kDropContents, {}});
    CORVID_TRY(const auto rows, connection.transaction(std::move(steps)));
    return static_cast<std::size_t>(rows[1].affected());
  });
}

}  // namespace corvid::postgres
