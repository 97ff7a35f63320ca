// Text to tree, by precedence.
#include <algorithm>
#include <array>

#include "graphs/file/expression_scan.hpp"
#include "graphs/file/expression_tree.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid::detail {
namespace {

struct Operator {
  std::string_view word;
  ExprKind kind;
  int level;
};
constexpr int kNotLevel = 3, kCompareLevel = 4, kNegateLevel = 7;
constexpr std::array<Operator, 14> kOperators{{{"or", ExprKind::logical_or, 1},
                                               {"and", ExprKind::logical_and, 2},
                                               {"==", ExprKind::equal, 4},
                                               {"!=", ExprKind::unequal, 4},
                                               {"<", ExprKind::less, 4},
                                               {"<=", ExprKind::less_equal, 4},
                                               {">", ExprKind::greater, 4},
                                               {">=", ExprKind::greater_equal, 4},
                                               {"+", ExprKind::add, 5},
                                               {"-", ExprKind::subtract, 5},
                                               {"*", ExprKind::multiply, 6},
                                               {"/", ExprKind::divide, 6},
                                               {"//", ExprKind::floor_divide, 6},
                                               {"%", ExprKind::remainder, 6}}};

constexpr std::array<std::string_view, 10> kKeywords{"and", "or", "not", "in", "if", "else", "for", "true", "false", "null"};
bool is_keyword(std::string_view word) {
  for (const auto each : kKeywords)
    if (word == each) return true;
  return false;
}

class Parser {
 public:
  Parser(std::string_view text, std::size_t begin, const ExpressionNames& names)
      : scanner_(text, begin), names_(names), tree_(std::make_shared<ExpressionTree>()) {
    tree_->text = text;
  }

  Result<std::shared_ptr<const ExpressionTree>> run(std::size_t* end) {
    CORVID_TRY_STATUS(advance());
    CORVID_TRY(tree_->root, expression());
    if (end) {
      const auto first = now_;
      if (!is("}")) return fail(unexpected("}} after the expression"));
      CORVID_TRY_STATUS(advance_raw(first.stop));
      if (!(now_.token == Token::symbol && now_.word == "}" && now_.offset == first.stop))
        return fail(syntax("the expression is closed by }}", first.offset));
      *end = now_.stop;
      tree_->text.resize(first.offset);
    } else if (now_.token != Token::end) {
      return fail(unexpected("the end or an operator"));
    }
    return std::shared_ptr<const ExpressionTree>(std::move(tree_));
  }

 private:
  Status advance() {
    CORVID_TRY(now_, scanner_.next());
    return {};
  }
  Status advance_raw(std::size_t from) {  // one symbol, without minding what follows the template's end
    scanner_ = Scanner(std::string_view(tree_->text).substr(0, std::min(tree_->text.size(), from + 1)), from);
    return advance();
  }
  bool is(std::string_view word) const { return (now_.token == Token::symbol || now_.token == Token::name) && now_.word == word; }
  Result<bool> accept(std::string_view word) {
    if (!is(word)) return false;
    CORVID_TRY_STATUS(advance());
    return true;
  }
  Status expect(std::string_view word, std::string_view where) {
    CORVID_TRY(const bool there, accept(word));
    return there ? Status() : fail(unexpected("\"" + std::string(word) + "\" " + std::string(where)));
  }
  Error unexpected(const std::string& wanted) const {
    if (now_.token == Token::end) return syntax("the expression ends where " + wanted + " should follow", now_.offset);
    const auto word = std::string_view(tree_->text).substr(now_.offset, std::min<std::size_t>(now_.stop - now_.offset, 40));
    return syntax("\"" + std::string(word) + "\" stands where " + wanted + " should", now_.offset);
  }

  Result<std::uint32_t> make(ExprNode node) {
    node.depth = 1;
    for (const auto part : node.parts) node.depth = std::max(node.depth, tree_->nodes[part].depth + 1);
    if (node.depth > ExpressionLimits::nesting) return fail(too_deep(node.offset));
    tree_->nodes.push_back(std::move(node));
    return static_cast<std::uint32_t>(tree_->nodes.size() - 1);
  }
  static ExprNode node(ExprKind kind, std::uint32_t offset, std::vector<std::uint32_t> parts = {}) {
    ExprNode made;
    made.kind = kind;
    made.offset = offset;
    made.parts = std::move(parts);
    return made;
  }
  static Error too_deep(std::size_t offset) {
    return Error::limit_exceeded("the expression is nested deeper than " + std::to_string(ExpressionLimits::nesting) +
                                 " levels; divide it over several set nodes")
        .at_offset(offset);
  }

