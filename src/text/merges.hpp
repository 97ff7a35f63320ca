// The merges of byte pair encoding (Sennrich et al. 2016): which neighbours join, in which order.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "corvid/base/result.hpp"
#include "vocabulary.hpp"

namespace corvid {

class Merges {
 public:
  /// A stretch of a word under merging.
  struct Symbol {
    std::int32_t id = 0, prev = 0, next = 0;
    std::uint32_t begin = 0, end = 0;  // bytes of the word
  };

  /// `merges` are "left right", best first. Where one pair stands twice, the first counts, or with `last_wins` the last.
  /// Errors: bad_input with the merge's index as key.
  static Result<Merges> make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, bool last_wins);

  /// The id of a piece: its token, or a number from the vocabulary's size for one that only merges know, or -1.
  std::int32_t id_of(const Vocabulary& vocabulary, std::string_view piece) const;
  /// Joins neighbours until none is left to join.
  void apply(std::vector<Symbol>& symbols) const;

 private:
  struct Merge {
    std::uint32_t rank = 0;
    std::int32_t merged = 0;
  };
  const Merge* find(std::int32_t left, std::int32_t right) const noexcept;
  void apply_short(std::vector<Symbol>& symbols) const;
  void apply_long(std::vector<Symbol>& symbols) const;

  struct Slot {
    std::uint64_t key = 0;
    Merge merge{0, -1};  // merged < 0: empty
  };
  Slot& slot(std::uint64_t key) noexcept;
  std::vector<Slot> slots_;                              // open addressing, a power of two
  std::unordered_map<std::string, std::int32_t> extra_;  // pieces that have no token
};

}  // namespace corvid
