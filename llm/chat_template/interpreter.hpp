// Interpreter: renders a syntax tree, within limits of steps, depth, output and memory.
#pragma once

#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "corvid/llm/chat_template.hpp"
#include "llm/chat_template/ast.hpp"

namespace corvid::llm::tmpl {

struct Scope {
  std::shared_ptr<Scope> parent;
  std::map<std::string, Value, std::less<>> names;
  const Value* find(std::string_view name) const;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  std::size_t offset = 0;

  /// By position or by name; null when absent.
  const Value* get(std::size_t position, std::string_view name) const;
};

/// One rendering. Its functions throw Failure.
class Interpreter {
 public:
  Interpreter(const ChatTemplateLimits& limits, std::optional<std::time_t> now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Text render(const Body& body, const ChatTemplateInputs& inputs);

  // For filters, tests, methods and functions:
  void step(std::size_t offset);
  /// Counts memory made, in bytes; a template may make 256 times its output limit in all.
  void charge(std::size_t bytes, std::size_t offset);
  Value text(std::string value, std::size_t offset);
  Value text(Text value, std::size_t offset);
  std::string string_of(const Value& value, std::size_t offset);
  /// The same with the marks: a text's own, all of it where something else holds marked texts.
  Text text_of(const Value& value, std::size_t offset);
  /// What a `for` would run over. bad_input for what cannot be.
  std::vector<Value> iterate(const Value& value, std::size_t offset);
  Value attribute(const Value& owner, std::string_view name, std::size_t offset);
  Value item(const Value& owner, const Value& key, std::size_t offset);
  /// The path "a.b.0" of map(attribute=…) and its like.
  Value path(const Value& owner, const Value& path, std::size_t offset);
  Value filter(std::string_view name, const Value& subject, const Arguments& arguments);
  bool test(std::string_view name, const Value& subject, const Arguments& arguments);
  Value method(const Value& self, std::string_view name, const Arguments& arguments);
  Value function(std::string_view name, const Arguments& arguments);
  /// Python's order; bad_input where it has none.
  bool less(const Value& a, const Value& b, std::size_t offset);
  bool contains(const Value& container, const Value& member, std::size_t offset);
  std::size_t max_text() const { return limits_.max_output_bytes; }

 private:
  enum class Flow { normal, leave, next };
  struct Deeper;

  Flow run(const Body& body, const std::shared_ptr<Scope>& scope);
  Flow run(const Stmt& stmt, const std::shared_ptr<Scope>& scope);
  Flow branch(const Stmt& stmt, const std::shared_ptr<Scope>& scope);
  Flow loop(const Stmt& stmt, const std::shared_ptr<Scope>& scope);
  void capture(const Stmt& stmt, const std::shared_ptr<Scope>& scope);
  void define(const Stmt& stmt, const std::shared_ptr<Scope>& scope);
  Text captured(const Body& body, const std::shared_ptr<Scope>& scope);
  void bind(const Expr& target, Value value, Scope& scope, Scope& where);
  template <class T>
  void print(const T& text, std::size_t offset);

  Value eval(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value make_container(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value slice(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value call(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value filtered(const Expr& e, const std::shared_ptr<Scope>& scope, const Value* subject);
  Value unary(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value binary(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value arithmetic(const std::string& op, const Value& a, const Value& b, std::size_t offset);
  Value compare(const Expr& e, const std::shared_ptr<Scope>& scope);
  bool holds(const std::string& op, const Value& a, const Value& b, std::size_t offset);
  Arguments arguments(const Expr& e, const std::shared_ptr<Scope>& scope);
  Value call_value(const Value& callee, const Arguments& arguments);
  Value call_macro(const Callable& callee, const Arguments& arguments);
  Value make_namespace(const Arguments& arguments);

  /// An input: its texts are marked.
  Value from_json(const OrderedJson& json, std::size_t depth);
  Value apply_filter(std::string_view name, const Value& subject, const Arguments& arguments);
  Value apply_method(const Value& self, std::string_view name, const Arguments& arguments);

  ChatTemplateLimits limits_;
  std::optional<std::time_t> now_;
  std::uint64_t steps_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t depth_ = 0;   // of evaluation
  std::size_t calls_ = 0;   // of macros
  std::size_t loops_ = 0;
  Text* out_ = nullptr;
  // Macros refer to the scope that defines them, namespaces to anything: these lists break the cycles in the end.
  std::vector<std::shared_ptr<Scope>> kept_scopes_;
  std::vector<NamespaceP> namespaces_;
};

bool has_method(const Value& self, std::string_view name);
Text percent_format(Interpreter& in, const Text& format, const std::vector<Value>& values, std::size_t offset);

}  // namespace corvid::llm::tmpl
