#include "vocabulary.hpp"

#include <algorithm>
#include <stdexcept>

namespace corvid {

void Vocabulary::reserve(std::size_t tokens, std::size_t bytes) {
  arena_.reserve(bytes);
  pieces_.reserve(tokens);
  kinds_.reserve(tokens);
  scores_.reserve(tokens);
  ids_.reserve(tokens);
}

void Vocabulary::add(std::string_view piece, TokenKind kind, float score) {
  if (arena_.size() + piece.size() > arena_.capacity()) throw std::logic_error("the vocabulary's arena was reserved too small");
  const std::size_t at = arena_.size();
  arena_.append(piece);
  const std::string_view kept(arena_.data() + at, piece.size());
  ids_.insert_or_assign(kept, static_cast<TokenId>(pieces_.size()));
  pieces_.push_back(kept);
  kinds_.push_back(kind);
  scores_.push_back(score);
  longest_ = std::max(longest_, piece.size());
}

std::optional<TokenId> Vocabulary::find(std::string_view piece) const noexcept {
  const auto found = ids_.find(piece);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

}  // namespace corvid
