// The chat completions protocol: requests to JSON, chunks of an answer to events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/llm/chat_model.hpp"
#include "corvid/llm/remote_chat_model.hpp"

namespace corvid::llm {

/// The request's body. Errors: unsupported (constraint, sampling parameters outside the protocol), invalid_argument.
Result<Json> request_body(const ChatRequest& request, const RemoteChatOptions& options);

/// The sampling parameter outside the protocol that `body` carries and a refusal names, where there is one: such a refusal means that
/// the endpoint does not know it. Empty: none.
std::string refused_parameter(const Json& body, std::string_view refusal);

/// The endpoint's own words in an error's body: {"error":{"message"}}, {"error":"…"}, {"message"} or the text itself, cut short.
std::string refusal_text(std::string_view body);

/// Gathers an answer's chunks. Tool calls come in pieces and are handed out whole, with the last event.
class AnswerReader {
 public:
  /// One chunk of a streamed answer ("choices"[0]."delta") or a whole answer ("message"). Appends what may be shown now.
  /// `offset`: of `text` in the answer's body, for errors.
  /// Errors: bad_input (not the protocol), rejected (the chunk reports an error), limit_exceeded (tool calls).
  Status chunk(std::string_view text, std::uint64_t offset, std::vector<GenerationEvent>& events);

  /// A finish reason has arrived.
  bool complete() const noexcept { return finish_.has_value(); }
  /// The last event. Errors: network (no finish reason has come: the answer was cut), bad_input (a tool call's arguments).
  Result<GenerationEvent> last();

 private:
  struct Call { std::string id, name, arguments; };
  Status object(const Json& json, std::string_view text, std::vector<GenerationEvent>& events);
  Status choice(const Json& choice, std::vector<GenerationEvent>& events);
  Status tool_calls(const Json& calls);

  std::map<std::size_t, std::vector<Call>> calls_;  // by index; several where the endpoint counts wrongly
  std::size_t call_count_ = 0;
  std::optional<FinishReason> finish_;
  Usage usage_;
};

}  // namespace corvid::llm
