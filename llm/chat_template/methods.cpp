// Methods of str, dict, list and loop. What would change a value is refused: the templates' own environment is immutable too.
#include <algorithm>
#include <set>

#include "llm/chat_template/interpreter.hpp"
#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

namespace {

const std::set<std::string_view>& text_methods() {
  static const std::set<std::string_view> names = {"strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "upper", "lower",
      "title", "capitalize", "replace", "join", "format", "find", "rfind", "index", "count", "splitlines", "isdigit", "isalpha", "isalnum",
      "isspace", "isupper", "islower", "partition", "rpartition", "removeprefix", "removesuffix", "zfill", "ljust", "rjust"};
  return names;
}
const std::set<std::string_view>& dict_methods() {
  static const std::set<std::string_view> names = {"items", "keys", "values", "get", "copy", "pop", "update", "setdefault", "clear", "popitem"};
  return names;
}
const std::set<std::string_view>& list_methods() {
  static const std::set<std::string_view> names = {"append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear", "index", "count", "copy"};
  return names;
}

const std::string& text_argument(const Arguments& args, std::size_t position, const char* name, std::string_view method) {
  const Value* value = args.get(position, name);
  if (!value || !value->text()) raise(ErrorCode::bad_input, "." + std::string(method) + "() takes a str as '" + name + "'", args.offset);
  return *value->text();
}

std::int64_t integer_argument(const Arguments& args, std::size_t position, const char* name, std::int64_t absent) {
  const Value* value = args.get(position, name);
  std::int64_t out = absent;
  if (value && !value->integer(out)) raise(ErrorCode::bad_input, std::string("'") + name + "' is not an integer", args.offset);
  return out;
}

Value views(const std::vector<std::string_view>& parts, bool tuple = false) {
  std::vector<Value> out;
  for (const auto part : parts) out.emplace_back(part);
  return make_list(std::move(out), tuple);
}

template <class Match>
bool any_affix(const Value* value, std::size_t offset, Match match) {
  if (value && value->text()) return match(*value->text());
  if (value && value->list() && value->list()->tuple) {
    return std::any_of(value->list()->items.begin(), value->list()->items.end(), [&](const Value& v) { return v.text() && match(*v.text()); });
  }
  raise(ErrorCode::bad_input, "startswith() and endswith() take a str or a tuple of them", offset);
}

// str.format with {}, {0} and {name}, without conversions and format specifications.
Text brace_format(Interpreter& in, const Text& format, const Arguments& args) {
  Text out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if ((c == '{' || c == '}') && i + 1 < format.size() && format[i + 1] == c) {
      out.add(format.part(i, i + 1));
      ++i;
    } else if (c == '{') {
      const std::size_t end = format.find('}', i);
      if (end == std::string_view::npos) raise(ErrorCode::bad_input, "format() meets a '{' without '}'", args.offset);
      const auto field = std::string_view(format).substr(i + 1, end - i - 1);
      if (field.find_first_of("!:.[") != std::string_view::npos) raise(ErrorCode::unsupported, "the format field {" + std::string(field) + "} is not supported", args.offset);
      const Value* value = nullptr;
      if (field.empty()) value = args.get(next++, "");
      else if (field.find_first_not_of("0123456789") == std::string_view::npos && field.size() < 6) value = args.get(static_cast<std::size_t>(std::stoul(std::string(field))), "");
      else value = args.get(SIZE_MAX, field);
      if (!value) raise(ErrorCode::bad_input, "format() has no value for {" + std::string(field) + "}", args.offset);
      out.add(in.text_of(*value, args.offset));
      if (out.size() > in.max_text()) raise(ErrorCode::limit_exceeded, "format() makes too long a text", args.offset);
      i = end;
    } else if (c == '}') {
      raise(ErrorCode::bad_input, "format() meets a single '}'", args.offset);
    } else {
      out.add(format.part(i, i + 1));
    }
  }
  return out;
}

