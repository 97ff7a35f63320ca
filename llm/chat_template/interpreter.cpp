// Statements, and the entry.
#include "llm/chat_template/interpreter.hpp"

#include <algorithm>
#include <cstdint>

#include "llm/chat_template/text.hpp"

namespace corvid::llm::tmpl {

const Value* Scope::find(std::string_view name) const {
  for (const Scope* s = this; s; s = s->parent.get()) {
    if (const auto it = s->names.find(name); it != s->names.end()) return &it->second;
  }
  return nullptr;
}

const Value* Arguments::get(std::size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Interpreter::Interpreter(const ChatTemplateLimits& limits, std::optional<std::time_t> now) : limits_(limits), now_(now) {}

Interpreter::~Interpreter() {
  for (auto& scope : kept_scopes_) scope->names.clear();
  for (auto& ns : namespaces_) ns->attributes = {};
}

void Interpreter::step(std::size_t offset) {
  if (++steps_ > limits_.max_steps) {
    raise(ErrorCode::limit_exceeded, "the template takes over " + std::to_string(limits_.max_steps) + " steps", offset);
  }
}

void Interpreter::charge(std::size_t bytes, std::size_t offset) {
  bytes_ += bytes;
  if (bytes_ / 256 > limits_.max_output_bytes) raise(ErrorCode::limit_exceeded, "the template makes too much text or too long lists", offset);
}

Value Interpreter::text(std::string value, std::size_t offset) { return text(Text(std::move(value)), offset); }

Value Interpreter::text(Text value, std::size_t offset) {
  if (value.size() > std::max(limits_.max_output_bytes, std::size_t{1} << 16)) {
    raise(ErrorCode::limit_exceeded, "the template makes a text of over " + std::to_string(limits_.max_output_bytes) + " bytes", offset);
  }
  charge(value.size() + 64, offset);
  return Value(std::move(value));
}

std::string Interpreter::string_of(const Value& value, std::size_t offset) {
  try {
    return to_text(value, std::max(limits_.max_output_bytes, std::size_t{1} << 16));
  } catch (Failure& failure) {
    throw Failure{std::move(failure.error).at_offset(offset)};
  }
}

Text Interpreter::text_of(const Value& value, std::size_t offset) {
  if (const auto* text = value.text()) return *text;
  std::string written = string_of(value, offset);
  return has_input(value) ? Text::of_input(std::move(written)) : Text(std::move(written));
}

Value Interpreter::from_json(const OrderedJson& json, std::size_t depth) {
  if (depth > limits_.max_depth) raise(ErrorCode::limit_exceeded, "the template's inputs nest deeper than " + std::to_string(limits_.max_depth) + " levels", 0);
  switch (json.type()) {
    case OrderedJson::value_t::boolean: return json.get<bool>();
    case OrderedJson::value_t::number_integer: return json.get<std::int64_t>();
    case OrderedJson::value_t::number_unsigned: {
      const auto value = json.get<std::uint64_t>();
      if (value > INT64_MAX) return static_cast<double>(value);
      return static_cast<std::int64_t>(value);
    }
    case OrderedJson::value_t::number_float: return json.get<double>();
    case OrderedJson::value_t::string: return Text::of_input(json.get<std::string>());
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return make_list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& [key, item] : json.items()) dict->set(Value(Text::of_input(key)), from_json(item, depth + 1));
      return dict;
    }
    default: return None{};
  }
}

Text Interpreter::render(const Body& body, const ChatTemplateInputs& inputs) {
  auto globals = std::make_shared<Scope>();
  for (const char* name : {"raise_exception", "strftime_now", "namespace", "range", "dict", "joiner"}) {
    auto callable = std::make_shared<Callable>();
    callable->name = name;
    globals->names.emplace(name, std::move(callable));
  }
  globals->names["messages"] = from_json(inputs.messages, 0);
  globals->names["tools"] = from_json(inputs.tools, 0);
  globals->names["documents"] = None{};
  globals->names["add_generation_prompt"] = inputs.add_generation_prompt;
  globals->names["bos_token"] = Value(inputs.bos_token);
  globals->names["eos_token"] = Value(inputs.eos_token);
  for (const auto& [key, value] : inputs.extra.items()) globals->names[key] = from_json(value, 0);
  auto top = std::make_shared<Scope>();
  top->parent = std::move(globals);
  Text out;
  out_ = &out;
  run(body, top);
  return out;
}

