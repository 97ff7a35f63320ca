// Expressions.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "llm/chat_template/interpreter.hpp"
#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

struct Interpreter::Deeper {
  Deeper(Interpreter& i, std::size_t offset) : in(i) {
    // Ten expressions a call: macros that call each other stay well inside a thread's stack.
    if (++in.depth_ > in.limits_.max_depth * 10) raise(ErrorCode::limit_exceeded, "expressions nest deeper than " + std::to_string(in.limits_.max_depth * 10) + " levels", offset);
  }
  ~Deeper() { --in.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  Interpreter& in;
};

namespace {

Value undefined(std::string_view name) { return Undefined{std::make_shared<const std::string>(name)}; }

[[noreturn]] void no_operation(const std::string& op, const Value& a, const Value& b, std::size_t offset) {
  raise(ErrorCode::bad_input, "'" + op + "' is not possible between " + std::string(type_name(a)) + " and " + std::string(type_name(b)), offset);
}

[[noreturn]] void is_undefined(const Value& value, std::size_t offset) {
  const auto& name = value.as<Undefined>()->name;
  raise(ErrorCode::bad_input, (name ? "'" + *name + "'" : std::string("a value")) + " is undefined", offset);
}

// Python's bounds of a slice of `size` items.
struct Bounds { std::int64_t start, stop, step; };
Bounds bounds(const Value* parts, std::int64_t size, std::size_t offset) {
  const auto read = [&](const Value& v, std::int64_t absent) {
    std::int64_t i = absent;
    if (!v.is<None>() && !v.integer(i)) raise(ErrorCode::bad_input, "slice bounds are integers", offset);
    return i;
  };
  Bounds b{0, 0, read(parts[2], 1)};
  if (b.step == 0 || b.step < -size - 1) {
    if (b.step == 0) raise(ErrorCode::bad_input, "a slice's step is zero", offset);
    b.step = -size - 1;
  }
  b.step = std::min(b.step, size + 1);
  const auto clamp = [&](std::int64_t i) {
    const std::int64_t low = b.step < 0 ? -1 : 0, high = b.step < 0 ? size - 1 : size;
    if (i < 0) i = i < -size ? -1 - size : i;
    return std::clamp(i < 0 ? i + size : i, low, high);
  };
  b.start = parts[0].is<None>() ? (b.step < 0 ? size - 1 : 0) : clamp(read(parts[0], 0));
  b.stop = parts[1].is<None>() ? (b.step < 0 ? -1 : size) : clamp(read(parts[1], 0));
  return b;
}

}  // namespace

Value Interpreter::eval(const Expr& e, const std::shared_ptr<Scope>& scope) {
  step(e.offset);
  const Deeper deeper(*this, e.offset);
  switch (e.kind) {
    case ExprKind::literal: return e.value;
    case ExprKind::name: {
      const Value* found = scope->find(e.text);
      return found ? *found : undefined(e.text);
    }
    case ExprKind::list:
    case ExprKind::tuple:
    case ExprKind::dict: return make_container(e, scope);
    case ExprKind::attribute: return attribute(eval(*e.kids[0], scope), e.text, e.offset);
    case ExprKind::subscript: {
      const Value owner = eval(*e.kids[0], scope);
      return item(owner, eval(*e.kids[1], scope), e.offset);
    }
    case ExprKind::slice: return slice(e, scope);
    case ExprKind::call: return call(e, scope);
    case ExprKind::filter: return filtered(e, scope, nullptr);
    case ExprKind::test: {
      const Value subject = eval(*e.kids[0], scope);
      return test(e.text, subject, arguments(e, scope));
    }
    case ExprKind::unary: return unary(e, scope);
    case ExprKind::binary: return binary(e, scope);
    case ExprKind::compare: return compare(e, scope);
    case ExprKind::ternary:
      if (truthy(eval(*e.kids[1], scope))) return eval(*e.kids[0], scope);
      return e.kids[2] ? eval(*e.kids[2], scope) : Value();
  }
  return Value();
}

Value Interpreter::make_container(const Expr& e, const std::shared_ptr<Scope>& scope) {
  charge(64 + e.kids.size() * sizeof(Value), e.offset);
  if (e.kind == ExprKind::dict) {
    auto dict = std::make_shared<Dict>();
    for (std::size_t i = 0; i + 1 < e.kids.size(); i += 2) {
      Value key = eval(*e.kids[i], scope);
      if (key.list() || key.dict()) raise(ErrorCode::bad_input, "a " + std::string(type_name(key)) + " cannot be a dict's key", e.offset);
      dict->set(std::move(key), eval(*e.kids[i + 1], scope));
    }
    return dict;
  }
  std::vector<Value> items;
  for (const auto& kid : e.kids) items.push_back(eval(*kid, scope));
  return make_list(std::move(items), e.kind == ExprKind::tuple);
}

Value Interpreter::slice(const Expr& e, const std::shared_ptr<Scope>& scope) {
  const Value owner = eval(*e.kids[0], scope);
  Value parts[3] = {None{}, None{}, None{}};
  for (std::size_t i = 0; i < 3; ++i) {
    if (e.kids[i + 1]) parts[i] = eval(*e.kids[i + 1], scope);
  }
  if (owner.is<Undefined>()) is_undefined(owner, e.offset);
  const auto each = [](const Bounds& b, auto&& take) {
    for (std::int64_t i = b.start; b.step > 0 ? i < b.stop : i > b.stop; i += b.step) take(static_cast<std::size_t>(i));
  };
  if (const auto* s = owner.text()) {
    charge(s->size(), e.offset);
    const auto chars = characters(*s);
    std::string out;
    each(bounds(parts, static_cast<std::int64_t>(chars.size()), e.offset), [&](std::size_t i) { out += chars[i]; });
    return s->input.empty() ? text(std::move(out), e.offset) : as_input(text(std::move(out), e.offset));
  }
  const auto* list = owner.list();
  if (!list || list->lazy) raise(ErrorCode::bad_input, "a " + std::string(type_name(owner)) + " cannot be sliced", e.offset);
  std::vector<Value> out;
  each(bounds(parts, static_cast<std::int64_t>(list->items.size()), e.offset), [&](std::size_t i) { out.push_back(list->items[i]); });
  charge(out.size() * sizeof(Value) + 64, e.offset);
  return make_list(std::move(out), list->tuple);
}

Value Interpreter::attribute(const Value& owner, std::string_view name, std::size_t offset) {
  if (owner.is<Undefined>()) is_undefined(owner, offset);
  if (name.rfind("__", 0) == 0) raise(ErrorCode::bad_input, "access to the attribute '" + std::string(name) + "' is not allowed", offset);
  if (const auto* ns = owner.as<NamespaceP>()) {
    const Value* found = (*ns)->attributes.find(name);
    return found ? *found : undefined(name);
  }
  if (has_method(owner, name)) {
    auto bound = std::make_shared<Callable>();
    bound->kind = Callable::Kind::method;
    bound->name = name;
    bound->self = owner;
    return bound;
  }
  if (const auto* dict = owner.dict()) {
    const Value* found = dict->find(name);
    return found ? *found : undefined(name);
  }
  if (const auto* loop = owner.as<LoopP>()) {
    const Loop& l = **loop;
    const auto size = static_cast<std::int64_t>(l.items.size()), index = static_cast<std::int64_t>(l.index);
    if (name == "index") return index + 1;
    if (name == "index0") return index;
    if (name == "revindex") return size - index;
    if (name == "revindex0") return size - index - 1;
    if (name == "first") return index == 0;
    if (name == "last") return index + 1 == size;
    if (name == "length") return size;
    if (name == "depth") return static_cast<std::int64_t>(l.depth);
    if (name == "depth0") return static_cast<std::int64_t>(l.depth) - 1;
    if (name == "previtem") return index > 0 ? l.items[l.index - 1] : undefined(name);
    if (name == "nextitem") return index + 1 < size ? l.items[l.index + 1] : undefined(name);
  }
  return undefined(name);
}

Value Interpreter::item(const Value& owner, const Value& key, std::size_t offset) {
  if (owner.is<Undefined>()) is_undefined(owner, offset);
  if (const auto* dict = owner.dict()) {
    if (key.list() || key.dict()) return undefined("item");
    if (const Value* found = dict->find(key)) return *found;
  }
  std::int64_t index = 0;
  if (key.integer(index)) {
    const auto at = [&](std::size_t size) -> std::optional<std::size_t> {
      const auto n = static_cast<std::int64_t>(size);
      if (index < -n || index >= n) return std::nullopt;
      return static_cast<std::size_t>(index < 0 ? index + n : index);
    };
    if (const auto* list = owner.list(); list && !list->lazy) {
      const auto i = at(list->items.size());
      return i ? list->items[*i] : undefined("list item");
    }
    if (const auto* s = owner.text()) {
      charge(s->size(), offset);
      const auto chars = characters(*s);
      const auto i = at(chars.size());
      return !i ? undefined("character") : s->input.empty() ? Value(chars[*i]) : as_input(Value(chars[*i]));
    }
  }
  if (const auto* name = key.text()) return attribute(owner, *name, offset);
  return undefined("item");
}

Value Interpreter::path(const Value& owner, const Value& path, std::size_t offset) {
  const auto* name = path.text();
  if (!name) return item(owner, path, offset);
  Value value = owner;
  for (const auto part : split(*name, ".", -1)) {
    std::int64_t index = 0;
    const bool digits = !part.empty() && part.size() < 10 && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    for (const char c : part) index = digits ? index * 10 + (c - '0') : 0;
    value = item(value, digits ? Value(index) : Value(part), offset);
  }
  return value;
}

std::vector<Value> Interpreter::iterate(const Value& value, std::size_t offset) {
  std::vector<Value> out;
  if (value.is<Undefined>()) return out;
  if (const auto* list = value.list()) {
    charge(list->items.size() * sizeof(Value), offset);
    return list->items;
  }
  if (const auto* dict = value.dict()) {
    charge(dict->items.size() * sizeof(Value), offset);
    for (const auto& [key, item] : dict->items) out.push_back(key);
    return out;
  }
  if (const auto* s = value.text()) {
    charge(s->size() * 100, offset);
    for (const auto c : characters(*s)) out.push_back(s->input.empty() ? Value(c) : as_input(Value(c)));
    return out;
  }
  raise(ErrorCode::bad_input, "a " + std::string(type_name(value)) + " cannot be iterated over", offset);
}

Arguments Interpreter::arguments(const Expr& e, const std::shared_ptr<Scope>& scope) {
  Arguments args;
  args.offset = e.offset;
  for (std::size_t i = 1; i < e.kids.size(); ++i) args.positional.push_back(eval(*e.kids[i], scope));
  for (const auto& [name, value] : e.named) args.named.emplace_back(name, eval(*value, scope));
  return args;
}

Value Interpreter::call(const Expr& e, const std::shared_ptr<Scope>& scope) {
  const Value callee = eval(*e.kids[0], scope);
  if (callee.is<Undefined>()) is_undefined(callee, e.offset);
  return call_value(callee, arguments(e, scope));
}

Value Interpreter::call_value(const Value& callee, const Arguments& args) {
  const auto* callable = callee.as<CallableP>();
  if (!callable) raise(ErrorCode::bad_input, "a " + std::string(type_name(callee)) + " cannot be called", args.offset);
  Callable& fn = **callable;
  switch (fn.kind) {
    case Callable::Kind::macro: return call_macro(fn, args);
    case Callable::Kind::method: return method(fn.self, fn.name, args);
    case Callable::Kind::joiner: return fn.calls++ ? fn.self : Value("");
    case Callable::Kind::function: break;
  }
  return fn.name == "namespace" ? make_namespace(args) : function(fn.name, args);
}

Value Interpreter::make_namespace(const Arguments& args) {
  auto ns = std::make_shared<Namespace>();
  charge(256, args.offset);
  if (!args.positional.empty()) {
    const auto* dict = args.positional[0].dict();
    if (!dict) raise(ErrorCode::bad_input, "namespace() takes a dict or named values", args.offset);
    ns->attributes = *dict;
  }
  for (const auto& [key, value] : args.named) ns->attributes.set(Value(key), value);
  for (const auto& [key, value] : ns->attributes.items) {
    if (key.text() && key.text()->rfind('_', 0) == 0) raise(ErrorCode::bad_input, "the attribute '" + *key.text() + "' begins with an underscore", args.offset);
  }
  namespaces_.push_back(ns);
  return ns;
}

Value Interpreter::filtered(const Expr& e, const std::shared_ptr<Scope>& scope, const Value* subject) {
  // In a filter block the innermost filter of the chain has no operand but the block's text.
  Value value;
  if (!e.kids[0]) value = *subject;
  else if (subject && e.kids[0]->kind == ExprKind::filter) value = filtered(*e.kids[0], scope, subject);
  else value = eval(*e.kids[0], scope);
  return filter(e.text, value, arguments(e, scope));
}

Value Interpreter::unary(const Expr& e, const std::shared_ptr<Scope>& scope) {
  const Value value = eval(*e.kids[0], scope);
  if (e.text == "not") return !truthy(value);
  if (value.is<Undefined>()) is_undefined(value, e.offset);
  std::int64_t i = 0;
  if (value.integer(i)) {
    if (e.text == "+") return i;
    if (i == INT64_MIN) raise(ErrorCode::unsupported, "integers of more than 64 bits are not supported", e.offset);
    return -i;
  }
  double d = 0;
  if (!value.number(d)) raise(ErrorCode::bad_input, "'" + e.text + "' is not possible for a " + std::string(type_name(value)), e.offset);
  return e.text == "-" ? -d : d;
}

Value Interpreter::binary(const Expr& e, const std::shared_ptr<Scope>& scope) {
  Value a = eval(*e.kids[0], scope);
  if (e.text == "and") return truthy(a) ? eval(*e.kids[1], scope) : a;
  if (e.text == "or") return truthy(a) ? a : eval(*e.kids[1], scope);
  const Value b = eval(*e.kids[1], scope);
  if (e.text == "~") {
    Text joined = text_of(a, e.offset);
    joined.add(text_of(b, e.offset));
    return text(std::move(joined), e.offset);
  }
  if (a.is<Undefined>()) is_undefined(a, e.offset);
  if (b.is<Undefined>()) is_undefined(b, e.offset);
  return arithmetic(e.text, a, b, e.offset);
}

Value Interpreter::arithmetic(const std::string& op, const Value& a, const Value& b, std::size_t offset) {
  if (const auto* s = a.text()) {
    if (op == "+" && b.text()) {
      Text joined = *s;
      joined.add(*b.text());
      return text(std::move(joined), offset);
    }
    if (op == "%") return text(percent_format(*this, *s, b.list() && b.list()->tuple ? b.list()->items : std::vector<Value>{b}, offset), offset);
  }
  if (a.list() && b.list() && op == "+" && a.list()->tuple == b.list()->tuple && !a.list()->lazy && !b.list()->lazy) {
    std::vector<Value> items = a.list()->items;
    items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
    charge(items.size() * sizeof(Value) + 64, offset);
    return make_list(std::move(items), a.list()->tuple);
  }
  std::int64_t i = 0, j = 0;
  if (op == "*" && (a.integer(i) || b.integer(i))) {
    const Value& other = a.integer(i) ? b : a;
    const auto times = static_cast<std::uint64_t>(std::max<std::int64_t>(i, 0));
    if (const auto* s = other.text()) {
      if (!s->empty() && times > limits_.max_output_bytes / s->size() + 1) raise(ErrorCode::limit_exceeded, "a text is repeated " + std::to_string(times) + " times", offset);
      std::string out;
      for (std::uint64_t n = 0; n < times && !s->empty(); ++n) out += *s;
      return s->input.empty() ? text(std::move(out), offset) : as_input(text(std::move(out), offset));
    }
    if (const auto* list = other.list()) {
      if (!list->items.empty() && times > limits_.max_range / list->items.size() + 1) raise(ErrorCode::limit_exceeded, "a list is repeated " + std::to_string(times) + " times", offset);
      std::vector<Value> out;
      for (std::uint64_t n = 0; n < times && !list->items.empty(); ++n) out.insert(out.end(), list->items.begin(), list->items.end());
      charge(out.size() * sizeof(Value) + 64, offset);
      return make_list(std::move(out), list->tuple);
    }
  }
  const auto checked = [&](bool overflow, std::int64_t value) -> Value {
    if (overflow) raise(ErrorCode::unsupported, "integers of more than 64 bits are not supported", offset);
    return value;
  };
  const auto by_zero = [&] { raise(ErrorCode::bad_input, "division by zero", offset); };
  if (a.integer(i) && b.integer(j)) {
    std::int64_t r = 0;
    if (op == "+") { const bool o = __builtin_add_overflow(i, j, &r); return checked(o, r); }
    if (op == "-") { const bool o = __builtin_sub_overflow(i, j, &r); return checked(o, r); }
    if (op == "*") { const bool o = __builtin_mul_overflow(i, j, &r); return checked(o, r); }
    if (op == "//" || op == "%") {
      if (j == 0) by_zero();
      if (j == -1) return op == "%" ? Value(std::int64_t{0}) : checked(i == INT64_MIN, i == INT64_MIN ? 0 : -i);
      const std::int64_t rest = i % j;
      const bool adjust = rest != 0 && (rest < 0) != (j < 0);
      return op == "%" ? rest + (adjust ? j : 0) : i / j - (adjust ? 1 : 0);
    }
    if (op == "**" && j >= 0) {
      r = 1;
      for (std::int64_t n = 0; n < j; ++n) {
        if ((r == 0 || r == 1) && i == r) break;
        step(offset);
        if (__builtin_mul_overflow(r, i, &r)) return checked(true, 0);
      }
      return r;
    }
  }
  double x = 0, y = 0;
  if (!a.number(x) || !b.number(y)) no_operation(op, a, b, offset);
  if (op == "+") return x + y;
  if (op == "-") return x - y;
  if (op == "*") return x * y;
  if (op == "**") return std::pow(x, y);
  if (y == 0) by_zero();
  if (op == "/") return x / y;
  if (op == "//") return std::floor(x / y);
  const double rest = std::fmod(x, y);
  return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}

Value Interpreter::compare(const Expr& e, const std::shared_ptr<Scope>& scope) {
  Value left = eval(*e.kids[0], scope);
  for (std::size_t i = 0; i < e.ops.size(); ++i) {
    Value right = eval(*e.kids[i + 1], scope);
    if (!holds(e.ops[i], left, right, e.offset)) return false;
    left = std::move(right);
  }
  return true;
}

bool Interpreter::holds(const std::string& op, const Value& a, const Value& b, std::size_t offset) {
  if (op == "==") return equal(a, b);
  if (op == "!=") return !equal(a, b);
  if (op == "in") return contains(b, a, offset);
  if (op == "not in") return !contains(b, a, offset);
  if (op == "<") return less(a, b, offset);
  if (op == ">") return less(b, a, offset);
  if (op == "<=") return less(a, b, offset) || equal(a, b);
  return less(b, a, offset) || equal(a, b);
}

bool Interpreter::less(const Value& a, const Value& b, std::size_t offset) {
  step(offset);
  if (a.is<Undefined>()) is_undefined(a, offset);
  if (b.is<Undefined>()) is_undefined(b, offset);
  std::int64_t i = 0, j = 0;
  if (a.integer(i) && b.integer(j)) return i < j;
  double x = 0, y = 0;
  if (a.number(x) && b.number(y)) return x < y;
  if (a.text() && b.text()) return *a.text() < *b.text();  // UTF-8's byte order is the code points' order
  if (a.list() && b.list()) {
    const Deeper deeper(*this, offset);
    const auto &l = a.list()->items, &r = b.list()->items;
    for (std::size_t k = 0; k < std::min(l.size(), r.size()); ++k) {
      if (!equal(l[k], r[k])) return less(l[k], r[k], offset);
    }
    return l.size() < r.size();
  }
  no_operation("<", a, b, offset);
}

bool Interpreter::contains(const Value& container, const Value& member, std::size_t offset) {
  if (container.is<Undefined>()) return false;
  if (const auto* s = container.text()) {
    charge(s->size() / 16, offset);
    if (member.is<Undefined>()) is_undefined(member, offset);
    if (!member.text()) raise(ErrorCode::bad_input, "'in' a str asks for a str, not a " + std::string(type_name(member)), offset);
    return s->find(*member.text()) != std::string::npos;
  }
  if (const auto* dict = container.dict()) return dict->find(member) != nullptr;
  if (const auto* list = container.list()) {
    charge(list->items.size(), offset);
    return std::any_of(list->items.begin(), list->items.end(), [&](const Value& item) { return equal(item, member); });
  }
  raise(ErrorCode::bad_input, "'in' is not possible for a " + std::string(type_name(container)), offset);
}

}  // namespace corvid::llm::tmpl
