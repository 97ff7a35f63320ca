// Finds markers of special tokens in a text and splits it around them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "corvid/text/tokenizer.hpp"

namespace corvid {

struct SpecialToken {
  TokenId id = 0;
  std::string text;
  bool control = false;  ///< matches only when markers are parsed
  bool lstrip = false, rstrip = false;
};

/// A stretch of the text: plain (id < 0), or one special token.
struct Fragment {
  std::size_t begin = 0, end = 0;
  TokenId id = -1;
};

class SpecialTokens {
 public:
  enum class Order : std::uint8_t {
    longest_marker_first,  ///< llama.cpp: every occurrence of the longest marker, then of the next
    leftmost_longest,      ///< Hugging Face tokenizers
  };
  SpecialTokens() = default;
  SpecialTokens(std::vector<SpecialToken> tokens, Order order);

  bool empty() const noexcept { return tokens_.empty(); }
  /// `literal`: see EncodeOptions; control tokens' markers that touch one of them are not taken.
  std::vector<Fragment> split(std::string_view text, bool parse_control, std::span<const TextRange> literal = {}) const;

 private:
  std::vector<SpecialToken> tokens_;                              // longest first, then by id
  std::unordered_map<unsigned char, std::vector<std::size_t>> by_first_;  // indices, in the order of tokens_
  Order order_ = Order::longest_marker_first;
};

}  // namespace corvid
