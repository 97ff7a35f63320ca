#include "spm.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <queue>
#include <string>

#include "corvid/text/unicode.hpp"

namespace corvid {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";

// Escaped stretches up to this many bytes are merged by scanning for the best pair, longer ones with a heap.
constexpr std::size_t kShort = 64;

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
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const auto piece = vocabulary.piece(id);
    for (auto at = piece.find(kSpace, 1); at < piece.size(); at = piece.find(kSpace, at + 1)) {
      if (at < kSpace.size() || piece.substr(at - kSpace.size(), kSpace.size()) != kSpace) model.before_space_[static_cast<unsigned char>(piece[at - 1])] = true;
    }
  }
  return model;
}

void SpmModel::encode_stretch(const Vocabulary& vocabulary, std::string_view text, std::size_t base, bool space_prefix, EncodeScratch& scratch,
                              std::vector<TokenSpan>& out) const {
  // The escaped text, and for each of its bytes the byte of `text` it came from; a prefix comes from the first.
  std::string& escaped = scratch.text;
  std::vector<std::uint32_t>& from = scratch.from;
  escaped.clear();
  from.clear();
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

  const auto emit = [&](TokenId id, std::size_t begin, std::size_t size) {
    out.push_back({id, static_cast<std::uint32_t>(base) + from[begin], static_cast<std::uint32_t>(base) + from[begin + size]});
  };
  const auto emit_symbol = [&](std::size_t begin, std::size_t size) {
    if (const auto id = vocabulary.find(std::string_view(escaped).substr(begin, size))) return emit(*id, begin, size);
    // Only single characters are left without a token: a merged text always has one.
    for (std::size_t b = 0; b < size; ++b) emit(byte_tokens_[static_cast<unsigned char>(escaped[begin + b])], begin + b, 1);
  };
  if (escaped.size() <= kShort) {
    // Where each symbol begins, and the score of its union with the next where that is a token; a merge changes two of them.
    std::size_t begins[kShort + 1], n = 0;
    float scores[kShort];
    bool joins[kShort];
    for (std::size_t at = 0; at < escaped.size(); at += std::min(length_by_lead(escaped[at]), escaped.size() - at)) begins[n++] = at;
    begins[n] = escaped.size();
    const auto look = [&](std::size_t i) {
      const auto id = vocabulary.find(std::string_view(escaped).substr(begins[i], begins[i + 2] - begins[i]));
      joins[i] = id.has_value();
      scores[i] = id ? vocabulary.score(*id) : 0;
    };
    for (std::size_t i = 0; i + 1 < n; ++i) look(i);
    while (true) {
      std::size_t best = n;
      for (std::size_t i = 0; i + 1 < n; ++i) {
        if (joins[i] && (best == n || scores[i] > scores[best])) best = i;
      }
      if (best == n) break;
      std::copy(begins + best + 2, begins + n + 1, begins + best + 1);
      std::copy(scores + best + 1, scores + n, scores + best);
      std::copy(joins + best + 1, joins + n, joins + best);
      --n;
      if (best > 0) look(best - 1);
      if (best + 1 < n) look(best);
    }
    for (std::size_t i = 0; i < n; ++i) emit_symbol(begins[i], begins[i + 1] - begins[i]);
    return;
  }

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

  for (std::int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbol(i).next) emit_symbol(symbol(i).begin, symbol(i).size);
}

void SpmModel::encode(const Vocabulary& vocabulary, std::string_view text, std::size_t base, bool space_prefix, std::vector<TokenSpan>& out) const {
  const ScratchPool::Lease scratch(*scratch_);
  // A lead byte takes what follows it for its own: where bytes are not UTF-8 a space may be within a character.
  if (unicode::find_invalid_utf8(text)) return encode_stretch(vocabulary, text, base, space_prefix, *scratch, out);
  out.reserve(out.size() + text.size() / 4 + 1);
  const auto space_at = [&](std::size_t at) -> std::size_t { return text[at] == ' ' ? 1 : text.substr(at, kSpace.size()) == kSpace ? kSpace.size() : 0; };
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size()) {  // the spaces in front
      const std::size_t size = space_at(end);
      if (size == 0) break;
      end += size;
    }
    while (end < text.size() && (space_at(end) == 0 || before_space_[static_cast<unsigned char>(text[end - 1])])) ++end;
    const bool prefix = space_prefix && at == 0;
    const std::size_t size = end - at;
    if (prefix) encode_stretch(vocabulary, text.substr(at, size), base + at, true, *scratch, out);
    else scratch->cache.through(text, at, size, base + at, out, [&](std::string_view word) { encode_stretch(vocabulary, word, base + at, false, *scratch, out); });
    at = end;
  }
}

}  // namespace corvid
