// Byte pair encoding over characters, as tokenizer.json writes SentencePiece models: unknown characters as bytes, or as the unknown token.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "merges.hpp"
#include "vocabulary.hpp"

namespace corvid {

class CharBpe {
 public:
  struct Options {
    bool byte_fallback = false;      ///< a character without a token becomes its bytes' tokens <0xNN>, where all exist
    bool fuse_unknown = false;       ///< neighbouring unknown characters are one unknown token
    bool ignore_merges = false;
    std::optional<TokenId> unknown;  ///< without one, unknown characters vanish
  };
  static Result<CharBpe> make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, const Options& options);
  /// Appends the tokens of one word of valid UTF-8, their ranges in bytes of the word.
  void encode(const Vocabulary& vocabulary, std::string_view word, std::vector<TokenSpan>& out) const;

 private:
  Options options_;
  Merges merges_;
  std::array<TokenId, 256> bytes_{};  // -1 for none
};

}  // namespace corvid
