// Lexer: template text to tokens, with the white-space control of trim_blocks and lstrip_blocks (both on, as hub templates expect).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace corvid::llm::tmpl {

struct Token {
  enum class Kind { data, print_begin, print_end, block_begin, block_end, name, string, integer, floating, op, end } kind = Kind::end;
  std::string text;        // data and string: their content, escapes resolved
  std::size_t offset = 0;  // bytes into the template

  bool is(std::string_view op) const { return kind == Kind::op && text == op; }
  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
};

/// `source` has \n line ends. Throws Failure: bad_input with the offset.
std::vector<Token> lex(std::string_view source);

}  // namespace corvid::llm::tmpl
