// Transfer: one request to the endpoint with its retries, on a thread of its own; what comes goes through channels.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "corvid/llm/remote_chat_model.hpp"
#include "corvid/runtime/channel.hpp"
#include "llm/remote/endpoint.hpp"
#include "llm/remote/socket_stopper.hpp"
#include "llm/sampling/random.hpp"

namespace corvid {
class Runtime;
}

namespace corvid::llm {

struct RemoteConfig {
  Runtime* runtime = nullptr;
  RemoteChatOptions options;
  HttpUrl endpoint;
  std::string key;
};

/// What one attempt came to.
struct Attempt {
  Status status;
  bool again = false;                                     ///< worth another attempt
  std::optional<std::chrono::milliseconds> retry_after;   ///< asked for by the endpoint
};

class Transfer {
 public:
  Transfer(std::shared_ptr<const RemoteConfig> config, Json body, CancellationToken token);

  /// The worker's thread: everything, to the end.
  void run() noexcept;
  /// Any thread, any time: the transfer ends, the reader sees no more tokens. False: see SocketStopper::stop.
  bool stop(FinishReason why);

  std::optional<FinishReason> stopped() const;
  bool finished() const noexcept { return finished_.load(std::memory_order_acquire); }
  /// Once: the endpoint has begun to answer, or why it will not. Closed without a value when stopped.
  Channel<Status>& started() noexcept { return started_; }
  /// Closed at the end; what the end is, last() says.
  Channel<GenerationEvent>& events() noexcept { return events_; }
  Result<GenerationEvent> last() const;

 private:
  using Clock = std::chrono::steady_clock;
  friend class AttemptRun;

  void work();
  bool pause(std::chrono::milliseconds length);           // false: stopped
  void finish(Result<GenerationEvent> end);
  void begin();                                           // the endpoint answers

  const std::shared_ptr<const RemoteConfig> config_;
  const Json body_;
  const CancellationToken token_;
  const Clock::time_point submitted_ = Clock::now();
  Clock::time_point first_token_{};
  Random random_;
  SocketStopper socket_;
  Channel<Status> started_{1};
  Channel<GenerationEvent> events_{64};
  std::atomic<bool> finished_{false};
  bool begun_ = false;                                    // the worker's

  mutable std::mutex mutex_;
  std::condition_variable stop_changed_;
  std::optional<FinishReason> stopped_;
  std::optional<Result<GenerationEvent>> last_;
};

}  // namespace corvid::llm
