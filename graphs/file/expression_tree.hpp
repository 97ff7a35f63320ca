// The parsed form of an expression: nodes by index, children before their parents.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/expression.hpp"

namespace corvid::detail {

struct ExpressionFunction;

enum class ExprKind : std::uint8_t {
  literal,   // value
  state,     // all of it
  field,     // state.NAME
  variable,  // a name of the scope
  bound,     // slot
  member,    // [0].name
  index,     // [0][ [1] ]
  list,      // [children]
  object,    // [key, value, key, value, …]
  choice,    // [1] if [0] else [2]
  logical_and,
  logical_or,
  logical_not,
  negate,
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  remainder,
  equal,
  unequal,
  less,
  less_equal,
  greater,
  greater_equal,
  contained,  // [0] in [1]
  not_contained,
  comprehension,  // [[1] for slot(, slot+1) in [0] if [2]]
  call,           // function(children)
};

struct ExprNode {
  ExprKind kind = ExprKind::literal;
  std::uint32_t offset = 0;
  std::uint32_t depth = 1;
  std::uint32_t slot = 0;
  bool two_names = false;
  std::vector<std::uint32_t> parts;
  std::string name;
  Json value;
  const ExpressionFunction* function = nullptr;
};

struct ExpressionTree {
  std::string text;
  std::vector<ExprNode> nodes;
  std::uint32_t root = 0;
  std::uint32_t slots = 0;
};

/// Parses from `begin` on. With `end` null all of the text must be used; else parsing stops at "}}", and *end is set behind it.
Result<std::shared_ptr<const ExpressionTree>> parse_expression(std::string_view text, std::size_t begin, const ExpressionNames& names,
                                                               std::size_t* end);

/// A value that is borrowed from the scope while possible.
struct Operand {
  Json own;
  const Json* borrowed = nullptr;
  const Json& get() const noexcept { return borrowed ? *borrowed : own; }
};

bool is_true(const Json& value) noexcept;
std::string_view kind_of(const Json& value) noexcept;  // "an integer", "a list", …

/// What one evaluation may still spend, and how its errors are made.
class ExpressionBudget {
 public:
  Status step(std::size_t count = 1);
  Status make(std::size_t bytes);
  Status walk(const Json& value);        // visiting all of it: a comparison
  Status copy(const Json& value);        // making all of it again
  Result<Json> take(Operand&& operand);  // as a value of its own
  std::size_t made() const noexcept { return bytes_; }

 private:
  Status measure(const Json& value, std::size_t depth, bool making);
  std::size_t steps_ = 0, bytes_ = 0;
};

/// `args` has as many members as the function allows.
struct ExpressionFunction {
  std::string_view name;
  std::size_t least, most;
  Result<Operand> (*run)(std::vector<Operand>& args, ExpressionBudget& budget);
};
const ExpressionFunction* find_function(std::string_view name) noexcept;
std::vector<std::string> function_names();

Result<bool> is_contained(const Json& item, const Json& in, ExpressionBudget& budget);
Result<int> compare_values(const Json& a, const Json& b, ExpressionBudget& budget);
Result<std::string> text_of(const Json& value, ExpressionBudget& budget);  // as a template writes it
Result<Json> add_values(const Json& a, const Json& b, ExpressionBudget& budget);

}  // namespace corvid::detail
