// ListedEvents: a stream of events that are all known beforehand, for models that do not compute.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "corvid/llm/chat_model.hpp"

namespace corvid::llm {

/// Gives `events` in order. Once it is cancelled or the token is over, one last event says which. Thread-safe.
class ListedEvents final : public EventStream::Source {
 public:
  ListedEvents(std::vector<GenerationEvent> events, CancellationToken token) : events_(std::move(events)), token_(std::move(token)) {}

  boost::asio::awaitable<std::optional<Result<GenerationEvent>>> next() override { co_return next_blocking(); }

  std::optional<Result<GenerationEvent>> next_blocking() override {
    const std::lock_guard lock(mutex_);
    if (at_ >= events_.size()) return std::nullopt;
    const auto live = token_.check();
    if (!cancelled_ && live) return Result<GenerationEvent>(std::move(events_[at_++]));
    at_ = events_.size();
    GenerationEvent end;
    end.finish_reason = cancelled_ || live.error().code() == ErrorCode::cancelled ? FinishReason::cancelled : FinishReason::deadline;
    return Result<GenerationEvent>(std::move(end));
  }

  void cancel() override {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }

 private:
  std::mutex mutex_;
  std::vector<GenerationEvent> events_;
  std::size_t at_ = 0;
  bool cancelled_ = false;
  CancellationToken token_;
};

}  // namespace corvid::llm
