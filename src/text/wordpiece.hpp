// WordPiece (Wu et al. 2016) with BERT's normalisation and word splitting.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bert_unicode.hpp"
#include "vocabulary.hpp"
#include "word_cache.hpp"

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

class WordPieceModel {
 public:
  TokenId unknown = 0;
  std::string continuation = "##";         ///< before pieces inside a word; empty with `word_start`
  std::string word_start;                  ///< before pieces at a word's start (GGUF files)
  std::size_t max_characters = 100;        ///< longer words are unknown; 0 = no limit

  /// Appends the tokens of a text: normalised, split at white space, each punctuation character by itself. `vocabulary` and `normalizer`
  /// are the same in every call.
  void encode(const Vocabulary& vocabulary, const BertNormalizer& normalizer, std::string_view text, std::size_t base, std::vector<TokenSpan>& out) const;

 private:
  void encode_word(const Vocabulary& vocabulary, const SourcedWord& word, std::size_t base, std::string& candidate, std::vector<TokenSpan>& out) const;
  std::unique_ptr<ScratchPool> scratch_ = std::make_unique<ScratchPool>();
};

}  // namespace corvid
