// `x | …`.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cmath>
#include <map>

#include "llm/chat_template/interpreter.hpp"
#include "llm/chat_template/parser.hpp"
#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

namespace {

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);

std::string name_argument(const Arguments& a, std::size_t i, const char* what) {
  if (i >= a.positional.size() || !a.positional[i].text()) raise(ErrorCode::bad_input, std::string("a filter takes the name of ") + what, a.offset);
  return *a.positional[i].text();
}

std::int64_t integer_or(const Value* v, std::int64_t absent, std::size_t offset) {
  std::int64_t out = absent;
  if (v && !v->is<None>() && !v->integer(out)) raise(ErrorCode::bad_input, "a filter's argument is not an integer", offset);
  return out;
}

Arguments rest(const Arguments& a, std::size_t from) {
  Arguments out;
  out.offset = a.offset;
  if (from < a.positional.size()) out.positional.assign(a.positional.begin() + static_cast<std::ptrdiff_t>(from), a.positional.end());
  out.named = a.named;
  return out;
}

Value tojson(Interpreter& in, const Value& v, const Arguments& a) {
  JsonStyle style;
  if (const Value* ascii = a.get(0, "ensure_ascii")) style.ensure_ascii = truthy(*ascii);
  if (const Value* indent = a.get(1, "indent"); indent && !indent->is<None>()) {
    style.lines = true;
    style.item_separator = ",";
    std::int64_t n = 0;
    if (indent->text()) style.indent = *indent->text();
    else if (indent->integer(n) && n <= 64) style.indent.assign(static_cast<std::size_t>(std::max<std::int64_t>(n, 0)), ' ');
    else raise(ErrorCode::bad_input, "tojson's indent is neither an integer up to 64 nor a str", a.offset);
  }
  if (const Value* separators = a.get(2, "separators"); separators && !separators->is<None>()) {
    const auto* list = separators->list();
    if (!list || list->items.size() != 2 || !list->items[0].text() || !list->items[1].text()) raise(ErrorCode::bad_input, "tojson's separators are not two str", a.offset);
    style.item_separator = *list->items[0].text();
    style.key_separator = *list->items[1].text();
  }
  if (const Value* sort = a.get(3, "sort_keys")) style.sort_keys = truthy(*sort);
  return in.text(to_json_text(v, style, in.max_text(), a.offset), a.offset);
}

Value size_of(Interpreter& in, const Value& v, const Arguments& a) {
  if (v.is<Undefined>()) return std::int64_t{0};
  if (v.text()) { in.charge(v.text()->size() / 16, a.offset); return static_cast<std::int64_t>(length(*v.text())); }
  if (v.list() && !v.list()->lazy) return static_cast<std::int64_t>(v.list()->items.size());
  if (v.dict()) return static_cast<std::int64_t>(v.dict()->items.size());
  raise(ErrorCode::bad_input, "a " + std::string(type_name(v)) + " has no length", a.offset);
}

Value join(Interpreter& in, const Value& v, const Arguments& a) {
  const Value* separator = a.get(0, "d");
  const Value* attribute = a.get(1, "attribute");
  const Text between = separator ? in.text_of(*separator, a.offset) : Text();
  Text out;
  bool first = true;
  for (const auto& item : in.iterate(v, a.offset)) {
    if (!std::exchange(first, false)) out.add(between);
    out.add(in.text_of(attribute ? in.path(item, *attribute, a.offset) : item, a.offset));
    if (out.size() > in.max_text()) raise(ErrorCode::limit_exceeded, "join makes too long a text", a.offset);
  }
  return in.text(std::move(out), a.offset);
}

