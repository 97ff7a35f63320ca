// The crash matrix: the process killed before every call that reaches the disk, the power lost there, calls and allocations that fail.
// CORVID_FULL_MATRIX=1 takes every point; without it, a sample that is the same each time.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <mutex>
#include <random>
#include <sstream>
#include <thread>

#include "graphs/crash/driver.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

extern char** environ;

namespace corvid::test {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string Ended::last(const std::string& word) const {
  for (auto at = lines.rbegin(); at != lines.rend(); ++at) {
    if (at->rfind(word + " ", 0) == 0) return at->substr(word.size() + 1);
  }
  return {};
}

Ended run_worker(const std::string& mode, const fs::path& dir, const Faults& faults, const std::vector<std::string>& more,
                 std::atomic<pid_t>* running) {
  constexpr auto kPatience = std::chrono::seconds(60);
  int out[2];
  Ended ended;
  if (::pipe2(out, O_CLOEXEC) != 0) return ended;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  const std::string errors = dir.string() + ".stderr";
  posix_spawn_file_actions_addopen(&actions, 2, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  std::vector<std::string> words{CORVID_CRASH_WORKER, mode, dir.string()};
  words.insert(words.end(), more.begin(), more.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<std::string> variables;
  for (char** each = environ; *each; ++each) variables.emplace_back(*each);
  for (const auto& [name, value] : faults.environment) variables.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (auto& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  pid_t child = 0;
  const int spawned = ::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  if (running) running->store(child);
  if (spawned != 0) {
    ::close(out[0]);
    return ended;
  }
  std::string text;
  const auto end = Clock::now() + kPatience;
  char piece[65536];
  while (true) {
    pollfd ready{out[0], POLLIN, 0};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) {
      ended.hung = true;
      ::kill(child, SIGKILL);
      break;
    }
    const auto n = ::read(out[0], piece, sizeof piece);
    if (n <= 0) break;
    text.append(piece, static_cast<std::size_t>(n));
  }
  ::close(out[0]);
  // It must not be killed any more once its number is free for another.
  if (running) running->store(0);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status))
    ended.exit = WEXITSTATUS(status);
  else
    ended.signal = WTERMSIG(status);
  // A line cut off by the kill was not said.
  for (std::size_t at = 0; at < text.size();) {
    const auto stop = text.find('\n', at);
    if (stop == std::string::npos) break;
    ended.lines.push_back(text.substr(at, stop - at));
    at = stop + 1;
  }
  return ended;
}

Trial::Trial(fs::path dir) : dir_(std::move(dir)) {
  fs::remove_all(dir_);
  fs::create_directories(dir_);
}

Trial::~Trial() {
  std::error_code ignored;
  fs::remove_all(dir_, ignored);
  fs::remove(dir_.string() + ".count", ignored);
  fs::remove(dir_.string() + ".stderr", ignored);
}

std::int64_t Trial::calls() const {
  std::ifstream in(dir_.string() + ".count", std::ios::binary);
  std::int64_t n = 0;
  in.read(reinterpret_cast<char*>(&n), sizeof n);
  return n;
}

Ended Trial::next(const std::string& mode, Faults faults, const std::vector<std::string>& more, std::atomic<pid_t>* child) {
  ++process_;
  faults.with("LD_PRELOAD", CORVID_CRASH_FAULTS).with("FAULT_DIR", dir_.string() + "/").with("FAULT_COUNT", dir_.string() + ".count");
  faults.with("FAULT_NOSYNC", "1").with("CRASH_WORKER_PROCESS", std::to_string(process_));
  auto ended = run_worker(mode, dir_, faults, more, child);
  for (const auto& line : ended.lines) {
    std::istringstream words(line);
    std::string kind, ns, task;
    std::int64_t step = 0;
    words >> kind;
    if (kind == "ck" || kind == "ev") {
      words >> ns >> step >> task;
      checkpoints_.push_back({process_, step, ns, task});
    } else if (kind == "w") {
      words >> ns >> task;
      results_.emplace(task, process_);
    }
  }
  return ended;
}

std::vector<std::string> Trial::judge(const Ended& last, const std::string& expected) {
  std::vector<std::string> wrong;
  if (last.hung) wrong.push_back("the last worker hung");
  if (last.exit != 0)
    wrong.push_back("the last worker ended with " + std::to_string(last.exit) + ", signal " + std::to_string(last.signal) + ": " +
                    last.last("error"));
  if (last.last("integrity") != "ok") wrong.push_back("integrity: " + last.last("integrity"));
  if (last.last("status") != "done") wrong.push_back("the run ended as " + last.last("status"));
  if (last.last("final") != expected) wrong.push_back("another final state: " + last.last("final"));
  std::set<std::string> history;
  for (const auto& line : last.lines) {
    if (line.rfind("history ", 0) == 0) history.insert(line.substr(line.rfind(' ') + 1));
  }
  lost_ = 0;
  std::set<std::string> gone;
  for (const auto& each : checkpoints_) {
    if (each.process < process_ && !history.count(each.id)) gone.insert(each.id);
  }
  lost_ = gone.size();
  for (const auto& id : gone) wrong.push_back("an acknowledged checkpoint is lost: " + id);
  // What ran although its result, or the checkpoint after it, had been stored by an earlier process; and what ran twice in one process.
  std::ifstream log(dir_ / "effects.log");
  std::map<std::string, int> seen;  // "process task"
  int effects = 0;
  for (std::string line; std::getline(log, line);) {
    std::istringstream words(line);
    int process = 0;
    std::string node, ns, task;
    std::int64_t step = 0;
    words >> process >> node >> ns >> step >> task;
    if (node == "notify!") ++effects;
    if (seen[std::to_string(process) + " " + task]++ > 0) wrong.push_back("ran twice in one process: " + line);
    if (const auto stored = results_.find(task); stored != results_.end() && stored->second < process)
      wrong.push_back("ran again after its result was stored: " + line);
    for (const auto& each : checkpoints_) {
      if (each.process < process && each.ns == ns && each.step >= step && !gone.count(each.id)) {
        wrong.push_back("ran again after its step's checkpoint was stored: " + line);
        break;
      }
    }
  }
  if (effects != 1) wrong.push_back("the effect happened " + std::to_string(effects) + " times");
  return wrong;
}

}  // namespace corvid::test

