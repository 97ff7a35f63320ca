#include "graphs/persist/postgres_schema.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace corvid::postgres {

namespace {

// Text compares by bytes (COLLATE "C"): checkpoint ids sort as they do elsewhere. No foreign keys: deleting goes by thread anyway, and a
// commit need not look its thread up in each table. Only checkpoint_blobs and blob_contents refer to each other, by count.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE threads (
  thread_id text COLLATE "C" PRIMARY KEY,
  lease_owner text NOT NULL DEFAULT '',
  lease_expires_ms bigint NOT NULL DEFAULT 0,
  recent bigint[] NOT NULL DEFAULT '{}'      -- tokens of the last commits: one that is sent again is recognised
) WITH (fillfactor = 50);
CREATE TABLE checkpoints (
  thread_id text COLLATE "C" NOT NULL, ns text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
  parent_id text NOT NULL, step bigint NOT NULL, source text NOT NULL, created_ms bigint NOT NULL, body bytea NOT NULL,
  channels text[] NOT NULL, versions bigint[] NOT NULL,
  PRIMARY KEY (thread_id, ns, id)
);
CREATE TABLE checkpoint_blobs (
  thread_id text COLLATE "C" NOT NULL, ns text COLLATE "C" NOT NULL, channel text COLLATE "C" NOT NULL, version bigint NOT NULL,
  base_version bigint NOT NULL,
  bytes bytea,                               -- NULL: in blob_contents
  content bytea,                             -- SHA-256
  PRIMARY KEY (thread_id, ns, channel, version)
);
CREATE TABLE blob_contents (
  content bytea PRIMARY KEY, users bigint NOT NULL, bytes bytea NOT NULL
);
CREATE INDEX blob_contents_unused ON blob_contents (content) WHERE users <= 0;
CREATE TABLE pending_writes (
  thread_id text COLLATE "C" NOT NULL, ns text COLLATE "C" NOT NULL, checkpoint_id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL, idx bigint NOT NULL, channel text NOT NULL, bytes bytea NOT NULL,
  PRIMARY KEY (thread_id, ns, checkpoint_id, task_id, idx)
);
CREATE TABLE interrupts (
  thread_id text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, ns text COLLATE "C" NOT NULL,
  checkpoint_id text COLLATE "C" NOT NULL, task_id text NOT NULL, node text NOT NULL, asked_ms bigint NOT NULL, expires_ms bigint NOT NULL,
  body bytea NOT NULL,
  open boolean NOT NULL DEFAULT true,        -- neither answered nor closed
  answered_by text, answered_ms bigint, answer bytea,
  PRIMARY KEY (thread_id, id)
);
CREATE INDEX interrupts_by_id ON interrupts (id);
CREATE INDEX interrupts_open ON interrupts (asked_ms) WHERE open;
CREATE INDEX interrupts_of_checkpoint ON interrupts (thread_id, ns, checkpoint_id);
CREATE TABLE audit_log (
  seq bigint PRIMARY KEY, at_ms bigint NOT NULL, actor text NOT NULL, action text NOT NULL, subject text NOT NULL, detail bytea NOT NULL,
  previous_hash text NOT NULL, hash text NOT NULL, token bigint NOT NULL
);
-- Its one row is locked by whoever appends, and shows when the log's end is missing.
CREATE TABLE audit_head (only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), seq bigint NOT NULL, hash text NOT NULL);
INSERT INTO audit_head (seq, hash) VALUES (0, repeat('0', 64));
CREATE TABLE node_cache (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL, expires_ms bigint NOT NULL);
CREATE TABLE queue (
  run_id text COLLATE "C" PRIMARY KEY, seq bigint GENERATED ALWAYS AS IDENTITY, thread_id text COLLATE "C" NOT NULL, graph text NOT NULL,
  input bytea NOT NULL,
  state smallint NOT NULL DEFAULT 0,         -- 0 waits, 1 claimed, 2 finished
  owner text NOT NULL DEFAULT '', expires_ms bigint NOT NULL DEFAULT 0, attempt bigint NOT NULL DEFAULT 0,
  token bigint NOT NULL DEFAULT 0,           -- of the claim or finish that was last: recognised when sent again
  outcome text NOT NULL DEFAULT ''
) WITH (fillfactor = 70);
CREATE INDEX queue_unfinished ON queue (seq) WHERE state < 2;
-- Two runs of one thread are never claimed at the same time, whoever claims.
CREATE UNIQUE INDEX queue_claimed_thread ON queue (thread_id) WHERE state = 1;
)sql";

