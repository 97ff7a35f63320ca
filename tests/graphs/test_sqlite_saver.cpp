#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "graphs/checkpointer_conformance.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::string padded(int i) { return std::to_string(100'000 + i); }

// In a process of its own: `body` gets a store on the file; its exit status is what it returns.
template <class F>
pid_t in_child(const std::filesystem::path& file, F&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto workspace = Workspace::open(file);
    if (!workspace) ::_exit(90);
    auto store = open_sqlite_store(*workspace);
    if (!store) ::_exit(91);
    ::_exit(body(*store));
  }
  return child;
}

int exit_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

Status sql(Workspace& workspace, std::string_view text) {
  const auto body = [&](Database& db) { return db.execute(text); };
  return workspace.write(body);
}

std::int64_t number(Workspace& workspace, std::string_view text) {
  std::int64_t n = -1;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(Statement row, db.prepare(text));
    CORVID_TRY(const bool any, row.step());
    if (any) n = row.integer(0);
    return {};
  };
  REQUIRE(workspace.read(body));
  return n;
}

// Four checkpoints with a chain, a large value, a pending write, an open question and an answered one; a cached result; a queued run.
void fill(SqliteStore& store, const std::string& thread) {
  for (int i = 1; i <= 4; ++i) {
    auto commit = commit_of(thread, "", padded(i), static_cast<std::uint64_t>(i));
    if (i > 1) commit.blobs[0].base_version = static_cast<std::uint64_t>(i) - 1;
    commit.checkpoint->channels.push_back({"large", 1});
    if (i == 1) commit.blobs.push_back({"large", 1, 0, bytes_of(std::string(20'000, 'L'))});
    commit.writes = {{padded(i), "task", 0, "c", bytes_of("pending")}};
    commit.interrupts = {{thread + padded(i), "", "", padded(i), "task", "node", i, 0, bytes_of("question")}};
    REQUIRE(store.saver->commit(commit));
  }
  REQUIRE(store.saver->answer({thread + padded(2), "ana", 5, bytes_of("answer"), ""},
                              {0, 5, "ana", "approve", "x", bytes_of("detail"), "", ""}, 5));
  REQUIRE(store.saver->cache_put("key", bytes_of("cached"), 0));
  REQUIRE(store.queue->enqueue({"run", thread, "graph", bytes_of("input")}));
}

}  // namespace

TEST_CASE("sqlite saver: another process reads and answers, and its lease holds here") {
  SqliteFiles files;
  const auto file = files / "shared.db";
  const auto asked = in_child(file, [](SqliteStore& store) {
    auto commit = commit_of("t", "", "a", 1);
    commit.lease = {LeaseChange::Kind::acquire, "child", 600'000};
    commit.interrupts = {{"q", "", "", "a", "task", "node", 1, 0, bytes_of("?")}};
    return store.saver->commit(commit) ? 0 : 1;
  });
  REQUIRE(exit_of(asked) == 0);
  {
    auto store = SqliteFiles::open(file);
    CHECK(store.saver->get("t", "").value()->record.body == bytes_of("body of a"));
    auto mine = commit_of("t", "", "b", 2);
    mine.lease = {LeaseChange::Kind::acquire, "parent", 600'000};
    const auto refused = store.saver->commit(mine);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::conflict);
    CHECK(refused.error().describe().find("'child'") != std::string::npos);
  }
  const auto answered = in_child(file, [](SqliteStore& store) {
    const auto open = store.saver->open_interrupts();
    if (!open || open->size() != 1) return 1;
    return store.saver->answer({"q", "ana", 2, bytes_of("!"), ""}, {0, 2, "ana", "approve", "q", {}, "", ""}, 2) ? 0 : 2;
  });
  REQUIRE(exit_of(answered) == 0);
  auto store = SqliteFiles::open(file);
  CHECK(store.saver->get("t", "").value()->answers.at(0).by == "ana");
  CHECK(store.saver->check_audit());
}

TEST_CASE("sqlite saver: what was acknowledged before a kill is there, whole") {
  SqliteFiles files;
  for (int round = 0; round < 6; ++round) {
    const auto file = files / ("kill" + std::to_string(round) + ".db");
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    const auto child = in_child(file, [&](SqliteStore& store) {
      for (int i = 1;; ++i) {
        auto commit = commit_of("t", "", padded(i), static_cast<std::uint64_t>(i));
        if (i % 10 != 1) commit.blobs[0].base_version = static_cast<std::uint64_t>(i) - 1;
        commit.writes = {{padded(i), "x", 0, "c", bytes_of("w")}};
        if (i > 1) commit.drop_writes_of = padded(i - 1);
        if (!store.saver->commit(commit)) return 1;
        if (::write(pipe_ends[1], &i, sizeof i) != sizeof i) return 2;
      }
    });
    ::close(pipe_ends[1]);
    int acknowledged = 0;
    for (int i = 0; i < 7 + 5 * round; ++i) REQUIRE(::read(pipe_ends[0], &acknowledged, sizeof acknowledged) == sizeof acknowledged);
    ::kill(child, SIGKILL);
    CHECK(exit_of(child) == -SIGKILL);
    for (int more = 0; ::read(pipe_ends[0], &more, sizeof more) == sizeof more;) acknowledged = more;
    ::close(pipe_ends[0]);
    auto store = SqliteFiles::open(file);
    const auto records = store.saver->list("t", "");
    REQUIRE(records);
    CHECK(records->size() >= static_cast<std::size_t>(acknowledged));
    CHECK(records->size() <= static_cast<std::size_t>(acknowledged) + 1);
    const auto newest = store.saver->get("t", "");
    REQUIRE(newest);
    CHECK((*newest)->writes.size() == 1);
    for (const auto& record : *records) CHECK(store.saver->get("t", "", record.id));
  }
}

TEST_CASE("sqlite saver: a commit that fails midway leaves nothing") {
  SqliteFiles files;
  auto workspace = *Workspace::open(files / "midway.db");
  auto store = *open_sqlite_store(workspace);
  fill(store, "t");
  const auto before = describe_thread(*store.saver, "t");
  auto commit = commit_of("t", "sub:1", "z", 50);
  commit.lease = {LeaseChange::Kind::acquire, "me", 60'000};
  commit.blobs.push_back({"big", 1, 0, bytes_of(std::string(50'000, 'x'))});
  commit.writes = {{padded(4), "late", 0, "c", bytes_of("w")}};
  commit.drop_writes_of = padded(4);
  commit.interrupts = {{"new", "", "", "z", "task", "node", 1, 0, bytes_of("?")}};
  commit.close_interrupts = {"t" + padded(1)};
  // The last statement of the commit fails.
  REQUIRE(sql(*workspace, "CREATE TRIGGER refuse BEFORE UPDATE ON graph_interrupts BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"));
  const auto refused = store.saver->commit(commit);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::conflict);
  CHECK(describe_thread(*store.saver, "t") == before);
  CHECK(store.saver->threads().value().at(0).lease_owner.empty());
  CHECK(number(*workspace, "SELECT count(*) FROM graph_contents") == 1);
  REQUIRE(sql(*workspace, "DROP TRIGGER refuse"));
  // The file may not grow.
  const auto pages = number(*workspace, "PRAGMA page_count");
  REQUIRE(sql(*workspace, "PRAGMA max_page_count = " + std::to_string(pages + 4)));
  const auto full = store.saver->commit(commit);
  REQUIRE_FALSE(full);
  CHECK(full.error().code() == ErrorCode::io);
  CHECK(describe_thread(*store.saver, "t") == before);
  CHECK(number(*workspace, "SELECT count(*) FROM graph_contents") == 1);
  REQUIRE(sql(*workspace, "PRAGMA max_page_count = 1000000"));
  CHECK(store.saver->commit(commit));
  CHECK(describe_thread(*store.saver, "t") != before);
}

TEST_CASE("sqlite saver: large values are stored once, and go with the last that needs them") {
  SqliteFiles files;
  auto workspace = *Workspace::open(files / "contents.db");
  auto store = *open_sqlite_store(workspace);
  const auto contents = [&] { return number(*workspace, "SELECT count(*) FROM graph_contents"); };
  const auto large = [](std::string_view thread, std::string_view id, std::uint64_t version, char fill) {
    auto commit = commit_of(thread, "", id, version);
    commit.blobs[0].bytes = bytes_of(std::string(10'000, fill));
    return commit;
  };
  REQUIRE(store.saver->commit(large("a", "1", 1, 'x')));
  REQUIRE(store.saver->commit(large("b", "1", 1, 'x')));
  CHECK(contents() == 1);
  REQUIRE(store.saver->commit(large("a", "2", 2, 'y')));
  CHECK(contents() == 2);
  REQUIRE(store.saver->commit(large("a", "3", 2, 'z')));  // the version is there: not stored
  CHECK(contents() == 2);
  REQUIRE(store.saver->copy_thread("a", "c"));
  CHECK(contents() == 2);
  CHECK(store.saver->prune("a", {}).value() == 2);
  CHECK(contents() == 2);
  REQUIRE(store.saver->delete_thread("b"));
  CHECK(contents() == 2);
  CHECK(store.saver->prune("c", {}).value() == 2);
  CHECK(contents() == 1);
  CHECK(store.saver->get("c", "").value()->blobs.at(0).bytes == bytes_of(std::string(10'000, 'y')));
  REQUIRE(store.saver->delete_thread("a"));
  REQUIRE(store.saver->delete_thread("c"));
  for (const auto* table : {"names", "spaces", "states", "contents", "writes", "interrupts"}) {
    CHECK(number(*workspace, "SELECT count(*) FROM graph_" + std::string(table)) == 0);
  }
}

TEST_CASE("sqlite saver: the store grows with what is new") {
  SqliteFiles files;
  auto workspace = *Workspace::open(files / "growth.db");
  auto store = *open_sqlite_store(workspace);
  // Turns of a message list as deltas, one whole value in fifty, pruned to the newest at the end.
  std::string all;
  for (int i = 1; i <= 300; ++i) {
    const std::string turn(200, static_cast<char>('a' + i % 26));
    all += turn;
    auto commit = commit_of("t", "", padded(i), static_cast<std::uint64_t>(i));
    commit.blobs[0].base_version = i % 50 == 1 ? 0 : static_cast<std::uint64_t>(i) - 1;
    commit.blobs[0].bytes = bytes_of(i % 50 == 1 ? all : turn);
    REQUIRE(store.saver->commit(commit));
  }
  CHECK(number(*workspace, "SELECT sum(length(bytes)) FROM graph_states WHERE kind = 2") < 300 * 200 + 4'096);
  CHECK(store.saver->prune("t", {}).value() == 299);
  CHECK(number(*workspace, "SELECT count(*) FROM graph_states WHERE kind = 2") == 50);  // 251 whole, 252 to 300 on it
  std::string joined;
  const auto newest = store.saver->get("t", "").value();
  for (const auto& blob : newest->blobs) joined += text_of(blob.bytes);
  CHECK((joined == all));
}

// tests/golden/graphs_workspace_v1.sql: what a program with schema 1 stored, by `sqlite3 FILE .dump`: a thread "t" with four checkpoints
// in two namespaces, leased to "me"; its copy "copy"; a chain that was drained after the first of its three nodes.
TEST_CASE("sqlite saver: a workspace of schema 1 goes on") {
  SqliteFiles files;
  const auto file = files / "old.db";
  {
    auto old = *Database::open(file, false, 1'000);
    REQUIRE(old.execute("PRAGMA application_id = 1129469508; PRAGMA journal_mode = WAL"));
    REQUIRE(old.execute(read_file(source_dir() / "tests/golden/graphs_workspace_v1.sql")));
  }
  auto workspace = *Workspace::open(file);
  auto store = *open_sqlite_store(workspace);
  CHECK(number(*workspace, "SELECT max(version) FROM corvid_migrations WHERE module = 'graphs'") > 1);

  auto fresh = files.fresh();
  for (const auto* ns : {"", "sub:1"}) {
    for (int i = 1; i <= 4; ++i) {
      auto commit = commit_of("t", ns, padded(i), static_cast<std::uint64_t>(i));
      commit.checkpoint->parent_id = i > 1 ? padded(i - 1) : "";
      commit.checkpoint->step = i;
      commit.checkpoint->created_ms = 1'000 + i;
      commit.checkpoint->channels.push_back({"large", 1});
      commit.blobs[0].base_version = static_cast<std::uint64_t>(i) - 1;
      if (i == 1) commit.blobs.push_back({"large", 1, 0, bytes_of(std::string(5'000, 'L'))});
      commit.writes = {{padded(i), "task", 0, "c", bytes_of("pending")}};
      if (*ns == '\0') commit.interrupts = {{"q" + padded(i), "", "", padded(i), "task", "node", i, 0, bytes_of("question")}};
      REQUIRE(fresh.saver->commit(commit));
    }
  }
  REQUIRE(fresh.saver->answer({"q" + padded(2), "ana", 5, bytes_of("answer"), ""}, {0, 5, "ana", "approve", "x", bytes_of("detail"), "", ""}, 5));
  REQUIRE(fresh.saver->copy_thread("t", "copy"));
  for (const auto* thread : {"t", "copy"}) CHECK(describe_thread(*store.saver, thread) == describe_thread(*fresh.saver, thread));

  const auto threads = store.saver->threads().value();
  REQUIRE(threads.size() == 3);
  CHECK(threads[1].thread_id == "copy");
  CHECK(threads[1].lease_owner.empty());
  CHECK(threads[2].thread_id == "t");
  CHECK(threads[2].lease_owner == "me");
  CHECK(threads[2].open_interrupts == 3);
  CHECK(threads[2].updated_ms == 1'004);
  auto commit = commit_of("t", "", "z", 9);
  commit.lease = {LeaseChange::Kind::acquire, "other", 60'000};
  CHECK(store.saver->commit(commit).error().code() == ErrorCode::conflict);
  commit.lease.owner = "me";
  CHECK(store.saver->commit(commit));
  CHECK(store.saver->check_audit());
  CHECK(store.saver->cache_get("key", 1).value() == bytes_of("cached"));
  CHECK(store.queue->claim("w", 1'000).value()->run.run_id == "run");

  struct S { Key<int> x{"x"}; };
  StateGraph<S> graph;
  for (const auto* id : {"n0", "n1", "n2"}) graph.add_node(id, [](const StateOf<S>& s) { return update(&S::x, s[&S::x] + 1); });
  graph.add_edge(START, "n0").add_edge("n0", "n1").add_edge("n1", "n2").add_edge("n2", END);
  CompileOptions options;
  options.checkpointer = store.saver;
  const auto chain = *graph.compile(options);
  RunConfig config;
  config.thread_id = "chain";
  Runtime runtime;
  const auto ended = chain->invoke_blocking(runtime, Continue{}, config);
  REQUIRE(ended);
  CHECK(ended->get(&S::x) == 3);
  CHECK(ended->steps == 2);

  REQUIRE(store.saver->delete_thread("t"));
  REQUIRE(store.saver->delete_thread("copy"));
  REQUIRE(store.saver->delete_thread("chain"));
  for (const auto* table : {"names", "spaces", "states", "contents", "writes", "interrupts"}) {
    CHECK(number(*workspace, "SELECT count(*) FROM graph_" + std::string(table)) == 0);
  }
}

TEST_CASE("sqlite saver: a newer schema is refused") {
  SqliteFiles files;
  auto workspace = *Workspace::open(files / "newer.db");
  REQUIRE(open_sqlite_store(workspace));
  REQUIRE(sql(*workspace, "INSERT INTO corvid_migrations(module, version) VALUES('graphs', 99)"));
  const auto refused = open_sqlite_store(workspace);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::conflict);
}

TEST_CASE("sqlite saver: changed rows are typed errors") {
  SqliteFiles files;
  auto workspace = *Workspace::open(files / "rows.db");
  auto store = *open_sqlite_store(workspace);
  fill(store, "t");
  const auto flipped_of = [&](std::string_view table, std::string_view rows, std::string_view column, auto&& read) {
    const std::string update = "UPDATE graph_" + std::string(table) + " SET " + std::string(column) + " = ";
    REQUIRE(sql(*workspace, "CREATE TABLE kept AS SELECT * FROM graph_" + std::string(table)));
    for (const auto* change : {"x'00'", "x''", "CAST(? AS BLOB)"}) {
      std::string to = change;
      // The same length, another last byte.
      if (to[0] == 'C') to = "CAST(substr(" + std::string(column) + ", 1, length(" + std::string(column) + ") - 1) || x'7f' AS BLOB)";
      if (auto changed = sql(*workspace, update + to + std::string(rows)); !changed) continue;  // two rows alike: not allowed anyway
      const Status status = read();
      REQUIRE_FALSE(status);
      CHECK(status.error().code() == ErrorCode::bad_input);
      REQUIRE(sql(*workspace, "DELETE FROM graph_" + std::string(table)));
      REQUIRE(sql(*workspace, "INSERT INTO graph_" + std::string(table) + " SELECT * FROM kept"));
    }
    REQUIRE(sql(*workspace, "DROP TABLE kept"));
    REQUIRE(read());
  };
  const auto flipped = [&](std::string_view table, std::string_view column, auto&& read) { flipped_of(table, "", column, read); };
  const auto checkpoints = [&](std::string_view column, auto&& read) { flipped_of("states", " WHERE kind = 1", column, read); };
  const auto values = [&](std::string_view column, auto&& read) { flipped_of("states", " WHERE kind = 2 AND content IS NULL", column, read); };
  auto& saver = *store.saver;
  const auto as_status = [](const auto& result) -> Status { return result ? Status() : Status(fail(result.error())); };
  const auto get = [&] { return as_status(saver.get("t", "", padded(2))); };
  const auto list = [&] { return as_status(saver.list("t", "")); };
  checkpoints("bytes", get);
  checkpoints("channels", list);
  checkpoints("source", list);
  checkpoints("at_ms", list);
  values("bytes", get);
  values("base", get);
  flipped("contents", "bytes", get);
  flipped("contents", "hash", get);
  flipped("writes", "bytes", get);
  flipped("writes", "channel", get);
  flipped("interrupts", "answer", get);
  flipped("interrupts", "answered_by", get);
  flipped("interrupts", "body", [&] { return as_status(saver.open_interrupts()); });
  flipped("interrupts", "node", [&] { return as_status(saver.open_interrupts()); });
  flipped("cache", "value", [&] { return as_status(saver.cache_get("key", 1)); });
  flipped("audit", "detail", [&] { return saver.check_audit(); });
  REQUIRE(sql(*workspace, "UPDATE graph_runs SET input = x'00'"));
  CHECK(as_status(store.queue->claim("w", 1'000)).error().code() == ErrorCode::bad_input);
}

TEST_CASE("sqlite saver: flipped bytes of the file are typed errors or change nothing") {
  SqliteFiles files;
  const auto file = files / "flipped.db";
  std::string expected[5];
  {
    auto workspace = *Workspace::open(file);
    auto store = *open_sqlite_store(workspace);
    fill(store, "t");
    for (int i = 1; i <= 4; ++i) expected[i] = describe(*store.saver->get("t", "", padded(i)).value());
  }
  const auto whole = read_file(file);
  REQUIRE(whole.size() > 40'000);
  std::uint64_t draw = 42;
  int refused = 0;
  for (int round = 0; round < 100; ++round) {
    draw = draw * 6364136223846793005u + 1442695040888963407u;
    auto damaged = whole;
    damaged[(draw >> 20) % damaged.size()] ^= static_cast<char>(1 << (draw >> 61));
    write_file(file, damaged);
    std::filesystem::remove(files / "flipped.db-wal");
    std::filesystem::remove(files / "flipped.db-shm");
    auto workspace = Workspace::open(file);
    if (!workspace) {
      ++refused;
      continue;
    }
    auto store = open_sqlite_store(*workspace);
    if (!store) {
      ++refused;
      continue;
    }
    for (int i = 1; i <= 4; ++i) {
      const auto loaded = store->saver->get("t", "", padded(i));
      if (!loaded) ++refused;
      if (!loaded || !*loaded) continue;
      // A row may have become unreachable; none may have become another one.
      const auto& good = expected[i];
      const auto text = describe(**loaded);
      for (std::size_t at = 0; at < text.size();) {
        const auto end = text.find('\n', at);
        if (good.find(text.substr(at, end - at)) == std::string::npos)
          FAIL_CHECK("round " << round << " gave " << text.substr(at, end - at));
        at = end + 1;
      }
    }
    (void)store->saver->threads();
    (void)store->saver->open_interrupts();
    (void)store->saver->audit();
    (void)store->saver->prune("t", {});
    (void)store->saver->delete_thread("t");
  }
  CHECK(refused > 10);
}
