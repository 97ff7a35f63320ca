// The functions of the language. null stands for an empty list or text wherever one is wanted, as a missing path gives null.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "graphs/file/expression_tree.hpp"

namespace corvid::detail {
namespace {

using Args = std::vector<Operand>;

Result<Operand> give(Json value) {
  Operand out;
  out.own = std::move(value);
  return out;
}

Error needs(std::string_view function, std::string_view what, const Json& got) {
  return Error::bad_input(std::string(function) + " needs " + std::string(what) + ", not " + std::string(kind_of(got)));
}

Error overflow() { return Error::limit_exceeded("the result does not fit a 64-bit integer"); }

Result<std::string_view> text_arg(std::string_view function, const Operand& arg) {
  if (arg.get().is_null()) return std::string_view();
  if (!arg.get().is_string()) return fail(needs(function, "a string", arg.get()));
  return std::string_view(arg.get().get_ref<const std::string&>());
}

const Json& no_items() {
  static const Json empty = Json::array();
  return empty;
}
Result<const Json*> list_arg(std::string_view function, const Operand& arg) {
  if (arg.get().is_null()) return &no_items();
  if (!arg.get().is_array()) return fail(needs(function, "a list", arg.get()));
  return &arg.get();
}
Result<std::int64_t> integer_arg(std::string_view function, const Operand& arg) {
  const Json& value = arg.get();
  if (!value.is_number_integer()) return fail(needs(function, "an integer", value));
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return fail(overflow());
  return value.get<std::int64_t>();
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }
std::int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); });
}
std::size_t byte_of(std::string_view text, std::int64_t character) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (continues(text[at])) continue;
    if (character-- == 0) break;
  }
  return at;
}

