// The checkpointers that come with Corvid, and encryption around any of them.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

#include "corvid/base/result.hpp"
#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/work_queue.hpp"

namespace corvid {

class Workspace;

/// In this process's memory; gone with it.
std::shared_ptr<Checkpointer> make_memory_saver();

/// In a workspace's file, with what else is there. `saver` and `queue` share the workspace.
struct SqliteStore {
  std::shared_ptr<Checkpointer> saver;
  std::shared_ptr<WorkQueue> queue;
};
Result<SqliteStore> open_sqlite_store(std::shared_ptr<Workspace> workspace);

/// In a PostgreSQL database (libpq; 13 or newer). `url` as libpq reads it: postgresql://user@host/database. Connections are made
/// when first needed and made again after the server was away. Errors: unsupported where this build has no libpq; network; rejected.
struct PostgresOptions {
  std::string schema = "corvid";        ///< made if absent; letters, digits and _ only
  int connections = 4;                  ///< at most this many at once; more callers wait
  int retry_ms = 30'000;                ///< how long an unreachable server is tried again before a call fails
};
struct PostgresStore {
  std::shared_ptr<Checkpointer> saver;
  std::shared_ptr<WorkQueue> queue;
};
Result<PostgresStore> open_postgres_store(const std::string& url, const PostgresOptions& options = {});

/// AES-256-GCM around every byte string that `inner` keeps: bodies, blobs, writes, questions, answers, audit details, cached results.
/// Each is bound to its place (thread, namespace, checkpoint, channel, version): a moved row is refused. A row that is not encrypted is
/// refused too (bad_input): there is no way back to plain text. Names, ids and times stay readable.
using EncryptionKey = std::array<std::byte, 32>;
std::shared_ptr<Checkpointer> encrypt(std::shared_ptr<Checkpointer> inner, const EncryptionKey& key);
/// 64 hexadecimal digits, or the 32 bytes of a file (mode 0600 or stricter). Errors: bad_input, not_found.
Result<EncryptionKey> read_encryption_key(const std::filesystem::path& file);

/// A thread with its whole history as one CBOR document, and back. Works with any checkpointer, between kinds too.
Result<Bytes> export_thread(Checkpointer& saver, std::string_view thread_id);
/// Leases and open questions are not part of it; answers are. Errors: bad_input (damaged), conflict (the thread exists). The root
/// namespace is stored last, so a thread whose import was cut off has no state to run from.
Status import_thread(Checkpointer& saver, const Bytes& exported, std::string_view thread_id);

/// Deletes threads whose last checkpoint was created before `older_than_ms` (Unix time) and that have no open questions and no live
/// lease. Returns how many.
Result<std::size_t> expire_threads(Checkpointer& saver, std::int64_t older_than_ms);

}  // namespace corvid