// In order; one that has been released is never changed.
constexpr std::array kMigrations = {kVersion1};
constexpr auto kNewest = static_cast<std::int64_t>(kMigrations.size());

const char* const kSetUp = R"sql(
SELECT set_config('search_path', $1, false), set_config('default_transaction_isolation', 'read committed', false),
  set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
    false))sql";
const char* const kFindTables = "SELECT to_regclass('migrations') IS NOT NULL, EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
const char* const kVersion = "SELECT coalesce(max(version), 0) FROM migrations";
// Released with the transaction, and by the server when the process dies.
const char* const kLock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7263985))";

Status newer(std::int64_t version) {
  return fail(Error::conflict("the tables are version " + std::to_string(version) + ", made by a newer Corvid; this one knows up to " +
                              std::to_string(kNewest)));
}

Step with_text(const char* sql, std::string_view text) {
  Step step{sql, {}};
  step.params.text(text);
  return step;
}

Status migrate_locked(Connection& connection, const std::string& schema) {
  CORVID_TRY(Rows found, connection.run_one(with_text(kFindTables, schema)));
  std::string script;
  std::int64_t version = 0;
  if (found.integer(0, 0)) {
    CORVID_TRY(Rows rows, connection.run_one({kVersion, {}}));
    version = rows.integer(0, 0);
    if (version > kNewest) return newer(version);
  } else {
    // Made only where it is not: to say IF NOT EXISTS needs the right to make schemas even then.
    if (!found.integer(0, 1)) script += "CREATE SCHEMA \"" + schema + "\";";
    script += "CREATE TABLE migrations (version bigint PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());";
  }
  for (auto next = version; next < kNewest; ++next) {
    script += kMigrations[static_cast<std::size_t>(next)];
    script += "INSERT INTO migrations (version) VALUES (" + std::to_string(next + 1) + ");";
  }
  return script.empty() ? Status{} : connection.script(script);
}

Status migrate(Connection& connection, const std::string& schema) {
  std::vector<Step> start;
  start.push_back({kBegin, {}});
  start.push_back(with_text(kLock, schema));
  CORVID_TRY_STATUS(connection.run(std::move(start)));
  if (auto done = migrate_locked(connection, schema); !done) {
    connection.roll_back();
    return done;
  }
  CORVID_TRY_STATUS(connection.run_one({kCommit, {}}));
  return {};
}

}  // namespace

Status check_schema_name(std::string_view name) {
  const auto allowed = [](char c) {
    return c == '_' || (std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 128);
  };
  if (name.empty() || name.size() > 63 || !std::all_of(name.begin(), name.end(), allowed) || name.substr(0, 3) == "pg_") {
    return fail(Error::invalid_argument("a schema's name is 1 to 63 letters, digits and _, and does not begin with pg_").at_key("schema"));
  }
  return {};
}

Status prepare_session(Connection& connection, const std::string& schema) {
  CORVID_TRY_STATUS(connection.run_one(with_text(kSetUp, "\"" + schema + "\"")));
  CORVID_TRY(Rows found, connection.run_one(with_text(kFindTables, schema)));
  if (found.integer(0, 0)) {
    CORVID_TRY(Rows version, connection.run_one({kVersion, {}}));
    if (version.integer(0, 0) == kNewest) return {};
    if (version.integer(0, 0) > kNewest) return newer(version.integer(0, 0));
  }
  return migrate(connection, schema);
}

}  // namespace corvid::postgres
