#include <algorithm>
#include <chrono>
#include <cstdio>

#include "graphs/checkpointer_conformance.hpp"
#include "graphs/postgres_store.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"
#include "support/postgres_proxy.hpp"

using namespace corvid;
using namespace corvid::test;

TEST_CASE("postgres saver: conformance", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  check_checkpointer([&] { return fresh_store(*server).saver; });
}

TEST_CASE("encrypted postgres saver: conformance", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  check_checkpointer([&] { return encrypt(fresh_store(*server).saver, test_key(1)); });
}

TEST_CASE("postgres queue: conformance", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  check_work_queue([&] { return fresh_store(*server).queue; });
}

TEST_CASE("postgres: what can be wrong about an address has its own error", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  PostgresOptions quick;
  quick.retry_ms = 50;
  const auto error_of = [&](const std::string& url, const PostgresOptions& options) {
    const auto store = open_postgres_store(url, options);
    REQUIRE_FALSE(store);
    return store.error();
  };
  CHECK(error_of("user=u password=secret colour=blue", quick).code() == ErrorCode::invalid_argument);
  CHECK(error_of("user=u password=secret colour=blue", quick).describe().find("secret") == std::string::npos);
  const auto away = error_of("host=" + (server->socket_folder() / "nowhere").string(), quick);
  CHECK(away.code() == ErrorCode::network);
  CHECK(away.describe().find("check that the server runs") != std::string::npos);
  CHECK(error_of(server->url() + " dbname=absent", {}).code() == ErrorCode::rejected);
  CHECK(error_of(server->url() + " user=absent", {}).code() == ErrorCode::rejected);
  for (const auto* name : {"", "a-b", "x\"; DROP SCHEMA public; --", "pg_mine", "\xc3\xa4"}) {
    PostgresOptions odd;
    odd.schema = name;
    CHECK(error_of(server->url(), odd).code() == ErrorCode::invalid_argument);
  }
}

TEST_CASE("postgres: text that it cannot hold is refused, and what it can hold is not", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  const auto store = fresh_store(*server);
  const std::string nul("a\0b", 3);
  CHECK(store.saver->cache_put(nul, {}, 0).error().code() == ErrorCode::invalid_argument);
  CHECK(store.saver->get(nul, "").error().code() == ErrorCode::invalid_argument);
  CHECK(store.saver->commit(commit_of("t", "", "\xff", 1)).error().code() == ErrorCode::invalid_argument);
  CHECK(store.saver->append_audit({0, 1, "ana", "do", nul, {}, "", ""}).error().code() == ErrorCode::invalid_argument);
  CHECK(store.queue->enqueue({"r", "t", nul, {}}).error().code() == ErrorCode::invalid_argument);
  // The connections are as good as before.
  REQUIRE(store.saver->commit(commit_of("t", "", "a", 1)));
  CHECK(store.saver->list("t", "")->size() == 1);
}