using namespace corvid::test;

namespace {

// Tasks that run side by side do not always make the same commits: the whole matrix takes some points more than one run had.
std::int64_t beyond(std::int64_t calls) { return full_matrix() ? calls + calls / 20 : calls; }

struct Totals {
  std::atomic<std::int64_t> cases{0}, fired{0}, executions{0}, lost{0}, cases_that_lost{0}, wrong{0};
};

// Every case in a folder of its own, two at a time.
void each_case(const char* name, const std::vector<std::int64_t>& cases, Totals& totals,
               const std::function<std::vector<std::string>(std::int64_t n, const std::filesystem::path& dir)>& run) {
  const auto begun = std::chrono::steady_clock::now();
  const auto root = scratch_root() / ("corvid-crash-" + std::to_string(::getpid()));
  std::filesystem::create_directories(root);
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::vector<std::string> problems;
  const auto work = [&](int lane) {
    while (true) {
      const auto at = next.fetch_add(1);
      if (at >= cases.size()) return;
      const auto wrong = run(cases[at], root / std::to_string(lane));
      ++totals.cases;
      if (wrong.empty()) continue;
      ++totals.wrong;
      std::lock_guard lock(mutex);
      if (problems.size() < 40) {
        for (const auto& each : wrong) problems.push_back("at " + std::to_string(cases[at]) + ": " + each.substr(0, 400));
      }
    }
  };
  std::thread other([&] { work(1); });
  work(0);
  other.join();
  std::filesystem::remove_all(root);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  std::printf("%s: %lld cases, %lld fired, %lld executions, %lld wrong, %lld cases lost %lld acknowledged steps, %.0f s\n", name,
              static_cast<long long>(totals.cases), static_cast<long long>(totals.fired), static_cast<long long>(totals.executions),
              static_cast<long long>(totals.wrong), static_cast<long long>(totals.cases_that_lost), static_cast<long long>(totals.lost),
              seconds);
  for (const auto& each : problems) UNSCOPED_INFO(each);
  CHECK(totals.wrong == 0);
}

struct Undisturbed {
  std::string state;
  std::int64_t calls = 0;
};

Undisturbed undisturbed() {
  Trial trial(scratch_root() / ("corvid-calm-" + std::to_string(::getpid())));
  const auto asked = trial.next("run", {});
  REQUIRE(asked.exit == 0);
  REQUIRE(asked.last("status") == "interrupted");
  const auto done = trial.next("finish", {});
  const auto calls = trial.calls();
  const auto wrong = trial.judge(done, done.last("final"));
  INFO((wrong.empty() ? std::string() : wrong.front()));
  REQUIRE(wrong.empty());
  std::int64_t supersteps = 0;
  for (const auto* part : {&asked, &done}) {
    for (const auto& line : part->lines) supersteps += line.rfind("ck - ", 0) == 0;
  }
  REQUIRE(supersteps > 50);
  return {done.last("final"), calls};
}

// The two processes of a run under faults, then one without: what it finds, and what comes of it.
std::vector<std::string> crash_and_go_on(const std::filesystem::path& dir, const Faults& faults, const std::string& expected,
                                         Totals& totals) {
  Trial trial(dir);
  auto ended = trial.next("run", faults);
  if (ended.exit == 0 && ended.signal == 0) ended = trial.next("finish", faults);
  if (ended.hung) return {"the worker hung"};
  if (ended.signal == SIGKILL)
    ++totals.fired;
  else if (ended.signal != 0)
    return {"the worker died of signal " + std::to_string(ended.signal)};
  const auto last = trial.next("finish", {});
  totals.executions += trial.processes();
  auto wrong = trial.judge(last, expected);
  totals.lost += static_cast<std::int64_t>(trial.lost());
  if (trial.lost() > 0) ++totals.cases_that_lost;
  return wrong;
}

}  // namespace