Result<Operand> run_len(Args& args, ExpressionBudget& budget) {
  const Json& value = args[0].get();
  if (value.is_null()) return give(0);
  if (value.is_structured()) return give(static_cast<std::int64_t>(value.size()));
  if (!value.is_string()) return fail(needs("len", "a string, a list or an object", value));
  CORVID_TRY_STATUS(budget.walk(value));
  return give(characters(value.get_ref<const std::string&>()));
}
Result<Operand> run_contains(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const bool inside, is_contained(args[1].get(), args[0].get(), budget));
  return give(inside);
}
Result<Operand> run_starts_with(Args& args, ExpressionBudget&) {
  CORVID_TRY(const auto text, text_arg("starts_with", args[0]));
  CORVID_TRY(const auto start, text_arg("starts_with", args[1]));
  return give(text.starts_with(start));
}
Result<Operand> run_ends_with(Args& args, ExpressionBudget&) {
  CORVID_TRY(const auto text, text_arg("ends_with", args[0]));
  CORVID_TRY(const auto end, text_arg("ends_with", args[1]));
  return give(text.ends_with(end));
}
Result<Operand> mapped_text(std::string_view function, const Operand& arg, ExpressionBudget& budget, char (*change)(char)) {
  CORVID_TRY(const auto text, text_arg(function, arg));
  CORVID_TRY_STATUS(budget.copy(arg.get()));
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), change);
  return give(std::move(out));
}
Result<Operand> run_lower(Args& args, ExpressionBudget& budget) {
  return mapped_text("lower", args[0], budget, [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
}
Result<Operand> run_upper(Args& args, ExpressionBudget& budget) {
  return mapped_text("upper", args[0], budget, [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
}
Result<Operand> run_trim(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(auto text, text_arg("trim", args[0]));
  CORVID_TRY_STATUS(budget.copy(args[0].get()));
  const auto blank = " \t\r\n";
  const auto from = text.find_first_not_of(blank);
  if (from == std::string_view::npos) return give("");
  return give(std::string(text.substr(from, text.find_last_not_of(blank) - from + 1)));
}
Result<Operand> run_replace(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto text, text_arg("replace", args[0]));
  CORVID_TRY(const auto from, text_arg("replace", args[1]));
  CORVID_TRY(const auto to, text_arg("replace", args[2]));
  if (from.empty()) return fail(Error::bad_input("replace cannot look for an empty text"));
  std::string out;
  for (std::size_t at = 0;;) {
    const auto next = text.find(from, at);
    const auto piece = text.substr(at, next == std::string_view::npos ? next : next - at);
    CORVID_TRY_STATUS(budget.step(1 + piece.size() / 256));
    CORVID_TRY_STATUS(budget.make(piece.size() + to.size()));
    out += piece;
    if (next == std::string_view::npos) return give(std::move(out));
    out += to;
    at = next + from.size();
  }
}
Result<Operand> run_split(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto text, text_arg("split", args[0]));
  CORVID_TRY(const auto by, text_arg("split", args[1]));
  if (by.empty()) return fail(Error::bad_input("split needs a separator that is not empty"));
  Json out = Json::array();
  for (std::size_t at = 0; !text.empty();) {
    const auto next = text.find(by, at);
    const auto piece = text.substr(at, next == std::string_view::npos ? next : next - at);
    CORVID_TRY_STATUS(budget.step(1 + piece.size() / 256));
    CORVID_TRY_STATUS(budget.make(sizeof(Json) + sizeof(std::string) + piece.size()));
    out.push_back(std::string(piece));
    if (next == std::string_view::npos) break;
    at = next + by.size();
  }
  return give(std::move(out));
}
Result<Operand> run_join(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("join", args[0]));
  std::string_view by;
  if (args.size() > 1) {
    CORVID_TRY(by, text_arg("join", args[1]));
  }
  std::string out;
  for (const Json& item : *list) {
    CORVID_TRY(const auto text, text_of(item, budget));
    CORVID_TRY_STATUS(budget.step());
    CORVID_TRY_STATUS(budget.make(by.size() + text.size()));
    if (&item != &list->front()) out += by;
    out += text;
  }
  return give(std::move(out));
}

// Of a list in place, or moved out of one that is this evaluation's own.
Result<Operand> item_of(Operand& list, std::size_t at) {
  Operand out;
  if (list.borrowed)
    out.borrowed = &(*list.borrowed)[at];
  else
    out.own = std::move(list.own[at]);
  return out;
}
Result<Operand> run_first(Args& args, ExpressionBudget&) {
  CORVID_TRY(const auto* list, list_arg("first", args[0]));
  return list->empty() ? give(nullptr) : item_of(args[0], 0);
}
Result<Operand> run_last(Args& args, ExpressionBudget&) {
  CORVID_TRY(const auto* list, list_arg("last", args[0]));
  return list->empty() ? give(nullptr) : item_of(args[0], list->size() - 1);
}
Result<Operand> run_slice(Args& args, ExpressionBudget& budget) {
  const Json& value = args[0].get();
  if (!value.is_null() && !value.is_array() && !value.is_string()) return fail(needs("slice", "a list or a string", value));
  if (value.is_string()) CORVID_TRY_STATUS(budget.walk(value));
  const std::int64_t size = value.is_string() ? characters(value.get_ref<const std::string&>()) : static_cast<std::int64_t>(value.size());
  CORVID_TRY(std::int64_t from, integer_arg("slice", args[1]));
  std::int64_t to = size;
  if (args.size() > 2 && !args[2].get().is_null()) {
    CORVID_TRY(to, integer_arg("slice", args[2]));
  }
  const auto place = [size](std::int64_t at) { return std::clamp<std::int64_t>(at < 0 ? (at < -size ? 0 : at + size) : at, 0, size); };
  from = place(from);
  to = std::max(from, place(to));
  if (value.is_string()) {
    const std::string_view text = value.get_ref<const std::string&>();
    const auto begin = byte_of(text, from), end = byte_of(text, to);
    CORVID_TRY_STATUS(budget.make(end - begin));
    return give(std::string(text.substr(begin, end - begin)));
  }
  Json out = Json::array();
  for (auto i = from; i < to; ++i) {
    CORVID_TRY_STATUS(budget.copy(value[static_cast<std::size_t>(i)]));
    out.push_back(value[static_cast<std::size_t>(i)]);
  }
  return give(std::move(out));
}
Result<Operand> run_reverse(Args& args, ExpressionBudget& budget) {
  CORVID_TRY([[maybe_unused]] const auto* list, list_arg("reverse", args[0]));
  CORVID_TRY(Json out, budget.take(std::move(args[0])));
  if (out.is_array()) std::reverse(out.begin(), out.end());
  return give(out.is_null() ? Json::array() : std::move(out));
}
Result<Operand> run_sort(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("sort", args[0]));
  const bool numbers = std::all_of(list->begin(), list->end(), [](const Json& j) { return j.is_number(); });
  const bool texts = std::all_of(list->begin(), list->end(), [](const Json& j) { return j.is_string(); });
  if (!numbers && !texts) return fail(Error::bad_input("sort needs a list of numbers or of strings"));
  CORVID_TRY_STATUS(budget.step(list->size() * 8));
  CORVID_TRY(Json out, budget.take(std::move(args[0])));
  if (out.is_null()) out = Json::array();
  // long double orders 64-bit integers and doubles alike without rounding, so that the order is a strict one.
  if (numbers)
    std::stable_sort(out.begin(), out.end(), [](const Json& a, const Json& b) { return a.get<long double>() < b.get<long double>(); });
  else
    std::stable_sort(out.begin(), out.end(),
                     [](const Json& a, const Json& b) { return a.get_ref<const std::string&>() < b.get_ref<const std::string&>(); });
  return give(std::move(out));
}
Result<Operand> run_unique(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("unique", args[0]));
  Json out = Json::array();
  for (const Json& item : *list) {
    CORVID_TRY(const bool there, is_contained(item, out, budget));
    if (there) continue;
    CORVID_TRY_STATUS(budget.copy(item));
    out.push_back(item);
  }
  return give(std::move(out));
}
Result<Operand> run_flatten(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("flatten", args[0]));
  Json out = Json::array();
  for (const Json& item : *list) {
    CORVID_TRY_STATUS(budget.copy(item));
    if (item.is_array())
      out.insert(out.end(), item.begin(), item.end());
    else
      out.push_back(item);
  }
  return give(std::move(out));
}
Result<Operand> run_range(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(std::int64_t from, integer_arg("range", args[0]));
  std::int64_t to = from;
  if (args.size() == 1)
    from = 0;
  else {
    CORVID_TRY(to, integer_arg("range", args[1]));
  }
  Json out = Json::array();
  for (auto i = from; i < to; ++i) {
    CORVID_TRY_STATUS(budget.step());
    CORVID_TRY_STATUS(budget.make(sizeof(Json)));
    out.push_back(i);
  }
  return give(std::move(out));
}
Result<Operand> run_keys(Args& args, ExpressionBudget& budget) {
  const Json& value = args[0].get();
  if (!value.is_null() && !value.is_object()) return fail(needs("keys", "an object", value));
  Json out = Json::array();
  for (auto at = value.begin(); at != value.end(); ++at) {
    CORVID_TRY_STATUS(budget.step());
    CORVID_TRY_STATUS(budget.make(sizeof(Json) + sizeof(std::string) + at.key().size()));
    out.push_back(at.key());
  }
  return give(std::move(out));
}
Result<Operand> run_values(Args& args, ExpressionBudget& budget) {
  const Json& value = args[0].get();
  if (!value.is_null() && !value.is_object()) return fail(needs("values", "an object", value));
  CORVID_TRY_STATUS(budget.copy(value));
  Json out = Json::array();
  for (const Json& member : value) out.push_back(member);
  return give(std::move(out));
}
Result<Operand> run_merge(Args& args, ExpressionBudget& budget) {
  Json out = Json::object();
  for (auto& arg : args) {
    if (arg.get().is_null()) continue;
    if (!arg.get().is_object()) return fail(needs("merge", "objects", arg.get()));
    CORVID_TRY(Json more, budget.take(std::move(arg)));
    for (auto at = more.begin(); at != more.end(); ++at) out[at.key()] = std::move(*at);
  }
  return give(std::move(out));
}

