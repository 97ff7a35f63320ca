// The compiled form of a JSON Schema: json_schema.cpp builds it, json_schema_check.cpp walks it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/base/json_schema.hpp"

namespace corvid {

namespace detail {

enum SchemaType : std::uint8_t { kNull = 1, kBoolean = 2, kInteger = 4, kNumber = 8, kString = 16, kArray = 32, kObject = 64 };

struct SchemaNode {
  static constexpr std::uint32_t none = 0xffffffff;
  static constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();

  bool never = false;      // the schema `false`
  std::uint8_t types = 0;  // 0: any
  std::optional<Json> constant, multiple_of, minimum, maximum, above, below;
  std::optional<std::vector<Json>> any_value;  // enum
  std::uint64_t min_length = 0, max_length = unbounded, min_items = 0, max_items = unbounded, min_properties = 0,
                max_properties = unbounded;
  std::uint64_t min_contains = 1, max_contains = unbounded;
  bool unique = false;
  std::vector<std::string> required;
  std::vector<std::pair<std::string, std::vector<std::string>>> dependent_required;
  std::vector<std::pair<std::string, std::uint32_t>> properties, dependent_schemas;  // sorted by name
  std::vector<std::uint32_t> prefix_items, all_of, any_of, one_of;
  std::uint32_t ref = none, items = none, contains = none, additional = none, names = none;
  std::uint32_t negated = none, condition = none, then = none, otherwise = none;
};

/// `name` as a part of a JSON pointer (RFC 6901).
inline std::string pointer_token(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '~') out += "~0";
    else if (c == '/') out += "~1";
    else out += c;
  }
  return out;
}

}  // namespace detail

struct JsonSchema::Impl {
  Json document;
  std::vector<detail::SchemaNode> nodes;  // [0] is the root
};

}  // namespace corvid
