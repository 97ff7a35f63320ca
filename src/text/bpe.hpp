// Byte-level byte pair encoding (Sennrich et al. 2016; GPT-2's byte alphabet).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "corvid/base/result.hpp"
#include "pretokenize.hpp"
#include "vocabulary.hpp"

namespace corvid {

/// The bytes that a piece in GPT-2's printable alphabet stands for; false when a character is not in the alphabet.
bool from_byte_alphabet(std::string_view piece, std::string& bytes);
/// The other way.
std::string to_byte_alphabet(std::string_view bytes);

class BpeModel {
 public:
  /// `merges` are "left right" in the byte alphabet, best first. Errors: bad_input with the merge's index as key.
  static Result<BpeModel> make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, PreTokenizer pre, bool ignore_merges);

  /// Appends the text's tokens. Bytes that are not UTF-8 are read as U+FFFD, one for each, when `text` has any.
  void encode(std::string_view text, std::size_t base, std::vector<TokenSpan>& out) const;
  PreTokenizer pre() const noexcept { return pre_; }

 private:
  struct Merge {
    std::uint32_t rank = 0;
    std::int32_t merged = 0;
  };
  struct Symbol {
    std::int32_t id = 0, prev = 0, next = 0;
    std::uint32_t begin = 0, end = 0;
  };
  void encode_word(std::string_view word, std::vector<Symbol>& symbols) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;
  const Merge* find(std::int32_t left, std::int32_t right) const noexcept;

  PreTokenizer pre_ = PreTokenizer::gpt2;
  bool ignore_merges_ = false;
  std::int32_t vocab_ = 0;                       // internal ids from here on are pieces of merges that have no token
  std::array<std::int32_t, 256> byte_ids_{};     // internal id of each single byte
  std::array<TokenId, 256> byte_tokens_{};       // its token, -1 for none
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::unordered_map<std::string, TokenId> words_;  // whole words by their bytes, for ignore_merges
};

}  // namespace corvid
