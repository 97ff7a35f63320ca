// The pieces of a tokenizer: text, kind and score of each id, and the way back from text to id.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/text/tokenizer.hpp"

namespace corvid {

/// GGUF's numbers (tokenizer.ggml.token_type).
enum class TokenKind : std::uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

class Vocabulary {
 public:
  void reserve(std::size_t tokens, std::size_t bytes);
  /// Appends the next id. The arena must have been reserved for all bytes: views into it are kept.
  void add(std::string_view piece, TokenKind kind, float score);

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(pieces_.size()); }
  std::string_view piece(TokenId id) const noexcept { return pieces_[static_cast<std::size_t>(id)]; }
  TokenKind kind(TokenId id) const noexcept { return kinds_[static_cast<std::size_t>(id)]; }
  void set_kind(TokenId id, TokenKind kind) { kinds_[static_cast<std::size_t>(id)] = kind; }
  float score(TokenId id) const noexcept { return scores_[static_cast<std::size_t>(id)]; }
  std::optional<TokenId> find(std::string_view piece) const noexcept;
  bool valid(TokenId id) const noexcept { return id >= 0 && id < size(); }
  std::size_t longest_piece() const noexcept { return longest_; }

 private:
  std::string arena_;
  std::vector<std::string_view> pieces_;
  std::vector<TokenKind> kinds_;
  std::vector<float> scores_;
  struct Slot {
    std::uint32_t tag = 0;  // upper half of the piece's hash
    TokenId id = -1;
  };
  void grow(std::size_t tokens);
  std::vector<Slot> slots_;  // open addressing; of equal pieces the last wins
  std::size_t longest_ = 0;
};

}  // namespace corvid
