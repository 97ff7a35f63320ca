#include "corvid/runtime/compute_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "machine.hpp"
#include "relax.hpp"

namespace corvid {
namespace {

// How often a thread looks before it sleeps: about a hundred microseconds, longer than the gap between two ops of a step.
constexpr int kSpins = 2000;

}  // namespace

// A run is published by `generation` and ends when `running` is zero. Both sides look for a while before they sleep, and who publishes
// takes the mutex only when somebody sleeps: the sleeper counts itself and then looks again, the publisher writes and then reads
// the count, all sequentially consistent, so that one of the two sees the other.
struct ComputePool::State {
  std::vector<std::thread> workers;
  int count = 1;
  std::mutex callers;  // one fork-join at a time
  std::mutex mutex;
  std::condition_variable wake, done;

  const FunctionRef<void(int, int)>* body = nullptr;
  bool stop = false;  // these two are published by `generation`
  alignas(64) std::atomic<std::uint64_t> generation{0};
  std::atomic<int> sleepers{0};
  alignas(64) std::atomic<int> running{0};
  std::atomic<bool> caller_sleeps{false};

  void work(int index) {
    for (std::uint64_t seen = 0;; ++seen) {
      for (int i = 0; i < kSpins && generation.load(std::memory_order_acquire) == seen; ++i) relax();
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return generation.load() != seen; });
        sleepers.fetch_sub(1);
      }
      if (stop) return;
      (*body)(index, count);
      if (running.fetch_sub(1) == 1 && caller_sleeps.load()) {
        std::lock_guard lock(mutex);
        done.notify_one();
      }
    }
  }

  void publish() {
    generation.fetch_add(1);
    if (sleepers.load() == 0) return;
    std::lock_guard lock(mutex);
    wake.notify_all();
  }

  void join() {
    for (int i = 0; i < kSpins; ++i) {
      if (running.load(std::memory_order_acquire) == 0) return;
      relax();
    }
    std::unique_lock lock(mutex);
    caller_sleeps.store(true);
    done.wait(lock, [&] { return running.load() == 0; });
    caller_sleeps.store(false);
  }
};

ComputePool::ComputePool(int threads) : state_(std::make_unique<State>()) {
  state_->count = threads;
  bool bound = false;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (threads <= 0) {
    const auto processors = compute_processors();
    state_->count = std::max(1, static_cast<int>(processors.size()));
    // Where some are left out, the workers keep to the others. The caller's thread is the caller's.
    bound = state_->count < usable_cores();
    for (const int i : processors) if (i < CPU_SETSIZE) CPU_SET(i, &set);
  }
  for (int i = 1; i < state_->count; ++i) {
    state_->workers.emplace_back([this, i, bound, set] {
      if (bound) (void)sched_setaffinity(0, sizeof set, &set);   // a hint: without it the work is done too
      state_->work(i);
    });
  }
}

ComputePool::~ComputePool() {
  state_->stop = true;
  state_->publish();
  for (auto& worker : state_->workers) worker.join();
}

int ComputePool::threads() const noexcept { return state_->count; }

void ComputePool::run(FunctionRef<void(int, int)> body) {
  State& s = *state_;
  std::lock_guard caller(s.callers);
  if (s.count == 1) {
    body(0, 1);
    return;
  }
  s.body = &body;
  s.running.store(s.count - 1, std::memory_order_relaxed);
  s.publish();
  body(0, s.count);
  s.join();
}

void ComputePool::parallel_for(std::size_t n, std::size_t grain, FunctionRef<void(std::size_t, std::size_t)> body) {
  if (n == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  if (state_->count == 1 || n <= grain) {
    body(0, n);
    return;
  }
  std::atomic<std::size_t> next{0};
  const auto part = [&](int, int) {
    while (true) {
      const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      body(begin, std::min(begin + grain, n));
    }
  };
  run(part);
}

}  // namespace corvid
