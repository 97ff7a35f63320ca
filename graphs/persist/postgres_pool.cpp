#include "graphs/persist/postgres_pool.hpp"

#include <algorithm>

#include "graphs/persist/postgres_schema.hpp"

namespace corvid::postgres {

namespace {

constexpr int kFirstPauseMs = 10;
constexpr int kLongestPauseMs = 500;

}  // namespace

Pool::Attempts::Attempts(const Pool& pool) : retry_ms(pool.options_.retry_ms) {}

Clock::time_point Pool::Attempts::deadline() const { return failed_first.value_or(Clock::now()) + std::chrono::milliseconds(retry_ms); }

bool Pool::Attempts::wait() {
  if (!failed_first) {
    failed_first = Clock::now();
    pause_ms = kFirstPauseMs;
    return retry_ms > 0;  // at once: a server that has restarted meanwhile is there already
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline() - Clock::now()).count();
  if (left <= 0) return false;
  // Jitter, lest all workers of a restarted server come in step.
  thread_local std::minstd_rand random{std::random_device{}()};
  const int pause = std::uniform_int_distribution<int>(pause_ms / 2, pause_ms)(random);
  std::this_thread::sleep_for(std::chrono::milliseconds(std::min<std::int64_t>(pause, left)));
  pause_ms = std::min(2 * pause_ms, kLongestPauseMs);
  return true;
}

Pool::Borrowed::Borrowed(Pool& from) : pool(&from) {
  std::unique_lock lock(from.mutex_);
  from.returned_.wait(lock, [&] { return from.in_use_ < std::max(1, from.options_.connections); });
  ++from.in_use_;
}

void Pool::Borrowed::give_back() {
  if (!pool) return;
  {
    const std::lock_guard lock(pool->mutex_);
    --pool->in_use_;
    if (connection && reusable) pool->idle_.push_back(std::move(connection));
  }
  pool->returned_.notify_one();
  pool = nullptr;
  connection.reset();
}

Status Pool::take(Attempts& attempts, std::unique_ptr<Connection>& connection) {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
      return {};
    }
  }
  while (true) {
    bool retry = false;
    Status status;
    // At least a moment, however little of the time is left: else a call could end without having tried.
    auto opened = Connection::open(url_, attempts.deadline() + std::chrono::milliseconds(100), retry);
    if (opened) {
      status = prepare_session(**opened, options_.schema);
      if (status) {
        connection = std::move(*opened);
        return {};
      }
      retry = (*opened)->failure() == Failure::broken || (*opened)->failure() == Failure::again;
    } else {
      status = fail(std::move(opened).error());
    }
    if (!retry) return status;
    if (!attempts.wait()) {
      return fail(
          Error::network("PostgreSQL stayed away for " + std::to_string(attempts.retry_ms) + " ms").caused_by(std::move(status).error()));
    }
  }
}

void Pool::close_idle() {
  std::vector<std::unique_ptr<Connection>> closed;
  const std::lock_guard lock(mutex_);
  closed.swap(idle_);
}

}  // namespace corvid::postgres
