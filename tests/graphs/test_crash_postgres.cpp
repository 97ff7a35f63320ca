// The crash matrix over PostgreSQL: the process killed before messages to the server, the server killed under it, and runs taken over.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "graphs/crash/driver.hpp"
#include "graphs/postgres_store.hpp"
#include "support/catch.hpp"
#include "support/postgres_proxy.hpp"

using namespace corvid;
using namespace corvid::test;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

Faults on(const std::string& url, const std::string& thread) {
  return Faults().with("CRASH_WORKER_POSTGRES", url).with("CRASH_WORKER_THREAD", thread);
}

std::filesystem::path scratch(const char* name) {
  return scratch_root() / (std::string("corvid-") + name + "-" + std::to_string(::getpid()));
}

// A backend of a dead client may still end its last transaction, and take the newest checkpoint from under the next process.
Ended finish(Trial& trial, const Faults& faults) {
  Ended last;
  for (int i = 0; i < 20; ++i) {
    last = trial.next("finish", faults);
    const auto error = last.last("error");
    if (last.exit == 0 || (error.rfind("conflict", 0) != 0 && error.rfind("network", 0) != 0)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return last;
}

}  // namespace

TEST_CASE("crash matrix: killed before messages to PostgreSQL", "[crash][postgres]") {
  if (!faults_can_be_preloaded()) return;
  const auto server = PostgresServer::start();
  if (!server) return;
  const auto begun = Clock::now();
  std::string calm;
  std::size_t messages = 0;
  {
    PostgresProxy proxy(server->socket_folder());
    const auto url = PostgresServer::url_through(proxy.socket_folder());
    {
      Trial warm(scratch("warm"));  // makes the tables
      REQUIRE(warm.next("finish", on(url, "warm")).exit == 0);
    }
    const auto before = proxy.messages();
    Trial trial(scratch("calm"));
    REQUIRE(trial.next("run", on(url, "calm")).exit == 0);
    const auto done = trial.next("finish", on(url, "calm"));
    calm = done.last("final");
    REQUIRE(trial.judge(done, calm).empty());
    messages = proxy.messages() - before;
  }
  std::vector<std::size_t> points;
  for (std::size_t n = 1; n <= messages; ++n) points.push_back(n);
  std::mt19937 random(11);
  if (const char* some = std::getenv("CORVID_MATRIX_POINTS"); some || !full_matrix()) {
    std::shuffle(points.begin(), points.end(), random);
    points.resize(std::min<std::size_t>(points.size(), some ? std::stoul(some) : 20));
  }
  std::atomic<std::size_t> next{0}, fired{0}, executions{0}, wrong_cases{0};
  std::mutex mutex;
  std::vector<std::string> problems;
  const auto work = [&](const std::string& lane) {
    while (true) {
      const auto at = next.fetch_add(1);
      if (at >= points.size()) return;
      const std::string thread = "t" + std::to_string(points[at]);
      std::atomic<pid_t> child{0};
      std::atomic<bool> killed{false};
      PostgresProxy proxy(server->socket_folder());
      proxy.before_message([&](const PostgresProxy::Message& message) {
        if (message.number != points[at]) return killed ? PostgresProxy::Action::cut : PostgresProxy::Action::forward;
        if (const pid_t pid = child.load()) ::kill(pid, SIGKILL);
        killed = true;
        return PostgresProxy::Action::cut;
      });
      const auto url = PostgresServer::url_through(proxy.socket_folder());
      Trial trial(scratch(("lane-" + lane).c_str()));
      auto ended = trial.next("run", on(url, thread), {}, &child);
      if (ended.exit == 0) ended = trial.next("finish", on(url, thread), {}, &child);
      if (ended.signal == SIGKILL) ++fired;
      const auto last = finish(trial, on(server->url(), thread));
      executions += static_cast<std::size_t>(trial.processes());
      const auto wrong = trial.judge(last, calm);
      if (wrong.empty()) continue;
      ++wrong_cases;
      std::lock_guard lock(mutex);
      if (problems.size() < 20) problems.push_back("at " + std::to_string(points[at]) + ": " + wrong.front().substr(0, 400));
    }
  };
  std::thread other([&] { work("1"); });
  work("0");
  other.join();
  std::printf("PostgreSQL, kill: %zu cases of %zu messages, %zu fired, %zu executions, %zu wrong, %.0f s\n", points.size(), messages,
              fired.load(), executions.load(), wrong_cases.load(), seconds_since(begun));
  for (const auto& each : problems) UNSCOPED_INFO(each);
  CHECK(wrong_cases == 0);
  CHECK(fired > points.size() * 8 / 10);
}

TEST_CASE("crash matrix: the PostgreSQL server is killed twenty times under runs", "[crash][postgres]") {
  if (!faults_can_be_preloaded()) return;
  const auto server = PostgresServer::start();
  if (!server) return;
  const auto begun = Clock::now();
  std::string calm;
  std::chrono::milliseconds length{0};
  {
    Trial trial(scratch("calm"));
    REQUIRE(trial.next("finish", on(server->url(), "warm")).exit == 0);
  }
  {
    Trial trial(scratch("calm"));
    const auto from = Clock::now();
    const auto done = trial.next("finish", on(server->url(), "calm"));
    length = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - from);
    calm = done.last("final");
    REQUIRE(trial.judge(done, calm).empty());
  }
  constexpr int kKills = 20;
  std::mt19937 random(12);
  int executions = 0, failed_cleanly = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    const std::string thread = "t" + std::to_string(kill);
    Trial trial(scratch("server"));
    Ended ended;
    std::thread run([&] { ended = trial.next("finish", on(server->url(), thread)); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % std::max<long>(length.count(), 1)));
    server->kill();
    server->restart();
    run.join();
    CHECK(ended.signal == 0);
    if (ended.exit != 0) {
      ++failed_cleanly;
      INFO(ended.last("error"));
      CHECK(ended.exit == 3);
    }
    const auto last = finish(trial, on(server->url(), thread));
    executions += trial.processes();
    const auto wrong = trial.judge(last, calm);
    for (const auto& each : wrong) UNSCOPED_INFO(each.substr(0, 400));
    CHECK(wrong.empty());
  }
  std::printf("PostgreSQL, server killed: %d times, %d executions, %d runs failed and went on, %.0f s\n", kKills, executions,
              failed_cleanly, seconds_since(begun));
}

