// WordPiece (Wu et al. 2016) with BERT's normalisation and word splitting.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bert_unicode.hpp"
#include "vocabulary.hpp"

namespace corvid {

/// One word with the place it came from: byte i belongs to the source bytes [begins[i], ends[i]).
struct SourcedWord {
  std::string text;
  std::vector<std::uint32_t> begins, ends;  // per byte of text
};

struct BertNormalizer {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;
  BertTables tables = BertTables::current;
};

/// Normalises, splits at white space, and puts each punctuation character by itself.
std::vector<SourcedWord> bert_words(std::string_view text, const BertNormalizer& normalizer);

struct WordPieceModel {
  TokenId unknown = 0;
  std::string continuation = "##";         ///< before pieces inside a word; empty with `word_start`
  std::string word_start;                  ///< before pieces at a word's start (GGUF files)
  std::size_t max_characters = 100;        ///< longer words are unknown; 0 = no limit

  void encode(const Vocabulary& vocabulary, const SourcedWord& word, std::size_t base, std::vector<TokenSpan>& out) const;
};

}  // namespace corvid
