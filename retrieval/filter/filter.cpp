#include "corvid/retrieval/filter.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

namespace corvid {

enum class NodeKind : std::uint8_t { any_of, all_of, negation, comparison };
enum class CompareKind : std::uint8_t { equal, unequal, less, less_equal, greater, greater_equal };

struct Filter::Node {
  NodeKind kind = NodeKind::comparison;
  std::vector<std::shared_ptr<const Node>> children;
  std::string key;
  CompareKind compare = CompareKind::equal;
  std::vector<FilterValue> values;         ///< more than one: `in`
};

namespace {

using NodePtr = std::shared_ptr<const Filter::Node>;
constexpr std::size_t kMaxBytes = 64 << 10;
constexpr int kMaxDepth = 64;

std::optional<double> as_number(const FilterValue& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  const auto* text = std::get_if<std::string>(&value);
  if (!text || text->empty()) return std::nullopt;
  double out = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), out);
  if (error != std::errc() || end != text->data() + text->size() || !std::isfinite(out)) return std::nullopt;
  return out;
}

// -1, 0, 1; nullopt: unordered and unequal.
std::optional<int> order(const FilterValue& a, const FilterValue& b) {
  const auto three_way = [](const auto& x, const auto& y) { return x < y ? -1 : (y < x ? 1 : 0); };
  if (std::holds_alternative<std::string>(a) && std::holds_alternative<std::string>(b)) return three_way(std::get<std::string>(a), std::get<std::string>(b));
  const auto* x = std::get_if<bool>(&a);
  const auto* y = std::get_if<bool>(&b);
  if (x && y) return three_way(*x, *y);
  if (x || y) {  // metadata given on a command line is text
    const auto* text = std::get_if<std::string>(x ? &b : &a);
    const bool flag = x ? *x : *y;
    return text && *text == (flag ? "true" : "false") ? std::optional<int>(0) : std::nullopt;
  }
  const auto m = as_number(a), n = as_number(b);
  if (!m || !n) return std::nullopt;
  return three_way(*m, *n);
}

bool holds(CompareKind compare, const FilterValue& have, const std::vector<FilterValue>& wanted) {
  return std::any_of(wanted.begin(), wanted.end(), [&](const FilterValue& value) {
    const auto o = order(have, value);
    if (!o) return false;
    switch (compare) {
      case CompareKind::equal:
      case CompareKind::unequal: return *o == 0;  // inverted by the caller
      case CompareKind::less: return *o < 0;
      case CompareKind::less_equal: return *o <= 0;
      case CompareKind::greater: return *o > 0;
      case CompareKind::greater_equal: return *o >= 0;
    }
    return false;
  });
}

RowBitmap compare(const Filter::Node& node, const FilterColumns& columns) {
  RowBitmap out(columns.rows());
  const FilterColumn* column = columns.column(node.key);
  if (!column) return out;
  std::vector<char> hit(column->values.size());
  for (std::size_t i = 0; i < hit.size(); ++i) hit[i] = holds(node.compare, column->values[i], node.values) ? 1 : 0;
  for (std::size_t row = 0; row < out.rows(); ++row) {
    const std::size_t begin = column->offsets.empty() ? row : column->offsets[row];
    const std::size_t end = column->offsets.empty() ? row + 1 : column->offsets[row + 1];
    bool any = false, present = false;
    for (std::size_t i = begin; i < end && i < column->codes.size(); ++i) {
      const auto code = column->codes[i];
      if (code >= hit.size()) continue;
      present = true;
      any = any || hit[code] != 0;
    }
    if (present && any != (node.compare == CompareKind::unequal)) out.set(row);
  }
  return out;
}

RowBitmap evaluate_node(const Filter::Node& node, const FilterColumns& columns) {
  if (node.kind == NodeKind::comparison) return compare(node, columns);
  RowBitmap out = evaluate_node(*node.children.front(), columns);
  if (node.kind == NodeKind::negation) out.flip();
  for (std::size_t i = 1; i < node.children.size(); ++i) {
    if (node.kind == NodeKind::any_of) out |= evaluate_node(*node.children[i], columns);
    else out &= evaluate_node(*node.children[i], columns);
  }
  return out;
}

void collect(const Filter::Node& node, std::set<std::string>& keys) {
  if (node.kind == NodeKind::comparison) keys.insert(node.key);
  for (const auto& child : node.children) collect(*child, keys);
}

