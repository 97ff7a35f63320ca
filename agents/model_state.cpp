#include "corvid/agents/model_state.hpp"

#include <boost/asio/this_coro.hpp>
#include <optional>
#include <utility>

#include "corvid/runtime/tracer.hpp"
#include "corvid/runtime/tracer_names.hpp"

namespace corvid {
namespace {

// Cancelled when the node or the request is, with the earlier deadline.
class EitherToken {
 public:
  EitherToken(CancellationToken node, CancellationToken request) : node_(std::move(node)), request_(std::move(request)), source_(node_) {
    if (const auto when = request_.deadline()) source_.set_deadline(*when);
    subscription_ = request_.on_cancel([source = source_]() mutable { source.cancel(); });
  }
  CancellationToken token() const { return source_.token(); }
  // The node's reason first: it is the one that the run acts on.
  Status check() const {
    CORVID_TRY_STATUS(node_.check());
    CORVID_TRY_STATUS(request_.check());
    return source_.token().check();
  }

 private:
  CancellationToken node_, request_;
  CancellationSource source_;
  std::shared_ptr<void> subscription_;
};

// Puts a sequence back unless told that its new end is wanted; also when the coroutine is destroyed where it waits. What still runs
// then writes to a sequence that nobody holds.
class Rollback {
 public:
  explicit Rollback(Sequence& sequence) : sequence_(&sequence), before_(sequence.fork()) {}
  ~Rollback() {
    if (sequence_) *sequence_ = std::move(before_);
  }
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  void keep() noexcept { sequence_ = nullptr; }

 private:
  Sequence* sequence_;
  Sequence before_;
};

Task<GenerationResult> read_events(NodeContext& context, EventStream& stream, const EitherToken& cancellation) {
  GenerationResult result;
  std::optional<Error> stopped;
  bool finished = false;
  while (true) {
    auto event = co_await stream.next();
    if (!event) break;
    if (!*event) co_return fail(stopped ? std::move(*stopped) : std::move(*event).error());
    const auto reason = (*event)->finish_reason;
    finished = finished || reason.has_value();
    if (stopped) continue;
    const bool broken_off = reason == FinishReason::cancelled || reason == FinishReason::deadline;
    if (!reason || broken_off) {
      if (auto status = cancellation.check(); !status) stopped = std::move(status).error();
      else if (reason == FinishReason::cancelled) stopped = Error::cancelled("the generation was cancelled");
      else if (reason == FinishReason::deadline) stopped = Error::deadline_exceeded("the generation's deadline passed");
    }
    if (stopped) {
      stream.cancel();
      continue;
    }
    if ((*event)->text.empty()) {
      context.heartbeat();
    } else {
      Json message = Json::object();
      message["text"] = (*event)->text;
      context.emit_message(std::move(message));
    }
    result.add(std::move(**event));
  }
  if (stopped) co_return fail(std::move(*stopped));
  if (!finished) co_return fail(Error::internal("the stream ended without a finish reason"));
  co_return result;
}

// Reads to the stream's end in any case: when this returns, the model works on it no more. A cancelled coroutine would be thrown out of
// its next wait and leave the model at work; the token says the same, and the stream then ends within one token.
Task<GenerationResult> read(NodeContext& context, EventStream& stream, const EitherToken& cancellation) {
  const bool throws = co_await boost::asio::this_coro::throw_if_cancelled();
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  auto result = co_await read_events(context, stream, cancellation);
  co_await boost::asio::this_coro::throw_if_cancelled(throws);
  co_return result;
}

}  // namespace

Restorer sequence_restorer(std::shared_ptr<Engine> engine, ConstraintFactory constraints) {
  return [engine = std::move(engine), constraints = std::move(constraints)](std::span<const std::byte> saved) -> Result<RestoredState> {
    CORVID_TRY(auto restored, engine->restore_or_recompute(saved, constraints));
    return RestoredState{std::make_shared<Sequence>(std::move(restored.sequence)), std::move(restored.note)};
  };
}

namespace {

// "chat MODEL", where the run is traced.
std::unique_ptr<Span> chat_span(NodeContext& context, std::string_view model) {
  if (!context.tracer()) return nullptr;
  auto span = context.tracer()->start(std::string(trace_names::kChat) + " " + std::string(model), context.trace_parent());
  span->attribute(trace_names::kOperationName, trace_names::kChat);
  span->attribute(trace_names::kRequestModel, std::string(model));
  if (!context.thread_id().empty()) span->attribute(trace_names::kConversationId, context.thread_id());
  return span;
}

void end_span(std::unique_ptr<Span> span, const Result<GenerationResult>& result) {
  if (!span) return;
  if (!result) {
    span->attribute(trace_names::kErrorType, std::string(to_string(result.error().code())));
    span->fail(result.error().message());
    return;
  }
  span->attribute(trace_names::kInputTokens, result->usage.prompt_tokens);
  span->attribute(trace_names::kOutputTokens, result->usage.completion_tokens);
  span->attribute(trace_names::kFinishReasons, Json::array({std::string(to_string(result->finish_reason))}));
}

}  // namespace

Task<GenerationResult> continue_in_node(NodeContext& context, Engine& engine, Sequence& sequence, GenerateRequest request) {
  const EitherToken cancellation(context.cancellation(), request.cancellation);
  CORVID_CO_TRY_STATUS(cancellation.check());
  request.cancellation = cancellation.token();
  Rollback rollback(sequence);
  auto span = chat_span(context, engine.info().name);
  CORVID_CO_TRY(auto stream, engine.continue_sequence(sequence, std::move(request)));
  auto result = co_await read(context, stream, cancellation);
  end_span(std::move(span), result);
  if (result) rollback.keep();
  co_return result;
}

Task<GenerationResult> chat_in_node(NodeContext& context, ChatModel& model, ChatRequest request) {
  const EitherToken cancellation(context.cancellation(), request.cancellation);
  CORVID_CO_TRY_STATUS(cancellation.check());
  request.cancellation = cancellation.token();
  auto span = chat_span(context, model.name());
  auto stream = co_await model.chat(std::move(request));
  if (!stream) {
    Result<GenerationResult> failed = fail(std::move(stream).error());
    end_span(std::move(span), failed);
    co_return failed;
  }
  auto result = co_await read(context, *stream, cancellation);
  end_span(std::move(span), result);
  co_return result;
}

}  // namespace corvid