// The least or greatest of a list, or of several arguments.
Result<Operand> extreme(std::string_view function, Args& args, ExpressionBudget& budget, int sign) {
  std::size_t best = 0;
  if (args.size() > 1) {
    for (std::size_t i = 1; i < args.size(); ++i) {
      CORVID_TRY(const int order, compare_values(args[i].get(), args[best].get(), budget));
      if (order * sign > 0) best = i;
    }
    return std::move(args[best]);
  }
  CORVID_TRY(const auto* list, list_arg(function, args[0]));
  if (list->empty()) return give(nullptr);
  for (std::size_t i = 0; i < list->size(); ++i) {
    CORVID_TRY_STATUS(budget.step());
    CORVID_TRY(const int order, compare_values((*list)[i], (*list)[best], budget));
    if (order * sign > 0) best = i;
  }
  return item_of(args[0], best);
}
Result<Operand> run_min(Args& args, ExpressionBudget& budget) { return extreme("min", args, budget, -1); }
Result<Operand> run_max(Args& args, ExpressionBudget& budget) { return extreme("max", args, budget, 1); }
Result<Operand> run_sum(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("sum", args[0]));
  Json total = 0;
  for (const Json& item : *list) {
    if (!item.is_number()) return fail(needs("sum", "a list of numbers", item));
    CORVID_TRY_STATUS(budget.step());
    CORVID_TRY(total, add_values(total, item, budget));
  }
  return give(std::move(total));
}

