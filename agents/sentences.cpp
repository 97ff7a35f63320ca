#include "agents/sentences.hpp"

#include <algorithm>
#include <array>

namespace corvid {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
// Bytes of multi-byte characters count as letters: words of any script stay whole.
bool is_word(char c) { return is_alpha(c) || is_digit(c) || static_cast<unsigned char>(c) >= 0x80; }

bool ends_in_abbreviation(std::string_view before_dot) {
  std::size_t start = before_dot.size();
  while (start > 0 && (is_alpha(before_dot[start - 1]) || before_dot[start - 1] == '.')) --start;
  const std::string_view word = before_dot.substr(start);
  if (word.size() == 1 && word[0] >= 'A' && word[0] <= 'Z') return true;  // an initial
  static constexpr std::array<std::string_view, 20> kAbbreviations = {"e.g", "i.e", "etc", "vs", "cf", "Mr", "Mrs", "Ms", "Dr", "Prof",
                                                                      "St", "No", "Fig", "fig", "Eq", "eq", "Sec", "sec", "approx", "al"};
  return std::find(kAbbreviations.begin(), kAbbreviations.end(), word) != kAbbreviations.end();
}

std::size_t line_end(std::string_view text, std::size_t at) {
  const auto newline = text.find('\n', at);
  return newline == std::string_view::npos ? text.size() : newline;
}

// Length of a list marker ("- ", "* ", "1. ", "2) ") at the start of a line, 0 if none.
std::size_t list_marker(std::string_view line) {
  std::size_t i = 0;
  while (i < line.size() && is_blank(line[i])) ++i;
  const std::size_t start = i;
  if (i < line.size() && (line[i] == '-' || line[i] == '*' || line[i] == '+')) {
    ++i;
  } else {
    while (i < line.size() && is_digit(line[i])) ++i;
    if (i == start || i - start > 3 || i >= line.size() || (line[i] != '.' && line[i] != ')')) return 0;
    ++i;
  }
  if (i >= line.size() || !is_blank(line[i])) return 0;
  while (i < line.size() && is_blank(line[i])) ++i;
  return i;
}

bool is_fence(std::string_view line) {
  std::size_t i = 0;
  while (i < line.size() && is_blank(line[i])) ++i;
  return line.substr(i, 3) == "```" || line.substr(i, 3) == "~~~";
}

bool is_heading(std::string_view line) {
  std::size_t hashes = 0;
  while (hashes < line.size() && line[hashes] == '#') ++hashes;
  return hashes >= 1 && hashes <= 6 && hashes < line.size() && line[hashes] == ' ';
}

// End of the mark that closes a sentence at `at`, or 0 if none does: the mark, closing quotes, citation markers right behind it.
std::size_t sentence_mark(std::string_view text, std::size_t at) {
  std::size_t i = at;
  const bool full_width = text.substr(i, 3) == "。" || text.substr(i, 3) == "！" || text.substr(i, 3) == "？";
  if (full_width) {
    i += 3;
  } else if (text[i] == '.' || text[i] == '!' || text[i] == '?') {
    if (text[i] == '.' && ends_in_abbreviation(text.substr(0, i))) return 0;
    while (i < text.size() && (text[i] == '.' || text[i] == '!' || text[i] == '?')) ++i;
  } else {
    return 0;
  }
  while (i < text.size() && (text[i] == '"' || text[i] == '\'' || text[i] == ')' || text[i] == '*' || text[i] == '_')) ++i;
  // "… end. [2]" and "… end.[1][2]": the markers belong to the sentence that they follow.
  std::size_t marker = i;
  while (true) {
    std::size_t j = marker;
    while (j < text.size() && is_blank(text[j])) ++j;
    if (j >= text.size() || text[j] != '[') break;
    std::size_t k = j + 1;
    while (k < text.size() && (is_digit(text[k]) || text[k] == ',' || text[k] == ' ')) ++k;
    if (k >= text.size() || text[k] != ']' || k == j + 1) break;
    marker = k + 1;
  }
  if (marker != i) return marker;
  if (full_width || i == text.size() || is_blank(text[i]) || text[i] == '\n') return i;
  return 0;
}

}  // namespace

std::vector<TextPiece> split_sentences(std::string_view text) {
  std::vector<TextPiece> pieces;
  const auto put = [&](TextPiece::Kind kind, std::size_t begin, std::size_t end) {
    if (begin < end) pieces.push_back({kind, begin, end});
  };
  std::size_t at = 0;
  bool line_start = true;
  while (at < text.size()) {
    if (line_start) {
      const auto line = text.substr(at, line_end(text, at) - at);
      if (is_fence(line)) {
        std::size_t end = at + line.size();
        while (end < text.size()) {
          const auto next = end + 1;
          const auto next_end = line_end(text, next);
          end = next_end;
          if (next <= text.size() && is_fence(text.substr(next, next_end - next))) break;
        }
        put(TextPiece::Kind::code, at, end);
        at = end;
        line_start = false;
        continue;
      }
      if (is_heading(line)) {
        put(TextPiece::Kind::heading, at, at + line.size());
        at += line.size();
        line_start = false;
        continue;
      }
      if (const auto marker = list_marker(line); marker > 0) {
        put(TextPiece::Kind::gap, at, at + marker);
        at += marker;
      }
      line_start = false;
    }
    if (is_blank(text[at]) || text[at] == '\n') {
      const std::size_t begin = at;
      while (at < text.size() && (is_blank(text[at]) || text[at] == '\n')) {
        if (text[at] == '\n') line_start = true;
        ++at;
        if (line_start && at < text.size() && text[at] != '\n') break;
      }
      put(TextPiece::Kind::gap, begin, at);
      continue;
    }
    // A sentence: to its mark, or to the end of its paragraph or item.
    std::size_t end = at;
    while (end < text.size()) {
      if (text[end] == '\n') {
        const auto next = text.substr(end + 1, line_end(text, end + 1) - (end + 1));
        const bool blank = std::all_of(next.begin(), next.end(), is_blank);
        if (blank || list_marker(next) > 0 || is_fence(next) || is_heading(next)) break;
      }
      if (const auto mark = sentence_mark(text, end); mark > 0) {
        end = mark;
        break;
      }
      ++end;
    }
    put(TextPiece::Kind::sentence, at, end);
    at = end;
  }
  return pieces;
}

std::vector<std::string_view> content_words(std::string_view lower_cased) {
  static constexpr std::array<std::string_view, 60> kFunctionWords = {
      "about", "after", "all", "also", "and", "any", "are", "because", "been", "before", "being", "but", "can", "could", "did",
      "does", "each", "for", "from", "had", "has", "have", "her", "his", "how", "into", "its", "may", "more", "most",
      "not", "one", "only", "other", "our", "out", "over", "she", "should", "some", "such", "than", "that", "the", "their",
      "them", "then", "there", "these", "they", "this", "was", "were", "what", "when", "which", "will", "with", "would", "you"};
  static_assert(std::is_sorted(kFunctionWords.begin(), kFunctionWords.end()));
  std::vector<std::string_view> words;
  std::size_t i = 0;
  while (i < lower_cased.size()) {
    if (!is_word(lower_cased[i])) {
      ++i;
      continue;
    }
    const std::size_t begin = i;
    while (i < lower_cased.size() && is_word(lower_cased[i])) ++i;
    const auto word = lower_cased.substr(begin, i - begin);
    if (word.size() >= 3 && !std::binary_search(kFunctionWords.begin(), kFunctionWords.end(), word)) words.push_back(word);
  }
  return words;
}

}  // namespace corvid
