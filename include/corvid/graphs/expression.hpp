// Expression, TextTemplate, ValueTemplate: the small language of conditions and values in graph files. docs/graph-format.md has its
// grammar.
//
//   CORVID_TRY(auto late, Expression::parse("state.rounds >= 3 or any(n.score < 0.5 for n in state.notes)"));
//   CORVID_TRY(bool yes, late.test(JsonScope(state)));
//   CORVID_TRY(auto prompt, TextTemplate::parse("Grade this: {{ state.draft }}"));
//
// The language is total: every expression ends, in bounded time and memory, in a value or a typed error. It has no loops but over lists, no
// recursion, and no effects. A path that leads nowhere is null.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "corvid/graphs/key.hpp"

namespace corvid {

struct ExpressionLimits {
  static constexpr std::size_t text_bytes = 256u << 10;  ///< of one expression or template
  static constexpr std::size_t nesting = 120;            ///< levels of the expression itself
  static constexpr std::size_t value_depth = 128;        ///< levels of a value that is made
  static constexpr std::size_t steps = 1'000'000;        ///< operations and visited elements of one evaluation
  static constexpr std::size_t made_bytes = 64u << 20;   ///< all that one evaluation makes on its way
};

/// What an expression can name. `state.NAME` is asked for by field, so that only what is read need be at hand.
class ExpressionScope {
 public:
  virtual ~ExpressionScope() = default;
  virtual Result<const Json*> state_field(std::string_view name) const = 0;  ///< null: there is none
  virtual Result<const Json*> state() const = 0;                             ///< all of it, an object
  virtual const Json* variable(std::string_view) const { return nullptr; }   ///< other names, such as `error`; null: null
};

/// Scope of a JSON object. Borrows it, and the variables (an object) where given.
class JsonScope final : public ExpressionScope {
 public:
  explicit JsonScope(const Json& state, const Json* variables = nullptr) : state_(&state), variables_(variables) {}
  JsonScope(Json&&, const Json* = nullptr) = delete;
  Result<const Json*> state_field(std::string_view name) const override;
  Result<const Json*> state() const override { return state_; }
  const Json* variable(std::string_view name) const override;

 private:
  const Json* state_;
  const Json* variables_;
};

/// Scope of what a task sees: channels, and what its Send brought. Borrows the view; reads JSON channels without a copy. One thread.
class StateScope final : public ExpressionScope {
 public:
  explicit StateScope(const StateView& view, const Json* variables = nullptr) : view_(&view), variables_(variables) {}
  Result<const Json*> state_field(std::string_view name) const override;
  Result<const Json*> state() const override;
  const Json* variable(std::string_view name) const override;

 private:
  const StateView* view_;
  const Json* variables_;
  mutable std::optional<Json> whole_;
  mutable std::vector<std::pair<std::string, std::unique_ptr<Json>>> converted_;  // fields of other C++ types
};

/// The names that a text may use; others are refused by parse(), with the nearest one that there is.
struct ExpressionNames {
  std::vector<std::string> variables;                   ///< beside `state`
  std::shared_ptr<const std::set<std::string>> fields;  ///< of `state`; null: any
};

namespace detail {
struct ExpressionTree;
}

/// A parsed expression. Immutable; copies share; thread-safe.
class Expression {
 public:
  /// Errors: bad_input with the byte offset, limit_exceeded.
  static Result<Expression> parse(std::string_view text, const ExpressionNames& names = {});

  /// Errors: bad_input (an operation that its values do not have; byte offset), limit_exceeded, those of the scope.
  Result<Json> evaluate(const ExpressionScope& scope) const;
  Result<Json> evaluate(const Json& state) const { return evaluate(JsonScope(state)); }
  /// Whether the value is true: all are but null, false, 0, "", [] and {}.
  Result<bool> test(const ExpressionScope& scope) const;
  Result<bool> test(const Json& state) const { return test(JsonScope(state)); }

  const std::string& text() const noexcept;

 private:
  friend class TextTemplate;
  explicit Expression(std::shared_ptr<const detail::ExpressionTree> tree) : tree_(std::move(tree)) {}
  std::shared_ptr<const detail::ExpressionTree> tree_;
};

/// Text with {{ expressions }} in it. null is written as nothing, strings as they are, other values as JSON.
class TextTemplate {
 public:
  /// Errors: as Expression::parse, offsets within the whole text.
  static Result<TextTemplate> parse(std::string_view text, const ExpressionNames& names = {});

  Result<std::string> render(const ExpressionScope& scope) const;
  Result<std::string> render(const Json& state) const { return render(JsonScope(state)); }
  /// Where the text is one {{ expression }} and nothing else: its value, of whatever type; else the rendered string.
  Result<Json> value(const ExpressionScope& scope) const;

  bool constant() const noexcept;  ///< no expression in it
  const std::string& text() const noexcept { return text_; }

 private:
  struct Part {
    std::string text;
    std::optional<Expression> expression;
    std::size_t offset = 0;
  };
  std::string text_;
  std::vector<Part> parts_;
};

/// JSON whose strings, at any depth, are templates; names of members are taken as they are.
class ValueTemplate {
 public:
  /// Errors: as TextTemplate::parse, with the JSON pointer of the string (key).
  static Result<ValueTemplate> compile(const Json& value, const ExpressionNames& names = {});
  Result<Json> evaluate(const ExpressionScope& scope) const;
  Result<Json> evaluate(const Json& state) const { return evaluate(JsonScope(state)); }

 private:
  struct Node;
  std::shared_ptr<const Node> root_;
};

}  // namespace corvid
