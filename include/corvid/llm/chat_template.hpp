// ChatTemplate: the Jinja subset that the templates inside real GGUFs use, with step, depth and output limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "corvid/llm/message.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

struct ChatTemplateLimits {
  std::size_t max_depth = 100;                        ///< nested calls and expressions
  std::uint64_t max_steps = 1'000'000;
  std::size_t max_output_bytes = std::size_t{1} << 20;
  std::uint64_t max_range = 1'000'000;                ///< of range()
};

/// Keeps the keys' order, as the templates' own environment does: it shows in what tojson and items write.
using OrderedJson = nlohmann::ordered_json;

struct ChatTemplateInputs {
  OrderedJson messages = OrderedJson::array();        ///< as template_messages() gives them
  OrderedJson tools;                                  ///< OpenAI tool array, as template_tools() gives it, or null
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
  OrderedJson extra = OrderedJson::object();          ///< further variables
  std::optional<std::time_t> now;                     ///< for strftime_now, UTC; unset = the clock
};

/// Messages as templates expect them: OpenAI's shape, but with tool calls' arguments as objects and absent content as "".
OrderedJson template_messages(std::span<const Message> messages);
/// Null for no tools: templates ask whether tools are there.
OrderedJson template_tools(std::span<const ToolSpec> tools);

struct RenderedChat {
  std::string text;
  std::vector<TextRange> input;                       ///< sorted, apart from each other
};

/// Parsed once, rendered many times; immutable and thread-safe.
class ChatTemplate {
 public:
  /// Errors: bad_input (syntax, byte offset into the template), unsupported (a construct outside the subset, named).
  static Result<ChatTemplate> parse(std::string source, ChatTemplateLimits limits = {});
  /// Errors: invalid_argument carrying the template's own raise_exception text, limit_exceeded, bad_input (a type error).
  Result<std::string> render(const ChatTemplateInputs& inputs) const;
  /// The same with the ranges that came from messages, tools and further variables, not from the template: what EncodeOptions::literal takes,
  /// so that no text in a message can open a turn. What a filter or a method makes of such text counts as such text, all of it.
  Result<RenderedChat> render_marked(const ChatTemplateInputs& inputs) const;
  const std::string& source() const noexcept;

  struct Program;
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

 private:
  explicit ChatTemplate(std::unique_ptr<Program> program);
  std::unique_ptr<Program> program_;
};

}  // namespace corvid
