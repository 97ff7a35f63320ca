// FakeChatModel: answers from a script, for tests of what talks to a model.
//
//   FakeChatModel model;
//   model.reply("Paris.");
//   model.call_tool({"call_1", "get_weather", Json{{"city", "Paris"}}});
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "corvid/llm/chat_model.hpp"

namespace corvid {

/// Thread-safe. Answers are given in the order they were added; a request beyond them is Error::not_found.
class FakeChatModel final : public ChatModel {
 public:
  explicit FakeChatModel(std::string name = "fake");
  ~FakeChatModel() override;

  void reply(std::string text);                       ///< one event a word, then the end
  void call_tool(ToolCallPart call);                  ///< ends with finish_reason tool_calls
  void events(std::vector<GenerationEvent> events);   ///< as they are; the last should have a finish_reason
  void fail_with(Error error);                        ///< chat() itself fails

  std::vector<ChatRequest> requests() const;          ///< what was asked so far

  Task<EventStream> chat(ChatRequest request) override;
  std::string_view name() const noexcept override;
  std::optional<std::uint64_t> context_tokens() const noexcept override { return std::nullopt; }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corvid