TEST_CASE("crash matrix: killed before every write and sync", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  const auto calm = undisturbed();
  Totals totals;
  each_case("kill", points(beyond(calm.calls), 60, 1), totals, [&](std::int64_t n, const auto& dir) {
    return crash_and_go_on(dir, Faults().with("FAULT_CRASH_AT", std::to_string(n)), calm.state, totals);
  });
  CHECK(totals.fired >= totals.cases * 4 / 5);  // how many calls a run makes varies with what is committed together
}

TEST_CASE("crash matrix: killed before every write and sync while storing lags behind", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  const auto calm = undisturbed();
  Totals totals;
  each_case("kill, async", points(calm.calls, 30, 10), totals, [&](std::int64_t n, const auto& dir) {
    Faults faults;
    faults.with("FAULT_CRASH_AT", std::to_string(n)).with("CRASH_WORKER_ASYNC", "1").with("CRASH_WORKER_INVOKE", "1");
    return crash_and_go_on(dir, faults, calm.state, totals);
  });
  CHECK(totals.fired > 0);
}

TEST_CASE("crash matrix: power lost, unsynced data discarded", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  const auto calm = undisturbed();
  Totals totals;
  each_case("power, discarded", points(beyond(calm.calls), 60, 2), totals, [&](std::int64_t n, const auto& dir) {
    return crash_and_go_on(dir, Faults().with("FAULT_CRASH_AT", std::to_string(n)).with("FAULT_POWER", "discard"), calm.state, totals);
  });
  CHECK(totals.fired >= totals.cases * 4 / 5);  // how many calls a run makes varies with what is committed together
}

TEST_CASE("crash matrix: power lost, unsynced data torn", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  const auto calm = undisturbed();
  Totals totals;
  each_case("power, torn", points(beyond(calm.calls), 60, 3), totals, [&](std::int64_t n, const auto& dir) {
    return crash_and_go_on(
        dir, Faults().with("FAULT_CRASH_AT", std::to_string(n)).with("FAULT_POWER", "torn").with("FAULT_SEED", std::to_string(n)),
        calm.state, totals);
  });
  CHECK(totals.fired >= totals.cases * 4 / 5);  // how many calls a run makes varies with what is committed together
}