bool is_word(char c) {
  const auto b = static_cast<unsigned char>(c);
  return b >= 0x80 || (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || b == '_' || b == '-' || b == '.';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<NodePtr> parse() {
    CORVID_TRY(NodePtr node, series(NodeKind::any_of, 0));
    space();
    if (at_ < text_.size()) return fail(expected("\"and\", \"or\" or the end"));
    return node;
  }
  bool blank() { space(); return at_ == text_.size(); }

 private:
  Error expected(std::string what) const {
    return Error::bad_input("filter: " + std::move(what) + " is expected " + (at_ < text_.size() ? "here" : "at the end")).at_offset(at_);
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }
  bool take(std::string_view symbol) {
    space();
    if (text_.substr(at_, symbol.size()) != symbol) return false;
    if (is_word(symbol.front()) && at_ + symbol.size() < text_.size() && is_word(text_[at_ + symbol.size()])) return false;
    at_ += symbol.size();
    return true;
  }
  std::string word() {
    space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<NodePtr> series(NodeKind kind, int depth) {
    auto node = std::make_shared<Filter::Node>();
    node->kind = kind;
    do {
      CORVID_TRY(NodePtr child, kind == NodeKind::any_of ? series(NodeKind::all_of, depth) : factor(depth));
      node->children.push_back(std::move(child));
    } while (take(kind == NodeKind::any_of ? "or" : "and"));
    if (node->children.size() == 1) return node->children.front();
    return NodePtr(std::move(node));
  }

  Result<NodePtr> factor(int depth) {
    if (depth > kMaxDepth) return fail(Error::limit_exceeded("filter: nested deeper than 64").at_offset(at_));
    if (take("not")) {
      auto node = std::make_shared<Filter::Node>();
      node->kind = NodeKind::negation;
      CORVID_TRY(NodePtr child, factor(depth + 1));
      node->children.push_back(std::move(child));
      return NodePtr(std::move(node));
    }
    if (take("(")) {
      CORVID_TRY(NodePtr node, series(NodeKind::any_of, depth + 1));
      if (!take(")")) return fail(expected("\")\""));
      return node;
    }
    return comparison();
  }

  Result<NodePtr> comparison() {
    auto node = std::make_shared<Filter::Node>();
    node->key = word();
    if (node->key.empty()) return fail(expected("a key, \"not\" or \"(\""));
    if (take("in")) {
      const bool round = take("("), square = !round && take("[");
      do {
        CORVID_TRY(FilterValue one, value());
        node->values.push_back(std::move(one));
      } while ((round || square) && take(","));
      if (round && !take(")")) return fail(expected("\",\" or \")\""));
      if (square && !take("]")) return fail(expected("\",\" or \"]\""));
      return NodePtr(std::move(node));
    }
    if (take("!=")) node->compare = CompareKind::unequal;
    else if (take("<=")) node->compare = CompareKind::less_equal;
    else if (take(">=")) node->compare = CompareKind::greater_equal;
    else if (take("<")) node->compare = CompareKind::less;
    else if (take(">")) node->compare = CompareKind::greater;
    else if (!take("=")) return fail(expected("one of = != < <= > >= in"));
    CORVID_TRY(FilterValue one, value());
    node->values.push_back(std::move(one));
    return NodePtr(std::move(node));
  }

  Result<FilterValue> value() {
    space();
    if (at_ < text_.size() && text_[at_] == '"') return quoted();
    const std::size_t begin = at_;
    if (at_ < text_.size() && text_[at_] == '+') ++at_;
    std::string plain = word();
    if (plain == "true") return FilterValue(true);
    if (plain == "false") return FilterValue(false);
    if (const auto number = as_number(FilterValue(std::move(plain)))) return FilterValue(*number);
    at_ = begin;
    return fail(expected("a value (\"text in double quotes\", a number, true or false)"));
  }

  Result<FilterValue> quoted() {
    const std::size_t begin = at_++;
    std::string out;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] != '\\') { out.push_back(text_[at_]); continue; }
      if (++at_ == text_.size()) break;
      const char c = text_[at_];
      if (c == 'n') out.push_back('\n');
      else if (c == 't') out.push_back('\t');
      else if (c == '"' || c == '\\') out.push_back(c);
      else return fail(expected("one of \\\" \\\\ \\n \\t"));
    }
    if (at_ >= text_.size()) return fail(Error::bad_input("filter: the text that begins here has no closing quote").at_offset(begin));
    ++at_;
    return FilterValue(std::move(out));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<Filter> Filter::parse(std::string_view text) {
  if (text.size() > kMaxBytes) return fail(Error::limit_exceeded("a filter has at most 64 KiB"));
  Filter filter;
  Parser parser(text);
  if (parser.blank()) return filter;
  CORVID_TRY(filter.root_, parser.parse());
  return filter;
}

RowBitmap Filter::evaluate(const FilterColumns& columns) const {
  if (!root_) return RowBitmap(columns.rows(), true);
  return evaluate_node(*root_, columns);
}

std::vector<std::string> Filter::keys() const {
  std::set<std::string> keys;
  if (root_) collect(*root_, keys);
  return {keys.begin(), keys.end()};
}

}  // namespace corvid
