// Reads bytes that are not UTF-8 as llama.cpp's tokenizers do, so that GGUF models get the ids that they get there.
#pragma once

#include <cstddef>
#include <string_view>

namespace corvid {

/// A lead byte with as many continuation bytes as it asks for is a code point, overlong forms and surrogates included; anything else,
/// and numbers over U+10FFFF, is U+FFFD and one byte's advance. `text` is not at its end.
inline char32_t next_lenient_code_point(std::string_view text, std::size_t& at) noexcept {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return text[at++];
  const std::size_t followers = lead < 0xC0 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF8 ? 3 : 0;
  char32_t value = lead & (0x3Fu >> followers);
  std::size_t n = 1;
  for (; n <= followers && at + n < text.size(); ++n) {
    const auto byte = static_cast<unsigned char>(text[at + n]);
    if ((byte & 0xC0) != 0x80) break;
    value = value << 6 | (byte & 0x3F);
  }
  if (followers == 0 || n <= followers || value > 0x10FFFF) {
    ++at;
    return 0xFFFD;
  }
  at += n;
  return value;
}

}  // namespace corvid
