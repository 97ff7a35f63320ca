#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "corvid/storage/workspace.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

constexpr Migration kSchema[] = {{"t", 1, "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT)"}, {"t", 2, "CREATE TABLE u(v BLOB)"}};

Status insert(Workspace& workspace, std::string_view text) {
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("INSERT INTO t(v) VALUES(?1)"));
    row.bind(1, text);
    return row.run();
  };
  return workspace.write(body);
}

std::int64_t count(Workspace& workspace) {
  std::int64_t n = -1;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("SELECT count(*) FROM t"));
    CORVID_TRY(const bool any, row.step());
    if (any) n = row.integer(0);
    return {};
  };
  REQUIRE(workspace.read(body));
  return n;
}

}  // namespace

TEST_CASE("workspace: migrations once, values as bound, across openings", "[storage]") {
  TempDir dir;
  const std::string tricky = std::string("a'b\"; DROP TABLE t; --\0x", 24);
  {
    auto workspace = Workspace::open(dir / "w.db");
    REQUIRE(workspace);
    REQUIRE((*workspace)->migrate(kSchema));
    REQUIRE((*workspace)->migrate(kSchema));
    REQUIRE(insert(**workspace, tricky));
    REQUIRE(insert(**workspace, ""));
  }
  WorkspaceOptions existing;
  existing.create = false;
  auto workspace = Workspace::open(dir / "w.db", existing);
  REQUIRE(workspace);
  CHECK(count(**workspace) == 2);
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("SELECT v FROM t ORDER BY k"));
    CORVID_TRY(const bool one, row.step());
    CHECK((one && row.text(0) == tricky));
    CORVID_TRY(const bool two, row.step());
    CHECK((two && row.text(0).empty() && !row.is_null(0)));
    return {};
  };
  REQUIRE((*workspace)->read(body));
  // A program that knows fewer steps than were run must not touch the file.
  const auto older = (*workspace)->migrate(std::span(kSchema, 1));
  CHECK(older.error().code() == ErrorCode::conflict);
}

TEST_CASE("workspace: errors and exceptions roll back", "[storage]") {
  TempDir dir;
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  REQUIRE((*workspace)->migrate(kSchema));
  const auto failing = [&](Database& db) -> Status {
    CORVID_TRY_STATUS(db.execute("INSERT INTO t(v) VALUES('x')"));
    return fail(Error::cancelled("no"));
  };
  CHECK((*workspace)->write(failing).error().code() == ErrorCode::cancelled);
  const auto throwing = [&](Database& db) -> Status {
    CORVID_TRY_STATUS(db.execute("INSERT INTO t(v) VALUES('x')"));
    throw std::runtime_error("inside");
  };
  CHECK_THROWS_AS((void)(*workspace)->write(throwing), std::runtime_error);
  CHECK(count(**workspace) == 0);
  const auto twice = [&](Database& db) -> Status { return db.execute("INSERT INTO t(k) VALUES(1); INSERT INTO t(k) VALUES(1)"); };
  CHECK((*workspace)->write(twice).error().code() == ErrorCode::conflict);
  CHECK(count(**workspace) == 0);
  REQUIRE(insert(**workspace, "after"));
}

TEST_CASE("workspace: what is no workspace is refused", "[storage]") {
  TempDir dir;
  write_file(dir / "text.db", std::string(8192, 'x'));
  CHECK(Workspace::open(dir / "text.db").error().code() == ErrorCode::bad_input);
  CHECK(Workspace::open(dir.path()).error().code() == ErrorCode::bad_input);
  CHECK(Workspace::open(dir / "no" / "folder.db").error().code() == ErrorCode::not_found);
  WorkspaceOptions existing;
  existing.create = false;
  CHECK(Workspace::open(dir / "none.db", existing).error().code() == ErrorCode::not_found);
  {
    auto other = Database::open(dir / "other.db", false, 100);
    REQUIRE(other);
    REQUIRE(other->execute("CREATE TABLE theirs(x)"));
  }
  CHECK(Workspace::open(dir / "other.db").error().code() == ErrorCode::bad_input);
}

TEST_CASE("workspace: a header that names a format of no SQLite is the file's damage", "[storage]") {
  TempDir dir;
  const auto path = dir / "corvid.db";
  REQUIRE(Workspace::open(path));
  std::string bytes = read_file(path);
  REQUIRE(bytes.size() > 100);
  bytes.replace(44, 4, std::string("\0\0\x07\xfc", 4));
  write_file(path, bytes);
  const auto opened = Workspace::open(path);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code() == ErrorCode::bad_input);
  CHECK(opened.error().file() == path.string());
}

TEST_CASE("workspace: a damaged list of migrations is the file's damage and gaps in a program's are its own", "[storage]") {
  TempDir dir;
  const auto path = dir / "corvid.db";
  {
    const auto workspace = Workspace::open(path);
    REQUIRE(workspace);
    REQUIRE((*workspace)->write([](Database& db) { return db.execute("INSERT INTO corvid_migrations VALUES('m', -7)"); }));
    constexpr Migration gap[] = {{"other", 2, "SELECT 1"}};
    CHECK((*workspace)->migrate(gap).error().code() == ErrorCode::internal);
  }
  const auto workspace = Workspace::open(path);
  REQUIRE(workspace);
  constexpr Migration steps[] = {{"m", 1, "CREATE TABLE m_rows(x)"}};
  const auto made = (*workspace)->migrate(steps);
  REQUIRE_FALSE(made);
  CHECK(made.error().code() == ErrorCode::bad_input);
  CHECK(made.error().file() == path.string());
}

TEST_CASE("workspace: several processes write, nothing is lost", "[storage]") {
  TempDir dir;
  {
    auto workspace = Workspace::open(dir / "w.db");
    REQUIRE(workspace);
    REQUIRE((*workspace)->migrate(kSchema));
  }
  std::vector<pid_t> children;
  for (int c = 0; c < 3; ++c) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto workspace = Workspace::open(dir / "w.db");
      if (!workspace) _exit(1);
      for (int i = 0; i < 40; ++i) {
        if (!insert(**workspace, "row")) _exit(2);
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  CHECK(count(**workspace) == 120);
}

TEST_CASE("workspace: a writer killed in its transaction leaves what was committed", "[storage]") {
  TempDir dir;
  {
    auto workspace = Workspace::open(dir / "w.db");
    REQUIRE(workspace);
    REQUIRE((*workspace)->migrate(kSchema));
    REQUIRE(insert(**workspace, "kept"));
  }
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto workspace = Workspace::open(dir / "w.db");
    if (!workspace) _exit(1);
    const auto body = [&](Database& db) -> Status {
      if (!db.execute("INSERT INTO t(v) VALUES('lost')")) _exit(2);
      kill(getpid(), SIGKILL);
      return {};
    };
    (void)(*workspace)->write(body);
    _exit(3);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  CHECK(count(**workspace) == 1);
  REQUIRE(insert(**workspace, "and on"));
  CHECK(count(**workspace) == 2);
}

TEST_CASE("workspace: a reader sees one snapshot while others write", "[storage]") {
  TempDir dir;
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  REQUIRE((*workspace)->migrate(kSchema));
  REQUIRE(insert(**workspace, "one"));
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare("SELECT count(*) FROM t"));
    for (int i = 0; i < 2; ++i) {
      CORVID_TRY(const bool any, row.step());
      CHECK((any && row.integer(0) == 1));
      row.reset();
      std::thread writer([&] { (void)insert(**workspace, "more"); });
      writer.join();
    }
    return {};
  };
  REQUIRE((*workspace)->read(body));
  CHECK(count(**workspace) == 3);
}
