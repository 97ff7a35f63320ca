// gather: a stream read to its end.
#include <iterator>
#include <utility>

#include "corvid/llm/chat_model.hpp"

namespace corvid {

void GenerationResult::add(GenerationEvent event) {
  text += event.text;
  if (event.token) token_ids.push_back(*event.token);
  if (event.logprob) {
    logprobs.push_back(*event.logprob);
    top_logprobs.push_back(std::move(event.top_logprobs));
  }
  std::move(event.tool_calls.begin(), event.tool_calls.end(), std::back_inserter(tool_calls));
  if (event.finish_reason) {
    finish_reason = *event.finish_reason;
    usage = event.usage;
    timings = event.timings;
  }
}

namespace {

Error no_end() { return Error::internal("the stream ended without a finish reason"); }

}  // namespace

Task<GenerationResult> gather(EventStream stream) {
  GenerationResult result;
  bool finished = false;
  while (true) {
    auto event = co_await stream.next();
    if (!event) break;
    if (!*event) co_return fail((*event).error());
    finished = finished || (*event)->finish_reason.has_value();
    result.add(std::move(**event));
  }
  if (!finished) co_return fail(no_end());
  co_return result;
}

Result<GenerationResult> gather_blocking(EventStream stream) {
  GenerationResult result;
  bool finished = false;
  while (auto event = stream.next_blocking()) {
    if (!*event) return fail((*event).error());
    finished = finished || (*event)->finish_reason.has_value();
    result.add(std::move(**event));
  }
  if (!finished) return fail(no_end());
  return result;
}

}  // namespace corvid
