// Connections cut, servers killed, workers killed: what was acknowledged is there, and once.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "graphs/checkpointer_conformance.hpp"
#include "graphs/postgres_store.hpp"
#include "support/catch.hpp"
#include "support/postgres_proxy.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

using Action = PostgresProxy::Action;
constexpr std::int64_t kLong = 600'000;

std::string padded(int number) { return std::to_string(1'000'000 + number); }

void wait_until(const std::function<bool()>& done) {
  while (!done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

#define REQUIRE_OK(expression)                          \
  do {                                                  \
    const auto ok_status = (expression);                \
    if (!ok_status) FAIL(ok_status.error().describe()); \
  } while (false)

/// One of everything that changes something, on a thread of this name and its copy.
void a_little_of_everything(const PostgresStore& store, const std::string& t) {
  auto& [saver, queue] = store;
  REQUIRE_OK(queue->enqueue({"run " + t, t, "g", bytes_of("input")}));
  const auto run = queue->claim("me", kLong);
  REQUIRE_OK(run);
  REQUIRE(run->has_value());
  CHECK((*run)->run.run_id == "run " + t);
  CHECK((*run)->attempt == 1);
  auto first = commit_of(t, "", "a", 1);
  first.lease = {LeaseChange::Kind::acquire, "me", kLong};
  first.blobs[0].bytes = bytes_of(std::string(10'000, 'x'));
  first.interrupts = {{"q" + t, "", "", "a", "task", "n", 1, 0, {}}};
  REQUIRE_OK(saver->commit(first));
  REQUIRE_OK(saver->answer({"q" + t, "ana", 7, bytes_of("yes"), ""}, {0, 7, "ana", "approve", "q", {}, "", ""}, 7));
  REQUIRE_OK(saver->append_audit({0, 8, "ana", "look", t, {}, "", ""}));
  auto last = commit_of(t, "", "b", 2);
  last.lease = {LeaseChange::Kind::release, "me", 0};  // sent again, it is not its holder's any more
  last.close_interrupts = {"q" + t};
  REQUIRE_OK(saver->commit(last));
  REQUIRE_OK(saver->copy_thread(t, t + " copy"));       // sent again, the copy exists
  REQUIRE_OK(queue->finish("run " + t, "me", "done"));  // sent again, it has ended
  REQUIRE_OK(saver->prune(t + " copy", {}));
  REQUIRE_OK(saver->lease(t, {LeaseChange::Kind::acquire, "you", kLong}));
  REQUIRE_OK(saver->lease(t, {LeaseChange::Kind::release, "you", 0}));
}

std::string all_of(Checkpointer& saver, const std::string& t) {
  auto out = describe_thread(saver, t) + "copy\n" + describe_thread(saver, t + " copy");
  for (auto at = out.find("q" + t); at != std::string::npos; at = out.find("q" + t)) out.replace(at, t.size() + 1, "question");
  return out;
}

}  // namespace

// Before each message once: lost, and delivered without a word back. Whatever the case, everything has happened once.
TEST_CASE("postgres: the connection is cut at every message", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  PostgresOptions options;
  options.schema = "cut";
  options.connections = 1;
  const auto direct = open_store(server->url(), options);
  std::string expected;
  std::string types;  // of the messages, in order
  std::size_t passes = 0, cuts = 0;
  for (const auto action : {Action::forward, Action::cut, Action::cut_after}) {
    for (std::size_t at = 1; at <= std::max<std::size_t>(types.size(), 1); ++at) {
      if (action == Action::forward && !types.empty()) break;
      // Nothing takes place before the server is told to go on: delivered or not, any other message is as if the next one were lost.
      if (action == Action::cut_after && types[at - 1] != 'S' && types[at - 1] != 'Q') continue;
      PostgresProxy proxy(server->socket_folder());
      const auto store = open_store(PostgresServer::url_through(proxy.socket_folder()), options);
      const auto before = proxy.messages();
      std::atomic<bool> done = false;
      proxy.before_message([&](const PostgresProxy::Message& message) {
        if (action == Action::forward) types += message.type;
        if (message.number != before + at || done.exchange(true)) return Action::forward;
        return action;
      });
      const auto thread = "t" + std::to_string(++passes);
      a_little_of_everything(store, thread);
      proxy.before_message(nullptr);
      cuts += action != Action::forward && done;
      const auto all = all_of(*direct.saver, thread);
      if (action == Action::forward) expected = all;
      if (all != expected) FAIL_CHECK("message " << at << " of " << types << ", action " << static_cast<int>(action) << ":\n" << all);
      const auto counts = direct.queue->counts().value();
      if (counts.finished != passes || counts.waiting + counts.running != 0) FAIL_CHECK("message " << at << ": the queue");
    }
  }
  const auto syncs =
      static_cast<std::size_t>(std::count_if(types.begin(), types.end(), [](char type) { return type == 'S' || type == 'Q'; }));
  CHECK(types.size() > 100);
  CHECK(cuts == types.size() + syncs);
  REQUIRE_OK(direct.saver->check_audit());
  CHECK(direct.saver->audit()->size() == 2 * passes);
  const auto threads = direct.saver->threads();
  REQUIRE_OK(threads);
  CHECK(threads->size() == 2 * passes);
  for (const auto& thread : *threads) CHECK(thread.lease_owner.empty());
  std::printf("cut before each of %zu messages and after each of %zu that make the server act\n", types.size(), syncs);
}

TEST_CASE("postgres: the server is killed twenty times under a stream of commits", "[postgres]") {
  const auto server = PostgresServer::start();
  if (!server) return;
  const auto store = open_store(server->url(), {});
  std::atomic<bool> stop = false;
  std::atomic<int> acknowledged = 0, audited = 0;
  std::string failure;
  std::thread committer([&] {
    for (int i = 1; !stop; ++i) {
      auto commit = commit_of("t", "", padded(i), static_cast<std::uint64_t>(i));
      commit.lease = {i == 1 ? LeaseChange::Kind::acquire : LeaseChange::Kind::keep, "me", kLong};
      commit.checkpoint->parent_id = i > 1 ? padded(i - 1) : "";
      commit.blobs[0].base_version = i % 10 == 1 ? 0 : static_cast<std::uint64_t>(i) - 1;
      const auto done = store.saver->commit(commit);
      if (!done) {
        failure = done.error().describe();
        return;
      }
      acknowledged = i;
    }
  });
  std::thread auditor([&] {
    for (int i = 1; !stop; ++i) {
      if (!store.saver->append_audit({0, i, "me", "count", padded(i), {}, "", ""})) return;
      audited = i;
    }
  });
  for (int kill = 0; kill < 20; ++kill) {
    const int commits = acknowledged, entries = audited;
    wait_until([&] { return acknowledged > commits + 3 && audited > entries + 3; });
    server->kill();
    server->restart();
  }
  stop = true;
  committer.join();
  auditor.join();
  CHECK(failure.empty());
  const auto list = store.saver->list("t", "");
  REQUIRE(list);
  REQUIRE(list->size() == static_cast<std::size_t>(acknowledged));
  for (int i = 1; i <= acknowledged; ++i) {
    const auto& record = (*list)[static_cast<std::size_t>(acknowledged - i)];
    if (record.id != padded(i) || record.parent_id != (i > 1 ? padded(i - 1) : "")) FAIL_CHECK("checkpoint " << i << " is " << record.id);
  }
  CHECK(store.saver->get("t", ""));
  REQUIRE_OK(store.saver->check_audit());
  const auto log = store.saver->audit();
  REQUIRE(log->size() == static_cast<std::size_t>(audited));
  for (int i = 1; i <= audited; ++i) {
    if ((*log)[static_cast<std::size_t>(i) - 1].subject != padded(i)) FAIL_CHECK("audit entry " << i);
  }
}

TEST_CASE("postgres: a server that stays away is given up in time, and found again", "[postgres]") {
  const auto server = PostgresServer::start();
  if (!server) return;
  PostgresOptions options;
  options.retry_ms = 100;
  const auto store = open_store(server->url(), options);
  REQUIRE(store.saver->commit(commit_of("t", "", "a", 1)));
  server->stop();
  const auto refused = store.saver->commit(commit_of("t", "", "b", 2));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::network);
  CHECK(refused.error().describe().find("check that the server runs") != std::string::npos);
  server->restart();
  REQUIRE_OK(store.saver->commit(commit_of("t", "", "b", 2)));
  CHECK(store.saver->list("t", "")->size() == 2);
}

TEST_CASE("postgres migrating process", "[.postgres-migrate]") {
  PostgresOptions options;
  options.schema = environment("CORVID_TEST_SCHEMA");
  const auto store = open_store(environment("CORVID_TEST_URL"), options);
  REQUIRE_OK(store.saver->commit(commit_of(environment("CORVID_TEST_OWNER"), "", "a", 1)));
}

TEST_CASE("postgres: several processes make the tables at once", "[postgres]") {
  auto* server = shared_postgres();
  if (!server) return;
  PostgresOptions options;
  options.schema = "made_at_once";
  std::vector<TestProcess> processes;
  for (const auto* owner : {"a", "b", "c", "d"}) {
    const auto set = std::string("CORVID_TEST_OWNER=") + owner;
    processes.emplace_back("[.postgres-migrate]",
                           std::vector{"CORVID_TEST_URL=" + server->url(), "CORVID_TEST_SCHEMA=" + options.schema, set});
  }
  for (auto& process : processes) CHECK(process.wait() == 0);
  CHECK(open_store(server->url(), options).saver->threads()->size() == 4);
}

TEST_CASE("postgres queue worker", "[.postgres-worker]") {
  PostgresOptions options;
  options.retry_ms = 2000;
  const auto store = open_store(environment("CORVID_TEST_URL"), options);
  const auto owner = environment("CORVID_TEST_OWNER");
  std::ofstream finished(environment("CORVID_TEST_FOLDER") + "/" + owner);
  while (true) {
    const auto run = store.queue->claim(owner, 300);
    REQUIRE_OK(run);
    if (!*run) {
      const auto counts = store.queue->counts();
      REQUIRE_OK(counts);
      if (counts->waiting + counts->running == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      continue;
    }
    const auto done = store.queue->finish((*run)->run.run_id, owner, "done");
    // Another has it when this one was too slow; then the other finishes it.
    if (!done)
      REQUIRE(done.error().code() == ErrorCode::conflict);
    else
      finished << (*run)->run.run_id << std::endl;  // endl: it may be killed before the next
  }
}

TEST_CASE("postgres: three workers over a thousand runs, killed at random", "[postgres]") {
  const auto server = PostgresServer::start();
  if (!server) return;
  constexpr int kRuns = 1000, kWorkers = 3, kKills = 15;
  const TempDir folder;
  const auto store = open_store(server->url(), {});
  for (int i = 0; i < kRuns; ++i)
    REQUIRE_OK(store.queue->enqueue({"run " + std::to_string(i), "thread " + std::to_string(i % 100), "g", {}}));
  int started = 0;
  const auto start = [&] {
    return TestProcess("[.postgres-worker]", {"CORVID_TEST_URL=" + server->url(), "CORVID_TEST_FOLDER=" + folder.path().string(),
                                              "CORVID_TEST_OWNER=worker-" + std::to_string(started++)});
  };
  std::vector<TestProcess> workers;
  for (int i = 0; i < kWorkers; ++i) workers.push_back(start());
  std::minstd_rand random(7);
  for (std::size_t kill = 1; kill <= kKills; ++kill) {
    wait_until([&] { return store.queue->counts().value().finished >= kill * kRuns / (kKills + 2); });
    auto& unlucky = workers[random() % kWorkers];
    unlucky.kill();
    unlucky = start();
  }
  for (auto& worker : workers) CHECK(worker.wait() == 0);
  const auto counts = store.queue->counts().value();
  CHECK(counts.finished == kRuns);
  CHECK(counts.running + counts.waiting == 0);
  std::map<std::string, int> times;
  for (int i = 0; i < started; ++i) {
    std::ifstream in(folder / ("worker-" + std::to_string(i)));
    for (std::string run; std::getline(in, run);) ++times[run];
  }
  for (const auto& [run, count] : times) {
    if (count != 1) FAIL_CHECK(run << " finished " << count << " times");
  }
  CHECK(times.size() + kKills >= kRuns);  // a killed one may have finished one more than it wrote down
}