  // value [if condition else value]
  Result<std::uint32_t> expression() {
    if (++open_ > ExpressionLimits::nesting) return fail(too_deep(now_.offset));
    CORVID_TRY(const auto value, binary(1));
    std::uint32_t made = value;
    if (is("if")) {
      const auto offset = now_.offset;
      CORVID_TRY_STATUS(advance());
      CORVID_TRY(const auto condition, binary(1));
      CORVID_TRY_STATUS(expect("else", "after the condition"));
      CORVID_TRY(const auto other, expression());
      CORVID_TRY(made, make(node(ExprKind::choice, offset, {condition, value, other})));
    }
    --open_;
    return made;
  }

  Result<std::uint32_t> binary(int level) {
    CORVID_TRY(auto left, unary());
    for (bool compared = false;;) {
      ExprKind kind{};
      int at = 0;
      const auto offset = now_.offset;
      if (is("in") || is("not")) {
        kind = is("in") ? ExprKind::contained : ExprKind::not_contained;
        at = kCompareLevel;
      } else {
        for (const auto& op : kOperators)
          if (is(op.word)) kind = op.kind, at = op.level;
      }
      if (at == 0 || at < level) return left;
      if (at == kCompareLevel && compared) return fail(syntax("comparisons do not chain; write \"a < b and b < c\"", offset));
      CORVID_TRY_STATUS(advance());
      if (kind == ExprKind::not_contained) CORVID_TRY_STATUS(expect("in", "after \"not\""));
      if (++open_ > ExpressionLimits::nesting) return fail(too_deep(offset));
      CORVID_TRY(const auto right, binary(at + 1));
      --open_;
      CORVID_TRY(left, make(node(kind, offset, {left, right})));
      compared = at == kCompareLevel;
    }
  }

  Result<std::uint32_t> unary() {
    const bool inverts = is("not");
    if (!inverts && !is("-")) return postfix();
    if (++open_ > ExpressionLimits::nesting) return fail(too_deep(now_.offset));
    const auto offset = now_.offset;
    CORVID_TRY_STATUS(advance());
    CORVID_TRY(const auto operand, binary(inverts ? kNotLevel + 1 : kNegateLevel));
    --open_;
    return make(node(inverts ? ExprKind::logical_not : ExprKind::negate, offset, {operand}));
  }

  Result<std::uint32_t> postfix() {
    CORVID_TRY(auto value, primary());
    for (;;) {
      const auto offset = now_.offset;
      if (is(".")) {
        CORVID_TRY_STATUS(advance());
        if (now_.token != Token::name) return fail(unexpected("a name after \".\""));
        ExprNode made = node(ExprKind::member, offset, {value});
        made.name = now_.word;
        CORVID_TRY(value, member(std::move(made), now_.offset));
        CORVID_TRY_STATUS(advance());
      } else if (is("[")) {
        CORVID_TRY_STATUS(advance());
        const auto name_offset = now_.offset;
        CORVID_TRY(const auto index, expression());
        CORVID_TRY_STATUS(expect("]", "after the index"));
        const auto& place = tree_->nodes[index];
        if (place.kind == ExprKind::literal && place.value.is_string()) {  // state["a name"] is state.NAME
          ExprNode made = node(ExprKind::member, offset, {value});
          made.name = place.value.get<std::string>();
          CORVID_TRY(value, member(std::move(made), name_offset));
        } else {
          CORVID_TRY(value, make(node(ExprKind::index, offset, {value, index})));
        }
      } else {
        return value;
      }
    }
  }

  Result<std::uint32_t> member(ExprNode made, std::size_t name_offset) {
    if (tree_->nodes[made.parts[0]].kind != ExprKind::state) return make(std::move(made));
    if (names_.fields && !names_.fields->contains(made.name)) {
      return fail(syntax("the state has no \"" + made.name + "\"" + suggestion(made.name, {names_.fields->begin(), names_.fields->end()}),
                         name_offset));
    }
    made.kind = ExprKind::field;
    made.parts.clear();
    return make(std::move(made));
  }

  Result<std::uint32_t> primary() {
    const auto offset = now_.offset;
    if (now_.token == Token::number || now_.token == Token::text) {
      ExprNode made = node(ExprKind::literal, offset);
      made.value = std::move(now_.value);
      CORVID_TRY_STATUS(advance());
      return make(std::move(made));
    }
    if (now_.token == Token::name) return named();
    if (is("(")) {
      CORVID_TRY_STATUS(advance());
      CORVID_TRY(const auto inner, expression());
      CORVID_TRY_STATUS(expect(")", "after what \"(\" opened"));
      return inner;
    }
    if (is("[")) {
      CORVID_TRY_STATUS(advance());
      return items(node(ExprKind::list, offset), "]");
    }
    if (is("{")) return object();
    return fail(unexpected("a value"));
  }

