// ChatModel: what agents and pipelines talk to: the native engine, a remote endpoint, a fake, a replay.
//
//   ChatRequest request;
//   request.messages = {Message::user("Hi")};
//   CORVID_CO_TRY(auto stream, co_await model.chat(std::move(request)));
//   while (auto event = co_await stream.next()) { if (!*event) co_return fail(event->error()); print((*event)->text); }
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/task.hpp"
#include "corvid/llm/generation.hpp"
#include "corvid/llm/message.hpp"

namespace corvid {

struct ChatRequest {
  std::vector<Message> messages;
  std::vector<ToolSpec> tools;
  ResponseFormat response_format;
  SamplingParams sampling;
  int max_tokens = 512;
  std::vector<std::string> stop;                         ///< stop strings
  std::shared_ptr<TokenConstraint> constraint;           ///< native engine only
  CancellationToken cancellation;
};

/// A stream of events. Move-only; dropping it cancels the generation.
class EventStream {
 public:
  /// The producer's side, implemented by each model.
  class Source {
   public:
    virtual ~Source() = default;                         ///< cancels what still runs
    virtual boost::asio::awaitable<std::optional<Result<GenerationEvent>>> next() = 0;
    virtual std::optional<Result<GenerationEvent>> next_blocking() = 0;
    virtual void cancel() = 0;
  };
  explicit EventStream(std::unique_ptr<Source> source) : source_(std::move(source)) {}

  /// The next event; nullopt after the last. An Error ends the stream. A cancelled generation ends with an event whose
  /// finish_reason is cancelled or deadline, not with an Error.
  boost::asio::awaitable<std::optional<Result<GenerationEvent>>> next() { return source_->next(); }
  std::optional<Result<GenerationEvent>> next_blocking() { return source_->next_blocking(); }
  void cancel() { source_->cancel(); }

 private:
  std::unique_ptr<Source> source_;
};

/// Reads a stream to its end.
Task<GenerationResult> gather(EventStream stream);
Result<GenerationResult> gather_blocking(EventStream stream);

/// Thread-safe; several requests may be in flight.
class ChatModel {
 public:
  virtual ~ChatModel() = default;
  /// Errors: unsupported (a part, tool or format that this model cannot do), limit_exceeded (prompt over the context, with
  /// both numbers), network, rejected, cancelled.
  virtual Task<EventStream> chat(ChatRequest request) = 0;
  virtual std::string_view name() const noexcept = 0;
  /// Context length in tokens, where known.
  virtual std::optional<std::uint64_t> context_tokens() const noexcept = 0;
  /// Tokens that these messages take as a prompt, where the model can count them.
  virtual std::optional<std::uint64_t> count_tokens(const ChatRequest& request) const { (void)request; return std::nullopt; }
};

}  // namespace corvid
