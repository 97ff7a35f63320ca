// Tree and scope to value. Every step is paid for from a budget, so that evaluation ends whatever the state holds.
#include <cmath>
#include <limits>

#include "graphs/file/expression_tree.hpp"

namespace corvid::detail {

bool is_true(const Json& value) noexcept {
  switch (value.type()) {
    case Json::value_t::null:
      return false;
    case Json::value_t::boolean:
      return value.get<bool>();
    case Json::value_t::string:
      return !value.get_ref<const std::string&>().empty();
    case Json::value_t::array:
    case Json::value_t::object:
      return !value.empty();
    default:
      return value.is_number() ? value.get<double>() != 0 : true;
  }
}

std::string_view kind_of(const Json& value) noexcept {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a number";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::object:
      return "an object";
    default:
      return "binary data";
  }
}

// ---- budget

Status ExpressionBudget::step(std::size_t count) {
  steps_ += count;
  if (steps_ <= ExpressionLimits::steps) return {};
  return fail(Error::limit_exceeded("the expression takes more than " + std::to_string(ExpressionLimits::steps) + " steps"));
}
Status ExpressionBudget::make(std::size_t bytes) {
  bytes_ += bytes;
  if (bytes_ <= ExpressionLimits::made_bytes) return {};
  return fail(Error::limit_exceeded("the expression makes more than " + std::to_string(ExpressionLimits::made_bytes >> 20) + " MiB"));
}
Status ExpressionBudget::walk(const Json& value) { return measure(value, 0, false); }
Status ExpressionBudget::copy(const Json& value) { return measure(value, 0, true); }
Status ExpressionBudget::measure(const Json& value, std::size_t depth, bool making) {
  if (depth > ExpressionLimits::value_depth)
    return fail(Error::limit_exceeded("the value is nested deeper than " + std::to_string(ExpressionLimits::value_depth) + " levels"));
  const std::size_t text = value.is_string() ? value.get_ref<const std::string&>().size() : 0;
  CORVID_TRY_STATUS(step(1 + text / 256));
  if (making) CORVID_TRY_STATUS(make(sizeof(Json) + text));
  if (!value.is_structured()) return {};
  for (const auto& [name, part] : value.items()) {
    if (making && value.is_object()) CORVID_TRY_STATUS(make(64 + name.size()));  // a tree's node and the name
    CORVID_TRY_STATUS(measure(part, depth + 1, making));
  }
  return {};
}
Result<Json> ExpressionBudget::take(Operand&& operand) {
  if (!operand.borrowed) return std::move(operand.own);
  CORVID_TRY_STATUS(copy(*operand.borrowed));
  return *operand.borrowed;
}

namespace {

class Evaluator {
 public:
  Evaluator(const ExpressionTree& tree, const ExpressionScope& scope) : tree_(tree), scope_(scope), slots_(tree.slots, nullptr) {}

  Result<Operand> eval(std::uint32_t index) {
    const ExprNode& node = tree_.nodes[index];
    auto value = dispatch(node);
    if (!value) return fail(std::move(value).error().at_offset(node.offset));  // the deepest place is kept
    return value;
  }
  ExpressionBudget& budget() noexcept { return budget_; }

 private:
  Result<Operand> dispatch(const ExprNode& node) {
    CORVID_TRY_STATUS(budget_.step());
    switch (node.kind) {
      case ExprKind::literal:
        return borrow(&node.value);
      case ExprKind::bound:
        return borrow(slots_[node.slot]);
      case ExprKind::variable:
        return borrow(scope_.variable(node.name));
      case ExprKind::state: {
        CORVID_TRY(const Json* state, scope_.state());
        return borrow(state);
      }
      case ExprKind::field: {
        CORVID_TRY(const Json* field, scope_.state_field(node.name));
        return borrow(field);
      }
      case ExprKind::member:
        return member(node);
      case ExprKind::index:
        return index(node);
      case ExprKind::list:
        return list(node);
      case ExprKind::object:
        return object(node);
      case ExprKind::choice: {
        CORVID_TRY(const Operand condition, eval(node.parts[0]));
        return eval(node.parts[is_true(condition.get()) ? 1 : 2]);
      }
      case ExprKind::logical_and:
      case ExprKind::logical_or: {
        CORVID_TRY(Operand left, eval(node.parts[0]));
        if (is_true(left.get()) == (node.kind == ExprKind::logical_or)) return left;
        return eval(node.parts[1]);
      }
      case ExprKind::logical_not: {
        CORVID_TRY(const Operand value, eval(node.parts[0]));
        return own(!is_true(value.get()));
      }
      case ExprKind::negate:
        return negate(node);
      case ExprKind::comprehension:
        return comprehension(node);
      case ExprKind::call:
        return call(node);
      default:
        return binary(node);
    }
  }

