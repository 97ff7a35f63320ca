#include <algorithm>
#include <cmath>
#include <string_view>

#include "src/base/json_schema_impl.hpp"

namespace corvid {
namespace {

using detail::SchemaNode;

// -1, 0, 1. A long double holds every 64-bit integer exactly.
int compare(const Json& a, const Json& b) {
  const auto x = a.get<long double>(), y = b.get<long double>();
  return x < y ? -1 : x > y ? 1 : 0;
}

bool is_whole(double value) { return std::isfinite(value) && value == std::floor(value); }

bool is_multiple(const Json& value, const Json& of) {
  const auto v = std::fabs(value.get<double>()), m = of.get<double>();
  if (!std::isfinite(v)) return false;
  if (is_whole(v / m) && v / m < 9e18) return true;
  const double rest = std::fmod(v, m);  // exact, so only the decimal fractions' own rounding is forgiven: 0.0075 is 75 times 0.0001
  const double slack = std::min(v * 4e-16, m * 1e-6);
  return rest <= slack || m - rest <= slack;
}

// 1.0 and 1 are the same JSON number; written alike, values can be compared as text.
Json normal(const Json& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    return is_whole(number) && std::fabs(number) < 9e15 ? Json(static_cast<std::int64_t>(number)) : value;
  }
  if (!value.is_structured()) return value;
  Json out = value;
  for (Json& part : out) part = normal(part);
  return out;
}

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::uint8_t types_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return detail::kNull;
    case Json::value_t::boolean:
      return detail::kBoolean;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return detail::kInteger;
    case Json::value_t::number_float:
      return is_whole(value.get<double>()) ? detail::kInteger : detail::kNumber;
    case Json::value_t::string:
      return detail::kString;
    case Json::value_t::array:
      return detail::kArray;
    case Json::value_t::object:
      return detail::kObject;
    default:
      return 0;
  }
}

std::string names_of(std::uint8_t types) {
  std::string out;
  const auto add = [&](const char* name) { out += (out.empty() ? "" : " or ") + std::string(name); };
  if (types & detail::kNull) add("null");
  if (types & detail::kBoolean) add("boolean");
  if (types & detail::kNumber)
    add("number");
  else if (types & detail::kInteger)
    add("integer");
  if (types & detail::kString) add("string");
  if (types & detail::kArray) add("array");
  if (types & detail::kObject) add("object");
  return out;
}

// What stands in messages: short, whatever the value.
std::string shown(const Json& value) {
  std::string text = dump_json(value);
  if (text.size() > 60) {
    std::size_t end = 57;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text = text.substr(0, end) + "…";
  }
  return text;
}

// The way to the value being looked at, as a list on the stack: a pointer is only written when something is wrong.
struct Place {
  const Place* up = nullptr;
  std::string_view name;
  std::size_t index = 0;
  bool by_name = false;

  std::string pointer() const {
    if (!up) return {};
    std::string out = up->pointer() + "/";
    return out + (by_name ? detail::pointer_token(name) : std::to_string(index));
  }
};

class Checker {
 public:
  explicit Checker(const std::vector<SchemaNode>& nodes) : nodes_(nodes) {}

  Status check(std::uint32_t index, const Json& value, const Place& place, std::size_t depth) {
    if (depth > JsonSchema::kMaxDepth)
      return fail(Error::limit_exceeded("the schema nests more than " + std::to_string(JsonSchema::kMaxDepth) +
                                        " checks; does a $ref lead back to itself?")
                      .at_key(place.pointer()));
    if (++steps_ > JsonSchema::kMaxSteps)
      return fail(Error::limit_exceeded("checking takes more than " + std::to_string(JsonSchema::kMaxSteps) + " steps"));
    const SchemaNode& node = nodes_[index];
    if (node.never) return wrong(place, "is not allowed here");
    const std::uint8_t types = types_of(value);
    if (node.types != 0 && (node.types & types) == 0) return wrong(place, "must be " + names_of(node.types) + ", not " + shown(value));
    if (node.constant && value != *node.constant) return wrong(place, "must be " + shown(*node.constant) + ", not " + shown(value));
    if (node.any_value && std::find(node.any_value->begin(), node.any_value->end(), value) == node.any_value->end()) {
      std::string all;
      for (const Json& each : *node.any_value) all += (all.empty() ? "" : ", ") + shown(each);
      return wrong(place, "must be one of " + all + ", not " + shown(value));
    }
    if (value.is_number())
      CORVID_TRY_STATUS(number(node, value, place));
    else if (value.is_string())
      CORVID_TRY_STATUS(string(node, value, place));
    else if (value.is_array())
      CORVID_TRY_STATUS(array(node, value, place, depth));
    else if (value.is_object())
      CORVID_TRY_STATUS(object(node, value, place, depth));
    if (node.ref != SchemaNode::none) CORVID_TRY_STATUS(check(node.ref, value, place, depth + 1));
    return combined(node, value, place, depth);
  }