Result<Operand> to_integer(double value) {
  if (!(value >= -9223372036854775808.0 && value < 9223372036854775808.0)) return fail(overflow());
  return give(static_cast<std::int64_t>(value));
}
Result<Operand> rounded(std::string_view function, Operand& arg, double (*how)(double)) {
  if (!arg.get().is_number()) return fail(needs(function, "a number", arg.get()));
  if (arg.get().is_number_integer()) return std::move(arg);
  return to_integer(how(arg.get().get<double>()));
}
Result<Operand> run_floor(Args& args, ExpressionBudget&) {
  return rounded("floor", args[0], [](double x) { return std::floor(x); });
}
Result<Operand> run_ceil(Args& args, ExpressionBudget&) {
  return rounded("ceil", args[0], [](double x) { return std::ceil(x); });
}
Result<Operand> run_round(Args& args, ExpressionBudget&) {
  if (args.size() == 1) return rounded("round", args[0], [](double x) { return std::round(x); });
  if (!args[0].get().is_number()) return fail(needs("round", "a number", args[0].get()));
  CORVID_TRY(const auto digits, integer_arg("round", args[1]));
  if (digits < 0 || digits > 15) return fail(Error::bad_input("round takes 0 to 15 digits, not " + std::to_string(digits)));
  if (args[0].get().is_number_integer()) return std::move(args[0]);
  const double scale = std::pow(10.0, static_cast<double>(digits)), value = args[0].get().get<double>(), scaled = value * scale;
  return give(std::isfinite(scaled) ? std::round(scaled) / scale : value);  // a number that large has no such digits
}
Result<Operand> run_abs(Args& args, ExpressionBudget&) {
  const Json& value = args[0].get();
  if (!value.is_number()) return fail(needs("abs", "a number", value));
  if (value.is_number_float()) return give(std::fabs(value.get<double>()));
  if (value.is_number_unsigned() || value.get<std::int64_t>() >= 0) return std::move(args[0]);
  if (value.get<std::int64_t>() == std::numeric_limits<std::int64_t>::min()) return fail(overflow());
  return give(-value.get<std::int64_t>());
}

Result<Operand> run_string(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(auto text, text_of(args[0].get(), budget));
  return give(std::move(text));
}
Result<Operand> run_number(Args& args, ExpressionBudget&) {
  const Json& value = args[0].get();
  if (value.is_number() || value.is_null()) return std::move(args[0]);
  if (value.is_boolean()) return give(value.get<bool>() ? 1 : 0);
  if (!value.is_string()) return fail(needs("number", "a string", value));
  auto text = std::string_view(value.get_ref<const std::string&>());
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  JsonLimits limits;
  limits.max_depth = 1;
  limits.max_bytes = 400;
  auto parsed = parse_json(text, limits);
  if (!parsed || !parsed->is_number())
    return fail(Error::bad_input("\"" + std::string(text.substr(0, std::min<std::size_t>(text.size(), 40))) + "\" is no number"));
  return give(std::move(*parsed));
}
Result<Operand> run_json(Args& args, ExpressionBudget& budget) {
  CORVID_TRY_STATUS(budget.copy(args[0].get()));
  return give(dump_json(args[0].get()));
}
Result<Operand> run_parse_json(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto text, text_arg("parse_json", args[0]));
  if (text.empty()) return give(nullptr);
  CORVID_TRY_STATUS(budget.make(text.size() * sizeof(Json)));  // "[0,0,…": two bytes of text make one value
  JsonLimits limits;
  limits.max_depth = ExpressionLimits::value_depth;
  auto value = parse_json(text, limits);
  if (!value) return fail(Error(value.error().code(), "parse_json: " + value.error().message()));
  CORVID_TRY_STATUS(budget.copy(*value));
  return give(std::move(*value));
}
Result<Operand> run_type(Args& args, ExpressionBudget&) {
  const Json& value = args[0].get();
  return give(value.is_null()             ? "null"
              : value.is_boolean()        ? "boolean"
              : value.is_number_integer() ? "integer"
              : value.is_number()         ? "number"
              : value.is_string()         ? "string"
              : value.is_array()          ? "list"
                                          : "object");
}
Result<Operand> run_default(Args& args, ExpressionBudget&) {
  for (auto& arg : args)
    if (!arg.get().is_null()) return std::move(arg);
  return give(nullptr);
}
Result<Operand> run_any(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("any", args[0]));
  CORVID_TRY_STATUS(budget.step(list->size()));
  return give(std::any_of(list->begin(), list->end(), is_true));
}
Result<Operand> run_all(Args& args, ExpressionBudget& budget) {
  CORVID_TRY(const auto* list, list_arg("all", args[0]));
  CORVID_TRY_STATUS(budget.step(list->size()));
  return give(std::all_of(list->begin(), list->end(), is_true));
}