template <class T>
void Interpreter::print(const T& text, std::size_t offset) {
  if (text.size() > limits_.max_output_bytes - std::min(out_->size(), limits_.max_output_bytes)) {
    raise(ErrorCode::limit_exceeded, "the template's output passes " + std::to_string(limits_.max_output_bytes) + " bytes", offset);
  }
  out_->add(text);
}

Interpreter::Flow Interpreter::run(const Body& body, const std::shared_ptr<Scope>& scope) {
  for (const auto& stmt : body) {
    if (const Flow flow = run(*stmt, scope); flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::run(const Stmt& stmt, const std::shared_ptr<Scope>& scope) {
  step(stmt.offset);
  const auto inner = [&] {
    auto s = std::make_shared<Scope>();
    s->parent = scope;
    return s;
  };
  switch (stmt.kind) {
    case StmtKind::data: print(std::string_view(stmt.text), stmt.offset); return Flow::normal;
    case StmtKind::print: print(text_of(eval(*stmt.expr, scope), stmt.offset), stmt.offset); return Flow::normal;
    case StmtKind::branch: return branch(stmt, scope);
    case StmtKind::loop: return loop(stmt, scope);
    case StmtKind::assign: bind(*stmt.target, eval(*stmt.expr, scope), *scope, *scope); return Flow::normal;
    case StmtKind::capture: capture(stmt, scope); return Flow::normal;
    case StmtKind::macro: define(stmt, scope); return Flow::normal;
    case StmtKind::scope: return run(stmt.body, inner());
    case StmtKind::filter: {
      const Value value(captured(stmt.body, inner()));
      print(text_of(filtered(*stmt.expr, scope, &value), stmt.offset), stmt.offset);
      return Flow::normal;
    }
    case StmtKind::with: {
      auto s = inner();
      for (const auto& [target, expr] : stmt.bindings) bind(*target, eval(*expr, scope), *s, *s);
      return run(stmt.body, s);
    }
    case StmtKind::leave: return Flow::leave;
    case StmtKind::next: return Flow::next;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::branch(const Stmt& stmt, const std::shared_ptr<Scope>& scope) {
  for (const auto& [condition, body] : stmt.arms) {
    if (!condition || truthy(eval(*condition, scope))) return run(body, scope);
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::loop(const Stmt& stmt, const std::shared_ptr<Scope>& scope) {
  auto items = iterate(eval(*stmt.expr, scope), stmt.expr->offset);
  if (stmt.condition) {
    std::vector<Value> kept;
    for (auto& item : items) {
      step(stmt.offset);
      auto trial = std::make_shared<Scope>();
      trial->parent = scope;
      bind(*stmt.target, item, *trial, *trial);
      if (truthy(eval(*stmt.condition, trial))) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    auto s = std::make_shared<Scope>();
    s->parent = scope;
    return run(stmt.otherwise, s);
  }
  auto state = std::make_shared<Loop>();
  state->items = std::move(items);
  state->depth = ++loops_;
  for (std::size_t i = 0; i < state->items.size(); ++i) {
    step(stmt.offset);
    state->index = i;
    auto s = std::make_shared<Scope>();
    s->parent = scope;
    s->names["loop"] = state;
    bind(*stmt.target, state->items[i], *s, *s);
    if (run(stmt.body, s) == Flow::leave) break;
  }
  --loops_;
  return Flow::normal;
}

Text Interpreter::captured(const Body& body, const std::shared_ptr<Scope>& scope) {
  Text text;
  Text* const outer = std::exchange(out_, &text);
  run(body, scope);  // a Failure ends the rendering, so out_ need not be put back then
  out_ = outer;
  charge(text.size(), 0);
  return text;
}

void Interpreter::capture(const Stmt& stmt, const std::shared_ptr<Scope>& scope) {
  auto inner = std::make_shared<Scope>();
  inner->parent = scope;
  Value value(captured(stmt.body, inner));
  if (stmt.expr) value = filtered(*stmt.expr, scope, &value);
  bind(*stmt.target, std::move(value), *scope, *scope);
}

void Interpreter::define(const Stmt& stmt, const std::shared_ptr<Scope>& scope) {
  auto callable = std::make_shared<Callable>();
  callable->kind = Callable::Kind::macro;
  callable->name = stmt.macro->name;
  callable->macro = stmt.macro.get();
  callable->closure = scope.get();
  if (kept_scopes_.empty() || kept_scopes_.back() != scope) kept_scopes_.push_back(scope);
  charge(128, stmt.offset);
  scope->names[stmt.macro->name] = std::move(callable);
}

void Interpreter::bind(const Expr& target, Value value, Scope& scope, Scope& where) {
  if (target.kind == ExprKind::name) {
    where.names[target.text] = std::move(value);
    return;
  }
  if (target.kind == ExprKind::attribute) {
    const Value* owner = scope.find(target.kids[0]->text);
    const NamespaceP* ns = owner ? owner->as<NamespaceP>() : nullptr;
    if (!ns) raise(ErrorCode::bad_input, "only attributes of a namespace can be set; '" + target.kids[0]->text + "' is none", target.offset);
    if (target.text.rfind('_', 0) == 0) raise(ErrorCode::bad_input, "the attribute '" + target.text + "' begins with an underscore", target.offset);
    (*ns)->attributes.set(Value(target.text), std::move(value));
    return;
  }
  auto items = iterate(value, target.offset);
  if (items.size() != target.kids.size()) {
    raise(ErrorCode::bad_input, std::to_string(items.size()) + " values cannot be unpacked into " + std::to_string(target.kids.size()) + " names", target.offset);
  }
  for (std::size_t i = 0; i < items.size(); ++i) bind(*target.kids[i], std::move(items[i]), scope, where);
}

Value Interpreter::call_macro(const Callable& callee, const Arguments& args) {
  const Macro& macro = *callee.macro;
  if (calls_ >= limits_.max_depth) {
    raise(ErrorCode::limit_exceeded, "calls nest deeper than " + std::to_string(limits_.max_depth) + " levels at macro '" + macro.name + "'", args.offset);
  }
  auto scope = std::make_shared<Scope>();
  // The closure outlives the call: kept_scopes_ owns it.
  scope->parent = std::shared_ptr<Scope>(std::shared_ptr<Scope>(), callee.closure);
  const std::size_t count = macro.parameters.size();
  std::vector<Value> extra;
  for (std::size_t i = 0; i < args.positional.size(); ++i) {
    if (i < count) scope->names[macro.parameters[i]] = args.positional[i];
    else extra.push_back(args.positional[i]);
  }
  if (!extra.empty() && !macro.takes_varargs) {
    raise(ErrorCode::bad_input, "macro '" + macro.name + "' takes " + std::to_string(count) + " arguments, not " + std::to_string(args.positional.size()), args.offset);
  }
  auto others = std::make_shared<Dict>();
  for (const auto& [key, value] : args.named) {
    if (std::find(macro.parameters.begin(), macro.parameters.end(), key) != macro.parameters.end()) {
      if (!scope->names.emplace(key, value).second) raise(ErrorCode::bad_input, "macro '" + macro.name + "' is given '" + key + "' twice", args.offset);
    } else if (macro.takes_kwargs) {
      others->set(Value(key), value);
    } else {
      raise(ErrorCode::bad_input, "macro '" + macro.name + "' has no parameter '" + key + "'", args.offset);
    }
  }
  if (macro.takes_varargs) scope->names["varargs"] = make_list(std::move(extra), true);
  if (macro.takes_kwargs) scope->names["kwargs"] = others;
  ++calls_;
  const std::size_t loops = std::exchange(loops_, 0);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& name = macro.parameters[i];
    if (scope->names.count(name)) continue;
    const std::size_t first = count - macro.defaults.size();
    Value value = i >= first ? eval(*macro.defaults[i - first], scope) : Value(Undefined{std::make_shared<const std::string>(name)});
    scope->names[name] = std::move(value);
  }
  Value result = text(captured(macro.body, scope), args.offset);
  loops_ = loops;
  --calls_;
  return result;
}

}  // namespace corvid::llm::tmpl
