// Operations that operators and functions share.
#include <cmath>
#include <limits>

#include "graphs/file/expression_tree.hpp"

namespace corvid::detail {
namespace {

Error overflow() { return Error::limit_exceeded("the result does not fit a 64-bit integer"); }

}  // namespace

Result<bool> is_contained(const Json& item, const Json& in, ExpressionBudget& budget) {
  if (in.is_null()) return false;
  if (in.is_object() && item.is_string()) return in.contains(item.get_ref<const std::string&>());
  if (in.is_string() && item.is_string()) {
    CORVID_TRY_STATUS(budget.walk(in));
    return in.get_ref<const std::string&>().find(item.get_ref<const std::string&>()) != std::string::npos;
  }
  if (!in.is_array())
    return fail(Error::bad_input("\"in\" looks into a list, a string or an object, not " + std::string(kind_of(in)) + " (for " +
                                 std::string(kind_of(item)) + ")"));
  for (const Json& each : in) {
    CORVID_TRY_STATUS(budget.step());
    if (each.type() == item.type()) CORVID_TRY_STATUS(budget.walk(item));  // what differs in type is not looked through
    if (each == item) return true;
  }
  return false;
}

Result<int> compare_values(const Json& a, const Json& b, ExpressionBudget& budget) {
  if (a.is_number() && b.is_number()) {
    const auto x = a.get<long double>(), y = b.get<long double>();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) {
    CORVID_TRY_STATUS(budget.walk(a));
    const int order = a.get_ref<const std::string&>().compare(b.get_ref<const std::string&>());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  return fail(Error::bad_input("cannot order " + std::string(kind_of(a)) + " and " + std::string(kind_of(b)) +
                               "; two numbers or two strings can be"));
}

Result<std::string> text_of(const Json& value, ExpressionBudget& budget) {
  CORVID_TRY_STATUS(budget.copy(value));
  if (value.is_null()) return std::string();
  if (value.is_string()) return value.get<std::string>();
  return dump_json(value);
}

Result<Json> add_values(const Json& a, const Json& b, ExpressionBudget& budget) {
  if (a.is_number() && b.is_number()) {
    if (a.is_number_float() || b.is_number_float()) {
      const double sum = a.get<double>() + b.get<double>();
      if (!std::isfinite(sum)) return fail(Error::limit_exceeded("the result is out of the range of numbers"));
      return Json(sum);
    }
    std::int64_t sum = 0;
    const auto overflows = [&sum](auto x, auto y) { return __builtin_add_overflow(x, y, &sum); };  // exact, whatever the signs of its types
    const auto add_to = [&](auto x) {
      return b.is_number_unsigned() ? overflows(x, b.get<std::uint64_t>()) : overflows(x, b.get<std::int64_t>());
    };
    if (a.is_number_unsigned() ? add_to(a.get<std::uint64_t>()) : add_to(a.get<std::int64_t>())) return fail(overflow());
    return Json(sum);
  }
  if (a.is_string() && b.is_string()) {
    CORVID_TRY_STATUS(budget.copy(a));
    CORVID_TRY_STATUS(budget.copy(b));
    return Json(a.get_ref<const std::string&>() + b.get_ref<const std::string&>());
  }
  if (a.is_array() && b.is_array()) {
    CORVID_TRY_STATUS(budget.copy(a));
    CORVID_TRY_STATUS(budget.copy(b));
    Json out = a;
    out.insert(out.end(), b.begin(), b.end());
    return out;
  }
  return fail(Error::bad_input("+ joins two numbers, two strings or two lists, not " + std::string(kind_of(a)) + " and " +
                               std::string(kind_of(b)) + "; string() and default() convert"));
}

}  // namespace corvid::detail
