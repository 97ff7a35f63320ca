#include "corvid/base/json_schema.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <string_view>

#include "src/base/json_schema_impl.hpp"

namespace corvid {
namespace {

using detail::SchemaNode;

constexpr std::array<std::string_view, 8> kRefused{"pattern",     "patternProperties", "unevaluatedItems", "unevaluatedProperties",
                                                   "$dynamicRef", "$recursiveRef",     "dependencies",     "additionalItems"};

class Compiler {
 public:
  Compiler(std::vector<SchemaNode>& nodes, const Json& document) : nodes_(nodes), document_(document) {}

  Result<std::uint32_t> compile_at(const std::string& pointer, const Json& schema, std::size_t depth) {
    if (const auto at = known_.find(&schema); at != known_.end()) return at->second;
    if (depth > JsonSchema::kMaxDepth)
      return fail(
          Error::limit_exceeded("the schema is nested deeper than " + std::to_string(JsonSchema::kMaxDepth) + " levels").at_key(pointer));
    if (nodes_.size() >= JsonSchema::kMaxNodes)
      return fail(Error::limit_exceeded("the schema has more than " + std::to_string(JsonSchema::kMaxNodes) + " subschemas"));
    if (!schema.is_object() && !schema.is_boolean())
      return fail(Error::bad_input(std::string("a schema is an object or a boolean, not a ") + schema.type_name()).at_key(pointer));
    const auto index = static_cast<std::uint32_t>(nodes_.size());
    known_.emplace(&schema, index);  // before its parts: a $ref may lead back here
    nodes_.emplace_back();
    SchemaNode node;
    if (schema.is_boolean())
      node.never = !schema.get<bool>();
    else
      CORVID_TRY_STATUS(fill(node, pointer, schema, depth));
    nodes_[index] = std::move(node);
    return index;
  }

 private:
  Status fill(SchemaNode& node, const std::string& pointer, const Json& schema, std::size_t depth) {
    for (const auto keyword : kRefused) {
      if (schema.contains(keyword))
        return fail(Error::unsupported("the keyword " + std::string(keyword) + " is not supported; say it with other keywords")
                        .at_key(pointer + "/" + std::string(keyword)));
    }
    if (!pointer.empty() && schema.contains("$id") && schema["$id"].is_string()) {
      return fail(Error::unsupported("an $id below the root is not supported; refer to parts by \"#/…\"").at_key(pointer + "/$id"));
    }
    if (const auto at = schema.find("$schema"); at != schema.end() && at->is_string()) {
      const auto& dialect = at->get_ref<const std::string&>();
      if (dialect.find("//json-schema.org/") == std::string::npos) {
        return fail(Error::unsupported("the dialect \"" + dialect + "\" is not known; draft 2020-12 is").at_key(pointer + "/$schema"));
      }
    }
    here_ = &pointer;
    CORVID_TRY_STATUS(values(node, schema));
    CORVID_TRY_STATUS(bounds(node, schema));
    CORVID_TRY_STATUS(name_lists(node, schema));
    return parts(node, pointer, schema, depth);
  }

  Error wrong(std::string_view keyword, std::string_view what) const {
    return Error::bad_input(std::string(keyword) + " must be " + std::string(what)).at_key(*here_ + "/" + std::string(keyword));
  }

  Status values(SchemaNode& node, const Json& schema) {
    if (const auto at = schema.find("type"); at != schema.end()) {
      static constexpr std::array<std::pair<std::string_view, std::uint8_t>, 7> names{{{"null", detail::kNull},
                                                                                       {"boolean", detail::kBoolean},
                                                                                       {"integer", detail::kInteger},
                                                                                       {"number", detail::kNumber | detail::kInteger},
                                                                                       {"string", detail::kString},
                                                                                       {"array", detail::kArray},
                                                                                       {"object", detail::kObject}}};
      const auto add = [&](const Json& name) {
        if (!name.is_string()) return false;
        for (const auto& [known, bits] : names) {
          if (name.get_ref<const std::string&>() == known) return node.types |= bits, true;
        }
        return false;
      };
      bool good = at->is_array() ? !at->empty() : add(*at);
      if (at->is_array())
        for (const Json& name : *at) good = good && add(name);
      if (!good) return fail(wrong("type", "null, boolean, integer, number, string, array or object, or a list of them"));
    }
    if (const auto at = schema.find("const"); at != schema.end()) node.constant = *at;
    if (const auto at = schema.find("enum"); at != schema.end()) {
      if (!at->is_array()) return fail(wrong("enum", "a list"));
      node.any_value.emplace(at->begin(), at->end());
    }
    return {};
  }