TEST_CASE("crash matrix: three workers over one PostgreSQL, a thousand runs, killed at random", "[crash][postgres]") {
  const auto server = PostgresServer::start();
  if (!server) return;
  constexpr int kRuns = 1'000, kWorkers = 3;
  const auto begun = Clock::now();
  const auto store = open_store(server->url(), {});
  for (int i = 0; i < kRuns; ++i) REQUIRE(store.queue->enqueue({"run-" + std::to_string(i), "thread-" + std::to_string(i), "short", {}}));
  const auto dir = scratch("serve");
  std::filesystem::create_directories(dir);
  std::atomic<pid_t> children[kWorkers] = {};
  std::atomic<int> started{0}, killed{0};
  std::atomic<bool> over{false};
  std::mutex mutex;
  std::map<std::string, int> finished;
  std::vector<std::string> problems;
  const auto keep = [&](int lane) {
    while (true) {
      const std::string owner = "worker-" + std::to_string(started++);
      const auto ended = run_worker("serve", dir, on(server->url(), "none"), {owner}, &children[lane]);
      std::lock_guard lock(mutex);
      for (const auto& line : ended.lines) {
        if (line.rfind("finished ", 0) == 0) ++finished[line.substr(9)];
      }
      if (ended.signal == SIGKILL) continue;
      if (ended.exit != 0) problems.push_back(owner + ": " + ended.last("error"));
      return;
    }
  };
  std::vector<std::thread> lanes;
  for (int i = 0; i < kWorkers; ++i) lanes.emplace_back(keep, i);
  std::thread killer([&] {
    std::mt19937 random(13);
    while (!over) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 300));
      const auto counts = store.queue->counts();
      if (!counts || counts->finished + 5 >= kRuns) continue;
      if (const pid_t pid = children[random() % kWorkers].load()) {
        ::kill(pid, SIGKILL);
        ++killed;
      }
    }
  });
  for (auto& lane : lanes) lane.join();
  over = true;
  killer.join();
  const auto checked = run_worker("check", dir, on(server->url(), "none"), {std::to_string(kRuns)});
  std::filesystem::remove_all(dir);
  std::printf("PostgreSQL, takeover: %d runs, %d workers started, %d killed, %.0f s\n", kRuns, started.load(), killed.load(),
              seconds_since(begun));
  for (const auto& each : problems) UNSCOPED_INFO(each);
  for (const auto& line : checked.lines) UNSCOPED_INFO(line);
  CHECK(problems.empty());
  CHECK(checked.exit == 0);
  CHECK(checked.last("right") == std::to_string(kRuns));
  CHECK(killed > 0);
  CHECK(store.queue->counts()->finished == kRuns);
  for (const auto& [run, times] : finished) {
    if (times != 1) FAIL_CHECK(run << " finished " << times << " times");
  }
  CHECK(static_cast<int>(finished.size()) + killed >= kRuns);  // a killed one may have finished one more than it could say
}
