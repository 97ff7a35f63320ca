#include "merges.hpp"

#include <algorithm>
#include <bit>
#include <queue>
#include <string>

#include "byte_hash.hpp"

namespace corvid {
namespace {

// Words up to this many symbols are merged by scanning for the best pair, longer ones with a heap.
constexpr std::size_t kShortWord = 32;

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

Result<Merges> Merges::make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, bool last_wins) {
  Merges out;
  const auto intern = [&](std::string_view piece) {
    if (const auto id = vocabulary.find(piece)) return *id;
    const auto next = static_cast<std::int32_t>(vocabulary.size()) + static_cast<std::int32_t>(out.extra_.size());
    return out.extra_.try_emplace(std::string(piece), next).first->second;
  };
  out.slots_.resize(std::bit_ceil(merges.size() + merges.size() / 4 + 1));
  std::string joined;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto space = merges[i].find(' ', 1);
    if (space == std::string_view::npos || space + 1 >= merges[i].size()) {
      return fail(Error::bad_input("a merge must be two pieces with a space between them").at_key("merges[" + std::to_string(i) + "]"));
    }
    const auto left = merges[i].substr(0, space), right = merges[i].substr(space + 1);
    joined.assign(left);
    joined += right;
    const auto key = pair_key(intern(left), intern(right));
    const Merge merge{static_cast<std::uint32_t>(i), intern(joined)};
    Slot& at = out.slot(key);
    if (at.merge.merged >= 0 && !last_wins) continue;
    at = {key, merge};
  }
  return out;
}

std::int32_t Merges::id_of(const Vocabulary& vocabulary, std::string_view piece) const {
  if (const auto id = vocabulary.find(piece)) return *id;
  const auto found = extra_.find(std::string(piece));
  return found == extra_.end() ? -1 : found->second;
}

void Merges::apply(std::vector<Symbol>& symbols) const {
  if (symbols.size() <= kShortWord) apply_short(symbols);
  else apply_long(symbols);
}

Merges::Slot& Merges::slot(std::uint64_t key) noexcept {
  const std::size_t last = slots_.size() - 1;
  std::size_t at = static_cast<std::size_t>(mix_bits(key)) & last;
  while (slots_[at].merge.merged >= 0 && slots_[at].key != key) at = (at + 1) & last;
  return slots_[at];
}

const Merges::Merge* Merges::find(std::int32_t left, std::int32_t right) const noexcept {
  if (slots_.empty()) return nullptr;
  const std::uint64_t key = pair_key(left, right);
  const std::size_t last = slots_.size() - 1;
  for (std::size_t at = static_cast<std::size_t>(mix_bits(key)) & last;; at = (at + 1) & last) {
    const Slot& found = slots_[at];
    if (found.merge.merged < 0) return nullptr;
    if (found.key == key) return &found.merge;
  }
}

void Merges::apply_short(std::vector<Symbol>& symbols) const {
  // What each symbol becomes with the one after it; a merge changes two of them.
  Merge joins[kShortWord];
  const auto look = [&](std::size_t i) {
    const Merge* merge = find(symbols[i].id, symbols[i + 1].id);
    joins[i] = merge ? *merge : Merge{0, -1};
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) look(i);
  while (symbols.size() > 1) {
    std::size_t where = symbols.size();
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (joins[i].merged >= 0 && (where == symbols.size() || joins[i].rank < joins[where].rank)) where = i;
    }
    if (where == symbols.size()) return;
    symbols[where].id = joins[where].merged;
    symbols[where].end = symbols[where + 1].end;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
    std::copy(joins + where + 1, joins + symbols.size(), joins + where);
    if (where > 0) look(where - 1);
    if (where + 1 < symbols.size()) look(where);
  }
}

void Merges::apply_long(std::vector<Symbol>& symbols) const {
  struct Candidate {
    std::uint32_t rank;
    std::int32_t left, left_id, right_id, merged;
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::int32_t left) {
    if (left < 0) return;
    const Symbol& a = symbols[static_cast<std::size_t>(left)];
    if (a.next < 0) return;
    const Symbol& b = symbols[static_cast<std::size_t>(a.next)];
    if (const Merge* merge = find(a.id, b.id)) queue.push({merge->rank, left, a.id, b.id, merge->merged});
  };
  const auto n = static_cast<std::int32_t>(symbols.size());
  for (std::int32_t i = 0; i < n; ++i) {
    symbols[static_cast<std::size_t>(i)].prev = i - 1;
    symbols[static_cast<std::size_t>(i)].next = i + 1 < n ? i + 1 : -1;
  }
  for (std::int32_t i = 0; i + 1 < n; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& a = symbols[static_cast<std::size_t>(c.left)];
    if (a.id != c.left_id || a.next < 0) continue;  // merged since
    Symbol& b = symbols[static_cast<std::size_t>(a.next)];
    if (b.id != c.right_id) continue;
    a.id = c.merged;
    a.end = b.end;
    b.id = -1;
    a.next = b.next;
    if (b.next >= 0) symbols[static_cast<std::size_t>(b.next)].prev = c.left;
    consider(a.prev);
    consider(c.left);
  }
  std::erase_if(symbols, [](const Symbol& s) { return s.id == -1; });
}

}  // namespace corvid
