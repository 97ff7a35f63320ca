// Text to words: names, numbers, quoted texts and symbols of the expression language.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"

namespace corvid::detail {

enum class Token : std::uint8_t { end, name, number, text, symbol };

struct Lexeme {
  Token token = Token::end;
  std::uint32_t offset = 0, stop = 0;
  std::string_view word;  // of names and symbols
  Json value;             // of numbers and texts
};

inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

inline Error syntax(std::string message, std::size_t offset) { return Error::bad_input(std::move(message)).at_offset(offset); }

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

}  // namespace corvid::detail
