// A chat template of any text, rendered over one conversation.
#include "corvid/llm/chat_template.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto made = corvid::ChatTemplate::parse(std::string(reinterpret_cast<const char*>(data), size));
  if (!made) return 0;
  corvid::ChatTemplateInputs inputs;
  const corvid::Message messages[] = {corvid::Message::system("s"), corvid::Message::user("u"), corvid::Message::assistant("a")};
  inputs.messages = corvid::template_messages(messages);
  (void)made->render(inputs);
  return 0;
}
