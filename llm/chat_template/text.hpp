// Strings as Python has them, over UTF-8: a position is a code point. A byte that is no UTF-8 counts as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corvid::llm::tmpl {

std::size_t char_bytes(std::string_view text, std::size_t at);       ///< length of the character that begins at byte `at`
std::uint32_t code_point(std::string_view text, std::size_t at);
void append_code_point(std::string& out, std::uint32_t code);
std::size_t length(std::string_view text);                           ///< in code points
std::vector<std::string_view> characters(std::string_view text);     ///< views into `text`

bool is_space(std::uint32_t code);                                   ///< str.isspace
/// `set` empty: white space. Else the characters of `set`.
std::string_view strip(std::string_view text, std::string_view set, bool left, bool right);
std::vector<std::string_view> split_space(std::string_view text, std::int64_t most);
std::vector<std::string_view> split(std::string_view text, std::string_view separator, std::int64_t most);
std::vector<std::string_view> rsplit(std::string_view text, std::string_view separator, std::int64_t most);
std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t most);
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);                            ///< str.title
std::string title_words(std::string_view text);                      ///< the filter: words parted by white space or one of -({[<

}  // namespace corvid::llm::tmpl
