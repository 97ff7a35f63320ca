// Text to tree: a scanner and a parser by precedence.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "graphs/file/expression_tree.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid::detail {
namespace {

enum class Token : std::uint8_t { end, name, number, text, symbol };

struct Lexeme {
  Token token = Token::end;
  std::uint32_t offset = 0, stop = 0;
  std::string_view word;  // of names and symbols
  Json value;             // of numbers and texts
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

Error syntax(std::string message, std::size_t offset) { return Error::bad_input(std::move(message)).at_offset(offset); }

class Scanner {
 public:
  Scanner(std::string_view text, std::size_t at) : text_(text), at_(at) {}

  Result<Lexeme> next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
    Lexeme out;
    out.offset = static_cast<std::uint32_t>(at_);
    if (at_ < text_.size()) {
      const char c = text_[at_];
      if (is_letter(c)) {
        out.token = Token::name;
        while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
        out.word = text_.substr(out.offset, at_ - out.offset);
      } else if (is_digit(c)) {
        CORVID_TRY_STATUS(number(out));
      } else if (c == '"' || c == '\'') {
        CORVID_TRY_STATUS(quoted(out, c));
      } else {
        CORVID_TRY_STATUS(symbol(out));
      }
    }
    out.stop = static_cast<std::uint32_t>(at_);
    return out;
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  Status number(Lexeme& out) {
    out.token = Token::number;
    const auto start = at_;
    const auto digits = [&] {
      while (is_digit(peek())) ++at_;
    };
    digits();
    bool whole = true;
    if (peek() == '.' && is_digit(peek(1))) {
      whole = false;
      ++at_;
      digits();
    }
    if ((peek() == 'e' || peek() == 'E') && (is_digit(peek(1)) || ((peek(1) == '+' || peek(1) == '-') && is_digit(peek(2))))) {
      whole = false;
      at_ += 2;
      digits();
    }
    if (is_letter(peek())) return fail(syntax("a name cannot start with a digit", start));
    if (whole) {
      std::int64_t value = 0;
      if (std::from_chars(text_.data() + start, text_.data() + at_, value).ec != std::errc())
        return fail(syntax("the integer does not fit 64 bits", start));
      out.value = value;
    } else {
      double value = 0;
      if (std::from_chars(text_.data() + start, text_.data() + at_, value).ec != std::errc() || !std::isfinite(value))
        return fail(syntax("the number is out of range", start));
      out.value = value;
    }
    return {};
  }

  Status quoted(Lexeme& out, char quote) {
    out.token = Token::text;
    const auto start = at_++;
    std::string value;
    for (;; ++at_) {
      if (at_ >= text_.size()) return fail(syntax("the text that starts here has no closing quote", start));
      const char c = text_[at_];
      if (c == quote) break;
      if (c != '\\') {
        value += c;
        continue;
      }
      switch (++at_ < text_.size() ? text_[at_] : '\0') {
        case 'n':
          value += '\n';
          break;
        case 't':
          value += '\t';
          break;
        case 'r':
          value += '\r';
          break;
        case '\\':
          value += '\\';
          break;
        case '/':
          value += '/';
          break;
        case '"':
          value += '"';
          break;
        case '\'':
          value += '\'';
          break;
        case 'u':
          CORVID_TRY_STATUS(unicode(value));
          break;
        default:
          return fail(syntax("after \\ stands one of n t r u \\ / ' \"", at_ - 1));
      }
    }
    ++at_;
    out.value = std::move(value);
    return {};
  }

  bool hex4(std::size_t from, unsigned& code) const {
    if (from + 4 > text_.size()) return false;
    const auto* begin = text_.data() + from;
    return std::from_chars(begin, begin + 4, code, 16).ptr == begin + 4;
  }

  Status unicode(std::string& value) {  // at the u
    const auto start = at_ - 1;
    unsigned code = 0, low = 0;
    if (!hex4(at_ + 1, code)) return fail(syntax("after \\u stand four hexadecimal digits", start));
    at_ += 4;
    if (code >= 0xd800 && code < 0xdc00 && peek(1) == '\\' && peek(2) == 'u' && hex4(at_ + 3, low) && low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      at_ += 6;
    }
    if (code >= 0xd800 && code < 0xe000) return fail(syntax("half of a surrogate pair is no character", start));
    const auto put = [&](unsigned byte) { value += static_cast<char>(byte); };
    if (code < 0x80)
      put(code);
    else if (code < 0x800)
      put(0xc0 | code >> 6), put(0x80 | (code & 63));
    else if (code < 0x10000)
      put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    else
      put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    return {};
  }

  Status symbol(Lexeme& out) {
    static constexpr std::array<std::string_view, 5> pairs{"==", "!=", "<=", ">=", "//"};
    const auto two = text_.substr(at_, 2);
    for (const auto pair : pairs) {
      if (two == pair) {
        at_ += 2;
        return out.token = Token::symbol, out.word = pair, Status();
      }
    }
    const char c = text_[at_];
    if (two == "&&") return fail(syntax("write \"and\" for &&", at_));
    if (two == "||") return fail(syntax("write \"or\" for ||", at_));
    if (c == '!') return fail(syntax("write \"not\" for !", at_));
    if (c == '=') return fail(syntax("write == to compare; an expression sets nothing", at_));
    if (c == '?') return fail(syntax("write \"A if CONDITION else B\" for CONDITION ? A : B", at_));
    if (std::string_view("<>+-*/%()[]{},.:").find(c) == std::string_view::npos)
      return fail(syntax("this character has no meaning here", at_));
    out.token = Token::symbol;
    out.word = text_.substr(at_++, 1);
    return {};
  }

  std::string_view text_;
  std::size_t at_;
};

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
