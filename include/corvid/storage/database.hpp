// Database, Statement: SQLite with typed errors and bound parameters. No SQL is ever built from user text.
//
//   CORVID_TRY(auto rows, db.prepare("SELECT id, text FROM chunks WHERE source = ?1"));
//   rows.bind(1, source);
//   while (true) { CORVID_TRY(bool more, rows.step()); if (!more) break; use(rows.integer(0), rows.text(1)); }
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace corvid {

/// One prepared statement. Text and blobs are bound by copy, but for bind_borrowed(); columns are borrowed until the next step().
class Statement {
 public:
  Statement(Statement&&) noexcept;
  Statement& operator=(Statement&&) noexcept;
  ~Statement();

  void bind(int index, std::int64_t value);
  void bind(int index, double value);
  void bind(int index, std::string_view text);
  void bind(int index, std::span<const std::byte> blob);
  /// Without a copy: what it views must stay until reset(), or run(), which ends with it.
  void bind_borrowed(int index, std::string_view text);
  void bind_borrowed(int index, std::span<const std::byte> blob);
  void bind_null(int index);
  /// True: a row is there. False: done. Errors: io (disk full, locked), bad_input (damaged database), conflict (constraint).
  Result<bool> step();
  Status run();                                          ///< steps to the end, then resets
  void reset();                                          ///< keeps the plan, clears bindings

  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string_view text(int column) const;
  std::span<const std::byte> blob(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  friend class CachedStatement;
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  sqlite3_stmt* statement_ = nullptr;
};

/// A statement lent by Database::cached, reset and given back when this goes. Must not outlive its Database.
class CachedStatement {
 public:
  CachedStatement(CachedStatement&&) noexcept = default;
  ~CachedStatement();
  Statement* operator->() noexcept { return &statement_; }
  Statement& operator*() noexcept { return statement_; }

 private:
  friend class Database;
  CachedStatement(Statement statement, std::vector<Statement>* home) : statement_(std::move(statement)), home_(home) {}
  Statement statement_;
  std::vector<Statement>* home_;
};

/// One connection. Not thread-safe.
class Database {
 public:
  static Result<Database> open(const std::filesystem::path& path, bool read_only, int busy_timeout_ms);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  Status execute(std::string_view sql);                  ///< one or more statements without results
  /// Errors: bad_input where the SQL, which is always the program's own, does not fit the tables of the file.
  Result<Statement> prepare(std::string_view sql);
  /// The same, kept for the next time: for SQL that is a literal of the program, since nothing ever leaves the cache.
  Result<CachedStatement> cached(std::string_view sql);
  std::int64_t last_insert_rowid() const;
  std::int64_t changes() const;
  sqlite3* handle() const noexcept { return handle_; }

 private:
  struct Cache;
  explicit Database(sqlite3* handle);
  sqlite3* handle_ = nullptr;
  std::unique_ptr<Cache> cache_;
};

}  // namespace corvid
