#include "reliability/isolated.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <new>
#include <vector>

#include "support/catch.hpp"

namespace corvid::test {
namespace {

constexpr unsigned kPatienceSeconds = 60;
// An engine's own thread has a stack, and glibc gives a thread's allocator room in steps.
constexpr std::uint64_t kThreadBytes = std::uint64_t{24} << 20;
constexpr int kMostProblems = 64;
constexpr std::size_t kProblemBytes = 600;

// What a child tells, in memory shared with it.
struct Shared {
  std::int64_t at = 0;        // the case that runs
  std::int64_t accepted = 0, wrong = 0;
  double slowest_ms = 0;
  int problems = 0;
  char problem[kMostProblems][kProblemBytes];

  void add(const std::string& text) {
    ++wrong;
    if (problems == kMostProblems) return;
    std::snprintf(problem[problems++], kProblemBytes, "%s", text.c_str());
  }
};

std::uint64_t data_bytes() {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;) {
    std::uint64_t kib = 0;
    if (word == "VmData:" && in >> kib) return kib * 1024;
  }
  return 0;
}

// Computing time of the process, whatever else the machine does.
double process_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

void limit_memory([[maybe_unused]] std::uint64_t extra_bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const rlimit limit{data_bytes() + extra_bytes + kThreadBytes, RLIM_INFINITY};
  ::setrlimit(RLIMIT_DATA, &limit);
#endif
}

[[noreturn]] void child(Shared& shared, std::int64_t count, std::uint64_t extra_bytes, const std::function<CaseResult(Runtime&, std::int64_t)>& body) {
  ::mallopt(M_ARENA_MAX, 1);
  RuntimeOptions options;
  options.threads = 1;
  Runtime runtime(options);
  limit_memory(extra_bytes);
  for (; shared.at < count; ++shared.at) {
    ::alarm(kPatienceSeconds);
    const double begin = process_ms();
    CaseResult result;
    try {
      result = body(runtime, shared.at);
    } catch (const std::bad_alloc&) {
      result.wrong = "it wanted more memory than it may";
    } catch (const std::exception& thrown) {
      result.wrong = std::string("it threw: ") + thrown.what();
    }
    shared.slowest_ms = std::max(shared.slowest_ms, process_ms() - begin);
    shared.accepted += result.accepted;
    if (!result.wrong.empty()) shared.add("case " + std::to_string(shared.at) + ": " + result.wrong);
  }
  std::fflush(nullptr);
  ::_exit(0);
}

}  // namespace

IsolatedTotals run_isolated(const std::string& name, std::int64_t count, std::uint64_t extra_bytes, const std::function<CaseResult(Runtime&, std::int64_t)>& body) {
  void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  Shared& shared = *new (memory) Shared;
  const auto begin = std::chrono::steady_clock::now();
  while (shared.at < count) {
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) child(shared, count, extra_bytes, body);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
    const int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    shared.add("case " + std::to_string(shared.at) + (number == SIGALRM ? ": it hung" : ": it ended the process, signal " + std::to_string(number)));
    ++shared.at;
  }
  const IsolatedTotals totals{count, shared.accepted, shared.wrong, shared.slowest_ms};
  std::printf("%s: %lld cases, %lld accepted, %lld wrong, slowest %.0f ms of computing, %.0f s\n", name.c_str(), static_cast<long long>(count), static_cast<long long>(totals.accepted),
              static_cast<long long>(totals.wrong), totals.slowest_ms, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  for (int i = 0; i < shared.problems; ++i) UNSCOPED_INFO(shared.problem[i]);
  CHECK(totals.wrong == 0);
  ::munmap(memory, sizeof(Shared));
  return totals;
}

}  // namespace corvid::test