  // Values up to the closing bracket; or `value for name in list if condition`.
  Result<std::uint32_t> items(ExprNode made, std::string_view close) {
    if (++open_ > ExpressionLimits::nesting) return fail(too_deep(made.offset));
    bool more = !is(close);
    while (more) {
      const auto bound_before = bound_.size();
      CORVID_TRY(const auto generated, comprehension());
      bound_.resize(bound_before);
      if (generated && made.kind == ExprKind::list && made.parts.empty()) {
        CORVID_TRY_STATUS(expect(close, "after the list"));
        --open_;
        return *generated;
      }
      if (generated) {
        if (!made.parts.empty() || !is(close)) return fail(syntax("a \"for\" must be the only thing in its brackets", made.offset));
        made.parts.push_back(*generated);
        break;
      }
      CORVID_TRY(const auto value, expression());
      made.parts.push_back(value);
      CORVID_TRY(more, accept(","));
      if (is(close)) more = false;
    }
    CORVID_TRY_STATUS(expect(close, "or \",\""));
    --open_;
    return make(std::move(made));
  }

  // The body of a `for` uses names that are bound behind it, so the words are looked at before the body is parsed.
  Result<std::optional<std::uint32_t>> comprehension() {
    const Scanner here = scanner_;
    const Lexeme first = now_;
    int nested = 0;
    // Each bracket would look through its own content again: a bound for the sum of all looks.
    while (now_.token != Token::end && !(nested == 0 && is("for"))) {
      if (++looked_ > kMaxLook)
        return fail(Error::limit_exceeded("the expression is too long; divide it over several set nodes").at_offset(first.offset));
      if (is("(") || is("[") || is("{")) ++nested;
      if ((is(")") || is("]") || is("}")) && --nested < 0) break;
      if (nested == 0 && is(",")) break;
      auto next = scanner_.next();
      if (!next) break;  // the same error comes again, in its place
      now_ = std::move(*next);
    }
    const bool generated = nested == 0 && is("for");
    if (!generated) {
      scanner_ = here;
      now_ = first;
      return std::optional<std::uint32_t>();
    }
    ExprNode made = node(ExprKind::comprehension, now_.offset);
    CORVID_TRY_STATUS(advance());
    std::vector<std::string> bound;
    CORVID_TRY_STATUS(bind_name(bound));
    CORVID_TRY(made.two_names, accept(","));
    if (made.two_names) CORVID_TRY_STATUS(bind_name(bound));
    CORVID_TRY_STATUS(expect("in", "after the name"));
    CORVID_TRY(const auto list, binary(1));
    for (auto& name : bound) bound_.push_back({std::move(name), tree_->slots++});
    made.slot = tree_->slots - static_cast<std::uint32_t>(bound.size());
    std::optional<std::uint32_t> condition;
    if (is("if")) {
      CORVID_TRY_STATUS(advance());
      CORVID_TRY(condition, binary(1));
    }
    const Scanner after = scanner_;
    const Lexeme last = now_;
    scanner_ = here;
    now_ = first;
    CORVID_TRY(const auto body, expression());
    if (!is("for")) return fail(unexpected("\"for\""));
    scanner_ = after;
    now_ = last;
    made.parts = {list, body};
    if (condition) made.parts.push_back(*condition);
    CORVID_TRY(const auto index, make(std::move(made)));
    return std::optional<std::uint32_t>(index);
  }

  Status bind_name(std::vector<std::string>& bound) {
    if (now_.token != Token::name || is_keyword(now_.word) || now_.word == "state")
      return fail(unexpected("a name of your own after \"for\""));
    bound.emplace_back(now_.word);
    return advance();
  }

  Result<std::uint32_t> object() {
    ExprNode made = node(ExprKind::object, now_.offset);
    CORVID_TRY_STATUS(advance());
    bool more = !is("}");
    while (more) {
      ExprNode key = node(ExprKind::literal, now_.offset);
      if (now_.token == Token::text)
        key.value = std::move(now_.value);
      else if (now_.token == Token::name)
        key.value = std::string(now_.word);
      else
        return fail(unexpected("a name or a quoted text"));
      CORVID_TRY_STATUS(advance());
      CORVID_TRY_STATUS(expect(":", "after the member's name"));
      CORVID_TRY(const auto key_index, make(std::move(key)));
      CORVID_TRY(const auto value, expression());
      made.parts.insert(made.parts.end(), {key_index, value});
      CORVID_TRY(more, accept(","));
      if (is("}")) more = false;
    }
    CORVID_TRY_STATUS(expect("}", "or \",\""));
    return make(std::move(made));
  }

