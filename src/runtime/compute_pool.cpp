#include "corvid/runtime/compute_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "machine.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace corvid {
namespace {

// How often a thread looks before it sleeps: some tens of microseconds, longer than the gap between two ops of a step.
constexpr int kSpins = 4000;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ComputePool::State {
  std::vector<std::thread> workers;
  int count = 1;
  std::mutex callers;  // one fork-join at a time

  std::mutex mutex;
  std::condition_variable wake, done;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<int> running{0};
  std::atomic<bool> stop{false};
  const FunctionRef<void(int, int)>* body = nullptr;

  void work(int index) {
    std::uint64_t seen = 0;
    while (true) {
      for (int i = 0; i < kSpins && generation.load(std::memory_order_acquire) == seen && !stop.load(std::memory_order_relaxed); ++i) relax();
      if (generation.load(std::memory_order_acquire) == seen && !stop.load(std::memory_order_relaxed)) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen || stop.load(std::memory_order_relaxed); });
      }
      if (stop.load(std::memory_order_relaxed)) return;
      seen = generation.load(std::memory_order_acquire);
      (*body)(index, count);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard lock(mutex);  // so that the caller cannot miss it between its test and its sleep
        done.notify_one();
      }
    }
  }
};

ComputePool::ComputePool(int threads) : state_(std::make_unique<State>()) {
  state_->count = threads > 0 ? threads : usable_cores();
  for (int i = 1; i < state_->count; ++i) state_->workers.emplace_back([this, i] { state_->work(i); });
}

ComputePool::~ComputePool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->wake.notify_all();
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
  {
    std::lock_guard lock(s.mutex);
    s.body = &body;
    s.running.store(s.count - 1, std::memory_order_relaxed);
    s.generation.fetch_add(1, std::memory_order_acq_rel);
  }
  s.wake.notify_all();
  body(0, s.count);
  for (int i = 0; i < kSpins && s.running.load(std::memory_order_acquire) > 0; ++i) relax();
  if (s.running.load(std::memory_order_acquire) > 0) {
    std::unique_lock lock(s.mutex);
    s.done.wait(lock, [&] { return s.running.load(std::memory_order_acquire) == 0; });
  }
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
