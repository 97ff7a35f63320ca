// Starts the crash worker with faults, reads what it says, and judges what is left.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/faults.hpp"

namespace corvid::test {

struct Faults {
  std::map<std::string, std::string> environment;  // FAULT_… and CRASH_WORKER_…
  Faults& with(std::string name, std::string value) {
    environment[std::move(name)] = std::move(value);
    return *this;
  }
};

struct Ended {
  int exit = -1;  // -1: a signal
  int signal = 0;
  bool hung = false;
  std::vector<std::string> lines;
  std::string last(const std::string& word) const;  // what follows it in the last such line; empty where there is none
};

/// Runs `graph_crash_worker MODE dir more…` to its end.
/// `child` is its process while it runs.
Ended run_worker(const std::string& mode, const std::filesystem::path& dir, const Faults& faults, const std::vector<std::string>& more = {},
                 std::atomic<pid_t>* child = nullptr);

/// One history of a workspace under faults: worker after worker, and what they were promised.
class Trial {
 public:
  explicit Trial(std::filesystem::path dir);
  ~Trial();
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  /// The next process; its promises are noted.
  Ended next(const std::string& mode, Faults faults, const std::vector<std::string>& more = {}, std::atomic<pid_t>* child = nullptr);
  /// What was promised and is not so, or was done twice; empty: nothing. `last` is a "finish" that ended well, whose start shows what
  /// had survived; `expected` the final state of an undisturbed run.
  std::vector<std::string> judge(const Ended& last, const std::string& expected);
  std::size_t lost() const { return lost_; }  // checkpoints promised and gone, after judge()
  std::int64_t calls() const;                 // that reached the disk, over all processes
  int processes() const { return process_; }
  const std::filesystem::path& dir() const { return dir_; }

 private:
  std::filesystem::path dir_;
  int process_ = 0;
  std::size_t lost_ = 0;
  struct Promise {
    int process;
    std::int64_t step;
    std::string ns, id;
  };
  std::vector<Promise> checkpoints_;
  std::map<std::string, int> results_;  // task -> process in which its result was stored
};

}  // namespace corvid::test
