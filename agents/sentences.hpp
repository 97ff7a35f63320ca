// Splits a text into sentences for attribution. Code fences and headings are kept apart: they are never attributed.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace corvid {

/// A stretch of the text: the pieces are in order and together cover it without gaps.
struct TextPiece {
  enum class Kind : unsigned char {
    sentence,  ///< prose, from its first letter to its last mark, closing quotes and brackets included
    gap,       ///< white space and list markers between sentences
    code,      ///< a fenced block with its fences
    heading,   ///< a Markdown heading line
  } kind = Kind::sentence;
  std::size_t begin = 0, end = 0;  ///< bytes
};

/// A sentence ends at . ! ? (or their full-width forms) before white space or the end, at a blank line, and at the end of a list
/// item; not after an initial, a common abbreviation, or inside a number.
std::vector<TextPiece> split_sentences(std::string_view text);

/// Lower-cased words of at least three letters or digits that are not English function words, in order, with repeats.
std::vector<std::string_view> content_words(std::string_view lower_cased);

}  // namespace corvid