 private:
  static Status wrong(const Place& place, std::string message) {
    return fail(Error::bad_input(std::move(message)).at_key(place.pointer()));
  }

  // Whether it fits; an Error only where a limit was passed.
  Result<bool> fits(std::uint32_t index, const Json& value, const Place& place, std::size_t depth) {
    auto status = check(index, value, place, depth + 1);
    if (!status && status.error().code() == ErrorCode::limit_exceeded) return fail(std::move(status).error());
    return status.has_value();
  }

  Status number(const SchemaNode& node, const Json& value, const Place& place) {
    if (node.minimum && compare(value, *node.minimum) < 0)
      return wrong(place, "must be at least " + shown(*node.minimum) + ", not " + shown(value));
    if (node.maximum && compare(value, *node.maximum) > 0)
      return wrong(place, "must be at most " + shown(*node.maximum) + ", not " + shown(value));
    if (node.above && compare(value, *node.above) <= 0)
      return wrong(place, "must be above " + shown(*node.above) + ", not " + shown(value));
    if (node.below && compare(value, *node.below) >= 0)
      return wrong(place, "must be below " + shown(*node.below) + ", not " + shown(value));
    if (node.multiple_of && !is_multiple(value, *node.multiple_of))
      return wrong(place, "must be a multiple of " + shown(*node.multiple_of) + ", not " + shown(value));
    return {};
  }

  static Status count(std::uint64_t have, std::uint64_t least, std::uint64_t most, const char* what, const Place& place) {
    if (have < least) return wrong(place, "must have at least " + std::to_string(least) + " " + what + ", not " + std::to_string(have));
    if (have > most) return wrong(place, "must have at most " + std::to_string(most) + " " + what + ", not " + std::to_string(have));
    return {};
  }

  Status string(const SchemaNode& node, const Json& value, const Place& place) {
    if (node.min_length == 0 && node.max_length == SchemaNode::unbounded) return {};
    return count(code_points(value.get_ref<const std::string&>()), node.min_length, node.max_length, "characters", place);
  }