constexpr std::size_t kMany = 1000;
constexpr std::array kFunctions{ExpressionFunction{"abs", 1, 1, run_abs},
                                ExpressionFunction{"all", 1, 1, run_all},
                                ExpressionFunction{"any", 1, 1, run_any},
                                ExpressionFunction{"ceil", 1, 1, run_ceil},
                                ExpressionFunction{"coalesce", 1, kMany, run_default},
                                ExpressionFunction{"contains", 2, 2, run_contains},
                                ExpressionFunction{"default", 2, 2, run_default},
                                ExpressionFunction{"ends_with", 2, 2, run_ends_with},
                                ExpressionFunction{"first", 1, 1, run_first},
                                ExpressionFunction{"flatten", 1, 1, run_flatten},
                                ExpressionFunction{"floor", 1, 1, run_floor},
                                ExpressionFunction{"join", 1, 2, run_join},
                                ExpressionFunction{"json", 1, 1, run_json},
                                ExpressionFunction{"keys", 1, 1, run_keys},
                                ExpressionFunction{"last", 1, 1, run_last},
                                ExpressionFunction{"len", 1, 1, run_len},
                                ExpressionFunction{"lower", 1, 1, run_lower},
                                ExpressionFunction{"max", 1, kMany, run_max},
                                ExpressionFunction{"merge", 1, kMany, run_merge},
                                ExpressionFunction{"min", 1, kMany, run_min},
                                ExpressionFunction{"number", 1, 1, run_number},
                                ExpressionFunction{"parse_json", 1, 1, run_parse_json},
                                ExpressionFunction{"range", 1, 2, run_range},
                                ExpressionFunction{"replace", 3, 3, run_replace},
                                ExpressionFunction{"reverse", 1, 1, run_reverse},
                                ExpressionFunction{"round", 1, 2, run_round},
                                ExpressionFunction{"slice", 2, 3, run_slice},
                                ExpressionFunction{"sort", 1, 1, run_sort},
                                ExpressionFunction{"split", 2, 2, run_split},
                                ExpressionFunction{"starts_with", 2, 2, run_starts_with},
                                ExpressionFunction{"string", 1, 1, run_string},
                                ExpressionFunction{"sum", 1, 1, run_sum},
                                ExpressionFunction{"trim", 1, 1, run_trim},
                                ExpressionFunction{"type", 1, 1, run_type},
                                ExpressionFunction{"unique", 1, 1, run_unique},
                                ExpressionFunction{"upper", 1, 1, run_upper},
                                ExpressionFunction{"values", 1, 1, run_values}};

}  // namespace

const ExpressionFunction* find_function(std::string_view name) noexcept {
  for (const auto& each : kFunctions)
    if (each.name == name) return &each;
  return nullptr;
}
std::vector<std::string> function_names() {
  std::vector<std::string> names;
  for (const auto& each : kFunctions) names.emplace_back(each.name);
  return names;
}

}  // namespace corvid::detail
