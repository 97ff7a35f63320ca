// Texts with expressions in them, JSON made of such texts, and the scopes they are evaluated in.
#include <utility>

#include "graphs/file/expression_tree.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid {

constexpr std::size_t kMaxParts = 2'000;
constexpr std::size_t kMaxExpression = 16u << 10;  // bytes of one {{ expression }}

Result<const Json*> JsonScope::state_field(std::string_view name) const {
  if (!state_->is_object()) return nullptr;
  const auto at = state_->find(name);
  return at == state_->end() ? nullptr : &*at;
}
const Json* JsonScope::variable(std::string_view name) const {
  if (!variables_ || !variables_->is_object()) return nullptr;
  const auto at = variables_->find(name);
  return at == variables_->end() ? nullptr : &*at;
}

Result<const Json*> StateScope::state_field(std::string_view name) const {
  if (const Value* value = view_->find(name)) {
    if (const Json* json = value->get_if<Json>()) return json;
    for (const auto& [known, json] : converted_)
      if (known == name) return json.get();
    if (value->type()->handle) return nullptr;  // a model's state has no JSON form; to_json() leaves it out as well
    CORVID_TRY(Json made, value->to_json());
    converted_.emplace_back(std::string(name), std::make_unique<Json>(std::move(made)));
    return converted_.back().second.get();
  }
  if (const Json* extra = view_->extra(); extra && extra->is_object()) {
    if (const auto at = extra->find(name); at != extra->end()) return &*at;
  }
  return nullptr;
}
Result<const Json*> StateScope::state() const {
  if (!whole_) {
    CORVID_TRY(whole_, view_->to_json());
  }
  return &*whole_;
}
const Json* StateScope::variable(std::string_view name) const {
  if (!variables_ || !variables_->is_object()) return nullptr;
  const auto at = variables_->find(name);
  return at == variables_->end() ? nullptr : &*at;
}

Result<TextTemplate> TextTemplate::parse(std::string_view text, const ExpressionNames& names) {
  if (text.size() > ExpressionLimits::text_bytes)
    return fail(Error::limit_exceeded("the text has " + std::to_string(text.size()) + " bytes; at most " +
                                      std::to_string(ExpressionLimits::text_bytes) + " are read"));
  if (const auto bad = detail::bad_utf8(text); bad != std::string_view::npos)
    return fail(Error::bad_input("the text is not UTF-8").at_offset(bad));
  TextTemplate made;
  made.text_ = text;
  for (std::size_t at = 0; at < text.size();) {
    const auto open = text.find("{{", at);
    if (open != at) {
      Part part;
      part.text = text.substr(at, open == std::string_view::npos ? open : open - at);
      made.parts_.push_back(std::move(part));
    }
    if (open == std::string_view::npos) break;
    if (made.parts_.size() >= kMaxParts)
      return fail(Error::limit_exceeded("the template has more than " + std::to_string(kMaxParts) + " parts").at_offset(open));
    // The expression is parsed on a text of its own, from here on: each tree would hold a copy of the whole template otherwise.
    std::size_t end = 0;
    auto rest = text.substr(open + 2);
    if (rest.size() > kMaxExpression) {
      std::size_t cut = kMaxExpression;
      while (cut > 0 && (static_cast<unsigned char>(rest[cut]) & 0xc0) == 0x80) --cut;  // between characters
      rest = rest.substr(0, cut);
    }
    auto tree = detail::parse_expression(rest, 0, names, &end);
    if (!tree) {
      const auto offset = open + 2 + tree.error().offset().value_or(0);
      return fail(Error(tree.error().code(), tree.error().message()).at_offset(offset));
    }
    Part part;
    part.expression = Expression(std::move(*tree));
    part.offset = open + 2;
    made.parts_.push_back(std::move(part));
    at = open + 2 + end;
  }
  return made;
}

bool TextTemplate::constant() const noexcept {
  for (const auto& part : parts_)
    if (part.expression) return false;
  return true;
}

namespace {

// Offsets of an expression become those of its template.
template <class T>
Result<T> placed(Result<T> result, std::size_t offset) {
  if (result) return result;
  if (!result.error().offset()) return fail(std::move(result).error().at_offset(offset));
  return fail(
      Error(result.error().code(), result.error().message()).at_offset(offset + *result.error().offset()).at_key(result.error().key()));
}

}  // namespace

