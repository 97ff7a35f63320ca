// CancellationToken: one flag and one deadline, shared by everyone who works on a request.
//
//   CancellationSource source;                       // the caller's end
//   source.set_deadline(std::chrono::steady_clock::now() + 2s);
//   auto token = source.token();                     // handed down to whatever does the work
//   CORVID_TRY_STATUS(token.check());                // the worker asks between steps
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "corvid/base/result.hpp"

namespace corvid {

/// The worker's end. Cheap to copy; a default-constructed token is never cancelled. Any thread.
class CancellationToken {
 public:
  CancellationToken() = default;

  bool cancellable() const noexcept { return state_ != nullptr; }  ///< false: nobody can ever cancel it
  bool cancelled() const noexcept;  ///< cancel() was called (a passed deadline does not count)
  std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept;

  /// Ok, or Error::cancelled / Error::deadline_exceeded. Costs an atomic load and, with a deadline, a clock read.
  Status check() const;

  /// Calls `callback` once, from the cancelling thread, when cancel() is called; at once if it already was.
  /// Deadlines do not fire it. The subscription ends when the returned handle is destroyed.
  std::shared_ptr<void> on_cancel(std::function<void()> callback) const;

 private:
  friend class CancellationSource;
  struct State;
  std::shared_ptr<State> state_;
};

/// The caller's end. Any thread.
class CancellationSource {
 public:
  CancellationSource();
  /// A source whose token is cancelled when `parent` is, and whose deadline is the earlier of the two.
  explicit CancellationSource(const CancellationToken& parent);

  void cancel();                                                   ///< idempotent; async-signal-unsafe
  void set_deadline(std::chrono::steady_clock::time_point when);   ///< an earlier deadline already set is kept
  CancellationToken token() const;

 private:
  std::shared_ptr<CancellationToken::State> state_;
  std::shared_ptr<void> parent_;
};

}  // namespace corvid