  Status array(const SchemaNode& node, const Json& value, const Place& place, std::size_t depth) {
    CORVID_TRY_STATUS(count(value.size(), node.min_items, node.max_items, "items", place));
    std::uint64_t contained = 0;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const Place here{&place, {}, i, false};
      if (i < node.prefix_items.size())
        CORVID_TRY_STATUS(check(node.prefix_items[i], value[i], here, depth + 1));
      else if (node.items != SchemaNode::none)
        CORVID_TRY_STATUS(check(node.items, value[i], here, depth + 1));
      if (node.contains != SchemaNode::none) {
        CORVID_TRY(const bool one, fits(node.contains, value[i], here, depth));
        contained += one ? 1 : 0;
      }
    }
    if (node.contains != SchemaNode::none)
      CORVID_TRY_STATUS(count(contained, node.min_contains, node.max_contains, "items of the wanted kind", place));
    if (node.unique && value.size() > 1) {
      std::vector<std::string> texts;
      for (const Json& item : value) texts.push_back(dump_json(normal(item)));
      steps_ += texts.size();
      std::sort(texts.begin(), texts.end());
      if (std::adjacent_find(texts.begin(), texts.end()) != texts.end()) return wrong(place, "must not hold the same item twice");
    }
    return {};
  }

  Status object(const SchemaNode& node, const Json& value, const Place& place, std::size_t depth) {
    const auto below = [&](std::string_view name) { return Place{&place, name, 0, true}; };
    CORVID_TRY_STATUS(count(value.size(), node.min_properties, node.max_properties, "members", place));
    for (const auto& name : node.required) {
      if (!value.contains(name)) return wrong(below(name), "is missing");
    }
    for (const auto& [name, wanted] : node.dependent_required) {
      if (!value.contains(name)) continue;
      for (const auto& other : wanted) {
        if (!value.contains(other)) return wrong(below(other), "is missing; " + name + " needs it");
      }
    }
    for (const auto& [name, schema] : node.dependent_schemas) {
      if (value.contains(name)) CORVID_TRY_STATUS(check(schema, value, place, depth + 1));
    }
    if (node.properties.empty() && node.additional == SchemaNode::none && node.names == SchemaNode::none) return {};
    for (const auto& [name, part] : value.items()) {
      const Place here = below(name);
      if (node.names != SchemaNode::none) {
        const Json as_value(name);
        CORVID_TRY(const bool fine, fits(node.names, as_value, here, depth));
        if (!fine) return wrong(here, "is no allowed name");
      }
      const auto at = std::lower_bound(node.properties.begin(), node.properties.end(), name,
                                       [](const auto& pair, const std::string& wanted) { return pair.first < wanted; });
      if (at != node.properties.end() && at->first == name)
        CORVID_TRY_STATUS(check(at->second, part, here, depth + 1));
      else if (node.additional != SchemaNode::none) {
        if (nodes_[node.additional].never) return wrong(here, "is not known here");
        CORVID_TRY_STATUS(check(node.additional, part, here, depth + 1));
      }
    }
    return {};
  }

  Status combined(const SchemaNode& node, const Json& value, const Place& place, std::size_t depth) {
    for (const auto part : node.all_of) CORVID_TRY_STATUS(check(part, value, place, depth + 1));
    if (!node.any_of.empty()) CORVID_TRY_STATUS(alternatives(node.any_of, false, value, place, depth));
    if (!node.one_of.empty()) CORVID_TRY_STATUS(alternatives(node.one_of, true, value, place, depth));
    if (node.negated != SchemaNode::none) {
      CORVID_TRY(const bool one, fits(node.negated, value, place, depth));
      if (one) return wrong(place, "is of a form that is excluded: " + shown(value));
    }
    if (node.condition != SchemaNode::none) {
      CORVID_TRY(const bool holds, fits(node.condition, value, place, depth));
      const auto next = holds ? node.then : node.otherwise;
      if (next != SchemaNode::none) CORVID_TRY_STATUS(check(next, value, place, depth + 1));
    }
    return {};
  }

  // Of several alternatives that fail, the one that got deepest into the value is most likely what was meant.
  Status alternatives(const std::vector<std::uint32_t>& parts, bool exactly_one, const Json& value, const Place& place, std::size_t depth) {
    std::size_t matched = 0;
    std::optional<Error> closest;
    for (const auto part : parts) {
      auto status = check(part, value, place, depth + 1);
      if (status) {
        ++matched;
        if (!exactly_one) return {};
        continue;
      }
      if (status.error().code() == ErrorCode::limit_exceeded) return status;
      const auto slashes = [](const Error& e) { return std::count(e.key().begin(), e.key().end(), '/'); };
      if (!closest || slashes(status.error()) > slashes(*closest)) closest = std::move(status).error();
    }
    if (matched == 1) return {};
    if (matched > 1)
      return wrong(place, "fits " + std::to_string(matched) + " of " + std::to_string(parts.size()) +
                              " forms, where exactly one is wanted: " + shown(value));
    if (parts.size() == 1) return fail(std::move(*closest));
    return fail(Error::bad_input(closest->message() + " (the closest of " + std::to_string(parts.size()) + " allowed forms)")
                    .at_key(closest->key()));
  }

  const std::vector<SchemaNode>& nodes_;
  std::size_t steps_ = 0;
};

}  // namespace

Status JsonSchema::check(const Json& value) const { return Checker(impl_->nodes).check(0, value, Place{}, 0); }

}  // namespace corvid
