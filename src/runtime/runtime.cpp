#include "corvid/runtime/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "handover.hpp"
#include "machine.hpp"
#include "memory_reserve.hpp"

namespace corvid {
namespace {

// Blocking work waits on disks, sockets and other processes: a few threads more than cores keep it flowing.
constexpr std::size_t kBlockingThreads = 8;

// Asio's pool of threads, with threads that we start: where one of its own cannot be started, its constructor waits for the others forever.
class BlockingPool {
 public:
  explicit BlockingPool(std::size_t threads) : pool_(0) {
    try {
      for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { pool_.attach(); });
    } catch (...) {
      pool_.stop();
      end();
      throw;
    }
  }
  /// What was given to it is done first.
  ~BlockingPool() { end(); }
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  void end() {
    if (threads_.empty()) return;
    pool_.wait();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  boost::asio::thread_pool& pool() noexcept { return pool_; }

  /// To a thread that looks for work, else to one that is woken.
  void post(Handover::Job job) {
    if (handover_.offer(job)) return;
    waiting_.fetch_add(1, std::memory_order_relaxed);
    boost::asio::post(pool_, [this, job = std::move(job)]() mutable {
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      while (job) {
        job.work();
        const bool looks = waiting_.load(std::memory_order_relaxed) == 0 && handover_.begin();
        if (job.report) job.report();
        job = {};                                   // what it holds goes before the next one comes
        if (looks) job = handover_.look(look_for_);
      }
    });
  }

 private:
  boost::asio::thread_pool pool_;
  Handover handover_;
  std::atomic<int> waiting_{0};                     // jobs that no thread has begun
  // Enough for who hears of a job to wake up and give the next one; on one core looking would keep it from running.
  const std::chrono::microseconds look_for_{usable_cores() > 1 ? 100 : 0};
  std::vector<std::thread> threads_;
};

}  // namespace

struct Runtime::State {
  explicit State(RuntimeOptions options)
      : log(std::move(options.log)),
        pool(options.threads),
        memory(options.memory_budget_bytes != 0 ? options.memory_budget_bytes : usable_memory_bytes()),
        device_limit(options.device_memory_budget_bytes),
        blocking(kBlockingThreads),
        reserve(options.memory_reserve_bytes) {
    if (options.io_context) {
      io = options.io_context;
      return;
    }
    own_io.emplace(1);
    io = &*own_io;
    guard.emplace(own_io->get_executor());
    thread = std::thread([this] { own_io->run(); });
  }
  ~State() {
    blocking.end();
    guard.reset();
    if (own_io) own_io->stop();
    if (thread.joinable()) thread.join();
  }

  LogSink log;
  ComputePool pool;
  MemoryBudget memory;
  std::uint64_t device_limit = 0;
  std::mutex devices_mutex;
  std::map<int, MemoryBudget> devices;
  Metrics metrics;
  BlockingPool blocking;
  std::optional<boost::asio::io_context> own_io;
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> guard;
  std::thread thread;
  MemoryReserve reserve;
  boost::asio::io_context* io = nullptr;
};

Runtime::Runtime(RuntimeOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Runtime::~Runtime() = default;

boost::asio::io_context& Runtime::io_context() noexcept { return *state_->io; }
ComputePool& Runtime::pool() noexcept { return state_->pool; }
boost::asio::thread_pool& Runtime::blocking_pool() noexcept { return state_->blocking.pool(); }
void Runtime::post_blocking(std::function<void()> work, std::function<void()> report) { state_->blocking.post({std::move(work), std::move(report)}); }
MemoryBudget& Runtime::memory() noexcept { return state_->memory; }
MemoryBudget& Runtime::device_memory(int index, std::uint64_t free_bytes) {
  std::lock_guard lock(state_->devices_mutex);
  const std::uint64_t limit = state_->device_limit;
  return state_->devices.try_emplace(index, limit != 0 ? limit : free_bytes, limit != 0 ? "Raise RuntimeOptions::device_memory_budget_bytes" : "Free memory of the device, which other programs may hold").first->second;
}
Metrics& Runtime::metrics() noexcept { return state_->metrics; }
bool Runtime::memory_reserve_whole() noexcept { return MemoryReserve::whole(); }

void Runtime::log(LogLevel level, std::string_view component, std::string_view message) noexcept {
  if (state_->log) state_->log(level, component, message);
}

}  // namespace corvid
