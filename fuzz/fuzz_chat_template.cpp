// A chat template of any text, rendered over a conversation with tools: text, or a typed error within the limits.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "corvid/llm/chat_template.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const corvid::ChatTemplateInputs inputs = [] {
    corvid::ChatTemplateInputs made;
    made.messages = corvid::OrderedJson::parse(
        R"([{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hi 中"}]},)"
        R"({"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":{"x":[1,2.5,null]}}}]},)"
        R"({"role":"tool","tool_call_id":"c1","content":"42"},{"role":"user","content":"and?"}])");
    made.tools = corvid::OrderedJson::parse(
        R"([{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"x":{"type":"array"}}}}}])");
    made.bos_token = "<s>";
    made.eos_token = "</s>";
    made.extra = corvid::OrderedJson::parse(R"({"enable_thinking":true,"n":3,"big":9223372036854775807})");
    made.now = 1'700'000'000;
    return made;
  }();
  // Small enough that no input takes long.
  const corvid::ChatTemplateLimits limits{40, 20'000, 1 << 16, 10'000};
  const auto parsed = corvid::ChatTemplate::parse(std::string(reinterpret_cast<const char*>(data), size), limits);
  if (!parsed) {
    if (parsed.error().code() == corvid::ErrorCode::internal) std::abort();
    return 0;
  }
  const auto text = parsed->render(inputs), again = parsed->render(inputs);
  if (text.has_value() != again.has_value() || (text && *text != *again)) std::abort();
  if (text && text->size() > limits.max_output_bytes) std::abort();
  if (!text && text.error().code() == corvid::ErrorCode::internal) std::abort();
  return 0;
}
