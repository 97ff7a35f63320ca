#include "llm/chat_template/value.hpp"

#include <algorithm>
#include <cmath>

#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

void raise(ErrorCode code, std::string message, std::size_t offset) { throw Failure{Error(code, std::move(message)).at_offset(offset)}; }

Text Text::of_input(std::string bytes) {
  Text out(std::move(bytes));
  if (!out.empty()) out.input.push_back({0, out.size()});
  return out;
}

void Text::add(const Text& other) {
  const std::size_t base = size();
  append(other);
  for (const auto& range : other.input) {
    if (!input.empty() && input.back().end == base + range.begin) input.back().end = base + range.end;
    else input.push_back({base + range.begin, base + range.end});
  }
}

Text Text::part(std::size_t begin, std::size_t end) const {
  Text out(substr(begin, end - begin));
  for (const auto& range : input) {
    const std::size_t from = std::max(range.begin, begin), to = std::min(range.end, end);
    if (from < to) out.input.push_back({from - begin, to - begin});
  }
  return out;
}

Text stripped(const Text& text, std::string_view set, bool left, bool right) {
  const std::string_view kept = strip(text, set, left, right);
  const auto begin = kept.empty() ? std::size_t{0} : static_cast<std::size_t>(kept.data() - text.data());
  return text.part(begin, begin + kept.size());
}

bool has_input(const Value& value, std::size_t depth) {
  if (depth > 100) return true;
  if (const auto* text = value.text()) return !text->input.empty();
  if (const auto* list = value.list()) return std::any_of(list->items.begin(), list->items.end(), [&](const Value& v) { return has_input(v, depth + 1); });
  if (const auto* dict = value.dict()) return std::any_of(dict->items.begin(), dict->items.end(), [&](const auto& item) { return has_input(item.first, depth + 1) || has_input(item.second, depth + 1); });
  return false;
}

Value as_input(Value made) {
  if (const auto* text = made.text()) return text->empty() || !text->input.empty() ? made : Value(Text::of_input(*text));
  const auto* list = made.list();
  if (!list) return made;
  const auto plain = [](const Value& v) { return v.text() && !v.text()->empty() && v.text()->input.empty(); };
  if (std::none_of(list->items.begin(), list->items.end(), [&](const Value& v) { return plain(v) || v.list(); })) return made;
  auto copy = std::make_shared<List>(*list);
  for (auto& item : copy->items) item = as_input(std::move(item));
  return copy;
}

bool Value::integer(std::int64_t& out) const {
  if (const auto* b = as<bool>()) { out = *b ? 1 : 0; return true; }
  if (const auto* i = as<std::int64_t>()) { out = *i; return true; }
  return false;
}

bool Value::number(double& out) const {
  if (const auto* d = as<double>()) { out = *d; return true; }
  std::int64_t i = 0;
  if (!integer(i)) return false;
  out = static_cast<double>(i);
  return true;
}

const Value* Dict::find(std::string_view key) const {
  const auto it = by_text.find(std::string(key));
  return it == by_text.end() ? nullptr : &items[it->second].second;
}

const Value* Dict::find(const Value& key) const {
  if (const auto* text = key.text()) return find(std::string_view(*text));
  for (const auto& [k, v] : items) {
    if (!k.is<Str>() && equal(k, key)) return &v;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (const Value* old = find(key)) {
    *const_cast<Value*>(old) = std::move(value);
    return;
  }
  if (const auto* text = key.text()) by_text.emplace(*text, items.size());
  items.emplace_back(std::move(key), std::move(value));
}

bool truthy(const Value& value) {
  if (value.is<Undefined>() || value.is<None>()) return false;
  double number = 0;
  if (value.number(number)) return number != 0;
  if (const auto* text = value.text()) return !text->empty();
  if (const auto* list = value.list()) return list->lazy || !list->items.empty();
  if (const auto* dict = value.dict()) return !dict->items.empty();
  return true;
}

bool equal(const Value& a, const Value& b, std::size_t depth) {
  if (depth > 100) raise(ErrorCode::limit_exceeded, "values are nested deeper than 100 levels", 0);
  std::int64_t ia = 0, ib = 0;
  if (a.integer(ia) && b.integer(ib)) return ia == ib;
  double da = 0, db = 0;
  if (a.number(da) && b.number(db)) return da == db;
  if (a.index() != b.index()) return false;
  if (a.is<Undefined>() || a.is<None>()) return true;
  if (const auto* text = a.text()) return *text == *b.text();
  if (const auto* list = a.list()) {
    const auto* other = b.list();
    if (list->tuple != other->tuple || list->items.size() != other->items.size()) return false;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      if (!equal(list->items[i], other->items[i], depth + 1)) return false;
    }
    return true;
  }
  if (const auto* dict = a.dict()) {
    const auto* other = b.dict();
    if (dict->items.size() != other->items.size()) return false;
    for (const auto& [key, value] : dict->items) {
      const Value* match = other->find(key);
      if (!match || !equal(value, *match, depth + 1)) return false;
    }
    return true;
  }
  if (const auto* ns = a.as<NamespaceP>()) return *ns == *b.as<NamespaceP>();
  if (const auto* fn = a.as<CallableP>()) return *fn == *b.as<CallableP>();
  if (const auto* loop = a.as<LoopP>()) return *loop == *b.as<LoopP>();
  return false;
}

std::string_view type_name(const Value& value) {
  switch (value.index()) {
    case 0: return "undefined";
    case 1: return "NoneType";
    case 2: return "bool";
    case 3: return "int";
    case 4: return "float";
    case 5: return "str";
    case 6: return value.list()->lazy ? "generator" : value.list()->tuple ? "tuple" : "list";
    case 7: return "dict";
    case 8: return "namespace";
    case 9: return "function";
    default: return "loop";
  }
}

}  // namespace corvid::llm::tmpl
