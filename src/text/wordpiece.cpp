#include "wordpiece.hpp"

#include <algorithm>

#include "bert_unicode.hpp"
#include "corvid/text/unicode.hpp"
#include "lenient_utf8.hpp"

namespace corvid {
namespace {

bool is_cjk(char32_t c) {
  // The blocks that BERT's original code lists.
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_ascii_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
bool is_ascii_punctuation(char c) { return c > ' ' && c < 0x7F && !is_ascii_word(c); }
bool is_plain_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

void WordPieceModel::encode(const Vocabulary& vocabulary, const BertNormalizer& normalizer, std::string_view text, std::size_t base,
                            std::vector<TokenSpan>& out) const {
  const ScratchPool::Lease scratch(*scratch_);
  out.reserve(out.size() + text.size() / 3 + 1);
  SourcedWord word;
  const auto clear = [&] {
    word.text.clear();
    word.begins.clear();
    word.ends.clear();
  };
  const auto flush = [&] {
    if (!word.text.empty()) encode_word(vocabulary, word, base, scratch->text, out);
    clear();
  };
  // A word of ASCII letters and digits, or one mark: only its case may change.
  const auto plain = [&](std::size_t at, std::size_t size) {
    scratch->cache.through(text, at, size, base + at, out, [&](std::string_view source) {
      for (std::size_t i = 0; i < size; ++i) {
        const char c = source[i];
        word.text += normalizer.lowercase && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        word.begins.push_back(static_cast<std::uint32_t>(at + i));
        word.ends.push_back(static_cast<std::uint32_t>(at + i + 1));
      }
      encode_word(vocabulary, word, base, scratch->text, out);
      clear();
    });
  };
  std::string one, normal, piece;
  for (std::size_t at = 0; at < text.size();) {
    if (word.text.empty()) {
      std::size_t end = at;
      while (end < text.size() && is_ascii_word(text[end])) ++end;
      if (end > at && (end == text.size() || is_plain_space(text[end]) || is_ascii_punctuation(text[end]))) {
        plain(at, end - at);
        at = end;
        continue;
      }
      if (is_plain_space(text[at])) {
        ++at;
        continue;
      }
      if (is_ascii_punctuation(text[at])) {
        plain(at, 1);
        ++at;
        continue;
      }
    }
    const auto begin = static_cast<std::uint32_t>(at);
    const char32_t c = next_lenient_code_point(text, at);
    const auto end = static_cast<std::uint32_t>(at);
    // llama.cpp splits at white space before it cleans: some of it is control characters too.
    const bool space_first = normalizer.tables == BertTables::current && unicode::is_space(c);
    if (normalizer.clean_text && !space_first) {
      if (c == 0 || c == 0xFFFD) continue;
      if (c != '\t' && c != '\n' && c != '\r' && is_bert_control(normalizer.tables, c)) continue;
    }
    if (unicode::is_space(c)) {
      flush();
      continue;
    }
    const bool alone = normalizer.handle_chinese_chars && is_cjk(c);
    if (alone) flush();
    one.clear();
    unicode::append_utf8(one, c);
    // U+11938 came with Unicode 13: the earlier tables do not take it apart.
    const bool apart = normalizer.strip_accents && c >= 0x80 && !(normalizer.tables == BertTables::unicode8 && c == 0x11938);
    normal = apart ? unicode::nfd(one) : one;
    if (apart && normalizer.tables == BertTables::current) {
      // llama.cpp keeps the first character of a decomposition, also of a Hangul syllable's.
      std::size_t first = 0;
      unicode::next_code_point(normal, first);
      normal.resize(first);
    }
    for (std::size_t i = 0; i < normal.size();) {
      const char32_t part = unicode::next_code_point(normal, i);
      if (normalizer.strip_accents && is_bert_accent(normalizer.tables, part)) continue;
      piece.clear();
      unicode::append_utf8(piece, part);
      if (normalizer.lowercase) piece = part == 0x130 && normalizer.tables == BertTables::unicode8 ? "i\u0307" : unicode::lower(piece);
      const bool punctuation = is_bert_punctuation(normalizer.tables, part);
      if (punctuation) flush();
      word.begins.insert(word.begins.end(), piece.size(), begin);
      word.ends.insert(word.ends.end(), piece.size(), end);
      word.text += piece;
      if (punctuation) flush();
    }
    if (alone) flush();
  }
  flush();
}

void WordPieceModel::encode_word(const Vocabulary& vocabulary, const SourcedWord& word, std::size_t base, std::string& candidate, std::vector<TokenSpan>& out) const {
  const auto span = [&](TokenId id, std::size_t begin, std::size_t end) {
    out.push_back({id, static_cast<std::uint32_t>(base) + word.begins[begin], static_cast<std::uint32_t>(base) + word.ends[end - 1]});
  };
  const std::size_t size = word.text.size();
  if (max_characters > 0) {
    const auto characters = std::count_if(word.text.begin(), word.text.end(), [](char b) { return (b & 0xC0) != 0x80; });
    if (static_cast<std::size_t>(characters) > max_characters) return span(unknown, 0, size);
  }
  const std::size_t before = out.size();
  for (std::size_t begin = 0; begin < size;) {
    std::size_t end = std::min(size, begin + vocabulary.longest_piece());
    candidate = begin == 0 ? word_start : continuation;
    const std::size_t prefix = candidate.size();
    candidate.append(word.text, begin, end - begin);
    bool matched = false;
    for (; end > begin; --end) {
      if (end < size && (word.text[end] & 0xC0) == 0x80) continue;  // inside a character
      if (const auto id = vocabulary.find(std::string_view(candidate).substr(0, prefix + end - begin))) {
        span(*id, begin, end);
        matched = true;
        break;
      }
    }
    if (!matched) {
      out.resize(before);
      return span(unknown, 0, size);
    }
    begin = end;
  }
}

}  // namespace corvid
