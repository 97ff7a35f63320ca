// The recorded conversations and renderings that tests of chat templates read (tests/golden/make_chat_templates.py).
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "corvid/llm/chat_template.hpp"
#include "support/support.hpp"

namespace corvid::test {

inline std::string fnv(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char buffer[17];
  std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(hash));
  return buffer;
}

inline OrderedJson golden(const char* name) {
  return OrderedJson::parse(read_file(source_dir() / "tests" / "golden" / name));
}

inline ChatTemplateInputs inputs_of(const OrderedJson& conversation) {
  ChatTemplateInputs inputs;
  for (const auto& [key, value] : conversation.items()) {
    if (key == "messages") inputs.messages = value;
    else if (key == "tools") inputs.tools = value;
    else if (key == "add_generation_prompt") inputs.add_generation_prompt = value.get<bool>();
    else if (key == "bos_token") inputs.bos_token = value.get<std::string>();
    else if (key == "eos_token") inputs.eos_token = value.get<std::string>();
    else inputs.extra[key] = value;
  }
  inputs.now = 1721995200;  // 2024-07-26 12:00 UTC, as the references were made
  return inputs;
}

}  // namespace corvid::test