  Status bounds(SchemaNode& node, const Json& schema) {
    const std::array<std::pair<const char*, std::optional<Json>*>, 5> numbers{{{"multipleOf", &node.multiple_of},
                                                                               {"minimum", &node.minimum},
                                                                               {"maximum", &node.maximum},
                                                                               {"exclusiveMinimum", &node.above},
                                                                               {"exclusiveMaximum", &node.below}}};
    for (const auto& [keyword, slot] : numbers) {
      const auto at = schema.find(keyword);
      if (at == schema.end()) continue;
      if (!at->is_number()) return fail(wrong(keyword, "a number"));
      *slot = *at;
    }
    if (node.multiple_of && !(node.multiple_of->get<double>() > 0)) return fail(wrong("multipleOf", "above zero"));
    const std::array<std::pair<const char*, std::uint64_t*>, 8> counts{{{"minLength", &node.min_length},
                                                                        {"maxLength", &node.max_length},
                                                                        {"minItems", &node.min_items},
                                                                        {"maxItems", &node.max_items},
                                                                        {"minProperties", &node.min_properties},
                                                                        {"maxProperties", &node.max_properties},
                                                                        {"minContains", &node.min_contains},
                                                                        {"maxContains", &node.max_contains}}};
    for (const auto& [keyword, slot] : counts) {
      const auto at = schema.find(keyword);
      if (at == schema.end()) continue;
      const double count = at->is_number() ? at->get<double>() : -1;  // 2.0 is an integer too
      if (!(count >= 0) || count != std::floor(count) || count > 9e15) return fail(wrong(keyword, "an integer of at least 0"));
      *slot = static_cast<std::uint64_t>(count);
    }
    if (const auto at = schema.find("uniqueItems"); at != schema.end()) {
      if (!at->is_boolean()) return fail(wrong("uniqueItems", "true or false"));
      node.unique = at->get<bool>();
    }
    return {};
  }

  Status name_lists(SchemaNode& node, const Json& schema) {
    const auto names = [](const Json& list, std::vector<std::string>& out) {
      if (!list.is_array()) return false;
      for (const Json& name : list) {
        if (!name.is_string()) return false;
        out.push_back(name.get<std::string>());
      }
      return true;
    };
    if (const auto at = schema.find("required"); at != schema.end() && !names(*at, node.required))
      return fail(wrong("required", "a list of names"));
    if (const auto at = schema.find("dependentRequired"); at != schema.end()) {
      if (!at->is_object()) return fail(wrong("dependentRequired", "an object of lists of names"));
      for (const auto& [name, list] : at->items()) {
        node.dependent_required.emplace_back(name, std::vector<std::string>());
        if (!names(list, node.dependent_required.back().second)) return fail(wrong("dependentRequired", "an object of lists of names"));
      }
    }
    return {};
  }

