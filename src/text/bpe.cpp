#include "bpe.hpp"

#include <algorithm>
#include <queue>

#include "corvid/text/unicode.hpp"

namespace corvid {
namespace {

// Words up to this many bytes are merged by scanning for the best pair, longer ones with a heap.
constexpr std::size_t kShortWord = 32;

// GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100 onwards in order.
struct Alphabet {
  std::array<char32_t, 256> to{};
  std::array<int, 512> from{};
  Alphabet() {
    from.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
      to[static_cast<std::size_t>(b)] = printable ? static_cast<char32_t>(b) : next++;
      from[to[static_cast<std::size_t>(b)]] = b;
    }
  }
};
const Alphabet& alphabet() {
  static const Alphabet table;
  return table;
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

bool from_byte_alphabet(std::string_view piece, std::string& bytes) {
  bytes.clear();
  for (std::size_t at = 0; at < piece.size();) {
    const char32_t c = unicode::next_code_point(piece, at);
    const int byte = c < 512 ? alphabet().from[c] : -1;
    if (byte < 0) return false;
    bytes += static_cast<char>(byte);
  }
  return true;
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) unicode::append_utf8(out, alphabet().to[static_cast<unsigned char>(b)]);
  return out;
}

Result<BpeModel> BpeModel::make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, PreTokenizer pre, bool ignore_merges) {
  BpeModel model;
  model.pre_ = pre;
  model.ignore_merges_ = ignore_merges;
  model.vocab_ = static_cast<std::int32_t>(vocabulary.size());
  std::unordered_map<std::string, std::int32_t> extra;
  const auto intern = [&](std::string_view piece) {
    if (const auto id = vocabulary.find(piece)) return *id;
    const auto next = model.vocab_ + static_cast<std::int32_t>(extra.size());
    return extra.try_emplace(std::string(piece), next).first->second;
  };
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const auto piece = to_byte_alphabet(std::string_view(&byte, 1));
    model.byte_ids_[static_cast<std::size_t>(b)] = intern(piece);
    model.byte_tokens_[static_cast<std::size_t>(b)] = vocabulary.find(piece).value_or(-1);
  }
  model.merges_.reserve(merges.size());
  std::string joined;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto space = merges[i].find(' ', 1);
    if (space == std::string_view::npos || space + 1 >= merges[i].size()) {
      return fail(Error::bad_input("a merge must be two pieces with a space between them").at_key("merges[" + std::to_string(i) + "]"));
    }
    const auto left = merges[i].substr(0, space), right = merges[i].substr(space + 1);
    joined.assign(left);
    joined += right;
    model.merges_.try_emplace(pair_key(intern(left), intern(right)), Merge{static_cast<std::uint32_t>(i), intern(joined)});
  }
  if (ignore_merges) {
    std::string bytes;
    for (TokenId id = 0; id < model.vocab_; ++id) {
      if (from_byte_alphabet(vocabulary.piece(id), bytes)) model.words_[bytes] = id;
    }
  }
  return model;
}

const BpeModel::Merge* BpeModel::find(std::int32_t left, std::int32_t right) const noexcept {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BpeModel::merge_short(std::vector<Symbol>& symbols) const {
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

void BpeModel::merge_long(std::vector<Symbol>& symbols) const {
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

void BpeModel::encode_word(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    const auto at = static_cast<std::uint32_t>(i);
    symbols.push_back({byte_ids_[static_cast<unsigned char>(word[i])], 0, 0, at, at + 1});
  }
  if (symbols.size() <= kShortWord) merge_short(symbols);
  else merge_long(symbols);
}

void BpeModel::encode(std::string_view text, std::size_t base, std::vector<TokenSpan>& out) const {
  // Code points, with the bytes that each is encoded as and where it came from.
  std::vector<char32_t> points;
  std::vector<std::uint32_t> starts;
  std::string repaired;
  points.reserve(text.size());
  starts.reserve(text.size() + 1);
  const bool valid = !unicode::find_invalid_utf8(text);
  for (std::size_t at = 0; at < text.size();) {
    starts.push_back(static_cast<std::uint32_t>(at));
    const char32_t c = unicode::next_code_point(text, at);
    points.push_back(c);
    if (!valid) unicode::append_utf8(repaired, c);
  }
  starts.push_back(static_cast<std::uint32_t>(text.size()));
  const std::string_view bytes = valid ? text : std::string_view(repaired);

  std::vector<Symbol> symbols;
  std::vector<std::uint32_t> owner;  // code point of each byte of the word, when the text was repaired
  std::size_t point = 0, at = 0;
  for (const std::uint32_t length : pre_tokenize(pre_, points)) {
    std::size_t size = 0;
    owner.clear();
    if (valid) {
      size = starts[point + length] - starts[point];
    } else {
      std::string one;
      for (std::uint32_t i = 0; i < length; ++i) {
        one.clear();
        unicode::append_utf8(one, points[point + i]);
        owner.insert(owner.end(), one.size(), static_cast<std::uint32_t>(point + i));
        size += one.size();
      }
    }
    const auto word = bytes.substr(at, size);
    const auto begin_of = [&](std::uint32_t byte) {
      return static_cast<std::uint32_t>(base) + (valid ? static_cast<std::uint32_t>(at) + byte : starts[owner[byte]]);
    };
    const auto end_of = [&](std::uint32_t byte) {  // one past the last byte
      return static_cast<std::uint32_t>(base) + (valid ? static_cast<std::uint32_t>(at) + byte : starts[owner[byte - 1] + 1]);
    };
    bool whole = false;
    if (ignore_merges_) {
      if (const auto found = words_.find(std::string(word)); found != words_.end()) {
        out.push_back({found->second, begin_of(0), end_of(static_cast<std::uint32_t>(size))});
        whole = true;
      }
    }
    if (!whole) {
      encode_word(word, symbols);
      for (const Symbol& symbol : symbols) {
        if (symbol.id < vocab_) {
          out.push_back({symbol.id, begin_of(symbol.begin), end_of(symbol.end)});
          continue;
        }
        for (std::uint32_t b = symbol.begin; b < symbol.end; ++b) {
          const TokenId id = byte_tokens_[static_cast<unsigned char>(word[b])];
          if (id >= 0) out.push_back({id, begin_of(b), end_of(b + 1)});
        }
      }
    }
    point += length;
    at += size;
  }
}

}  // namespace corvid
