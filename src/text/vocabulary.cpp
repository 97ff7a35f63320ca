#include "vocabulary.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "byte_hash.hpp"

namespace corvid {

void Vocabulary::reserve(std::size_t tokens, std::size_t bytes) {
  arena_.reserve(bytes);
  pieces_.reserve(tokens);
  kinds_.reserve(tokens);
  scores_.reserve(tokens);
  grow(tokens);
}

void Vocabulary::grow(std::size_t tokens) {
  const std::size_t wanted = std::bit_ceil(tokens + tokens / 2 + 1);
  if (wanted <= slots_.size()) return;
  std::vector<Slot> old(wanted);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    std::size_t at = static_cast<std::size_t>(hash_bytes(piece(slot.id)));
    while (slots_[at & (wanted - 1)].id >= 0) ++at;
    slots_[at & (wanted - 1)] = slot;
  }
}

void Vocabulary::add(std::string_view text, TokenKind kind, float score) {
  if (arena_.size() + text.size() > arena_.capacity()) throw std::logic_error("the vocabulary's arena was reserved too small");
  const std::size_t at = arena_.size();
  arena_.append(text);
  const std::string_view kept(arena_.data() + at, text.size());
  grow(pieces_.size() + 1);
  const std::uint64_t hash = hash_bytes(kept);
  const Slot slot{static_cast<std::uint32_t>(hash >> 32), static_cast<TokenId>(pieces_.size())};
  std::size_t place = static_cast<std::size_t>(hash) & (slots_.size() - 1);
  while (slots_[place].id >= 0 && !(slots_[place].tag == slot.tag && piece(slots_[place].id) == kept)) place = (place + 1) & (slots_.size() - 1);
  slots_[place] = slot;
  pieces_.push_back(kept);
  kinds_.push_back(kind);
  scores_.push_back(score);
  longest_ = std::max(longest_, text.size());
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const noexcept {
  if (slots_.empty() || text.size() > longest_) return std::nullopt;
  const std::uint64_t hash = hash_bytes(text);
  for (std::size_t at = static_cast<std::size_t>(hash);; ++at) {
    const Slot& slot = slots_[at & (slots_.size() - 1)];
    if (slot.id < 0) return std::nullopt;
    if (slot.tag == static_cast<std::uint32_t>(hash >> 32) && piece(slot.id) == text) return slot.id;
  }
}

}  // namespace corvid
