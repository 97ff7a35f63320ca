// Notifier: one coroutine waits, anyone wakes it, and a time limit wakes it too.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace corvid {

class Notifier {
 public:
  /// Wakes the waiter, or lets its next wait return at once. Any thread.
  void notify() {
    std::function<void()> wake;
    {
      std::lock_guard lock(state_->mutex);
      state_->pending = true;
      wake = std::exchange(state_->wake, nullptr);
    }
    if (wake) wake();
  }

  /// One waiter at a time. Returns on notify(), or when `until` has come.
  boost::asio::awaitable<void> wait(std::optional<std::chrono::steady_clock::time_point> until) {
    const auto state = state_;
    {
      std::lock_guard lock(state->mutex);
      if (std::exchange(state->pending, false)) co_return;
    }
    std::optional<boost::asio::steady_timer> timer;
    if (until) {
      timer.emplace(co_await boost::asio::this_coro::executor);
      timer->expires_at(*until);
      Notifier other(state);
      timer->async_wait([other](boost::system::error_code code) mutable {
        if (!code) other.notify();
      });
    }
    auto initiate = [state](auto handler) {
      auto shared = std::make_shared<decltype(handler)>(std::move(handler));
      std::function<void()> wake = [shared] {
        auto executor = boost::asio::get_associated_executor(*shared);
        boost::asio::post(executor, std::move(*shared));
      };
      {
        std::lock_guard lock(state->mutex);
        if (!state->pending) {
          state->wake = std::move(wake);
          return;
        }
      }
      wake();
    };
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(std::move(initiate), boost::asio::use_awaitable);
    std::lock_guard lock(state->mutex);
    state->pending = false;
  }

  Notifier() : state_(std::make_shared<State>()) {}

 private:
  struct State {
    std::mutex mutex;
    bool pending = false;
    std::function<void()> wake;
  };
  explicit Notifier(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace corvid
