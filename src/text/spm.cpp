#include "spm.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <queue>
#include <string>

namespace corvid {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";

// Characters go by their first byte alone, so that bytes which are not UTF-8 split as in the peers.
std::size_t length_by_lead(char lead) {
  const auto high = static_cast<unsigned char>(lead) >> 4;
  if (high < 0xC) return 1;
  return high < 0xE ? 2 : high == 0xE ? 3 : 4;
}

struct Symbol {
  std::size_t begin = 0, size = 0;  // bytes of the escaped text; size 0 once merged away
  std::int32_t prev = -1, next = -1;
};

struct Candidate {
  float score;
  std::int32_t left, right;
  std::size_t size;
  // Best score first; of equal ones the leftmost.
  bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : left > other.left; }
};

}  // namespace

Result<SpmModel> SpmModel::make(const Vocabulary& vocabulary) {
  SpmModel model;
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    auto id = vocabulary.find(name);
    if (!id) {
      const char byte = static_cast<char>(b);
      id = vocabulary.find(std::string_view(&byte, 1));
    }
    if (!id) return fail(Error::bad_input(std::string("the vocabulary has no token for the byte ") + name).at_key("tokenizer.ggml.tokens"));
    model.byte_tokens_[static_cast<std::size_t>(b)] = *id;
  }
  return model;
}

void SpmModel::encode(const Vocabulary& vocabulary, std::string_view text, std::size_t base, bool space_prefix,
                      std::vector<TokenSpan>& out) const {
  // The escaped text, and for each of its bytes the byte of `text` it came from; a prefix comes from the first.
  std::string escaped;
  std::vector<std::uint32_t> from;
  escaped.reserve(text.size() * 2);
  if (space_prefix) {
    escaped += kSpace;
    from.insert(from.end(), kSpace.size(), 0);
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') {
      escaped += kSpace;
      from.insert(from.end(), kSpace.size(), static_cast<std::uint32_t>(i));
    } else {
      escaped += text[i];
      from.push_back(static_cast<std::uint32_t>(i));
    }
  }
  from.push_back(static_cast<std::uint32_t>(text.size()));

  std::vector<Symbol> symbols;
  for (std::size_t at = 0; at < escaped.size();) {
    const std::size_t size = std::min(length_by_lead(escaped[at]), escaped.size() - at);
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({at, size, index - 1, at + size < escaped.size() ? index + 1 : -1});
    at += size;
  }
  const auto view = [&](std::size_t begin, std::size_t size) { return std::string_view(escaped).substr(begin, size); };
  const auto symbol = [&](std::int32_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };

  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    const auto joined = view(symbol(left).begin, symbol(left).size + symbol(right).size);
    const auto id = vocabulary.find(joined);
    if (!id) return;
    queue.push({vocabulary.score(*id), left, right, joined.size()});
  };
  for (std::int32_t i = 1; i < static_cast<std::int32_t>(symbols.size()); ++i) consider(i - 1, i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbol(c.left);
    Symbol& right = symbol(c.right);
    if (left.size == 0 || right.size == 0 || left.size + right.size != c.size) continue;  // merged since
    left.size += right.size;
    right.size = 0;
    left.next = right.next;
    if (right.next >= 0) symbol(right.next).prev = c.left;
    consider(left.prev, c.left);
    consider(c.left, left.next);
  }

  const auto emit = [&](TokenId id, std::size_t begin, std::size_t size) {
    out.push_back({id, static_cast<std::uint32_t>(base) + from[begin], static_cast<std::uint32_t>(base) + from[begin + size]});
  };
  for (std::int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbol(i).next) {
    const Symbol& s = symbol(i);
    if (const auto id = vocabulary.find(view(s.begin, s.size))) {
      emit(*id, s.begin, s.size);
      continue;
    }
    // Only single characters are left without a token: a merged text always has one.
    for (std::size_t b = 0; b < s.size; ++b) emit(byte_tokens_[static_cast<unsigned char>(escaped[s.begin + b])], s.begin + b, 1);
  }
}

}  // namespace corvid
