// Workspace: the one file that holds collections, threads and, later, checkpoints. SQLite, WAL, synchronous=FULL.
//
//   CORVID_TRY(auto workspace, Workspace::open("corvid.db"));
//   CORVID_TRY_STATUS(workspace->write([&](Database& db) { return db.execute("…"); }));   // one transaction
//
// One connection writes; an advisory lock on FILE.lock is held across writes and checkpoints, since several processes may share the
// file and SQLite 3.7.0–3.51.2 has a race between a WAL reset and a writer on another connection.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "corvid/base/function_ref.hpp"
#include "corvid/base/result.hpp"
#include "corvid/storage/database.hpp"

namespace corvid {

/// A module's schema: numbered steps, run once each, in order, in the transaction that records them.
struct Migration {
  std::string_view module;   ///< "retrieval", "agents"
  int version = 0;           ///< 1, 2, …
  std::string_view sql;
};

struct WorkspaceOptions {
  bool create = true;                           ///< false: not_found where the file does not exist
  int busy_timeout_ms = 30'000;                 ///< for the file lock and SQLite's own
};

/// Thread-safe: write() calls are served one after another; read() uses a connection of its own per thread.
class Workspace {
 public:
  virtual ~Workspace() = default;
  /// Errors: not_found, io, bad_input (not a Corvid workspace, damaged), conflict (written by a newer version).
  static Result<std::shared_ptr<Workspace>> open(const std::filesystem::path& path, const WorkspaceOptions& options = {});

  virtual Status migrate(std::span<const Migration> migrations) = 0;
  /// Runs `body` inside BEGIN IMMEDIATE … COMMIT; an Error or exception rolls back. Durable when it returns.
  virtual Status write(FunctionRef<Status(Database&)> body) = 0;
  /// Runs `body` against one consistent snapshot.
  virtual Status read(FunctionRef<Status(Database&)> body) = 0;
  virtual const std::filesystem::path& path() const noexcept = 0;
};

}  // namespace corvid