  static Result<Operand> borrow(const Json* value) {
    Operand out;
    out.borrowed = value;  // null where there is nothing: the operand's own null
    return out;
  }
  static Result<Operand> own(Json value) {
    Operand out;
    out.own = std::move(value);
    return out;
  }
  // A part of a value: borrowed if the whole is, moved out of it else.
  static Result<Operand> part_of(Operand& whole, const Json* part) {
    if (!part) return own(nullptr);
    if (whole.borrowed) return borrow(part);
    return own(std::move(const_cast<Json&>(*part)));  // the whole is this evaluation's own and dies here
  }

  Result<Operand> member(const ExprNode& node) {
    CORVID_TRY(Operand base, eval(node.parts[0]));
    const Json& value = base.get();
    if (value.is_null()) return own(nullptr);
    if (!value.is_object()) return fail(Error::bad_input(std::string(kind_of(value)) + " has no member \"" + node.name + "\""));
    const auto at = value.find(node.name);
    return part_of(base, at == value.end() ? nullptr : &*at);
  }

  Result<Operand> index(const ExprNode& node) {
    CORVID_TRY(Operand base, eval(node.parts[0]));
    CORVID_TRY(const Operand place, eval(node.parts[1]));
    const Json &value = base.get(), &at = place.get();
    if (value.is_null() || at.is_null()) return own(nullptr);
    if (value.is_object() && at.is_string()) {
      const auto found = value.find(at.get_ref<const std::string&>());
      return part_of(base, found == value.end() ? nullptr : &*found);
    }
    if (value.is_array() && at.is_number_integer()) {
      const auto size = static_cast<std::int64_t>(value.size());
      if (at.is_number_unsigned() && at.get<std::uint64_t>() >= value.size()) return own(nullptr);
      std::int64_t i = at.get<std::int64_t>();
      if (i < 0) i += size;  // -1 is the last
      return part_of(base, i < 0 || i >= size ? nullptr : &value[static_cast<std::size_t>(i)]);
    }
    return fail(Error::bad_input(std::string(kind_of(value)) + " has no [" + std::string(kind_of(at)) +
                                 "]; lists take an integer, objects a string"));
  }

  Result<Operand> list(const ExprNode& node) {
    Json made = Json::array();
    for (const auto part : node.parts) {
      CORVID_TRY(Operand value, eval(part));
      CORVID_TRY(Json item, budget_.take(std::move(value)));
      CORVID_TRY_STATUS(budget_.make(sizeof(Json)));
      made.push_back(std::move(item));
    }
    return own(std::move(made));
  }

  Result<Operand> object(const ExprNode& node) {
    Json made = Json::object();
    for (std::size_t i = 0; i + 1 < node.parts.size(); i += 2) {
      const auto& key = tree_.nodes[node.parts[i]].value.get_ref<const std::string&>();
      CORVID_TRY(Operand value, eval(node.parts[i + 1]));
      CORVID_TRY(Json member, budget_.take(std::move(value)));
      CORVID_TRY_STATUS(budget_.make(64 + key.size()));
      made[key] = std::move(member);
    }
    return own(std::move(made));
  }

  Result<Operand> comprehension(const ExprNode& node) {
    CORVID_TRY(const Operand source, eval(node.parts[0]));
    const Json& list = source.get();
    Json made = Json::array();
    if (!list.is_null() && !list.is_structured())
      return fail(Error::bad_input("for … in goes over a list or an object, not " + std::string(kind_of(list))));
    // The slots of an inner `for` differ from those of an outer one, and are set anew at each turn.
    std::size_t count = 0;
    for (auto at = list.begin(); at != list.end(); ++at, ++count) {
      CORVID_TRY_STATUS(budget_.step());
      const Json first = list.is_object() ? Json(at.key()) : node.two_names ? Json(static_cast<std::int64_t>(count)) : Json();
      if (node.two_names) {
        slots_[node.slot] = &first;
        slots_[node.slot + 1] = &*at;
      } else {
        slots_[node.slot] = list.is_object() ? &first : &*at;
      }
      if (node.parts.size() > 2) {
        CORVID_TRY(const Operand wanted, eval(node.parts[2]));
        if (!is_true(wanted.get())) continue;
      }
      CORVID_TRY(Operand value, eval(node.parts[1]));
      CORVID_TRY(Json item, budget_.take(std::move(value)));
      CORVID_TRY_STATUS(budget_.make(sizeof(Json)));
      made.push_back(std::move(item));
    }
    return own(std::move(made));
  }

  Result<Operand> call(const ExprNode& node) {
    std::vector<Operand> args;
    args.reserve(node.parts.size());
    for (const auto part : node.parts) {
      CORVID_TRY(Operand value, eval(part));
      args.push_back(std::move(value));
    }
    return node.function->run(args, budget_);
  }

  Result<Operand> negate(const ExprNode& node) {
    CORVID_TRY(const Operand operand, eval(node.parts[0]));
    const Json& value = operand.get();
    if (value.is_number_float()) return own(-value.get<double>());
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t{1} << 63) return fail(overflow());
    if (value.is_number_unsigned()) return own(static_cast<std::int64_t>(0 - value.get<std::uint64_t>()));
    if (!value.is_number_integer()) return fail(Error::bad_input("- needs a number, not " + std::string(kind_of(value))));
    if (value.get<std::int64_t>() == std::numeric_limits<std::int64_t>::min()) return fail(overflow());
    return own(-value.get<std::int64_t>());
  }

