// The format's tables: every object of a graph file, its keys, and the schema of each key's value. The validator, the JSON Schema and the
// documentation's test all read them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json_schema.hpp"
#include "corvid/base/result.hpp"

namespace corvid::detail {

struct FormatKey {
  std::string_view name;
  std::string_view schema;  // JSON; where it starts with {"$ref", the value has a table of its own and is checked by that
  std::string_view description;
  bool required = false;
};

enum class FormatObject : std::uint8_t { graph, channel, node, edge, arm, send, retry, cache, on_error };
inline constexpr std::size_t kFormatObjects = 9;

struct FormatTable {
  std::string_view name;  // under $defs
  std::string_view what;  // in messages: "a node"
  std::span<const FormatKey> keys;
};
const FormatTable& format_table(FormatObject object);
const FormatKey* format_key(FormatObject object, std::string_view name);
std::vector<std::string> format_key_names(FormatObject object);
/// The compiled schema of one key's value; null where a table checks it.
const JsonSchema* format_value_schema(FormatObject object, std::string_view name);

}  // namespace corvid::detail