  Status parts(SchemaNode& node, const std::string& pointer, const Json& schema, std::size_t depth) {
    const std::array<std::pair<const char*, std::uint32_t*>, 8> singles{{{"items", &node.items},
                                                                         {"contains", &node.contains},
                                                                         {"additionalProperties", &node.additional},
                                                                         {"propertyNames", &node.names},
                                                                         {"not", &node.negated},
                                                                         {"if", &node.condition},
                                                                         {"then", &node.then},
                                                                         {"else", &node.otherwise}}};
    for (const auto& [keyword, slot] : singles) {
      const auto at = schema.find(keyword);
      if (at == schema.end()) continue;
      if (at->is_array())
        return fail(Error::bad_input(std::string(keyword) + " must be a schema; a list of schemas by place is prefixItems")
                        .at_key(pointer + "/" + keyword));
      CORVID_TRY(*slot, compile_at(pointer + "/" + keyword, *at, depth + 1));
    }
    const std::array<std::pair<const char*, std::vector<std::uint32_t>*>, 4> lists{
        {{"prefixItems", &node.prefix_items}, {"allOf", &node.all_of}, {"anyOf", &node.any_of}, {"oneOf", &node.one_of}}};
    for (const auto& [keyword, slot] : lists) {
      const auto at = schema.find(keyword);
      if (at == schema.end()) continue;
      if (!at->is_array() || at->empty())
        return fail(Error::bad_input(std::string(keyword) + " must be a list of at least one schema").at_key(pointer + "/" + keyword));
      for (std::size_t i = 0; i < at->size(); ++i) {
        CORVID_TRY(const auto index, compile_at(pointer + "/" + keyword + "/" + std::to_string(i), (*at)[i], depth + 1));
        slot->push_back(index);
      }
    }
    const std::array<std::pair<const char*, std::vector<std::pair<std::string, std::uint32_t>>*>, 2> maps{
        {{"properties", &node.properties}, {"dependentSchemas", &node.dependent_schemas}}};
    for (const auto& [keyword, slot] : maps) {
      const auto at = schema.find(keyword);
      if (at == schema.end()) continue;
      if (!at->is_object())
        return fail(Error::bad_input(std::string(keyword) + " must be an object of schemas").at_key(pointer + "/" + keyword));
      for (const auto& [name, part] : at->items()) {  // nlohmann's objects are sorted by key
        CORVID_TRY(const auto index, compile_at(pointer + "/" + keyword + "/" + detail::pointer_token(name), part, depth + 1));
        slot->emplace_back(name, index);
      }
    }
    if (const auto at = schema.find("$ref"); at != schema.end()) {
      if (!at->is_string()) return fail(Error::bad_input("$ref must be a string").at_key(pointer + "/$ref"));
      auto resolved = resolve(at->get_ref<const std::string&>());
      if (!resolved) return fail(std::move(resolved).error().at_key(pointer + "/$ref"));
      CORVID_TRY(node.ref, compile_at(at->get<std::string>().substr(1), **resolved, depth + 1));
    }
    return {};
  }

  Result<const Json*> resolve(const std::string& ref) const {
    if (ref.empty() || ref[0] != '#' || (ref.size() > 1 && ref[1] != '/')) {
      return fail(Error::unsupported("\"" + ref + "\" leads out of the document or to an anchor; only \"#\" and \"#/…\" are followed"));
    }
    std::string pointer;
    for (std::size_t i = 1; i < ref.size(); ++i) {
      unsigned byte = 0;
      if (ref[i] == '%' && i + 2 < ref.size() && std::from_chars(&ref[i + 1], &ref[i + 3], byte, 16).ptr == &ref[i + 3]) {
        pointer += static_cast<char>(byte);
        i += 2;
      } else {
        pointer += ref[i];
      }
    }
    const Json* at = &document_;
    for (std::size_t i = 0; i < pointer.size();) {
      const auto end = std::min(pointer.find('/', i + 1), pointer.size());
      std::string token;
      for (std::size_t k = i + 1; k < end; ++k) {
        if (pointer[k] != '~')
          token += pointer[k];
        else
          token += ++k < end && pointer[k] == '1' ? '/' : '~';
      }
      i = end;
      std::size_t place = 0;
      if (at->is_object() && at->contains(token))
        at = &(*at)[token];
      else if (at->is_array() && std::from_chars(token.data(), token.data() + token.size(), place).ptr == token.data() + token.size() &&
               !token.empty() && place < at->size())
        at = &(*at)[place];
      else
        return fail(Error::bad_input("\"" + ref + "\" leads nowhere"));
    }
    return at;
  }

  std::vector<SchemaNode>& nodes_;
  const Json& document_;
  std::map<const Json*, std::uint32_t> known_;
  const std::string* here_ = nullptr;
};

}  // namespace

Result<JsonSchema> JsonSchema::compile(const Json& schema) {
  auto impl = std::make_shared<Impl>();
  impl->document = schema;
  Compiler compiler(impl->nodes, impl->document);
  CORVID_TRY([[maybe_unused]] const auto root, compiler.compile_at("", impl->document, 0));
  return JsonSchema(std::move(impl));
}

const Json& JsonSchema::json() const noexcept { return impl_->document; }

}  // namespace corvid