namespace {

Commit large(std::string_view thread, std::uint64_t version, char letter) {
  auto commit = commit_of(thread, "", std::to_string(version), version);
  commit.blobs[0].bytes = bytes_of(std::string(50'000, letter));
  return commit;
}

}  // namespace

TEST_CASE("postgres: a large value is kept while anybody has it", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  const auto saver = fresh_store(*server).saver;
  REQUIRE(saver->commit(large("t", 1, 'x')));
  REQUIRE(saver->commit(large("t", 1, 'x')));  // repeated: not counted twice
  REQUIRE(saver->commit(large("t", 2, 'x')));
  REQUIRE(saver->commit(large("u", 1, 'x')));
  REQUIRE(saver->copy_thread("t", "copy"));
  const auto there = [&](std::string_view thread) {
    return saver->get(thread, "").value()->blobs.at(0).bytes == bytes_of(std::string(50'000, 'x'));
  };
  REQUIRE(saver->delete_thread("t"));
  CHECK(there("u"));
  CHECK(there("copy"));
  CHECK(saver->prune("copy", {}).value() == 1);
  REQUIRE(saver->delete_thread("u"));
  CHECK(there("copy"));
  REQUIRE(saver->delete_thread("copy"));
  REQUIRE(saver->commit(large("t", 1, 'x')));
  CHECK(there("t"));
}

TEST_CASE("postgres: damage and lack of permission have their own errors", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  PostgresOptions options;
  options.schema = "damaged";
  const auto saver = open_store(server->url(), options).saver;
  REQUIRE(saver->commit(large("t", 1, 'x')));
  server->sql("CREATE ROLE stranger LOGIN");
  for (const auto* schema : {"damaged", "not_there_yet"}) {  // not to be read; not to be made
    PostgresOptions other;
    other.schema = schema;
    const auto refused = open_postgres_store(server->url() + " user=stranger", other);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::rejected);
  }

  server->sql("UPDATE damaged.blob_contents SET bytes = overlay(bytes PLACING 'y'::bytea FROM 100)");
  CHECK(saver->get("t", "").error().code() == ErrorCode::bad_input);
  server->sql("DELETE FROM damaged.blob_contents");
  CHECK(saver->get("t", "").error().code() == ErrorCode::bad_input);

  for (int i = 0; i < 3; ++i) REQUIRE(saver->append_audit({0, i, "ana", "do", "x", {}, "", ""}));
  CHECK(saver->check_audit());
  server->sql("DELETE FROM damaged.audit_log WHERE seq = 3");  // the chain itself is whole
  CHECK(saver->check_audit().error().code() == ErrorCode::bad_input);

  server->sql("INSERT INTO damaged.migrations (version) VALUES (99)");
  const auto newer = open_postgres_store(server->url(), options);
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code() == ErrorCode::conflict);
  server->sql("DROP SCHEMA damaged CASCADE");
  CHECK(saver->get("t", "").error().code() == ErrorCode::bad_input);
}

TEST_CASE("postgres: a commit is one round trip", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  PostgresProxy proxy(server->socket_folder());
  PostgresOptions options;
  options.schema = "round_trips";
  options.connections = 1;
  const auto store = open_store(PostgresServer::url_through(proxy.socket_folder()), options);
  std::size_t syncs = 0;
  proxy.before_message([&](const PostgresProxy::Message& message) {
    syncs += message.type == 'S' || message.type == 'Q';
    return PostgresProxy::Action::forward;
  });
  auto commit = commit_of("t", "", "a", 1);
  commit.lease = {LeaseChange::Kind::acquire, "me", 60'000};
  commit.writes = {{"a", "x", 0, "c", bytes_of("1")}};
  commit.interrupts = {{"q", "", "", "a", "x", "n", 1, 0, {}}};
  REQUIRE(store.saver->commit(commit));
  REQUIRE(store.saver->get("t", ""));
  proxy.before_message(nullptr);
  CHECK(syncs == 2);
}

TEST_CASE("postgres: what a commit costs", "[.benchmark]") {
  for (const bool fsync : {false, true}) {
    const auto server = PostgresServer::start({fsync, {}});
    if (!server) return;
    const auto store = open_store(server->url(), {});
    const auto time = [&](const char* name, auto&& one) {
      constexpr int kTimes = 1000;
      std::vector<double> us;
      for (int i = 0; i < kTimes; ++i) {
        const auto start = std::chrono::steady_clock::now();
        one(i);
        us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
      }
      std::sort(us.begin(), us.end());
      std::printf("fsync %-3s  %-44s median %7.0f us, 95%% %7.0f us\n", fsync ? "on" : "off", name, us[kTimes / 2], us[kTimes * 95 / 100]);
    };
    time("read of one row", [&](int) { (void)store.saver->cache_get("absent", 0); });
    time("one-row transaction", [&](int i) { REQUIRE(store.saver->cache_put(std::to_string(i), bytes_of("x"), 0)); });
    time("superstep: checkpoint, blob, fold", [&](int i) {
      auto commit = commit_of("t", "", std::to_string(10'000 + i), static_cast<std::uint64_t>(i) + 1);
      commit.lease = {i ? LeaseChange::Kind::keep : LeaseChange::Kind::acquire, "me", 60'000};
      commit.writes = {{std::to_string(9'999 + i), "task", 0, "c", bytes_of("w")}};
      commit.drop_writes_of = std::to_string(9'999 + i);
      REQUIRE(store.saver->commit(commit));
    });
    time("pending write of one task", [&](int i) {
      Commit commit;
      commit.thread_id = "t";
      commit.lease = {LeaseChange::Kind::keep, "me", 60'000};
      commit.writes = {{"10999", std::to_string(i), 0, "c", bytes_of("w")}};
      REQUIRE(store.saver->commit(commit));
    });
    time("pending writes of 100 tasks", [&](int i) {
      Commit commit;
      commit.thread_id = "t";
      commit.lease = {LeaseChange::Kind::keep, "me", 60'000};
      for (int task = 0; task < 100; ++task) commit.writes.push_back({std::to_string(i), std::to_string(task), 0, "c", bytes_of("w")});
      REQUIRE(store.saver->commit(commit));
    });
    time("get", [&](int) { REQUIRE(store.saver->get("t", "", "10500")); });
    time("enqueue, claim, finish", [&](int i) {
      const auto id = std::to_string(i);
      REQUIRE(store.queue->enqueue({id, id, "g", {}}));
      REQUIRE(store.queue->claim("me", 60'000)->has_value());
      REQUIRE(store.queue->finish(id, "me", "done"));
    });
  }
}
