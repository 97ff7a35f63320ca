// The chat templates inside real GGUF files against Jinja2's renderings (tests/golden/make_chat_templates.py).
#include <cstdio>
#include <string>

#include "corvid/llm/chat_template.hpp"
#include "corvid/tensor/model_file.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

std::string fnv(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char buffer[17];
  std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(hash));
  return buffer;
}

OrderedJson golden(const char* name) { return OrderedJson::parse(test::read_file(test::source_dir() / "tests" / "golden" / name)); }

ChatTemplateInputs inputs_of(const OrderedJson& conversation) {
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

}  // namespace

TEST_CASE("the templates inside model files render as Jinja2 renders them") {
  const OrderedJson conversations = golden("chat_conversations.json"), expected = golden("chat_templates_models.json");
  for (const auto& [name, row] : expected.items()) {
    const auto path = test::model(name);
    if (!path) continue;
    const auto file = ModelFile::open(*path);
    REQUIRE(file);
    const auto source = (*file)->metadata().string("tokenizer.chat_template");
    REQUIRE(source);
    INFO(name);
    CHECK(source->has_value() == !row.empty());
    if (row.empty()) continue;  // a base model: it has none
    auto parsed = ChatTemplate::parse(std::string(**source));
    REQUIRE(parsed);
    for (const auto& [conversation, hash] : row.items()) {
      const auto text = parsed->render(inputs_of(conversations.at(conversation)));
      INFO(conversation << ": " << (text ? *text : text.error().describe()));
      if (hash == "error") CHECK_FALSE(text.has_value());
      else CHECK((text && fnv(*text) == hash.get<std::string>()));
    }
  }
}