Value map(Interpreter& in, const Value& v, const Arguments& a) {
  std::vector<Value> out;
  if (!truthy(v)) return make_lazy({});  // also none and numbers
  if (const Value* path = a.get(SIZE_MAX, "attribute")) {
    const Value* absent = a.get(SIZE_MAX, "default");
    for (const auto& item : in.iterate(v, a.offset)) {
      Value value = in.path(item, *path, a.offset);
      out.push_back(absent && value.is<Undefined>() ? *absent : std::move(value));
    }
    return make_lazy(std::move(out));
  }
  const std::string name = name_argument(a, 0, "a filter");
  const Arguments inner = rest(a, 1);
  for (const auto& item : in.iterate(v, a.offset)) out.push_back(in.filter(name, item, inner));
  return make_lazy(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value choose(Interpreter& in, const Value& v, const Arguments& a, bool by_attribute, bool wanted) {
  const std::size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty()) raise(ErrorCode::bad_input, "selectattr and rejectattr take an attribute's name", a.offset);
  const bool named = a.positional.size() > skip;
  const std::string test = named ? name_argument(a, skip, "a test") : std::string();
  const Arguments inner = rest(a, skip + 1);
  std::vector<Value> out;
  if (!truthy(v)) return make_lazy({});  // also none and numbers
  for (const auto& item : in.iterate(v, a.offset)) {
    const Value subject = by_attribute ? in.path(item, a.positional[0], a.offset) : item;
    if ((named ? in.test(test, subject, inner) : truthy(subject)) == wanted) out.push_back(item);
  }
  return make_lazy(std::move(out));
}

// A key as sort, unique, dictsort, min and max compare it: str without case unless asked.
Value folded(const Value& v, bool case_sensitive) { return v.text() && !case_sensitive ? Value(lower(*v.text())) : v; }

template <class Key>
void sort_by(Interpreter& in, std::vector<Value>& items, bool reverse, std::size_t offset, Key key) {
  std::vector<std::pair<Value, Value>> keyed;
  for (auto& item : items) keyed.emplace_back(key(item), std::move(item));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) { return reverse ? in.less(y.first, x.first, offset) : in.less(x.first, y.first, offset); });
  for (std::size_t i = 0; i < keyed.size(); ++i) items[i] = std::move(keyed[i].second);
}

bool flag(const Arguments& a, std::size_t i, const char* name) {
  const Value* v = a.get(i, name);
  return v && truthy(*v);
}

Value sort(Interpreter& in, const Value& v, const Arguments& a) {
  auto items = in.iterate(v, a.offset);
  const Value* attribute = a.get(2, "attribute");
  const bool exact = flag(a, 1, "case_sensitive");
  sort_by(in, items, flag(a, 0, "reverse"), a.offset, [&](const Value& item) { return folded(attribute && !attribute->is<None>() ? in.path(item, *attribute, a.offset) : item, exact); });
  return make_list(std::move(items));
}

Value dict_items(Interpreter& in, const Value& v, const Arguments& a) {
  if (v.is<Undefined>()) return make_list({});
  if (!v.dict()) raise(ErrorCode::bad_input, "items takes a dict, not a " + std::string(type_name(v)), a.offset);
  return make_lazy(in.method(v, "items", Arguments{{}, {}, a.offset}).list()->items);
}

Value dictsort(Interpreter& in, const Value& v, const Arguments& a) {
  if (!v.dict()) raise(ErrorCode::bad_input, "dictsort takes a dict, not a " + std::string(type_name(v)), a.offset);
  auto items = in.method(v, "items", Arguments{{}, {}, a.offset}).list()->items;
  const Value* by = a.get(1, "by");
  const std::size_t part = by && by->text() && *by->text() == "value" ? 1 : 0;
  const bool exact = flag(a, 0, "case_sensitive");
  sort_by(in, items, flag(a, 2, "reverse"), a.offset, [&](const Value& item) { return folded(item.list()->items[part], exact); });
  return make_list(std::move(items));
}

Value unique(Interpreter& in, const Value& v, const Arguments& a) {
  std::vector<Value> out, seen;
  for (auto& item : in.iterate(v, a.offset)) {
    const Value* attribute = a.get(1, "attribute");
    const Value key = folded(attribute ? in.path(item, *attribute, a.offset) : item, flag(a, 0, "case_sensitive"));
    in.charge(seen.size(), a.offset);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(s, key); })) continue;
    seen.push_back(key);
    out.push_back(std::move(item));
  }
  return make_lazy(std::move(out));
}

Value extreme(Interpreter& in, const Value& v, const Arguments& a, bool largest) {
  Value best;
  bool first = true;
  for (const auto& item : in.iterate(v, a.offset)) {
    const Value x = folded(item, false), y = folded(best, false);
    if (first || (largest ? in.less(y, x, a.offset) : in.less(x, y, a.offset))) best = item;
    first = false;
  }
  return best;
}

Value sum(Interpreter& in, const Value& v, const Arguments& a) {
  double d = 0;
  std::int64_t i = 0;
  bool whole = true;
  const Value* attribute = a.get(0, "attribute");
  for (const auto& item : in.iterate(v, a.offset)) {
    const Value x = attribute ? in.path(item, *attribute, a.offset) : item;
    double dx = 0;
    std::int64_t ix = 0;
    if (!x.number(dx)) raise(ErrorCode::bad_input, "sum takes numbers, not " + std::string(type_name(x)), a.offset);
    d += dx;
    if (!x.integer(ix)) whole = false;
    else if (__builtin_add_overflow(i, ix, &i)) raise(ErrorCode::unsupported, "integers of more than 64 bits are not supported", a.offset);
  }
  return whole ? Value(i) : Value(d);
}

