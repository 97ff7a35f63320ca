#include "merges.hpp"

#include <queue>
#include <string>

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
  out.merges_.reserve(merges.size());
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
    if (last_wins) out.merges_[key] = merge;
    else out.merges_.try_emplace(key, merge);
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

const Merges::Merge* Merges::find(std::int32_t left, std::int32_t right) const noexcept {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Merges::apply_short(std::vector<Symbol>& symbols) const {
  while (symbols.size() > 1) {
    const Merge* best = nullptr;
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge* merge = find(symbols[i].id, symbols[i + 1].id);
      if (merge && (!best || merge->rank < best->rank)) {
        best = merge;
        where = i;
      }
    }
    if (!best) return;
    symbols[where].id = best->merged;
    symbols[where].end = symbols[where + 1].end;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
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
