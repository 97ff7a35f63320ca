// UTF-8 and Unicode properties.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace corvid::unicode {

/// Offset of the first byte that is not part of valid UTF-8 (RFC 3629: no surrogates, no overlong forms), or nullopt.
std::optional<std::size_t> find_invalid_utf8(std::string_view text) noexcept;
/// Invalid bytes replaced by U+FFFD, one for each maximal subpart (Unicode ch. 3, table 3-8).
std::string to_valid_utf8(std::string_view text);
/// Decodes one code point at `offset` and advances; U+FFFD and one byte's advance where the bytes are invalid.
char32_t next_code_point(std::string_view text, std::size_t& offset) noexcept;
void append_utf8(std::string& out, char32_t code_point);

std::string nfc(std::string_view valid_utf8);
std::string nfd(std::string_view valid_utf8);
std::string nfkc(std::string_view valid_utf8);
std::string nfkd(std::string_view valid_utf8);
std::string lower(std::string_view valid_utf8);   ///< simple, code point by code point; locale-free

/// One code point's full mapping, locale-free: up to three code points (SpecialCasing.txt, those without a condition).
void append_upper(std::string& out, char32_t c);
void append_title(std::string& out, char32_t c);
void append_lower(std::string& out, char32_t c);
bool is_cased(char32_t c) noexcept;            ///< property Cased (Unicode ch. 3.13)
bool is_case_ignorable(char32_t c) noexcept;   ///< property Case_Ignorable

bool is_letter(char32_t c) noexcept;       ///< general category L*
bool is_number(char32_t c) noexcept;       ///< N*
bool is_space(char32_t c) noexcept;        ///< White_Space
bool is_punctuation(char32_t c) noexcept;  ///< P*
bool is_symbol(char32_t c) noexcept;       ///< S*
bool is_mark(char32_t c) noexcept;         ///< M*
bool is_nonspacing_mark(char32_t c) noexcept;  ///< Mn
bool is_control(char32_t c) noexcept;      ///< C*
bool is_unassigned(char32_t c) noexcept;   ///< Cn

}  // namespace corvid::unicode
