#include "corvid/storage/workspace.hpp"

#include <sqlite3.h>

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "file_lock.hpp"

namespace corvid {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kApplicationId = 0x43525644;  // "CRVD"
// Pages in the log before it is written back, inside the file lock: SQLite's own default.
constexpr int kCheckpointPages = 1000;

Result<std::int64_t> pragma(Database& db, std::string_view name) {
  CORVID_TRY(Statement row, db.prepare("PRAGMA " + std::string(name)));
  CORVID_TRY(const bool any, row.step());
  if (!any) return fail(Error::internal("SQLite does not know the pragma").at_key(std::string(name)));
  return row.integer(0);
}

class SqliteWorkspace final : public Workspace {
 public:
  SqliteWorkspace(fs::path path, WorkspaceOptions options, Database writer)
      : path_(std::move(path)), lock_path_(path_.string() + ".lock"), options_(options), writer_(std::move(writer)) {}

  // Creates or checks the file, inside the lock.
  Status prepare() {
    CORVID_TRY(FileLock lock, FileLock::acquire(lock_path_, options_.busy_timeout_ms));
    CORVID_TRY(const auto id, pragma(writer_, "application_id"));
    if (id != kApplicationId) {
      CORVID_TRY(Statement tables, writer_.prepare("SELECT count(*) FROM sqlite_schema"));
      CORVID_TRY(const bool any, tables.step());
      if (id != 0 || !any || tables.integer(0) != 0) {
        return fail(Error::bad_input("an SQLite database of another program, not a workspace; name another file").at_file(path_.string()));
      }
      CORVID_TRY_STATUS(writer_.execute("PRAGMA application_id = " + std::to_string(kApplicationId)));
    }
    CORVID_TRY_STATUS(writer_.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                                      "PRAGMA wal_autocheckpoint = 0;"));
    CORVID_TRY(const auto synchronous, pragma(writer_, "synchronous"));
    {
      // Gone before the table is made: SQLite takes this statement for a writer, and would commit only when it ends, where nobody looks.
      CORVID_TRY(Statement mode, writer_.prepare("PRAGMA journal_mode"));
      CORVID_TRY(const bool known, mode.step());
      if (synchronous != 2 || !known || mode.text(0) != "wal") {
        return fail(Error::io("the file system does not allow a write-ahead log; put the workspace on a local disk").at_file(path_.string()));
      }
    }
    return writer_.execute("CREATE TABLE IF NOT EXISTS corvid_migrations(module TEXT NOT NULL, version INTEGER NOT NULL,"
                           " PRIMARY KEY(module, version)) WITHOUT ROWID");
  }

