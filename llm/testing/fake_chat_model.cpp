#include "corvid/llm/fake_chat_model.hpp"

#include <deque>
#include <mutex>
#include <utility>
#include <variant>

#include "llm/message/listed_events.hpp"

namespace corvid {

struct FakeChatModel::State {
  std::string name;
  mutable std::mutex mutex;
  std::deque<std::variant<std::vector<GenerationEvent>, Error>> script;
  std::vector<ChatRequest> requests;
};

FakeChatModel::FakeChatModel(std::string name) : state_(std::make_unique<State>()) { state_->name = std::move(name); }
FakeChatModel::~FakeChatModel() = default;

void FakeChatModel::reply(std::string text) {
  std::vector<GenerationEvent> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t space = text.find(' ', at + 1);
    GenerationEvent event;
    event.text = text.substr(at, space == std::string::npos ? space : space - at);
    at += event.text.size();
    out.push_back(std::move(event));
  }
  GenerationEvent end;
  end.finish_reason = FinishReason::stop;
  end.usage.completion_tokens = out.size();
  out.push_back(std::move(end));
  events(std::move(out));
}

void FakeChatModel::call_tool(ToolCallPart call) {
  GenerationEvent end;
  end.tool_calls.push_back(std::move(call));
  end.finish_reason = FinishReason::tool_calls;
  events({std::move(end)});
}

void FakeChatModel::events(std::vector<GenerationEvent> events) {
  const std::lock_guard lock(state_->mutex);
  state_->script.emplace_back(std::move(events));
}

void FakeChatModel::fail_with(Error error) {
  const std::lock_guard lock(state_->mutex);
  state_->script.emplace_back(std::move(error));
}

std::vector<ChatRequest> FakeChatModel::requests() const {
  const std::lock_guard lock(state_->mutex);
  return state_->requests;
}

Task<EventStream> FakeChatModel::chat(ChatRequest request) {
  const std::lock_guard lock(state_->mutex);  // held over no suspension
  state_->requests.push_back(request);
  if (state_->script.empty()) {
    co_return fail(Error::not_found("the fake model's script has no answer for request " + std::to_string(state_->requests.size())));
  }
  auto answer = std::move(state_->script.front());
  state_->script.pop_front();
  if (auto* error = std::get_if<Error>(&answer)) co_return fail(*error);
  auto source = std::make_unique<llm::ListedEvents>(std::move(std::get<0>(answer)), std::move(request.cancellation));
  co_return EventStream(std::move(source));
}

std::string_view FakeChatModel::name() const noexcept { return state_->name; }

}  // namespace corvid
