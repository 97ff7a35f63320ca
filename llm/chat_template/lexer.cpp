#include "llm/chat_template/lexer.hpp"

#include <array>

#include "llm/chat_template/text.hpp"
#include "llm/chat_template/value.hpp"

namespace corvid::llm::tmpl {

namespace {

bool name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80; }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t open = next_tag();
      data(open);
      if (open == std::string_view::npos) break;
      tag(open);
    }
    push(Token::Kind::end, {}, source_.size());
    return std::move(tokens_);
  }

 private:
  std::size_t next_tag() const {
    for (std::size_t i = at_; (i = source_.find('{', i)) != std::string_view::npos; ++i) {
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return std::string_view::npos;
  }

  char peek(std::size_t i) const { return i < source_.size() ? source_[i] : '\0'; }

  void push(Token::Kind kind, std::string text, std::size_t offset) { tokens_.push_back({kind, std::move(text), offset}); }

  // Text up to `open`, cut as the tag there asks.
  void data(std::size_t open) {
    std::string_view text = source_.substr(at_, open == std::string_view::npos ? open : open - at_);
    if (open != std::string_view::npos) text = cut_before(text, peek(open + 2), peek(open + 1) != '{');
    if (!text.empty()) push(Token::Kind::data, std::string(text), at_);
  }

  std::string_view cut_before(std::string_view text, char sign, bool block) const {
    if (sign == '-') {
      while (!text.empty() && white(text.back())) text.remove_suffix(1);
    } else if (sign != '+' && block) {
      std::size_t keep = text.size();
      while (keep > 0 && (text[keep - 1] == ' ' || text[keep - 1] == '\t')) --keep;
      if (keep > 0 ? text[keep - 1] == '\n' : line_start_) text = text.substr(0, keep);
    }
    return text;
  }

  // After a tag's end: `-` eats white space, a block's or comment's plain end eats one line end.
  void cut_after(char sign, bool block) {
    const std::size_t before = at_;
    if (sign == '-') {
      while (at_ < source_.size() && white(source_[at_])) ++at_;
    } else if (sign != '+' && block && peek(at_) == '\n') {
      ++at_;
    }
    line_start_ = at_ > before && source_[at_ - 1] == '\n';
  }

  void tag(std::size_t open) {
    const char kind = source_[open + 1];
    at_ = open + 2;
    if (kind == '#') return comment(open);
    const bool block = kind == '%';
    if (peek(at_) == '-' || (block && peek(at_) == '+')) ++at_;
    if (block && raw(open)) return;
    push(block ? Token::Kind::block_begin : Token::Kind::print_begin, {}, open);
    inside(block, open);
  }

  void comment(std::size_t open) {
    const std::size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) raise(ErrorCode::bad_input, "a comment is not closed; #} is missing", open);
    const char sign = close > at_ ? source_[close - 1] : '\0';
    at_ = close + 2;
    cut_after(sign, true);
  }

  bool word(std::size_t& i, std::string_view expected) const {
    while (i < source_.size() && white(source_[i])) ++i;
    if (source_.substr(i, expected.size()) != expected) return false;
    i += expected.size();
    while (i < source_.size() && white(source_[i])) ++i;
    return true;
  }

  bool raw(std::size_t open) {
    std::size_t i = at_;
    if (!word(i, "raw")) return false;
    const char sign = peek(i);
    if (sign == '-') ++i;
    if (source_.substr(i, 2) != "%}") return false;
    at_ = i + 2;
    if (sign == '-') cut_after('-', true);
    for (std::size_t end = at_; (end = source_.find("{%", end)) != std::string_view::npos; ++end) {
      std::size_t j = end + 2;
      if (peek(j) == '-' || peek(j) == '+') ++j;
      if (!word(j, "endraw")) continue;
      const char last = peek(j);
      if (last == '-' || last == '+') ++j;
      if (source_.substr(j, 2) != "%}") continue;
      line_start_ = false;
      const auto text = cut_before(source_.substr(at_, end - at_), peek(end + 2), true);
      if (!text.empty()) push(Token::Kind::data, std::string(text), at_);
      at_ = j + 2;
      cut_after(last, true);
      return true;
    }
    raise(ErrorCode::bad_input, "a raw block is not closed; {% endraw %} is missing", open);
  }

  void inside(bool block, std::size_t open) {
    const std::string_view close = block ? "%}" : "}}";
    std::vector<char> braces;
    while (true) {
      while (at_ < source_.size() && white(source_[at_])) ++at_;
      if (at_ >= source_.size()) raise(ErrorCode::bad_input, "a tag is not closed; " + std::string(close) + " is missing", open);
      const std::size_t begin = at_;
      const char c = source_[at_];
      if (braces.empty()) {
        const bool signed_end = (c == '-' || (block && c == '+')) && source_.substr(at_ + 1, 2) == close;
        if (signed_end || source_.substr(at_, 2) == close) {
          push(block ? Token::Kind::block_end : Token::Kind::print_end, {}, begin);
          at_ += signed_end ? 3 : 2;
          cut_after(signed_end ? c : '\0', block);
          return;
        }
      }
      if (name_start(c)) {
        while (at_ < source_.size() && (name_start(source_[at_]) || digit(source_[at_]))) ++at_;
        push(Token::Kind::name, std::string(source_.substr(begin, at_ - begin)), begin);
      } else if (digit(c)) {
        number();
      } else if (c == '"' || c == '\'') {
        string();
      } else {
        op(braces);
      }
    }
  }

  void number() {
    const std::size_t begin = at_;
    std::string text;
    const auto digits = [&] {
      while (digit(peek(at_)) || (peek(at_) == '_' && digit(peek(at_ + 1)))) {
        if (source_[at_] != '_') text += source_[at_];
        ++at_;
      }
    };
    digits();
    auto kind = Token::Kind::integer;
    if (peek(at_) == '.' && digit(peek(at_ + 1))) {
      kind = Token::Kind::floating;
      text += '.';
      ++at_;
      digits();
    }
    const bool sign = peek(at_ + 1) == '+' || peek(at_ + 1) == '-';
    if ((peek(at_) == 'e' || peek(at_) == 'E') && digit(peek(at_ + (sign ? 2 : 1)))) {
      kind = Token::Kind::floating;
      text += source_.substr(at_, sign ? 2 : 1);
      at_ += sign ? 2 : 1;
      digits();
    }
    if (text.size() > 64) raise(ErrorCode::bad_input, "a number has over 64 digits", begin);
    push(kind, std::move(text), begin);
  }

  void string() {
    const std::size_t begin = at_;
    const char quote = source_[at_++];
    std::string text;
    while (true) {
      if (at_ >= source_.size()) raise(ErrorCode::bad_input, "a string is not closed", begin);
      const char c = source_[at_++];
      if (c == quote) break;
      if (c == '\\' && at_ < source_.size()) escape(text);
      else text += c;
    }
    push(Token::Kind::string, std::move(text), begin);
  }

  void escape(std::string& text) {
    const char c = source_[at_++];
    switch (c) {
      case 'n': text += '\n'; return;
      case 't': text += '\t'; return;
      case 'r': text += '\r'; return;
      case 'b': text += '\b'; return;
      case 'f': text += '\f'; return;
      case 'v': text += '\v'; return;
      case 'a': text += '\a'; return;
      case '\n': return;
      case '\\': case '\'': case '"': text += c; return;
      case 'x': return code(text, 2);
      case 'u': return code(text, 4);
      case 'U': return code(text, 8);
      default: break;
    }
    if (c >= '0' && c <= '7') {
      std::uint32_t value = static_cast<std::uint32_t>(c - '0');
      for (int i = 0; i < 2 && peek(at_) >= '0' && peek(at_) <= '7'; ++i) value = value * 8 + static_cast<std::uint32_t>(source_[at_++] - '0');
      append_code_point(text, value);
      return;
    }
    (text += '\\') += c;
  }

  void code(std::string& text, int digits) {
    std::uint32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = peek(at_);
      const int nibble = digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (nibble < 0) raise(ErrorCode::bad_input, "an escape in a string lacks hexadecimal digits", at_);
      value = value << 4 | static_cast<std::uint32_t>(nibble);
      ++at_;
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) raise(ErrorCode::bad_input, "an escape in a string is no Unicode character", at_);
    append_code_point(text, value);
  }

  void op(std::vector<char>& braces) {
    static constexpr std::array<std::string_view, 26> kOps = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                              "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const auto candidate : kOps) {
      if (source_.substr(at_, candidate.size()) != candidate) continue;
      const char c = candidate[0];
      if (c == '(' || c == '[' || c == '{') braces.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      if (c == ')' || c == ']' || c == '}') {
        if (braces.empty() || braces.back() != c) raise(ErrorCode::bad_input, std::string("'") + c + "' closes nothing", at_);
        braces.pop_back();
      }
      push(Token::Kind::op, std::string(candidate), at_);
      at_ += candidate.size();
      return;
    }
    raise(ErrorCode::bad_input, std::string("'") + source_[at_] + "' is not part of an expression", at_);
  }

  std::string_view source_;
  std::size_t at_ = 0;
  bool line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view source) { return Lexer(source).run(); }

}  // namespace corvid::llm::tmpl