  Status migrate(std::span<const Migration> migrations) override {
    std::vector<Migration> wanted(migrations.begin(), migrations.end());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      int before = 0;
      for (std::size_t j = 0; j < i; ++j) if (wanted[j].module == wanted[i].module) before = wanted[j].version;
      if (wanted[i].version != before + 1) return fail(Error::internal("migrations must be numbered without gaps").at_key(std::string(wanted[i].module)));
    }
    const auto body = [&](Database& db) -> Status {
      for (const auto& step : wanted) {
        std::int64_t have = 0;
        {
          // Gone before the migration runs: SQLite drops no table while a statement is under way.
          CORVID_TRY(Statement newest, db.prepare("SELECT coalesce(max(version), 0) FROM corvid_migrations WHERE module = ?1"));
          newest.bind(1, step.module);
          CORVID_TRY(const bool any, newest.step());
          if (any) have = newest.integer(0);
        }
        int last = 0;
        for (const auto& other : wanted) {
          if (other.module == step.module && other.version > last) last = other.version;
        }
        if (have > last) {
          return fail(Error::conflict("the workspace was written by a newer version (" + std::string(step.module) + " schema " +
                                      std::to_string(have) + ", this program knows " + std::to_string(last) + "); update Corvid")
                          .at_file(path_.string()));
        }
        if (step.version <= have) continue;
        // The program's own steps have no gaps, and fit every file that it has made.
        if (step.version != have + 1) {
          return fail(Error::bad_input("the file's list of migrations is damaged (" + std::string(step.module) + " schema " + std::to_string(have) +
                                       "); restore it from a copy").at_file(path_.string()));
        }
        if (auto made = db.execute(step.sql); !made) {
          if (made.error().code() != ErrorCode::internal) return made;
          return fail(Error::bad_input("the file's tables are not those that its list of migrations tells of; it is damaged, restore it from a copy")
                          .at_file(path_.string())
                          .caused_by(std::move(made).error()));
        }
        CORVID_TRY(Statement record, db.prepare("INSERT INTO corvid_migrations(module, version) VALUES(?1, ?2)"));
        record.bind(1, step.module);
        record.bind(2, static_cast<std::int64_t>(step.version));
        CORVID_TRY_STATUS(record.run());
      }
      return {};
    };
    return write(body);
  }

  Status write(FunctionRef<Status(Database&)> body) override {
    std::lock_guard in_process(write_mutex_);
    CORVID_TRY(FileLock lock, FileLock::acquire(lock_path_, options_.busy_timeout_ms));
    // A rollback needs memory; where there was none, the transaction before this one is still open.
    if (sqlite3_get_autocommit(writer_.handle()) == 0) CORVID_TRY_STATUS(writer_.execute("ROLLBACK"));
    CORVID_TRY_STATUS(run_cached(writer_, "BEGIN IMMEDIATE"));
    Rollback rollback(writer_);
    CORVID_TRY_STATUS(body(writer_));
    CORVID_TRY_STATUS(run_cached(writer_, "COMMIT"));
    rollback.disarm();
    return checkpoint_if_due();
  }

  Status read(FunctionRef<Status(Database&)> body) override {
    std::optional<Database> reader;
    {
      std::lock_guard lock(readers_mutex_);
      if (!readers_.empty()) {
        reader.emplace(std::move(readers_.back()));
        readers_.pop_back();
      }
    }
    if (!reader) {
      CORVID_TRY(Database opened, Database::open(path_, true, options_.busy_timeout_ms));
      reader.emplace(std::move(opened));
    }
    CORVID_TRY_STATUS(run_cached(*reader, "BEGIN"));
    Rollback end(*reader);
    auto status = body(*reader);
    if (run_cached(*reader, "ROLLBACK")) end.disarm();
    else end.now();
    if (sqlite3_get_autocommit(reader->handle()) == 0) return status;   // it could not end its transaction: not for reuse
    std::lock_guard lock(readers_mutex_);
    readers_.push_back(std::move(*reader));
    return status;
  }

  const fs::path& path() const noexcept override { return path_; }

 private:
  // Ends the transaction on every way out, exceptions included.
  class Rollback {
   public:
    explicit Rollback(Database& db) : db_(&db) {}
    ~Rollback() { now(); }
    void disarm() { db_ = nullptr; }
    void now() {
      // It fails only where SQLite rolled back by itself (a full disk, say), which is what is wanted.
      if (db_) (void)db_->execute("ROLLBACK");
      db_ = nullptr;
    }

   private:
    Database* db_;
  };

  static Status run_cached(Database& db, std::string_view sql) {
    CORVID_TRY(CachedStatement statement, db.cached(sql));
    return statement->run();
  }

  // With automatic checkpoints off, the log is written back here, while the file lock keeps every other writer out. A reader in the
  // way only makes it partial; the data is durable in the log either way, so its failure is not the write's.
  Status checkpoint_if_due() {
    if (++writes_since_checkpoint_ < 64) {
      std::error_code missing;
      const auto bytes = fs::file_size(path_.string() + "-wal", missing);
      if (missing || bytes < static_cast<std::uintmax_t>(kCheckpointPages) * 4096) return {};
    }
    writes_since_checkpoint_ = 0;
    (void)sqlite3_wal_checkpoint_v2(writer_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    return {};
  }

  fs::path path_, lock_path_;
  WorkspaceOptions options_;
  std::mutex write_mutex_;
  Database writer_;
  int writes_since_checkpoint_ = 0;
  std::mutex readers_mutex_;
  std::vector<Database> readers_;
};

}  // namespace

Result<std::shared_ptr<Workspace>> Workspace::open(const fs::path& path, const WorkspaceOptions& options) {
  std::error_code status;
  const auto kind = fs::status(path, status);
  if (kind.type() == fs::file_type::directory) return fail(Error::bad_input("a folder, not a workspace file").at_file(path.string()));
  if (kind.type() == fs::file_type::not_found) {
    if (!options.create) return fail(Error::not_found("no workspace here; `corvid ingest` makes one").at_file(path.string()));
    const auto parent = path.parent_path();
    if (!parent.empty() && !fs::is_directory(parent)) {
      return fail(Error::not_found("the workspace's folder does not exist; make it first").at_file(parent.string()));
    }
  }
  CORVID_TRY(Database writer, Database::open(path, false, options.busy_timeout_ms));
  auto workspace = std::make_shared<SqliteWorkspace>(path, options, std::move(writer));
  if (auto prepared = workspace->prepare(); !prepared) return fail(std::move(prepared).error().at_file(path.string()));
  return std::shared_ptr<Workspace>(std::move(workspace));
}

}  // namespace corvid