Value to_int(Interpreter& in, const Value& v, const Arguments& a) {
  const Value* absent = a.get(0, "default");
  const Value otherwise = absent ? *absent : Value(std::int64_t{0});
  if (a.get(1, "base")) raise(ErrorCode::unsupported, "int with a base is not supported", a.offset);
  std::int64_t i = 0;
  double d = 0;
  if (v.integer(i)) return i;
  if (const auto* s = v.text()) {
    const auto t = strip(*s, {}, true, true);
    const auto digits = !t.empty() && t[0] == '+' ? t.substr(1) : t;
    const auto whole = std::from_chars(digits.data(), digits.data() + digits.size(), i);
    if (whole.ec == std::errc{} && whole.ptr == digits.data() + digits.size()) return i;
    const auto real = std::from_chars(digits.data(), digits.data() + digits.size(), d);
    if (real.ec != std::errc{} || real.ptr != digits.data() + digits.size()) return otherwise;
  } else if (!v.number(d)) {
    return otherwise;
  }
  in.step(a.offset);
  if (!(std::abs(d) < 9.2e18)) return otherwise;
  return static_cast<std::int64_t>(d);
}

Value to_float(Interpreter&, const Value& v, const Arguments& a) {
  const Value* absent = a.get(0, "default");
  double d = 0;
  if (v.number(d)) return d;
  if (const auto* s = v.text()) {
    const auto t = strip(*s, {}, true, true);
    const auto end = std::from_chars(t.data(), t.data() + t.size(), d);
    if (end.ec == std::errc{} && end.ptr == t.data() + t.size()) return d;
  }
  return absent ? *absent : Value(0.0);
}

Value round_to(Interpreter&, const Value& v, const Arguments& a) {
  double d = 0;
  if (!v.number(d)) raise(ErrorCode::bad_input, "round takes a number", a.offset);
  const std::int64_t digits = integer_or(a.get(0, "precision"), 0, a.offset);
  if (digits < -300 || digits > 300) raise(ErrorCode::bad_input, "round's precision is over 300", a.offset);
  const Value* method = a.get(1, "method");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (method && method->text() && *method->text() == "ceil") return std::ceil(d * scale) / scale;
  if (method && method->text() && *method->text() == "floor") return std::floor(d * scale) / scale;
  return std::nearbyint(d * scale) / scale;
}

Value indent(Interpreter& in, const Value& v, const Arguments& a) {
  const Value* width = a.get(0, "width");
  const std::int64_t n = width && width->text() ? 0 : integer_or(width, 4, a.offset);
  if (n > 1024) raise(ErrorCode::limit_exceeded, "indent is wider than 1024", a.offset);
  const std::string pad = width && width->text() ? std::string(*width->text()) : std::string(static_cast<std::size_t>(std::max<std::int64_t>(n, 0)), ' ');
  const bool first = flag(a, 1, "first"), blank = flag(a, 2, "blank");
  const std::string s = in.string_of(v, a.offset);
  std::string out = first ? pad : "";
  bool begin = true;
  for (const auto line : split(s, "\n", -1)) {
    if (!begin) out += '\n';
    if (!begin && (blank || !line.empty())) out += pad;
    begin = false;
    out += line;
    if (out.size() > in.max_text()) raise(ErrorCode::limit_exceeded, "indent makes too long a text", a.offset);
  }
  return in.text(std::move(out), a.offset);
}

Value escape(Interpreter& in, const Value& v, const Arguments& a) {
  std::string out;
  for (const char c : in.string_of(v, a.offset)) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&#34;";
    else if (c == '\'') out += "&#39;";
    else out += c;
  }
  return in.text(std::move(out), a.offset);
}

Value reverse(Interpreter& in, const Value& v, const Arguments& a) {
  auto items = in.iterate(v, a.offset);
  std::reverse(items.begin(), items.end());
  if (!v.text()) return make_lazy(std::move(items));
  std::string out;
  for (const auto& c : items) out += *c.text();
  return in.text(std::move(out), a.offset);
}

Value slice_end(Interpreter& in, const Value& v, const Arguments& a, bool last) {
  const auto items = in.iterate(v, a.offset);
  return items.empty() ? Value() : last ? items.back() : items.front();
}

Value absent_or(const Value& v, const Arguments& a) {
  const Value* otherwise = a.get(0, "default_value");
  const bool missing = v.is<Undefined>() || (flag(a, 1, "boolean") && !truthy(v));
  return missing ? (otherwise ? *otherwise : Value("")) : v;
}

Value absolute(Interpreter&, const Value& v, const Arguments& a) {
  std::int64_t i = 0;
  double d = 0;
  if (v.integer(i) && i != INT64_MIN) return std::abs(i);
  if (!v.number(d)) raise(ErrorCode::bad_input, "abs takes a number", a.offset);
  return std::abs(d);
}