Result<std::string> TextTemplate::render(const ExpressionScope& scope) const {
  std::string out;
  for (const auto& part : parts_) {
    if (!part.expression) {
      out += part.text;
      continue;
    }
    CORVID_TRY(const Json value, placed(part.expression->evaluate(scope), part.offset));
    out += value.is_null() ? std::string() : value.is_string() ? value.get<std::string>() : dump_json(value);
    if (out.size() > ExpressionLimits::made_bytes)
      return fail(Error::limit_exceeded("the text grows beyond " + std::to_string(ExpressionLimits::made_bytes >> 20) + " MiB")
                      .at_offset(part.offset));
  }
  return out;
}

Result<Json> TextTemplate::value(const ExpressionScope& scope) const {
  if (parts_.size() == 1 && parts_[0].expression) return placed(parts_[0].expression->evaluate(scope), parts_[0].offset);
  CORVID_TRY(auto text, render(scope));
  return Json(std::move(text));
}

struct ValueTemplate::Node {
  Json constant;  // where nothing in it is a template
  std::optional<TextTemplate> text;
  std::vector<std::pair<std::string, std::shared_ptr<const Node>>> members;  // of an object, or with empty names of a list
  enum Kind : std::uint8_t { fixed, templated, list, object } kind = fixed;

  static Result<std::shared_ptr<const Node>> compile(const Json& value, const ExpressionNames& names, const std::string& pointer,
                                                     std::size_t depth) {
    if (depth > ExpressionLimits::value_depth)
      return fail(Error::limit_exceeded("the value is nested deeper than " + std::to_string(ExpressionLimits::value_depth) + " levels")
                      .at_key(pointer));
    auto made = std::make_shared<Node>();
    if (value.is_string()) {
      auto text = TextTemplate::parse(value.get_ref<const std::string&>(), names);
      if (!text) return fail(std::move(text).error().at_key(pointer));
      if (text->constant())
        made->constant = value;
      else
        made->text = std::move(*text), made->kind = templated;
    } else if (value.is_structured()) {
      bool all_fixed = true;
      for (const auto& [name, part] : value.items()) {
        std::string step;  // of the JSON pointer
        for (const char c : name) step += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
        CORVID_TRY(auto below, compile(part, names, pointer + "/" + step, depth + 1));
        all_fixed = all_fixed && below->kind == fixed;
        made->members.emplace_back(value.is_object() ? name : std::string(), std::move(below));
      }
      made->kind = value.is_object() ? object : list;
      if (all_fixed) made->constant = value, made->kind = fixed, made->members.clear();
    } else {
      made->constant = value;
    }
    return std::shared_ptr<const Node>(std::move(made));
  }

  Result<Json> evaluate(const ExpressionScope& scope, std::size_t& budget) const {
    if (kind == fixed) return constant;
    if (kind == templated) {
      CORVID_TRY(Json value, text->value(scope));
      detail::ExpressionBudget size;  // only measures
      CORVID_TRY_STATUS(size.copy(value));
      budget += size.made();
      if (budget > ExpressionLimits::made_bytes)
        return fail(Error::limit_exceeded("the value grows beyond " + std::to_string(ExpressionLimits::made_bytes >> 20) + " MiB"));
      return value;
    }
    Json made = kind == object ? Json::object() : Json::array();
    for (std::size_t i = 0; i < members.size(); ++i) {
      auto part = members[i].second->evaluate(scope, budget);
      if (!part) {  // deepest first: the key is completed on the way up
        const auto& name = members[i].first;
        const auto& error = part.error();
        std::string key = "/" + (kind == object ? name : std::to_string(i)) + error.key();
        Error located(error.code(), error.message());
        if (error.offset()) located = std::move(located).at_offset(*error.offset());
        return fail(std::move(located).at_key(std::move(key)));
      }
      if (kind == object)
        made[members[i].first] = std::move(*part);
      else
        made.push_back(std::move(*part));
    }
    return made;
  }
};

Result<ValueTemplate> ValueTemplate::compile(const Json& value, const ExpressionNames& names) {
  ValueTemplate made;
  CORVID_TRY(made.root_, Node::compile(value, names, "", 0));
  return made;
}

Result<Json> ValueTemplate::evaluate(const ExpressionScope& scope) const {
  std::size_t budget = 0;
  return root_->evaluate(scope, budget);
}

}  // namespace corvid
