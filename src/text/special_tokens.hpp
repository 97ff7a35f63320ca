// Finds markers of special tokens in a text and splits it around them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
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
  struct Start {
    std::size_t index;
    std::uint32_t size;
    char second;  // many markers are runs of one character: most places are ruled out by it
  };
  std::array<std::vector<Start>, 256> by_first_;        // by the marker's first byte, in the order of tokens_
  std::array<bool, 256> plain_{};                       // whether any of them matches without parsing
  Order order_ = Order::longest_marker_first;
};

}  // namespace corvid
