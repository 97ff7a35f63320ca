#include "llm/chat_template/parser.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "llm/chat_template/lexer.hpp"

namespace corvid::llm::tmpl {

namespace {

constexpr std::size_t kTallest = 500;  // of an expression's tree: bounds recursion over it, also its destruction

class Parser {
 public:
  Parser(std::vector<Token> tokens, std::size_t max_depth) : tokens_(std::move(tokens)), max_depth_(max_depth) {}

  Body run() {
    Body body = statements({});
    if (now().kind != Token::Kind::end) unexpected();
    return body;
  }

 private:
  using Kind = Token::Kind;

  struct Deeper {  // one level of nesting
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > parser.max_depth_) {
        raise(ErrorCode::limit_exceeded, "the template nests deeper than " + std::to_string(parser.max_depth_) + " levels", parser.now().offset);
      }
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser;
  };

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead(std::size_t n) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool skip(std::string_view op) { return now().is(op) ? (take(), true) : false; }
  bool skip_name(std::string_view name) { return now().is_name(name) ? (take(), true) : false; }

  static std::string shown(const Token& t) {
    switch (t.kind) {
      case Kind::end: return "the template's end";
      case Kind::block_end: return "%}";
      case Kind::print_end: return "}}";
      case Kind::data: return "text";
      default: return "'" + t.text + "'";
    }
  }
  [[noreturn]] void unexpected() const { raise(ErrorCode::bad_input, shown(now()) + " is not expected here", now().offset); }
  void expect(std::string_view op) {
    if (!skip(op)) raise(ErrorCode::bad_input, "'" + std::string(op) + "' is expected, not " + shown(now()), now().offset);
  }
  void expect(Kind kind, const char* what) {
    if (now().kind != kind) raise(ErrorCode::bad_input, std::string(what) + " is expected, not " + shown(now()), now().offset);
    take();
  }
  std::string name() {
    if (now().kind != Kind::name) raise(ErrorCode::bad_input, "a name is expected, not " + shown(now()), now().offset);
    return take().text;
  }

  // Statements ---------------------------------------------------------------------------------------------------------------

