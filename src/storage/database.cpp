#include "corvid/storage/database.hpp"

#include <sqlite3.h>

#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "corvid/base/hash.hpp"

namespace corvid {
namespace {

// A typed error from SQLite's code: what happened, and what to do about it.
Error sqlite_error(sqlite3* db, int code, std::string_view doing) {
  const std::string why = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
  const std::string text = std::string(doing) + ": " + why;
  const char* name = db ? sqlite3_db_filename(db, "main") : nullptr;
  const auto place = [&](Error error) { return name && *name ? std::move(error).at_file(name) : error; };
  switch (code & 0xff) {
    case SQLITE_CORRUPT: return place(Error::bad_input(text + "; the file is damaged, restore it from a copy"));
    case SQLITE_NOTADB: return place(Error::bad_input(text + "; the file is not a workspace"));
    case SQLITE_CONSTRAINT: return place(Error::conflict(text));
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return place(Error::conflict(text + "; another process holds the workspace, try again"));
    case SQLITE_FULL: return place(Error::io(text + "; free some space on the disk"));
    case SQLITE_NOMEM: return place(Error::out_of_memory(text));
    case SQLITE_INTERRUPT: return place(Error::cancelled(text));
    case SQLITE_TOOBIG: return place(Error::limit_exceeded(text));
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_IOERR: return place(Error::io(text));
    default: break;
  }
  // A number in the file's header; SQLite has no code of its own for it.
  if (why == "unsupported file format") return place(Error::bad_input(text + "; the file is damaged, or from a newer SQLite"));
  return place(Error::internal(text));
}

// SQL is always the program's own, so where it does not fit the tables, they are not those that the program makes.
Error prepare_error(sqlite3* db, int code) {
  if ((code & 0xff) != SQLITE_ERROR) return sqlite_error(db, code, "cannot prepare a statement");
  const char* name = sqlite3_db_filename(db, "main");
  return Error::bad_input("the file's tables are not as this program makes them (" + std::string(sqlite3_errmsg(db)) + "); it is damaged, restore it from a copy")
      .at_file(name ? name : "");
}

// Binding fails only for an index that the statement does not have, or when memory is out: both end the program's trust in itself.
void bound(sqlite3_stmt* statement, int code) {
  if (code == SQLITE_OK) return;
  if (code == SQLITE_NOMEM) throw std::bad_alloc();
  throw std::logic_error(std::string("cannot bind a parameter of ") + sqlite3_sql(statement) + ": " + sqlite3_errstr(code));
}

void bind_bytes(sqlite3_stmt* statement, int index, std::string_view text, sqlite3_destructor_type whose) {
  // An empty view may have no data, which SQLite would read as NULL.
  bound(statement, sqlite3_bind_text64(statement, index, text.data() ? text.data() : "", text.size(), whose, SQLITE_UTF8));
}
void bind_bytes(sqlite3_stmt* statement, int index, std::span<const std::byte> blob, sqlite3_destructor_type whose) {
  bound(statement, blob.empty() ? sqlite3_bind_zeroblob(statement, index, 0) : sqlite3_bind_blob64(statement, index, blob.data(), blob.size(), whose));
}

}  // namespace

Statement::Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(statement_, other.statement_);
  return *this;
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Statement::bind(int index, std::int64_t value) { bound(statement_, sqlite3_bind_int64(statement_, index, value)); }
void Statement::bind(int index, double value) { bound(statement_, sqlite3_bind_double(statement_, index, value)); }
void Statement::bind(int index, std::string_view text) { bind_bytes(statement_, index, text, SQLITE_TRANSIENT); }
void Statement::bind(int index, std::span<const std::byte> blob) { bind_bytes(statement_, index, blob, SQLITE_TRANSIENT); }
void Statement::bind_borrowed(int index, std::string_view text) { bind_bytes(statement_, index, text, SQLITE_STATIC); }
void Statement::bind_borrowed(int index, std::span<const std::byte> blob) { bind_bytes(statement_, index, blob, SQLITE_STATIC); }
void Statement::bind_null(int index) { bound(statement_, sqlite3_bind_null(statement_, index)); }

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return fail(sqlite_error(sqlite3_db_handle(statement_), code, "cannot run a statement"));
}

Status Statement::run() {
  while (true) {
    auto more = step();
    if (!more) {
      sqlite3_reset(statement_);
      return fail(std::move(more).error());
    }
    if (!*more) break;
  }
  reset();
  return {};
}

void Statement::reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }
double Statement::real(int column) const { return sqlite3_column_double(statement_, column); }

std::string_view Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return data ? std::string_view(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))) : std::string_view();
}

std::span<const std::byte> Statement::blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  return {data, data ? static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)) : 0};
}

bool Statement::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

Result<Database> Database::open(const std::filesystem::path& path, bool read_only, int busy_timeout_ms) {
  sqlite3* handle = nullptr;
  const int flags = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Database db(handle);
  if (code != SQLITE_OK) return fail(sqlite_error(handle, code, "cannot open the database").at_file(path.string()));
  sqlite3_busy_timeout(handle, busy_timeout_ms);
  // A damaged or hostile file must not run code through its schema.
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return db;
}

// By SQL: the statements that nobody uses right now. Nodes stay where they are, so a lent statement finds its way home.
struct Database::Cache {
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view sql) const noexcept { return fast_hash(sql); }
  };
  std::unordered_map<std::string, std::vector<Statement>, Hash, std::equal_to<>> idle;
  std::size_t made = 0;   // more can never come home to one vector
};

Database::Database(sqlite3* handle) : handle_(handle), cache_(std::make_unique<Cache>()) {}

Database::Database(Database&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)), cache_(std::move(other.cache_)) {}

Database& Database::operator=(Database&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(cache_, other.cache_);
  return *this;
}

Database::~Database() {
  cache_.reset();
  sqlite3_close_v2(handle_);
}

CachedStatement::~CachedStatement() {
  if (!statement_.statement_) return;   // moved from
  statement_.reset();
  home_->push_back(std::move(statement_));
}

Result<CachedStatement> Database::cached(std::string_view sql) {
  auto entry = cache_->idle.find(sql);
  if (entry == cache_->idle.end()) entry = cache_->idle.emplace(std::string(sql), std::vector<Statement>()).first;
  auto& idle = entry->second;
  if (!idle.empty()) {
    CachedStatement lent(std::move(idle.back()), &idle);
    idle.pop_back();
    return lent;
  }
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  Statement prepared(statement);
  if (code != SQLITE_OK) return fail(prepare_error(handle_, code));
  idle.reserve(++cache_->made);   // giving back must not allocate
  return CachedStatement(std::move(prepared), &idle);
}

Status Database::execute(std::string_view sql) {
  const std::string text(sql);
  const int code = sqlite3_exec(handle_, text.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(sqlite_error(handle_, code, "cannot run a statement"));
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return fail(prepare_error(handle_, code));
  return Statement(statement);
}

std::int64_t Database::last_insert_rowid() const { return sqlite3_last_insert_rowid(handle_); }
std::int64_t Database::changes() const { return sqlite3_changes64(handle_); }

}  // namespace corvid
