#include "persist/sqlite_schema.hpp"

#include <array>

#include "corvid/graphs/savers.hpp"

namespace corvid::persist {
namespace {

// Integer keys for threads and namespaces, one tree a table (WITHOUT ROWID), indexes only on tables that a superstep does not write.
// Values above 4 KiB lie once in graph_contents, so copies share them and trees stay dense.
constexpr std::string_view kVersion1 = R"sql(
CREATE TABLE graph_threads(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  lease_owner TEXT NOT NULL, lease_expires_ms INTEGER NOT NULL);
CREATE TABLE graph_spaces(  -- none for the root: a "space" below is a thread's id, or minus one of these ids
  id INTEGER PRIMARY KEY, thread INTEGER NOT NULL, ns TEXT NOT NULL, UNIQUE(thread, ns));
CREATE TABLE graph_checkpoints(
  space INTEGER NOT NULL, id TEXT NOT NULL, parent TEXT NOT NULL, step INTEGER NOT NULL, source TEXT NOT NULL,
  created_ms INTEGER NOT NULL, body BLOB NOT NULL, channels BLOB NOT NULL, sum INTEGER NOT NULL,
  PRIMARY KEY(space, id)) WITHOUT ROWID;
CREATE TABLE graph_contents(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL);
CREATE TABLE graph_blobs(
  space INTEGER NOT NULL, channel TEXT NOT NULL, version INTEGER NOT NULL, base INTEGER NOT NULL,
  bytes BLOB, content INTEGER, sum INTEGER NOT NULL,
  PRIMARY KEY(space, channel, version)) WITHOUT ROWID;
CREATE INDEX graph_blobs_content ON graph_blobs(content) WHERE content IS NOT NULL;
CREATE TABLE graph_writes(
  space INTEGER NOT NULL, checkpoint TEXT NOT NULL, task TEXT NOT NULL, idx INTEGER NOT NULL, channel TEXT NOT NULL,
  bytes BLOB NOT NULL, sum INTEGER NOT NULL,
  PRIMARY KEY(space, checkpoint, task, idx)) WITHOUT ROWID;
CREATE TABLE graph_interrupts(
  thread INTEGER NOT NULL, id TEXT NOT NULL, ns TEXT NOT NULL, checkpoint TEXT NOT NULL, task TEXT NOT NULL, node TEXT NOT NULL,
  asked_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL, closed INTEGER NOT NULL,
  answered_by TEXT, answered_ms INTEGER, answer BLOB, answer_sum INTEGER,
  PRIMARY KEY(thread, id)) WITHOUT ROWID;
CREATE INDEX graph_interrupts_id ON graph_interrupts(id);
CREATE INDEX graph_interrupts_checkpoint ON graph_interrupts(thread, checkpoint);
CREATE INDEX graph_interrupts_open ON graph_interrupts(asked_ms) WHERE answered_by IS NULL AND closed = 0;
CREATE TABLE graph_audit(
  seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
  detail BLOB NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE graph_cache(key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_ms INTEGER NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX graph_cache_expires ON graph_cache(expires_ms) WHERE expires_ms <> 0;
CREATE TABLE graph_runs(
  seq INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, thread TEXT NOT NULL, graph TEXT NOT NULL, input BLOB NOT NULL,
  sum INTEGER NOT NULL, attempt INTEGER NOT NULL, owner TEXT, expires_ms INTEGER NOT NULL, status TEXT);
CREATE INDEX graph_runs_unfinished ON graph_runs(thread) WHERE status IS NULL;
CREATE INDEX graph_runs_order ON graph_runs(seq) WHERE status IS NULL;
)sql";

// Each tree that a superstep writes to costs its commit a page in the log. So all it writes lies in one tree, a thread's rows together:
// kind 0, its lease, by its name; 1, its checkpoints, by id; 2, its channels' values, by channel and version. The thread's name is
// written once. A space that is positive is a thread's id, so the greatest one there is tells the next.
constexpr std::string_view kVersion2 = R"sql(
CREATE TABLE graph_states(
  space INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  at_ms INTEGER,  -- when a checkpoint was made; when a lease ends
  owner TEXT,  -- a lease's
  parent TEXT, step INTEGER, source TEXT, channels BLOB,  -- a checkpoint's
  base INTEGER, content INTEGER,  -- a value's
  bytes BLOB, sum INTEGER,
  PRIMARY KEY(space, kind, name, version)) WITHOUT ROWID;
CREATE TABLE graph_names(name TEXT PRIMARY KEY, thread INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO graph_names SELECT name, id FROM graph_threads ORDER BY name;
INSERT INTO graph_states(space, kind, name, version, owner, at_ms)
  SELECT id, 0, name, 0, lease_owner, lease_expires_ms FROM graph_threads;
INSERT INTO graph_states(space, kind, name, version, parent, step, source, at_ms, bytes, channels, sum)
  SELECT space, 1, id, 0, parent, step, source, created_ms, body, channels, sum FROM graph_checkpoints;
INSERT INTO graph_states(space, kind, name, version, base, bytes, content, sum)
  SELECT space, 2, channel, version, base, bytes, content, sum FROM graph_blobs;
DROP TABLE graph_threads;
DROP TABLE graph_checkpoints;
DROP TABLE graph_blobs;
CREATE INDEX graph_states_content ON graph_states(content) WHERE content IS NOT NULL;
)sql";

constexpr std::array<Migration, 2> kMigrations = {Migration{"graphs", 1, kVersion1}, Migration{"graphs", 2, kVersion2}};

}  // namespace

std::span<const Migration> sqlite_migrations() { return kMigrations; }

Bytes to_bytes(std::span<const std::byte> column) { return Bytes(column.begin(), column.end()); }

Error damaged_row(std::string_view what, std::string_view id) {
  return Error::bad_input(std::string(what) +
                          " is damaged: its checksum does not fit; restore the workspace from a copy, or delete its thread")
      .at_key(std::string(id.empty() ? what : id));
}

}  // namespace corvid::persist

namespace corvid {

Result<SqliteStore> open_sqlite_store(std::shared_ptr<Workspace> workspace) {
  CORVID_TRY_STATUS(workspace->migrate(persist::sqlite_migrations()));
  return SqliteStore{std::make_shared<persist::SqliteSaver>(workspace), persist::make_sqlite_queue(workspace)};
}

}  // namespace corvid