Value text_method(Interpreter& in, const Text& s, std::string_view name, const Arguments& args) {
  in.charge(s.size(), args.offset);
  const auto keep = [&](std::string text) { return in.text(std::move(text), args.offset); };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Value* set = args.get(0, "chars");
    if (set && set->text() && set->text()->empty()) return s;
    return in.text(stripped(s, set && set->text() ? std::string_view(*set->text()) : std::string_view(), name != "rstrip", name != "lstrip"), args.offset);
  }
  if (name == "split" || name == "rsplit") {
    const Value* separator = args.get(0, "sep");
    const std::int64_t most = integer_argument(args, 1, "maxsplit", -1);
    in.charge(s.size() * 4, args.offset);
    if (!separator || separator->is<None>()) {
      if (name == "rsplit" && most >= 0) raise(ErrorCode::unsupported, "rsplit() at white space with a count is not supported", args.offset);
      return views(split_space(s, most));
    }
    if (!separator->text() || separator->text()->empty()) raise(ErrorCode::bad_input, "the separator of split() is no str, or empty", args.offset);
    const auto parts = name == "split" ? split(s, *separator->text(), most) : rsplit(s, *separator->text(), most);
    in.charge(parts.size() * 100, args.offset);
    return views(parts);
  }
  if (name == "startswith") return any_affix(args.get(0, "prefix"), args.offset, [&](const std::string& p) { return s.compare(0, p.size(), p) == 0; });
  if (name == "endswith") {
    return any_affix(args.get(0, "suffix"), args.offset, [&](const std::string& p) { return s.size() >= p.size() && s.compare(s.size() - p.size(), p.size(), p) == 0; });
  }
  if (name == "upper") return keep(upper(s));
  if (name == "lower") return keep(lower(s));
  if (name == "title") return keep(title(s));
  if (name == "capitalize") return keep(capitalize(s));
  if (name == "replace") {
    const auto& from = text_argument(args, 0, "old", name);
    const auto& to = text_argument(args, 1, "new", name);
    if (to.size() > 64 && s.size() / std::max<std::size_t>(from.size(), 1) > in.max_text() * 8 / to.size()) {
      raise(ErrorCode::limit_exceeded, "replace() could make too long a text", args.offset);
    }
    return keep(replace(s, from, to, integer_argument(args, 2, "count", -1)));
  }
  if (name == "join") {
    Text out;
    bool first = true;
    if (args.positional.empty()) raise(ErrorCode::bad_input, "join() takes a list", args.offset);
    for (const auto& item : in.iterate(args.positional[0], args.offset)) {
      if (!item.text()) raise(ErrorCode::bad_input, "join() takes a list of str", args.offset);
      if (!std::exchange(first, false)) out.add(s);
      out.add(*item.text());
      if (out.size() > in.max_text()) raise(ErrorCode::limit_exceeded, "join() makes too long a text", args.offset);
    }
    return in.text(std::move(out), args.offset);
  }
  if (name == "format") return in.text(brace_format(in, s, args), args.offset);
  if (name == "find" || name == "rfind" || name == "index") {
    const auto& what = text_argument(args, 0, "sub", name);
    const std::size_t at = name == "rfind" ? s.rfind(what) : s.find(what);
    if (at == std::string::npos) {
      if (name == "index") raise(ErrorCode::bad_input, "index() does not find the text", args.offset);
      return std::int64_t{-1};
    }
    return static_cast<std::int64_t>(length(std::string_view(s).substr(0, at)));
  }
  if (name == "count") {
    const auto& what = text_argument(args, 0, "sub", name);
    return what.empty() ? static_cast<std::int64_t>(length(s) + 1) : static_cast<std::int64_t>(split(s, what, -1).size() - 1);
  }
  if (name == "splitlines") {
    const std::string joined = replace(replace(s, "\r\n", "\n", -1), "\r", "\n", -1);
    auto lines = split(joined, "\n", -1);
    if (lines.back().empty()) lines.pop_back();
    in.charge(lines.size() * 100, args.offset);
    return views(lines);
  }
  if (name.rfind("is", 0) == 0) {
    const auto all = [&](auto accept) { return !s.empty() && std::all_of(s.begin(), s.end(), accept); };
    if (name == "isdigit") return all([](char c) { return c >= '0' && c <= '9'; });
    if (name == "isupper") return upper(s) == s && lower(s) != s;
    if (name == "islower") return lower(s) == s && upper(s) != s;
    if (name == "isspace") return !s.empty() && strip(s, {}, true, true).empty();
    const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80; };
    if (name == "isalpha") return all(letter);
    return all([&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
  }
  if (name == "partition" || name == "rpartition") {
    const auto& separator = text_argument(args, 0, "sep", name);
    if (separator.empty()) raise(ErrorCode::bad_input, "the separator of partition() is empty", args.offset);
    const std::size_t at = name == "partition" ? s.find(separator) : s.rfind(separator);
    if (at == std::string::npos) return name == "partition" ? make_list({s, "", ""}, true) : make_list({"", "", s}, true);
    return make_list({s.substr(0, at), separator, s.substr(at + separator.size())}, true);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const auto& part = text_argument(args, 0, "part", name);
    const bool front = name == "removeprefix";
    if (part.size() > s.size() || s.compare(front ? 0 : s.size() - part.size(), part.size(), part) != 0) return s;
    return keep(front ? s.substr(part.size()) : s.substr(0, s.size() - part.size()));
  }
  const std::int64_t width = integer_argument(args, 0, "width", 0);
  if (width > static_cast<std::int64_t>(in.max_text())) raise(ErrorCode::limit_exceeded, "padding makes too long a text", args.offset);
  const auto missing = width - static_cast<std::int64_t>(length(s));
  const std::string pad(static_cast<std::size_t>(std::max<std::int64_t>(missing, 0)), name == "zfill" ? '0' : ' ');
  if (args.get(1, "fillchar")) raise(ErrorCode::unsupported, "padding with a given character is not supported", args.offset);
  if (name == "ljust") return keep(s + pad);
  if (name == "zfill" && !s.empty() && (s[0] == '-' || s[0] == '+')) return keep(s[0] + pad + s.substr(1));
  return keep(pad + s);
}

