// Byte-level byte pair encoding (Sennrich et al. 2016; GPT-2's byte alphabet).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "corvid/base/result.hpp"
#include "merges.hpp"
#include "pretokenize.hpp"
#include "vocabulary.hpp"
#include "word_cache.hpp"

namespace corvid {

/// The bytes that a piece in GPT-2's printable alphabet stands for; false when a character is not in the alphabet.
bool from_byte_alphabet(std::string_view piece, std::string& bytes);
/// The other way.
std::string to_byte_alphabet(std::string_view bytes);

class BpeModel {
 public:
  struct Options {
    PreTokenizer pre = PreTokenizer::gpt2;
    bool ignore_merges = false;       ///< a word that is a token is that token
    bool drop_unknown_bytes = false;  ///< bytes without a token vanish before the merges, so that their neighbours meet; else after
    bool last_merge_wins = false;
  };
  /// `merges` are "left right" in the byte alphabet, best first. Errors: bad_input with the merge's index as key.
  static Result<BpeModel> make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, const Options& options);

  /// Appends the text's tokens. Bytes that are not UTF-8 are read as next_lenient_code_point() reads them.
  void encode(std::string_view text, std::size_t base, std::vector<TokenSpan>& out) const;

 private:
  void encode_word(std::string_view word, std::size_t base, EncodeScratch& scratch, std::vector<TokenSpan>& out) const;

  Options options_;
  Merges merges_;
  std::int32_t vocab_ = 0;                       // internal ids from here on are pieces of merges that have no token
  std::array<std::int32_t, 256> byte_ids_{};     // internal id of each single byte, -1 for none
  std::array<TokenId, 256> byte_tokens_{};       // its token, -1 for none
  std::unordered_map<std::string, TokenId> words_;  // whole words by their bytes, for ignore_merges
  std::unique_ptr<ScratchPool> scratch_ = std::make_unique<ScratchPool>();
};

}  // namespace corvid