TEST_CASE("crash matrix: with synchronous=NORMAL the power matrix finds lost steps", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  const auto calm = undisturbed();
  Totals totals;
  // Half-way through either process: by then there are acknowledged steps to lose.
  std::vector<std::int64_t> cases;
  for (std::int64_t n = calm.calls / 4; n < calm.calls / 4 + (full_matrix() ? calm.calls / 2 : 12); ++n) cases.push_back(n);
  each_case("power, NORMAL", cases, totals, [&](std::int64_t n, const auto& dir) {
    Faults faults;
    faults.with("FAULT_CRASH_AT", std::to_string(n)).with("FAULT_POWER", "discard").with("CRASH_WORKER_NORMAL", "1");
    auto wrong = crash_and_go_on(dir, faults, calm.state, totals);
    // Losing is what is shown here; damage would still be wrong.
    std::erase_if(wrong, [](const std::string& each) { return each.rfind("integrity", 0) != 0; });
    return wrong;
  });
  CHECK(totals.lost > 0);
  CHECK(totals.cases_that_lost > 0);
}

namespace {

// A worker that meets failing calls or allocations ends with a typed error, or does not mind; then one without faults.
std::vector<std::string> fail_and_go_on(const std::filesystem::path& dir, const Faults& faults, bool asks,
                                        const std::vector<std::string>& allowed, const std::string& expected, Totals& totals) {
  Trial trial(dir);
  std::vector<std::string> wrong;
  auto ended = trial.next(asks ? "run" : "finish", faults);
  if (asks && ended.exit == 0) ended = trial.next("finish", faults);
  if (ended.hung) wrong.push_back("the worker hung");
  if (ended.signal != 0) {
    wrong.push_back("the worker died of signal " + std::to_string(ended.signal) + ": " +
                    read_file(dir.string() + ".stderr").substr(0, 300));
  } else if (ended.exit == 3) {
    ++totals.fired;
    const auto error = ended.last("error");
    if (std::find(allowed.begin(), allowed.end(), error.substr(0, error.find(' '))) == allowed.end())
      wrong.push_back("another error: " + error);
  } else if (ended.exit != 0) {
    wrong.push_back("the worker ended with " + std::to_string(ended.exit));
  }
  const auto last = trial.next("finish", {});
  totals.executions += trial.processes();
  for (auto& each : trial.judge(last, expected)) wrong.push_back(std::move(each));
  return wrong;
}

void errno_matrix(const char* name, const char* how, int number, unsigned seed) {
  const auto calm = undisturbed();
  Totals totals;
  each_case(name, points(beyond(calm.calls), 60, seed), totals, [&](std::int64_t n, const auto& dir) {
    Faults faults;
    faults.with(how, std::to_string(n)).with("FAULT_FAIL_ERRNO", std::to_string(number));
    return fail_and_go_on(dir, faults, true, {"io"}, calm.state, totals);
  });
  CHECK(totals.fired > 0);
}

}  // namespace

TEST_CASE("crash matrix: a call fails with ENOSPC", "[crash]") {
  if (faults_can_be_preloaded()) errno_matrix("ENOSPC once", "FAULT_FAIL_AT", ENOSPC, 4);
}
TEST_CASE("crash matrix: the disk is full from one call on", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  errno_matrix("ENOSPC from there on", "FAULT_FAIL_FROM", ENOSPC, 5);
}
TEST_CASE("crash matrix: a call fails with EIO", "[crash]") {
  if (faults_can_be_preloaded()) errno_matrix("EIO once", "FAULT_FAIL_AT", EIO, 6);
}
TEST_CASE("crash matrix: the disk is gone from one call on", "[crash]") {
  if (faults_can_be_preloaded()) errno_matrix("EIO from there on", "FAULT_FAIL_FROM", EIO, 7);
}