[[noreturn]] void immutable(const Value& self, std::string_view name, std::size_t offset) {
  raise(ErrorCode::bad_input, "." + std::string(name) + "() would change a " + std::string(type_name(self)) + "; templates cannot change values (use namespace)", offset);
}

Value dict_method(Interpreter& in, const Value& self, std::string_view name, const Arguments& args) {
  const Dict& dict = *self.dict();
  in.charge(name == "get" ? 0 : dict.items.size() * 128, args.offset);
  if (name == "get") {
    if (args.positional.empty()) raise(ErrorCode::bad_input, "get() takes a key", args.offset);
    if (const Value* found = dict.find(args.positional[0])) return *found;
    return args.positional.size() > 1 ? args.positional[1] : Value(None{});
  }
  if (name == "copy") return std::make_shared<Dict>(dict);
  if (name != "items" && name != "keys" && name != "values") immutable(self, name, args.offset);
  std::vector<Value> out;
  for (const auto& [key, value] : dict.items) out.push_back(name == "items" ? make_list({key, value}, true) : name == "keys" ? key : value);
  return make_list(std::move(out));
}

Value list_method(Interpreter& in, const Value& self, std::string_view name, const Arguments& args) {
  const auto& items = self.list()->items;
  in.charge(items.size(), args.offset);
  if (name == "copy") return make_list(items);
  if (name != "index" && name != "count") immutable(self, name, args.offset);
  if (args.positional.empty()) raise(ErrorCode::bad_input, std::string(name) + "() takes a value", args.offset);
  const auto same = [&](const Value& v) { return equal(v, args.positional[0]); };
  if (name == "count") return static_cast<std::int64_t>(std::count_if(items.begin(), items.end(), same));
  const auto it = std::find_if(items.begin(), items.end(), same);
  if (it == items.end()) raise(ErrorCode::bad_input, "index() does not find the value", args.offset);
  return static_cast<std::int64_t>(it - items.begin());
}

Value loop_method(Loop& loop, std::string_view name, const Arguments& args) {
  if (name == "cycle") {
    if (args.positional.empty()) raise(ErrorCode::bad_input, "cycle() takes values", args.offset);
    return args.positional[loop.index % args.positional.size()];
  }
  const Value before = make_list(loop.changed), after = make_list(args.positional);
  if (loop.index > 0 && equal(before, after)) return false;
  loop.changed = args.positional;
  return true;
}

}  // namespace

bool has_method(const Value& self, std::string_view name) {
  if (self.text()) return text_methods().count(name) != 0;
  if (self.dict()) return dict_methods().count(name) != 0;
  if (const auto* list = self.list()) return list->lazy ? false : list->tuple ? name == "index" || name == "count" : list_methods().count(name) != 0;
  if (self.is<LoopP>()) return name == "cycle" || name == "changed";
  return false;
}

Value Interpreter::apply_method(const Value& self, std::string_view name, const Arguments& args) {
  step(args.offset);
  if (const auto* s = self.text()) return text_method(*this, *s, name, args);
  if (self.dict()) return dict_method(*this, self, name, args);
  if (self.list()) return list_method(*this, self, name, args);
  return loop_method(**self.as<LoopP>(), name, args);
}

}  // namespace corvid::llm::tmpl
