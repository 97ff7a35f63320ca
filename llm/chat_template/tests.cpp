// `x is …`.
#include <algorithm>
#include <cmath>
#include <map>

#include "llm/chat_template/interpreter.hpp"
#include "llm/chat_template/parser.hpp"
#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

namespace {

using Test = bool (*)(Interpreter&, const Value&, const Arguments&);

const Value& other(const Arguments& args, const char* name) {
  if (args.positional.empty()) raise(ErrorCode::bad_input, std::string("the test '") + name + "' takes a value", args.offset);
  return args.positional[0];
}

bool remainder_is(Interpreter&, const Value& v, std::int64_t by, std::int64_t wanted, std::size_t offset) {
  std::int64_t i = 0;
  if (!v.integer(i) || by == 0) raise(ErrorCode::bad_input, "odd, even and divisibleby ask for integers", offset);
  if (by == -1) return wanted == 0;
  return std::abs(i % by) == wanted;
}

bool cased(const Value& v, bool up) {
  const auto* s = v.text();
  if (!s) return false;
  return up ? (upper(*s) == *s && lower(*s) != *s) : (lower(*s) == *s && upper(*s) != *s);
}

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> table = {
      {"defined", [](Interpreter&, const Value& v, const Arguments&) { return !v.is<Undefined>(); }},
      {"undefined", [](Interpreter&, const Value& v, const Arguments&) { return v.is<Undefined>(); }},
      {"none", [](Interpreter&, const Value& v, const Arguments&) { return v.is<None>(); }},
      {"string", [](Interpreter&, const Value& v, const Arguments&) { return v.is<Str>(); }},
      {"mapping", [](Interpreter&, const Value& v, const Arguments&) { return v.is<DictP>(); }},
      {"sequence", [](Interpreter&, const Value& v, const Arguments&) { return !(v.list() && v.list()->lazy) && ( v.is<Str>() || v.is<ListP>() || v.is<DictP>() || v.is<Undefined>()); }},
      {"iterable", [](Interpreter&, const Value& v, const Arguments&) { return v.is<Str>() || v.is<ListP>() || v.is<DictP>() || v.is<Undefined>() || v.is<LoopP>(); }},
      {"number", [](Interpreter&, const Value& v, const Arguments&) { return v.is<std::int64_t>() || v.is<double>() || v.is<bool>(); }},
      {"integer", [](Interpreter&, const Value& v, const Arguments&) { return v.is<std::int64_t>(); }},
      {"float", [](Interpreter&, const Value& v, const Arguments&) { return v.is<double>(); }},
      {"boolean", [](Interpreter&, const Value& v, const Arguments&) { return v.is<bool>(); }},
      {"true", [](Interpreter&, const Value& v, const Arguments&) { return v.is<bool>() && truthy(v); }},
      {"false", [](Interpreter&, const Value& v, const Arguments&) { return v.is<bool>() && !truthy(v); }},
      {"callable", [](Interpreter&, const Value& v, const Arguments&) { return v.is<CallableP>(); }},
      {"odd", [](Interpreter& in, const Value& v, const Arguments& a) { return remainder_is(in, v, 2, 1, a.offset); }},
      {"even", [](Interpreter& in, const Value& v, const Arguments& a) { return remainder_is(in, v, 2, 0, a.offset); }},
      {"divisibleby", [](Interpreter& in, const Value& v, const Arguments& a) {
         std::int64_t by = 0;
         if (!other(a, "divisibleby").integer(by)) by = 0;
         return remainder_is(in, v, by, 0, a.offset);
       }},
      {"upper", [](Interpreter&, const Value& v, const Arguments&) { return cased(v, true); }},
      {"lower", [](Interpreter&, const Value& v, const Arguments&) { return cased(v, false); }},
      {"in", [](Interpreter& in, const Value& v, const Arguments& a) { return in.contains(other(a, "in"), v, a.offset); }},
      {"eq", [](Interpreter&, const Value& v, const Arguments& a) { return equal(v, other(a, "eq")); }},
      {"ne", [](Interpreter&, const Value& v, const Arguments& a) { return !equal(v, other(a, "ne")); }},
      {"lt", [](Interpreter& in, const Value& v, const Arguments& a) { return in.less(v, other(a, "lt"), a.offset); }},
      {"gt", [](Interpreter& in, const Value& v, const Arguments& a) { return in.less(other(a, "gt"), v, a.offset); }},
      {"le", [](Interpreter& in, const Value& v, const Arguments& a) { return equal(v, other(a, "le")) || in.less(v, other(a, "le"), a.offset); }},
      {"ge", [](Interpreter& in, const Value& v, const Arguments& a) { return equal(v, other(a, "ge")) || in.less(other(a, "ge"), v, a.offset); }},
      {"sameas", [](Interpreter&, const Value& v, const Arguments& a) { return v.index() == other(a, "sameas").index() && equal(v, other(a, "sameas")); }},
  };
  return table;
}

std::string_view long_name(std::string_view name) {
  if (name == "equalto") return "eq";
  if (name == "greaterthan") return "gt";
  if (name == "lessthan") return "lt";
  return name;
}

}  // namespace

bool test_exists(std::string_view name) { return tests().count(long_name(name)) != 0; }

bool Interpreter::test(std::string_view name, const Value& subject, const Arguments& args) {
  step(args.offset);
  name = long_name(name);
  if (name == "==") name = "eq";
  if (name == "!=") name = "ne";
  const auto it = tests().find(name);
  if (it == tests().end()) raise(ErrorCode::unsupported, "the test '" + std::string(name) + "' is not supported in chat templates", args.offset);
  return it->second(*this, subject, args);
}

}  // namespace corvid::llm::tmpl
