// Runtime: what everything else runs on: I/O executor, compute pool, memory budget, log, metrics. No globals.
//
//   corvid::Runtime runtime;                                  // all cores, the machine's memory
//   auto engine = runtime.wait(Engine::load(runtime, "model.gguf"));
//
// Pass it by reference; it must outlive all that was made with it. A host application may hand in its own io_context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "corvid/base/task.hpp"
#include "corvid/runtime/compute_pool.hpp"
#include "corvid/runtime/memory_budget.hpp"
#include "corvid/runtime/metrics.hpp"

namespace boost::asio {
class io_context;
class thread_pool;
}  // namespace boost::asio

namespace corvid {

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error };

/// Where log lines go. Called from any thread; must not throw. The default discards.
using LogSink = std::function<void(LogLevel, std::string_view component, std::string_view message)>;

struct RuntimeOptions {
  int threads = 0;                               ///< compute threads; 0 = cores this process may run on
  std::uint64_t memory_budget_bytes = 0;         ///< hard limit; 0 = the machine's (or cgroup's) memory
  std::uint64_t device_memory_budget_bytes = 0;  ///< hard limit of each accelerator; 0 = what is free there at its first use
  boost::asio::io_context* io_context = nullptr; ///< borrowed, and run by its owner; null = one of our own on a thread
  LogSink log;                                   ///< null discards
  /// Held back for when an allocation fails, so that what runs can end with out_of_memory where it could not handle an exception. With it
  /// the process gets a new-handler, in front of the one it has. The process's first runtime decides. 0: none, and no new-handler.
  std::size_t memory_reserve_bytes = 256 * 1024;
};

class Runtime {
 public:
  /// Throws std::system_error where the system gives no more threads, std::bad_alloc.
  explicit Runtime(RuntimeOptions options = {});
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  boost::asio::io_context& io_context() noexcept;
  ComputePool& pool() noexcept;        ///< fork-join, for ops
  /// Threads for blocking or long work that must not hold the I/O thread: see offload() in runtime/offload.hpp.
  boost::asio::thread_pool& blocking_pool() noexcept;
  /// Runs `work` there, and then `report`, which tells whom it concerns: what that one posts next, this thread can take without having
  /// slept. Neither may throw. offload() does this for coroutines.
  void post_blocking(std::function<void()> work, std::function<void()> report = {});
  MemoryBudget& memory() noexcept;
  /// The budget of accelerator `index`; made at the first call, with `free_bytes` as its limit unless RuntimeOptions gives one.
  MemoryBudget& device_memory(int index, std::uint64_t free_bytes);
  Metrics& metrics() noexcept;
  /// False after memory ran out and until the reserve can be filled again: time to end. It tries to.
  bool memory_reserve_whole() noexcept;
  void log(LogLevel level, std::string_view component, std::string_view message) noexcept;

  /// Runs the task to its end and blocks this thread; never call it on the I/O thread (throws std::logic_error).
  /// An exception that escapes the task is rethrown here. Defined in runtime/wait.hpp.
  template <class T>
  Result<T> wait(Task<T> task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corvid
