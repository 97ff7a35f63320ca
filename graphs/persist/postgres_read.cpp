#include <openssl/sha.h>

#include <cstring>
#include <limits>
#include <map>

#include "graphs/persist/postgres_saver.hpp"
#include "graphs/persist/rules.hpp"

namespace corvid::postgres {

namespace {

#define CORVID_PG_RECORD "id, parent_id, step, source, created_ms, body, channels, versions "
// $1 thread, $2 namespace, $3 id or nothing: the newest
#define CORVID_PG_CHOSEN "coalesce(nullif($3, ''), (SELECT max(id) FROM checkpoints WHERE thread_id = $1 AND ns = $2))"

const char* const kRecord = "SELECT " CORVID_PG_RECORD "FROM checkpoints WHERE thread_id = $1 AND ns = $2 AND id = " CORVID_PG_CHOSEN;

// Chains in the record's order. A base is always an earlier version, so that a damaged chain ends too. LIMIT 1 makes each value a look-up
// by its whole key: without statistics the planner would rather read all values that the thread ever had.
#define CORVID_PG_BLOB(version)                                                                        \
  "(SELECT channel, version, base_version, bytes, content FROM checkpoint_blobs WHERE thread_id = $1 " \
  "AND ns = $2 AND channel = " version " LIMIT 1) b "
const char* const kChains =
    "WITH RECURSIVE chain AS ("
    "SELECT c.n, b.* FROM (SELECT channels, versions FROM checkpoints WHERE thread_id = $1 AND ns = $2 AND id = " CORVID_PG_CHOSEN
    " LIMIT 1) k, unnest(k.channels, k.versions) WITH ORDINALITY AS c(channel, version, n), "
    "LATERAL " CORVID_PG_BLOB("c.channel AND version = c.version")
    "UNION ALL SELECT d.n, b.* FROM chain d, LATERAL " CORVID_PG_BLOB("d.channel AND version = d.base_version AND version < d.version")
    ") SELECT n, channel, version, base_version, coalesce(chain.bytes, x.bytes), chain.content FROM chain "
    "LEFT JOIN LATERAL (SELECT bytes FROM blob_contents WHERE content = chain.content LIMIT 1) x ON true ORDER BY n, version";

const char* const kWritesOf =
    "SELECT checkpoint_id, task_id, idx, channel, bytes FROM pending_writes WHERE thread_id = $1 AND ns = $2 AND checkpoint_id "
    "= " CORVID_PG_CHOSEN " ORDER BY task_id, idx";

const char* const kQuestionsOf =
    "SELECT id, thread_id, ns, checkpoint_id, task_id, node, asked_ms, expires_ms, body FROM interrupts "
    "WHERE thread_id = $1 AND ns = $2 AND checkpoint_id = " CORVID_PG_CHOSEN " AND open ORDER BY asked_ms, id";

const char* const kAnswersOf =
    "SELECT id, answered_by, answered_ms, answer, thread_id FROM interrupts "
    "WHERE thread_id = $1 AND ns = $2 AND checkpoint_id = " CORVID_PG_CHOSEN " AND answered_by IS NOT NULL ORDER BY id";

// $3: only earlier ones, or all; $4: how many
const char* const kList =
    "SELECT " CORVID_PG_RECORD "FROM checkpoints WHERE thread_id = $1 AND ns = $2 AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4";

const char* const kNamespaces = "SELECT DISTINCT ns FROM checkpoints WHERE thread_id = $1 ORDER BY ns";

const char* const kThreads =
    "SELECT t.thread_id, coalesce((SELECT max(k.id) FROM checkpoints k WHERE k.thread_id = t.thread_id AND k.ns = ''), ''), "
    "coalesce((SELECT max(k.created_ms) FROM checkpoints k WHERE k.thread_id = t.thread_id), 0), "
    "CASE WHEN t.lease_expires_ms > " CORVID_PG_NOW
    " THEN t.lease_owner ELSE '' END, t.lease_expires_ms, "
    "(SELECT count(*) FROM interrupts i WHERE i.thread_id = t.thread_id AND i.open AND (i.expires_ms = 0 OR i.expires_ms > " CORVID_PG_NOW
    ")) "
    "FROM threads t ORDER BY t.thread_id";

const char* const kCacheGet = "SELECT value FROM node_cache WHERE key = $1 AND (expires_ms = 0 OR expires_ms > $2)";
const char* const kCachePut =
    "INSERT INTO node_cache (key, value, expires_ms) VALUES ($1, $2, $3) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_ms = excluded.expires_ms";

CheckpointRecord record_in(const Rows& rows, int row) {
  CheckpointRecord record;
  record.id = rows.string(row, 0);
  record.parent_id = rows.string(row, 1);
  record.step = rows.integer(row, 2);
  record.source = rows.string(row, 3);
  record.created_ms = rows.integer(row, 4);
  record.body = rows.bytes(row, 5);
  const auto channels = rows.texts(row, 6);
  const auto versions = rows.integers(row, 7);
  for (std::size_t i = 0; i < channels.size() && i < versions.size(); ++i) {
    record.channels.push_back({channels[i], static_cast<std::uint64_t>(versions[i])});
  }
  return record;
}

Status read_chains(const Rows& rows, std::string_view thread_id, std::string_view ns, LoadedCheckpoint& loaded) {
  std::size_t row = 0;
  for (std::size_t n = 0; n < loaded.record.channels.size(); ++n) {
    const auto& wanted = loaded.record.channels[n];
    std::uint64_t base = 0;  // of the row before; a chain begins with a whole value
    std::uint64_t last = 0;
    for (; row < static_cast<std::size_t>(rows.size()); ++row) {
      const int at = static_cast<int>(row);
      if (rows.integer(at, 0) != static_cast<std::int64_t>(n) + 1) break;
      ChannelBlob blob{
          rows.string(at, 1), static_cast<std::uint64_t>(rows.integer(at, 2)), static_cast<std::uint64_t>(rows.integer(at, 3)), {}};
      base = blob.base_version;
      if (base != last) return fail(persist::broken_chain(thread_id, ns, wanted.channel, base));
      last = blob.version;
      bool damaged = rows.is_null(at, 4);
      if (!damaged) blob.bytes = rows.bytes(at, 4);
      if (!damaged && !rows.is_null(at, 5)) {
        unsigned char digest[SHA256_DIGEST_LENGTH];
        SHA256(reinterpret_cast<const unsigned char*>(blob.bytes.data()), blob.bytes.size(), digest);
        const auto stored = rows.text(at, 5);
        damaged = stored.size() != sizeof(digest) || std::memcmp(stored.data(), digest, sizeof(digest)) != 0;
      }
      if (damaged) return fail(persist::broken_chain(thread_id, ns, blob.channel, blob.version));
      loaded.blobs.push_back(std::move(blob));
    }
    if (last != wanted.version) return fail(persist::broken_chain(thread_id, ns, wanted.channel, wanted.version));
  }
  return {};
}

}  // namespace

InterruptRecord interrupt_in(const Rows& rows, int row) {
  return {rows.string(row, 0), rows.string(row, 1),  rows.string(row, 2),  rows.string(row, 3), rows.string(row, 4),
          rows.string(row, 5), rows.integer(row, 6), rows.integer(row, 7), rows.bytes(row, 8)};
}

Result<std::optional<LoadedCheckpoint>> Saver::get(std::string_view thread_id, std::string_view ns, std::string_view id) {
  return pool_->call([&](Connection& connection, bool) -> Result<std::optional<LoadedCheckpoint>> {
    std::vector<Step> steps;
    for (const char* sql : {kRecord, kChains, kWritesOf, kQuestionsOf, kAnswersOf}) {
      Step step{sql, {}};
      step.params.text(thread_id).text(ns).text(id);
      steps.push_back(std::move(step));
    }
    CORVID_TRY(const auto rows, connection.snapshot(std::move(steps)));
    if (rows[0].empty()) return std::nullopt;
    LoadedCheckpoint loaded;
    loaded.record = record_in(rows[0], 0);
    CORVID_TRY_STATUS(read_chains(rows[1], thread_id, ns, loaded));
    for (int i = 0; i < rows[2].size(); ++i) {
      loaded.writes.push_back({rows[2].string(i, 0), rows[2].string(i, 1), static_cast<std::int32_t>(rows[2].integer(i, 2)),
                               rows[2].string(i, 3), rows[2].bytes(i, 4)});
    }
    for (int i = 0; i < rows[3].size(); ++i) loaded.interrupts.push_back(interrupt_in(rows[3], i));
    for (int i = 0; i < rows[4].size(); ++i) {
      loaded.answers.push_back(
          {rows[4].string(i, 0), rows[4].string(i, 1), rows[4].integer(i, 2), rows[4].bytes(i, 3), rows[4].string(i, 4)});
    }
    return loaded;
  });
}

Result<std::vector<CheckpointRecord>> Saver::list(std::string_view thread_id, std::string_view ns, const ListOptions& options) {
  return pool_->call([&](Connection& connection, bool) -> Result<std::vector<CheckpointRecord>> {
    Step step{kList, {}};
    constexpr auto kAll = std::numeric_limits<std::int64_t>::max();
    step.params.text(thread_id).text(ns).text(options.before).integer(options.limit ? static_cast<std::int64_t>(options.limit) : kAll);
    CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
    std::vector<CheckpointRecord> records;
    for (int i = 0; i < rows.size(); ++i) records.push_back(record_in(rows, i));
    return records;
  });
}

Result<std::vector<std::string>> Saver::namespaces(std::string_view thread_id) {
  return pool_->call([&](Connection& connection, bool) -> Result<std::vector<std::string>> {
    Step step{kNamespaces, {}};
    step.params.text(thread_id);
    CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
    std::vector<std::string> names;
    for (int i = 0; i < rows.size(); ++i) names.push_back(rows.string(i, 0));
    return names;
  });
}

Result<std::vector<ThreadInfo>> Saver::threads() {
  return pool_->call([&](Connection& connection, bool) -> Result<std::vector<ThreadInfo>> {
    CORVID_TRY(const auto rows, connection.run_one({kThreads, {}}));
    std::vector<ThreadInfo> threads;
    for (int i = 0; i < rows.size(); ++i) {
      threads.push_back({rows.string(i, 0), rows.string(i, 1), rows.integer(i, 2), rows.string(i, 3), rows.integer(i, 4),
                         static_cast<std::size_t>(rows.integer(i, 5))});
    }
    return threads;
  });
}

Result<std::optional<Bytes>> Saver::cache_get(std::string_view key, std::int64_t now_ms) {
  return pool_->call([&](Connection& connection, bool) -> Result<std::optional<Bytes>> {
    Step step{kCacheGet, {}};
    step.params.text(key).integer(now_ms);
    CORVID_TRY(const auto rows, connection.run_one(std::move(step)));
    if (rows.empty()) return std::nullopt;
    return rows.bytes(0, 0);
  });
}

Status Saver::cache_put(std::string_view key, const Bytes& value, std::int64_t expires_ms) {
  return pool_->call([&](Connection& connection, bool) -> Status {
    Step step{kCachePut, {}};
    step.params.text(key).bytes(value).integer(expires_ms);
    CORVID_TRY_STATUS(connection.run_one(std::move(step)));
    return {};
  });
}

}  // namespace corvid::postgres