  Result<std::uint32_t> named() {
    const auto offset = now_.offset;
    const std::string word(now_.word);
    CORVID_TRY_STATUS(advance());
    ExprNode made = node(ExprKind::literal, offset);
    if (word == "true" || word == "false")
      made.value = word == "true";
    else if (word == "null")
      made.value = nullptr;
    else if (is_keyword(word))
      return fail(syntax("\"" + word + "\" stands where a value should", offset));
    else if (is("("))
      return call(word, offset);
    else if (const auto* slot = bound_slot(word))
      made.kind = ExprKind::bound, made.slot = *slot;
    else if (word == "state")
      made.kind = ExprKind::state;
    else if (std::find(names_.variables.begin(), names_.variables.end(), word) != names_.variables.end())
      made.kind = ExprKind::variable, made.name = word;
    else
      return fail(unknown(word, offset));
    return make(std::move(made));
  }

  const std::uint32_t* bound_slot(std::string_view name) const {
    for (auto at = bound_.rbegin(); at != bound_.rend(); ++at)
      if (at->first == name) return &at->second;
    return nullptr;
  }

  Error unknown(const std::string& word, std::size_t offset) const {
    if (word == "True" || word == "False") return syntax("write true and false in lower case", offset);
    if (word == "None" || word == "nil") return syntax("write null for " + word, offset);
    if (find_function(word)) return syntax("the function " + word + " needs its arguments in ( )", offset);
    if (names_.fields && names_.fields->contains(word))
      return syntax("\"" + word + "\" is unknown; write state." + word + " for the state's", offset);
    std::vector<std::string> known = names_.variables;
    known.emplace_back("state");
    for (const auto& each : bound_) known.push_back(each.first);
    return syntax("\"" + word + "\" is unknown; a text stands in quotes" + suggestion(word, known), offset);
  }

  Result<std::uint32_t> call(const std::string& word, std::uint32_t offset) {
    const auto* function = find_function(word);
    if (!function) {
      const auto near = nearest(word, function_names());
      return fail(syntax("there is no function \"" + word + "\"" + (near.empty() ? "" : "; did you mean \"" + near + "\"?"), offset));
    }
    CORVID_TRY_STATUS(advance());
    ExprNode made = node(ExprKind::call, offset);
    made.function = function;
    CORVID_TRY(const auto index, items(std::move(made), ")"));
    const auto given = tree_->nodes[index].parts.size();
    if (given < function->least || given > function->most) {
      const std::string wanted = function->least == function->most ? std::to_string(function->least)
                                 : function->most > 99             ? "at least " + std::to_string(function->least)
                                                       : std::to_string(function->least) + " to " + std::to_string(function->most);
      return fail(syntax(word + " takes " + wanted + " arguments, not " + std::to_string(given), offset));
    }
    return index;
  }

  static constexpr std::size_t kMaxLook = 500'000;
  Scanner scanner_;
  const ExpressionNames& names_;
  std::shared_ptr<ExpressionTree> tree_;
  Lexeme now_;
  std::size_t open_ = 0, looked_ = 0;
  std::vector<std::pair<std::string, std::uint32_t>> bound_;
};

}  // namespace

Result<std::shared_ptr<const ExpressionTree>> parse_expression(std::string_view text, std::size_t begin, const ExpressionNames& names,
                                                               std::size_t* end) {
  if (text.size() > ExpressionLimits::text_bytes)
    return fail(Error::limit_exceeded("the text has " + std::to_string(text.size()) + " bytes; at most " +
                                      std::to_string(ExpressionLimits::text_bytes) + " are read"));
  if (const auto bad = bad_utf8(text); bad != std::string_view::npos) return fail(syntax("the text is not UTF-8", bad));
  return Parser(text, begin, names).run(end);
}

}  // namespace corvid::detail

namespace corvid {

Result<Expression> Expression::parse(std::string_view text, const ExpressionNames& names) {
  CORVID_TRY(auto tree, detail::parse_expression(text, 0, names, nullptr));
  return Expression(std::move(tree));
}

const std::string& Expression::text() const noexcept { return tree_->text; }

}  // namespace corvid