TEST_CASE("crash matrix: an allocation fails", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  const auto calm = undisturbed();
  std::int64_t count = 0;
  {
    Trial trial(scratch_root() / ("corvid-allocations-" + std::to_string(::getpid())));
    const auto done = trial.next("finish", Faults().with("CRASH_WORKER_INVOKE", "1"));
    REQUIRE(done.exit == 0);
    count = std::stoll(done.last("allocations"));
    REQUIRE(count > 2'000);
  }
  // Each of the first thousand, and a thousand of the rest.
  std::vector<std::int64_t> cases, later;
  for (std::int64_t n = 1; n <= count; ++n) (n <= 1'000 ? cases : later).push_back(n);
  std::mt19937 random(8);
  std::shuffle(later.begin(), later.end(), random);
  if (!full_matrix()) std::shuffle(cases.begin(), cases.end(), random);
  cases.resize(full_matrix() ? 1'000 : 60 / kSampleShare);
  later.resize(full_matrix() ? 1'000 : 60 / kSampleShare);
  cases.insert(cases.end(), later.begin(), later.end());
  Totals totals;
  each_case("allocation", cases, totals, [&](std::int64_t n, const auto& dir) {
    Faults faults;
    faults.with("CRASH_WORKER_INVOKE", "1").with("FAULT_MALLOC_AT", std::to_string(n));
    return fail_and_go_on(dir, faults, false, {"out_of_memory"}, calm.state, totals);
  });
  CHECK(totals.fired > 0);
}

TEST_CASE("crash matrix: 64 questions, answered in any order by other processes, some of them killed", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  constexpr int kQuestions = 64;
  const int rounds = full_matrix() ? 10 : 1;
  std::size_t processes = 0, killed = 0;
  const auto begun = std::chrono::steady_clock::now();
  for (int round = 0; round < rounds; ++round) {
    Trial trial(scratch_root() / ("corvid-questions-" + std::to_string(::getpid())));
    std::mt19937 random(static_cast<unsigned>(round) + 9);
    const std::vector<std::string> count{std::to_string(kQuestions)};
    const auto asked = trial.next("ask", {}, count);
    REQUIRE(asked.last("status") == "interrupted");
    std::map<std::string, int> open;
    const auto questions = [](const Ended& ended) {
      std::map<std::string, int> found;
      for (const auto& line : ended.lines) {
        std::istringstream words(line);
        std::string kind, id;
        int item = 0;
        if (words >> kind >> id >> item && kind == "question") found.emplace(id, item);
      }
      return found;
    };
    open = questions(asked);
    REQUIRE(open.size() == kQuestions);
    std::vector<std::pair<std::string, int>> order(open.begin(), open.end());
    std::shuffle(order.begin(), order.end(), random);
    Ended last;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::vector<std::string> reply{order[i].first, "r" + std::to_string(order[i].second)};
      if (i % 3 == 0) {
        const auto at = trial.calls() + 1 + static_cast<std::int64_t>(random() % 14);
        killed += trial.next("reply", Faults().with("FAULT_CRASH_AT", std::to_string(at)), reply).signal == SIGKILL;
      }
      const auto replied = trial.next("reply", {}, reply);
      // The killed one may have got its answer stored; then this one is told so.
      if (replied.exit != 0) CHECK(replied.last("error").rfind("conflict", 0) == 0);
      open.erase(order[i].first);
      if (i % 8 != 7) continue;
      last = trial.next("collect", {}, count);
      REQUIRE(last.exit == 0);
      CHECK(questions(last) == open);
    }
    CHECK(last.last("status") == "done");
    std::string expected = "{\"got\":[";
    for (int i = 0; i < kQuestions; ++i) expected += (i ? ",\"" : "\"") + std::to_string(i) + "=r" + std::to_string(i) + "\"";
    CHECK(last.last("final") == expected + "]}");
    processes += static_cast<std::size_t>(trial.processes());
  }
  std::printf("questions: %d rounds of %d, %zu processes, %zu of them killed, %.0f s\n", rounds, kQuestions, processes, killed,
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
}
