#include "corvid/base/cancellation.hpp"

#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

namespace corvid {

using Clock = std::chrono::steady_clock;

struct CancellationToken::State {
  static constexpr Clock::rep kNone = std::numeric_limits<Clock::rep>::max();
  std::atomic<bool> cancelled{false};
  std::atomic<Clock::rep> deadline{kNone};
  std::mutex mutex;
  std::uint64_t next_id = 0;
  std::map<std::uint64_t, std::function<void()>> callbacks;
};

bool CancellationToken::cancelled() const noexcept { return state_ && state_->cancelled.load(std::memory_order_acquire); }

std::optional<Clock::time_point> CancellationToken::deadline() const noexcept {
  if (!state_) return std::nullopt;
  const auto ticks = state_->deadline.load(std::memory_order_acquire);
  if (ticks == State::kNone) return std::nullopt;
  return Clock::time_point(Clock::duration(ticks));
}

Status CancellationToken::check() const {
  if (!state_) return {};
  if (cancelled()) return fail(Error::cancelled("the caller cancelled"));
  if (const auto when = deadline(); when && Clock::now() >= *when) return fail(Error::deadline_exceeded("the caller's deadline passed"));
  return {};
}

std::shared_ptr<void> CancellationToken::on_cancel(std::function<void()> callback) const {
  if (!state_) return nullptr;
  std::uint64_t id = 0;
  {
    std::lock_guard lock(state_->mutex);
    if (!state_->cancelled.load(std::memory_order_relaxed)) {
      id = ++state_->next_id;
      state_->callbacks.emplace(id, std::move(callback));
    }
  }
  if (id == 0) {
    callback();
    return nullptr;
  }
  std::weak_ptr<State> weak = state_;
  return std::shared_ptr<void>(nullptr, [weak, id](void*) {
    if (auto state = weak.lock()) {
      std::lock_guard lock(state->mutex);
      state->callbacks.erase(id);
    }
  });
}

CancellationSource::CancellationSource() : state_(std::make_shared<CancellationToken::State>()) {}

CancellationSource::CancellationSource(const CancellationToken& parent) : CancellationSource() {
  if (const auto when = parent.deadline()) set_deadline(*when);
  std::weak_ptr<CancellationToken::State> weak = state_;
  parent_ = parent.on_cancel([weak] {
    if (auto state = weak.lock()) {
      CancellationSource source;
      source.state_ = state;
      source.cancel();
    }
  });
}

void CancellationSource::cancel() {
  std::map<std::uint64_t, std::function<void()>> callbacks;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->cancelled.exchange(true, std::memory_order_acq_rel)) return;
    callbacks.swap(state_->callbacks);
  }
  for (auto& [id, callback] : callbacks) callback();
}

void CancellationSource::set_deadline(Clock::time_point when) {
  const auto ticks = when.time_since_epoch().count();
  auto current = state_->deadline.load(std::memory_order_relaxed);
  while (ticks < current && !state_->deadline.compare_exchange_weak(current, ticks, std::memory_order_acq_rel)) {
  }
}

CancellationToken CancellationSource::token() const {
  CancellationToken token;
  token.state_ = state_;
  return token;
}

}  // namespace corvid
