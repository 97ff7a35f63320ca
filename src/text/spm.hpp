// SentencePiece's byte pair encoding by scores (Kudo & Richardson 2018), with byte fallback.
#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "vocabulary.hpp"
#include "word_cache.hpp"

namespace corvid {

class SpmModel {
 public:
  /// Errors: bad_input when a byte of the fallback has no token.
  static Result<SpmModel> make(const Vocabulary& vocabulary);
  /// Appends the tokens of `text`, spaces read as U+2581. With `space_prefix` a space is put before it. `vocabulary` is make()'s.
  void encode(const Vocabulary& vocabulary, std::string_view text, std::size_t base, bool space_prefix, std::vector<TokenSpan>& out) const;

 private:
  void encode_stretch(const Vocabulary& vocabulary, std::string_view text, std::size_t base, bool space_prefix, EncodeScratch& scratch,
                      std::vector<TokenSpan>& out) const;

  std::array<TokenId, 256> byte_tokens_{};
  // Bytes that stand before a U+2581 somewhere in a piece. After any other byte a U+2581 begins a stretch that no merge crosses into.
  std::array<bool, 256> before_space_{};
  std::unique_ptr<ScratchPool> scratch_ = std::make_unique<ScratchPool>();
};

}  // namespace corvid
