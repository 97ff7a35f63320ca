// The chat templates inside real GGUF files against Jinja2's renderings (tests/golden/make_chat_templates.py).
#include <string>

#include "corvid/llm/chat_template.hpp"
#include "corvid/tensor/model_file.hpp"
#include "llm/template_cases.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

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
