// Channel<T>: a bounded queue between threads and coroutines; the way tokens, events and progress flow.
//
//   Channel<Event> events(16);
//   events.send(e)               // blocks while full; false once closed          (worker threads)
//   co_await events.receive()    // suspends while empty; nullopt once closed and drained (coroutines)
//   events.receive_blocking()    // the same for a plain thread
//
// A slow reader holds back its own writer and nobody else. Values sent before close() are all received. Every call may come from
// any thread. Copies share one queue.
#pragma once

#include <algorithm>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace corvid {

template <class T>
class Channel {
 public:
  explicit Channel(std::size_t capacity) : state_(std::make_shared<State>()) {  ///< at least 1
    state_->capacity = std::max<std::size_t>(capacity, 1);
  }

  /// Blocks while full; false (value dropped) when closed.
  bool send(T value) {
    State& s = *state_;
    std::unique_lock lock(s.mutex);
    s.room.wait(lock, [&] { return s.closed || s.values.size() < s.capacity; });
    return s.put(lock, value);
  }
  /// False when full or closed; moves from `value` only on success.
  bool try_send(T& value) {
    State& s = *state_;
    std::unique_lock lock(s.mutex);
    if (s.values.size() >= s.capacity) return false;
    return s.put(lock, value);
  }
  boost::asio::awaitable<bool> send_async(T value) {
    const auto s = state_;
    while (true) {
      {
        std::unique_lock lock(s->mutex);
        if (s->closed || s->values.size() < s->capacity) co_return s->put(lock, value);
      }
      const auto ready = [](const State& state) { return state.closed || state.values.size() < state.capacity; };
      co_await wait(s, s->senders, ready);
    }
  }
  /// The next value; nullopt once closed and drained.
  boost::asio::awaitable<std::optional<T>> receive() {
    const auto s = state_;
    while (true) {
      {
        std::unique_lock lock(s->mutex);
        if (!s->values.empty() || s->closed) co_return s->take(lock);
      }
      const auto ready = [](const State& state) { return state.closed || !state.values.empty(); };
      co_await wait(s, s->receivers, ready);
    }
  }
  std::optional<T> receive_blocking() {
    State& s = *state_;
    std::unique_lock lock(s.mutex);
    s.item.wait(lock, [&] { return s.closed || !s.values.empty(); });
    return s.take(lock);
  }
  /// nullopt when nothing is there right now.
  std::optional<T> try_receive() {
    State& s = *state_;
    std::unique_lock lock(s.mutex);
    return s.take(lock);
  }
  /// Idempotent; wakes everyone.
  void close() {
    State& s = *state_;
    std::unique_lock lock(s.mutex);
    if (s.closed) return;
    s.closed = true;
    auto wakers = std::move(s.receivers);
    s.receivers.clear();
    for (auto& waker : s.senders) wakers.push_back(std::move(waker));
    s.senders.clear();
    const auto callback = s.callback;
    lock.unlock();
    s.item.notify_all();
    s.room.notify_all();
    for (auto& waker : wakers) waker();
    if (callback) callback();
  }
  bool closed() const {
    std::lock_guard lock(state_->mutex);
    return state_->closed;
  }
  /// Called (from the receiving or closing thread, without locks held) whenever room appears or the channel closes: lets a
  /// scheduler that uses try_send resume a sequence. One callback; set before use.
  void on_room(std::function<void()> callback) {
    std::lock_guard lock(state_->mutex);
    state_->callback = std::move(callback);
  }

 private:
  using Waker = std::function<void()>;

  struct State {
    std::size_t capacity = 1;
    std::mutex mutex;
    std::condition_variable item, room;
    std::deque<T> values;
    std::vector<Waker> receivers, senders;  // suspended coroutines; a woken one looks again
    std::function<void()> callback;
    bool closed = false;

    static std::optional<Waker> first(std::vector<Waker>& wakers) {
      if (wakers.empty()) return std::nullopt;
      Waker waker = std::move(wakers.front());
      wakers.erase(wakers.begin());
      return waker;
    }
    bool put(std::unique_lock<std::mutex>& lock, T& value) {
      if (closed) return false;
      values.push_back(std::move(value));
      auto waker = first(receivers);
      lock.unlock();
      item.notify_one();
      if (waker) (*waker)();
      return true;
    }
    std::optional<T> take(std::unique_lock<std::mutex>& lock) {
      if (values.empty()) return std::nullopt;
      std::optional<T> value(std::move(values.front()));
      values.pop_front();
      auto waker = first(senders);
      const auto on_room = callback;
      lock.unlock();
      room.notify_one();
      if (waker) (*waker)();
      if (on_room) on_room();
      return value;
    }
  };

  // Suspends until woken, or not at all if `ready` already holds. Wakers only post; they run nothing themselves.
  template <class Ready>
  static boost::asio::awaitable<void> wait(std::shared_ptr<State> state, std::vector<Waker>& list, Ready ready) {
    auto initiate = [state, &list, ready](auto handler) {
      auto shared = std::make_shared<decltype(handler)>(std::move(handler));
      Waker waker = [shared] {
        auto executor = boost::asio::get_associated_executor(*shared);
        boost::asio::post(executor, std::move(*shared));
      };
      {
        std::lock_guard lock(state->mutex);
        if (!ready(*state)) {
          list.push_back(std::move(waker));
          return;
        }
      }
      waker();
    };
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(std::move(initiate), boost::asio::use_awaitable);
  }

  std::shared_ptr<State> state_;
};

}  // namespace corvid