template <std::string (*F)(std::string_view)>
Value mapped(Interpreter& in, const Value& v, const Arguments& a) { return in.text(F(in.string_of(v, a.offset)), a.offset); }

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> table = {
      {"tojson", tojson}, {"length", size_of}, {"count", size_of}, {"join", join}, {"map", map}, {"sort", sort}, {"items", dict_items},
      {"dictsort", dictsort}, {"unique", unique}, {"sum", sum}, {"int", to_int}, {"float", to_float}, {"round", round_to}, {"indent", indent},
      {"escape", escape}, {"e", escape}, {"reverse", reverse}, {"abs", absolute}, {"upper", mapped<upper>}, {"lower", mapped<lower>},
      {"title", mapped<title_words>}, {"capitalize", mapped<capitalize>},
      {"trim", [](Interpreter& in, const Value& v, const Arguments& a) {
         const Value* set = a.get(0, "chars");
         const Text s = in.text_of(v, a.offset);
         return in.text(stripped(s, set && set->text() ? std::string_view(*set->text()) : std::string_view(), true, true), a.offset);
       }},
      {"select", [](Interpreter& in, const Value& v, const Arguments& a) { return choose(in, v, a, false, true); }},
      {"reject", [](Interpreter& in, const Value& v, const Arguments& a) { return choose(in, v, a, false, false); }},
      {"selectattr", [](Interpreter& in, const Value& v, const Arguments& a) { return choose(in, v, a, true, true); }},
      {"rejectattr", [](Interpreter& in, const Value& v, const Arguments& a) { return choose(in, v, a, true, false); }},
      {"min", [](Interpreter& in, const Value& v, const Arguments& a) { return extreme(in, v, a, false); }},
      {"max", [](Interpreter& in, const Value& v, const Arguments& a) { return extreme(in, v, a, true); }},
      {"first", [](Interpreter& in, const Value& v, const Arguments& a) { return slice_end(in, v, a, false); }},
      {"last", [](Interpreter& in, const Value& v, const Arguments& a) { return slice_end(in, v, a, true); }},
      {"list", [](Interpreter& in, const Value& v, const Arguments& a) { return make_list(in.iterate(v, a.offset)); }},
      {"string", [](Interpreter& in, const Value& v, const Arguments& a) { return in.text(in.text_of(v, a.offset), a.offset); }},
      {"safe", [](Interpreter& in, const Value& v, const Arguments& a) { return in.text(in.text_of(v, a.offset), a.offset); }},
      {"default", [](Interpreter&, const Value& v, const Arguments& a) { return absent_or(v, a); }},
      {"d", [](Interpreter&, const Value& v, const Arguments& a) { return absent_or(v, a); }},
      {"attr", [](Interpreter& in, const Value& v, const Arguments& a) { return in.attribute(v, name_argument(a, 0, "an attribute"), a.offset); }},
      {"format", [](Interpreter& in, const Value& v, const Arguments& a) { return in.text(percent_format(in, in.text_of(v, a.offset), a.positional, a.offset), a.offset); }},
      {"replace", [](Interpreter& in, const Value& v, const Arguments& a) { return in.method(in.text(in.text_of(v, a.offset), a.offset), "replace", a); }},
  };
  return table;
}

}  // namespace

bool filter_exists(std::string_view name) { return filters().count(name) != 0; }

namespace {

bool any_input(const Value& subject, const Arguments& args) {
  return has_input(subject) || std::any_of(args.positional.begin(), args.positional.end(), [](const Value& v) { return has_input(v); }) ||
         std::any_of(args.named.begin(), args.named.end(), [](const auto& named) { return has_input(named.second); });
}

}  // namespace

// What a filter or a method makes of marked texts is marked whole, but where it says better.
Value Interpreter::filter(std::string_view name, const Value& subject, const Arguments& args) {
  Value made = apply_filter(name, subject, args);
  return (made.text() || made.list()) && any_input(subject, args) ? as_input(std::move(made)) : made;
}

Value Interpreter::method(const Value& self, std::string_view name, const Arguments& args) {
  Value made = apply_method(self, name, args);
  return (made.text() || made.list()) && any_input(self, args) ? as_input(std::move(made)) : made;
}

Value Interpreter::apply_filter(std::string_view name, const Value& subject, const Arguments& args) {
  step(args.offset);
  const auto it = filters().find(name);
  if (it == filters().end()) raise(ErrorCode::unsupported, "the filter '" + std::string(name) + "' is not supported in chat templates", args.offset);
  return it->second(*this, subject, args);
}

}  // namespace corvid::llm::tmpl
