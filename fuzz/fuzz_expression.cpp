// An expression, a template, and JSON whose strings are templates, of any text: what parses is evaluated over a state of every kind of value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "corvid/graphs/expression.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const corvid::Json state = *corvid::parse_json(
      R"({"a":3,"b":0.5,"c":"text","d":[1,2.5,"x",null,{"e":[true]}],"f":{"g":1},"n":null,"big":9223372036854775807,"huge":18446744073709551615})");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto parsed = corvid::Expression::parse(text)) {
    const auto first = parsed->evaluate(state), again = parsed->evaluate(state);
    if (first.has_value() != again.has_value() || (first && *first != *again)) std::abort();
    if (first && !corvid::parse_json(corvid::dump_json(*first))) std::abort();
  }
  static const corvid::Json variables = {{"error", {{"code", "io"}}}, {"item", 4}};
  const corvid::JsonScope scope(state, &variables);
  if (const auto parsed = corvid::TextTemplate::parse(text)) {
    const auto rendered = parsed->render(scope);
    const auto value = parsed->value(scope);
    if (parsed->constant() && (!rendered || !value || *value != *rendered)) std::abort();
  }
  const auto json = corvid::parse_json(text);
  if (const auto parsed = corvid::ValueTemplate::compile(json ? *json : corvid::Json{{"a", text}, {"b", {text, 1}}})) (void)parsed->evaluate(scope);
  return 0;
}
