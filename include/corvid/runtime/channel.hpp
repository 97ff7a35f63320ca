// Channel<T>: a bounded queue between threads and coroutines; the way tokens, events and progress flow.
//
//   Channel<Event> events(16);
//   events.send(e)               // blocks while full; false once closed          (worker threads)
//   co_await events.receive()    // suspends while empty; nullopt once closed and drained (coroutines)
//   events.receive_blocking()    // the same for a plain thread
//
// A slow reader holds back its own writer and nobody else. Values sent before close() are all received.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <condition_variable>
#include <optional>

namespace corvid {

template <class T>
class Channel {
 public:
  explicit Channel(std::size_t capacity);  ///< capacity ≥ 1

  bool send(T value);                      ///< blocks while full; false (value dropped) when closed
  bool try_send(T& value);                 ///< false when full or closed; moves from `value` only on success
  boost::asio::awaitable<bool> send_async(T value);
  boost::asio::awaitable<std::optional<T>> receive();
  std::optional<T> receive_blocking();
  std::optional<T> try_receive();
  void close();                            ///< idempotent; wakes everyone
  bool closed() const;
  /// Called (from the receiving or closing thread, without locks held) whenever room appears or the channel closes:
  /// lets a scheduler that uses try_send resume a sequence. One callback; set before use.
  void on_room(std::function<void()> callback);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace corvid
