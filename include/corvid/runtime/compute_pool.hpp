// ComputePool: the fork-join thread pool that ops run on.
//
//   pool.parallel_for(rows, 16, [&](std::size_t begin, std::size_t end) { … });
//
// The calling thread takes part. Calls from several threads are served one after another. Bodies must not throw,
// block on I/O, or call the pool again.
#pragma once

#include <cstddef>
#include <memory>

#include "corvid/base/function_ref.hpp"

namespace corvid {

class ComputePool {
 public:
  /// `threads` counts the caller; 0 takes the cores this process may run on, of several NUMA nodes those of one, and no efficiency
  /// cores where there are others; the workers stay on them.
  explicit ComputePool(int threads = 0);
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  int threads() const noexcept;

  /// Calls body(index, count) once on each of count = threads() threads; returns when all have returned.
  void run(FunctionRef<void(int index, int count)> body);

  /// Splits [0, n) into pieces of at least `grain` and calls body(begin, end) for each; dynamic, unordered.
  void parallel_for(std::size_t n, std::size_t grain, FunctionRef<void(std::size_t begin, std::size_t end)> body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corvid