  // Up to a block tag whose name is one of `ends`; that name is left to be taken.
  Body statements(std::initializer_list<std::string_view> ends) {
    Deeper deeper(*this);
    Body body;
    while (true) {
      const Token& token = now();
      if (token.kind == Kind::end) {
        if (ends.size()) raise(ErrorCode::bad_input, "the template ends where {% " + std::string(*ends.begin()) + " %} is expected", token.offset);
        return body;
      }
      if (token.kind == Kind::data) {
        auto s = stmt(StmtKind::data);
        s->text = take().text;
        body.push_back(std::move(s));
      } else if (token.kind == Kind::print_begin) {
        auto s = stmt(StmtKind::print);
        take();
        s->expr = tuple();
        expect(Kind::print_end, "}}");
        body.push_back(std::move(s));
      } else if (token.kind == Kind::block_begin) {
        take();
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return now().is_name(end); })) return body;
        body.push_back(block());
      } else {
        unexpected();
      }
    }
  }

  StmtP stmt(StmtKind kind) const {
    auto s = std::make_unique<Stmt>();
    s->kind = kind;
    s->offset = now().offset;
    return s;
  }

  void close() { expect(Kind::block_end, "%}"); }
  void close_end() {
    take();  // the end tag's name, which statements() has checked
    close();
  }

  StmtP block() {
    const Token tag = now();
    if (tag.kind != Kind::name) unexpected();
    if (tag.text == "if") return branch();
    if (tag.text == "for") return loop();
    if (tag.text == "set") return assign();
    if (tag.text == "macro") return macro();
    if (tag.text == "with") return with();
    if (tag.text == "filter") return filter_block();
    if (tag.text == "generation") {
      auto s = stmt(StmtKind::scope);
      take();
      close();
      s->body = statements({"endgeneration"});
      close_end();
      return s;
    }
    if (tag.text == "break" || tag.text == "continue") {
      if (!loops_) raise(ErrorCode::bad_input, "{% " + tag.text + " %} stands outside a loop", tag.offset);
      auto s = stmt(tag.text == "break" ? StmtKind::leave : StmtKind::next);
      take();
      close();
      return s;
    }
    for (const std::string_view known : {"call", "include", "import", "from", "extends", "block", "autoescape", "trans", "do", "debug"}) {
      if (tag.text == known) raise(ErrorCode::unsupported, "the statement {% " + tag.text + " %} is not supported in chat templates", tag.offset);
    }
    raise(ErrorCode::bad_input, "{% " + tag.text + " %} is no statement known here", tag.offset);
  }

  StmtP branch() {
    auto s = stmt(StmtKind::branch);
    take();
    while (true) {
      auto condition = tuple();
      close();
      s->arms.emplace_back(std::move(condition), statements({"endif", "elif", "else"}));
      if (!skip_name("elif")) break;
    }
    if (skip_name("else")) {
      close();
      s->arms.emplace_back(nullptr, statements({"endif"}));
    }
    close_end();
    return s;
  }

  ExprP target(bool attributes) {
    const auto one = [&]() -> ExprP {
      auto e = expr(ExprKind::name, now().offset);
      if (skip("(")) {
        e = target(false);
        expect(")");
        return e;
      }
      e->text = name();
      if (attributes && skip(".")) {
        auto owner = std::move(e);
        e = expr(ExprKind::attribute, owner->offset);
        e->text = name();
        add(*e, std::move(owner));
      }
      return e;
    };
    Deeper deeper(*this);
    auto first = one();
    if (!now().is(",")) return first;
    auto all = expr(ExprKind::tuple, first->offset);
    add(*all, std::move(first));
    while (skip(",")) {
      if (now().kind != Kind::name && !now().is("(")) break;
      add(*all, one());
    }
    return all;
  }

  StmtP loop() {
    auto s = stmt(StmtKind::loop);
    take();
    s->target = target(false);
    if (!skip_name("in")) raise(ErrorCode::bad_input, "'in' is expected, not " + shown(now()), now().offset);
    s->expr = tuple(false);
    if (skip_name("if")) s->condition = expression();
    if (now().is_name("recursive")) raise(ErrorCode::unsupported, "recursive loops are not supported in chat templates", now().offset);
    close();
    ++loops_;
    s->body = statements({"endfor", "else"});
    --loops_;
    if (skip_name("else")) {
      close();
      s->otherwise = statements({"endfor"});
    }
    close_end();
    return s;
  }

  StmtP assign() {
    auto s = stmt(StmtKind::assign);
    take();
    s->target = target(true);
    if (skip("=")) {
      s->expr = tuple();
      close();
      return s;
    }
    s->kind = StmtKind::capture;
    if (now().is("|")) s->expr = filters(nullptr);
    close();
    s->body = statements({"endset"});
    close_end();
    return s;
  }

  StmtP macro() {
    auto s = stmt(StmtKind::macro);
    take();
    auto m = std::make_unique<Macro>();
    m->offset = now().offset;
    m->name = name();
    expect("(");
    while (!now().is(")")) {
      m->parameters.push_back(name());
      if (skip("=")) m->defaults.push_back(expression());
      else if (!m->defaults.empty()) raise(ErrorCode::bad_input, "a parameter without default follows one with a default", now().offset);
      if (!skip(",")) break;
    }
    expect(")");
    close();
    Macro* const outer = std::exchange(macro_, m.get());
    const std::size_t loops = std::exchange(loops_, 0);
    m->body = statements({"endmacro"});
    macro_ = outer;
    loops_ = loops;
    close_end();
    s->macro = std::move(m);
    return s;
  }

  StmtP with() {
    auto s = stmt(StmtKind::with);
    take();
    while (now().kind != Kind::block_end) {
      auto to = target(false);
      expect("=");
      s->bindings.emplace_back(std::move(to), expression());
      if (!skip(",")) break;
    }
    close();
    s->body = statements({"endwith"});
    close_end();
    return s;
  }

  StmtP filter_block() {
    auto s = stmt(StmtKind::filter);
    take();
    s->expr = filters(nullptr, true);
    close();
    s->body = statements({"endfilter"});
    close_end();
    return s;
  }

  // Expressions, loosest first ------------------------------------------------------------------------------------------------

  static ExprP expr(ExprKind kind, std::size_t offset) {
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->offset = offset;
    return e;
  }
  static void grow(Expr& e, const ExprP& kid) {
    if (!kid) return;
    e.height = std::max(e.height, kid->height + 1);
    if (e.height > kTallest) raise(ErrorCode::limit_exceeded, "an expression nests deeper than " + std::to_string(kTallest) + " levels", e.offset);
  }
  static void add(Expr& e, ExprP kid) {
    grow(e, kid);
    e.kids.push_back(std::move(kid));
  }
  static ExprP binary(ExprKind kind, std::string op, ExprP left, ExprP right, std::size_t offset) {
    auto e = expr(kind, offset);
    e->text = std::move(op);
    add(*e, std::move(left));
    if (right) add(*e, std::move(right));
    return e;
  }

  bool tuple_ends() const {
    const Token& t = now();
    return t.kind == Kind::block_end || t.kind == Kind::print_end || t.is(")") || t.is("]") || t.is_name("in") || t.is_name("if");
  }

  // One expression, or several with commas.
  ExprP tuple(bool conditional = true) {
    const std::size_t offset = now().offset;
    auto first = conditional ? expression() : disjunction();
    if (!now().is(",")) return first;
    auto all = expr(ExprKind::tuple, offset);
    add(*all, std::move(first));
    while (skip(",")) {
      if (tuple_ends()) break;
      add(*all, conditional ? expression() : disjunction());
    }
    return all;
  }

  ExprP expression() {
    Deeper deeper(*this);
    auto value = disjunction();
    while (now().is_name("if")) {
      auto e = expr(ExprKind::ternary, take().offset);
      auto condition = disjunction();
      add(*e, std::move(value));
      add(*e, std::move(condition));
      ExprP other;
      if (skip_name("else")) other = expression();
      add(*e, std::move(other));
      value = std::move(e);
    }
    return value;
  }

  ExprP disjunction() {
    auto left = conjunction();
    while (now().is_name("or")) {
      const std::size_t offset = take().offset;
      left = binary(ExprKind::binary, "or", std::move(left), conjunction(), offset);
    }
    return left;
  }

  ExprP conjunction() {
    auto left = negation();
    while (now().is_name("and")) {
      const std::size_t offset = take().offset;
      left = binary(ExprKind::binary, "and", std::move(left), negation(), offset);
    }
    return left;
  }

  ExprP negation() {
    if (!now().is_name("not")) return comparison();
    Deeper deeper(*this);
    const std::size_t offset = take().offset;
    return binary(ExprKind::unary, "not", negation(), nullptr, offset);
  }

  ExprP comparison() {
    auto first = sum();
    ExprP e;
    while (true) {
      std::string op;
      if (now().kind == Kind::op && (now().text == "==" || now().text == "!=" || now().text == "<" || now().text == "<=" || now().text == ">" || now().text == ">=")) {
        op = now().text;
      } else if (now().is_name("in")) {
        op = "in";
      } else if (now().is_name("not") && ahead(1).is_name("in")) {
        op = "not in";
        take();
      } else {
        break;
      }
      const std::size_t offset = take().offset;
      if (!e) {
        e = expr(ExprKind::compare, offset);
        add(*e, std::move(first));
      }
      e->ops.push_back(std::move(op));
      add(*e, sum());
    }
    return e ? std::move(e) : std::move(first);
  }

  ExprP sum() {
    auto left = joined();
    while (now().is("+") || now().is("-")) {
      const Token op = take();
      left = binary(ExprKind::binary, op.text, std::move(left), joined(), op.offset);
    }
    return left;
  }

  ExprP joined() {
    auto left = product();
    while (now().is("~")) {
      const std::size_t offset = take().offset;
      left = binary(ExprKind::binary, "~", std::move(left), product(), offset);
    }
    return left;
  }

  ExprP product() {
    auto left = power();
    while (now().is("*") || now().is("/") || now().is("//") || now().is("%")) {
      const Token op = take();
      left = binary(ExprKind::binary, op.text, std::move(left), power(), op.offset);
    }
    return left;
  }

  ExprP power() {
    auto left = unary(true);
    while (now().is("**")) {
      const std::size_t offset = take().offset;
      left = binary(ExprKind::binary, "**", std::move(left), unary(true), offset);
    }
    return left;
  }

  ExprP unary(bool with_filters) {
    ExprP e;
    if (now().is("-") || now().is("+")) {
      Deeper deeper(*this);
      const Token op = take();
      e = binary(ExprKind::unary, op.text, unary(false), nullptr, op.offset);
    } else {
      e = primary();
    }
    e = postfix(std::move(e));
    return with_filters ? filters(std::move(e)) : std::move(e);
  }

  ExprP literal(Value value) {
    auto e = expr(ExprKind::literal, now().offset);
    e->value = std::move(value);
    take();
    return e;
  }

  ExprP primary() {
    const Token& t = now();
    switch (t.kind) {
      case Kind::name:
        if (t.text == "true" || t.text == "True") return literal(true);
        if (t.text == "false" || t.text == "False") return literal(false);
        if (t.text == "none" || t.text == "None") return literal(None{});
        if (macro_ && t.text == "varargs") macro_->takes_varargs = true;
        if (macro_ && t.text == "kwargs") macro_->takes_kwargs = true;
        {
          auto e = expr(ExprKind::name, t.offset);
          e->text = take().text;
          return e;
        }
      case Kind::string: {
        std::string text = t.text;
        while (ahead(1).kind == Kind::string) {
          take();
          text += now().text;
        }
        return literal(std::move(text));
      }
      case Kind::integer: {
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
        if (error != std::errc{}) raise(ErrorCode::unsupported, "integers of more than 64 bits are not supported", t.offset);
        return literal(value);
      }
      case Kind::floating: {
        double value = 0;
        std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
        return literal(value);
      }
      case Kind::op: break;
      default: unexpected();
    }
    if (t.is("(")) {
      Deeper deeper(*this);
      const std::size_t offset = take().offset;
      if (skip(")")) return expr(ExprKind::tuple, offset);
      auto e = tuple();
      expect(")");
      return e;
    }
    if (t.is("[")) {
      Deeper deeper(*this);
      auto e = expr(ExprKind::list, take().offset);
      while (!now().is("]")) {
        add(*e, expression());
        if (!skip(",")) break;
      }
      expect("]");
      return e;
    }
    if (t.is("{")) {
      Deeper deeper(*this);
      auto e = expr(ExprKind::dict, take().offset);
      while (!now().is("}")) {
        add(*e, expression());
        expect(":");
        add(*e, expression());
        if (!skip(",")) break;
      }
      expect("}");
      return e;
    }
    unexpected();
  }

  ExprP postfix(ExprP e) {
    while (true) {
      if (now().is(".")) {
        const std::size_t offset = take().offset;
        if (now().kind == Kind::integer) {
          auto s = expr(ExprKind::subscript, offset);
          add(*s, std::move(e));
          add(*s, primary());
          e = std::move(s);
        } else {
          e = binary(ExprKind::attribute, name(), std::move(e), nullptr, offset);
        }
      } else if (now().is("[")) {
        e = subscript(std::move(e));
      } else if (now().is("(")) {
        e = call(std::move(e));
      } else {
        return e;
      }
    }
  }

  ExprP subscript(ExprP owner) {
    Deeper deeper(*this);
    const std::size_t offset = take().offset;
    ExprP parts[3];
    std::size_t part = 0;
    bool sliced = false;
    while (!now().is("]")) {
      if (now().is(":")) {
        take();
        sliced = true;
        if (++part > 2) unexpected();
      } else {
        if (parts[part]) unexpected();
        parts[part] = expression();
        if (now().is(",")) raise(ErrorCode::unsupported, "subscripts with commas are not supported", now().offset);
      }
    }
    expect("]");
    if (!sliced && !parts[0]) raise(ErrorCode::bad_input, "a subscript is empty", offset);
    auto e = expr(sliced ? ExprKind::slice : ExprKind::subscript, offset);
    add(*e, std::move(owner));
    for (std::size_t i = 0; i < (sliced ? 3U : 1U); ++i) add(*e, std::move(parts[i]));
    return e;
  }

  void arguments(Expr& e) {
    Deeper deeper(*this);
    expect("(");
    while (!now().is(")")) {
      if (now().is("*") || now().is("**")) raise(ErrorCode::unsupported, "arguments unpacked with * are not supported", now().offset);
      if (now().kind == Kind::name && ahead(1).is("=")) {
        std::string key = name();
        take();
        auto value = expression();
        grow(e, value);
        e.named.emplace_back(std::move(key), std::move(value));
      } else {
        if (!e.named.empty()) raise(ErrorCode::bad_input, "a positional argument follows a named one", now().offset);
        add(e, expression());
      }
      if (!skip(",")) break;
    }
    expect(")");
  }

  ExprP call(ExprP callee) {
    auto e = expr(ExprKind::call, now().offset);
    add(*e, std::move(callee));
    arguments(*e);
    return e;
  }

  // `bare`: the first filter comes without its bar (filter blocks).
  ExprP filters(ExprP e, bool bare = false) {
    while (true) {
      if (bare || now().is("|")) {
        if (!std::exchange(bare, false)) take();
        auto f = expr(ExprKind::filter, now().offset);
        f->text = name();
        while (skip(".")) f->text += "." + name();
        if (!filter_exists(f->text)) raise(ErrorCode::unsupported, "the filter '" + f->text + "' is not supported in chat templates", f->offset);
        add(*f, std::move(e));
        if (now().is("(")) arguments(*f);
        e = std::move(f);
      } else if (now().is_name("is") && e) {
        e = test(std::move(e));
      } else if (now().is("(") && e) {
        e = call(std::move(e));
      } else {
        return e;
      }
    }
  }

  ExprP test(ExprP subject) {
    take();
    const bool negated = skip_name("not");
    auto e = expr(ExprKind::test, now().offset);
    e->text = name();
    if (!test_exists(e->text)) raise(ErrorCode::unsupported, "the test '" + e->text + "' is not supported in chat templates", e->offset);
    add(*e, std::move(subject));
    const Token& t = now();
    const bool argument = t.kind == Kind::string || t.kind == Kind::integer || t.kind == Kind::floating || t.is("[") || t.is("{") ||
                          (t.kind == Kind::name && t.text != "else" && t.text != "or" && t.text != "and" && t.text != "is" &&
                           t.text != "if" && t.text != "in" && t.text != "not");
    if (t.is("(")) arguments(*e);
    else if (argument) add(*e, postfix(primary()));
    if (!negated) return e;
    const std::size_t offset = e->offset;
    return binary(ExprKind::unary, "not", std::move(e), nullptr, offset);
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  std::size_t max_depth_;
  std::size_t loops_ = 0;
  Macro* macro_ = nullptr;
};

}  // namespace

Body parse(std::string_view source, std::size_t max_depth) { return Parser(lex(source), max_depth).run(); }

}  // namespace corvid::llm::tmpl