  static Error overflow() { return Error::limit_exceeded("the result does not fit a 64-bit integer"); }

  Result<Operand> binary(const ExprNode& node) {
    CORVID_TRY(const Operand left, eval(node.parts[0]));
    CORVID_TRY(const Operand right, eval(node.parts[1]));
    const Json &a = left.get(), &b = right.get();
    switch (node.kind) {
      case ExprKind::equal:
      case ExprKind::unequal: {
        CORVID_TRY_STATUS(budget_.walk(a));
        return own((a == b) == (node.kind == ExprKind::equal));
      }
      case ExprKind::contained:
      case ExprKind::not_contained: {
        CORVID_TRY(const bool inside, is_contained(a, b, budget_));
        return own(inside == (node.kind == ExprKind::contained));
      }
      case ExprKind::less:
      case ExprKind::less_equal:
      case ExprKind::greater:
      case ExprKind::greater_equal: {
        CORVID_TRY(const int order, compare_values(a, b, budget_));
        return own(node.kind == ExprKind::less         ? order < 0
                   : node.kind == ExprKind::less_equal ? order <= 0
                   : node.kind == ExprKind::greater    ? order > 0
                                                       : order >= 0);
      }
      case ExprKind::add: {
        CORVID_TRY(Json sum, add_values(a, b, budget_));
        return own(std::move(sum));
      }
      default:
        return arithmetic(node.kind, a, b);
    }
  }

  static Result<std::int64_t> integer(const Json& value) {
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return fail(overflow());
    return value.get<std::int64_t>();
  }

  Result<Operand> arithmetic(ExprKind kind, const Json& a, const Json& b) {
    if (!a.is_number() || !b.is_number()) {
      return fail(Error::bad_input("this operator needs two numbers, not " + std::string(kind_of(a)) + " and " + std::string(kind_of(b))));
    }
    const bool divides = kind == ExprKind::divide || kind == ExprKind::floor_divide || kind == ExprKind::remainder;
    if (divides && b.get<double>() == 0) return fail(Error::bad_input("division by zero"));
    if (a.is_number_integer() && b.is_number_integer()) return whole(kind, a, b);
    const double x = a.get<double>(), y = b.get<double>();
    double out = 0;
    if (kind == ExprKind::subtract)
      out = x - y;
    else if (kind == ExprKind::multiply)
      out = x * y;
    else if (kind == ExprKind::divide)
      out = x / y;
    else if (kind == ExprKind::floor_divide)
      out = std::floor(x / y);
    else {
      out = std::fmod(x, y);
      if (out != 0 && (out < 0) != (y < 0)) out += y;  // the sign of the divisor, as with integers
    }
    if (!std::isfinite(out)) return fail(Error::limit_exceeded("the result is out of the range of numbers"));
    return own(out);
  }

  Result<Operand> whole(ExprKind kind, const Json& a, const Json& b) {
    CORVID_TRY(const std::int64_t x, integer(a));
    CORVID_TRY(const std::int64_t y, integer(b));
    std::int64_t out = 0;
    if (kind == ExprKind::subtract || kind == ExprKind::multiply) {
      if (kind == ExprKind::subtract ? __builtin_sub_overflow(x, y, &out) : __builtin_mul_overflow(x, y, &out)) return fail(overflow());
      return own(out);
    }
    if (y == -1) {  // x / -1 overflows for the smallest x, and traps
      if (kind == ExprKind::remainder) return own(0);
      if (x == std::numeric_limits<std::int64_t>::min()) return fail(overflow());
      return own(-x);
    }
    const std::int64_t quotient = x / y, rest = x % y;
    const bool below = rest != 0 && (rest < 0) != (y < 0);
    if (kind == ExprKind::remainder) return own(below ? rest + y : rest);
    if (kind == ExprKind::floor_divide) return own(below ? quotient - 1 : quotient);
    if (rest == 0) return own(quotient);
    return own(static_cast<double>(x) / static_cast<double>(y));
  }

  const ExpressionTree& tree_;
  const ExpressionScope& scope_;
  ExpressionBudget budget_;
  std::vector<const Json*> slots_;
};

}  // namespace
}  // namespace corvid::detail

namespace corvid {

Result<Json> Expression::evaluate(const ExpressionScope& scope) const {
  detail::Evaluator evaluator(*tree_, scope);
  CORVID_TRY(auto value, evaluator.eval(tree_->root));
  // Made in place, a value was paid for part by part, but nothing has looked at its depth.
  if (!value.borrowed && value.own.is_structured()) CORVID_TRY_STATUS(evaluator.budget().walk(value.own));
  return evaluator.budget().take(std::move(value));
}

Result<bool> Expression::test(const ExpressionScope& scope) const {
  detail::Evaluator evaluator(*tree_, scope);
  CORVID_TRY(const auto value, evaluator.eval(tree_->root));
  return detail::is_true(value.get());
}

}  // namespace corvid
