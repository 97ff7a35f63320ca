// SentencePiece's byte pair encoding by scores (Kudo & Richardson 2018), with byte fallback.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "vocabulary.hpp"

namespace corvid {

class SpmModel {
 public:
  /// Errors: bad_input when a byte of the fallback has no token.
  static Result<SpmModel> make(const Vocabulary& vocabulary);
  /// Appends the tokens of `text`, spaces read as U+2581. With `space_prefix` a space is put before it.
  void encode(const Vocabulary& vocabulary, std::string_view text, std::size_t base, bool space_prefix, std::vector<TokenSpan>& out) const;

 private:
  std::array<TokenId, 256> byte_tokens_{};
};

}  // namespace corvid
