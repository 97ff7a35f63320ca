#include "bpe.hpp"

#include "corvid/text/unicode.hpp"
#include "lenient_utf8.hpp"

namespace corvid {
namespace {

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

Result<BpeModel> BpeModel::make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, const Options& options) {
  BpeModel model;
  model.options_ = options;
  model.vocab_ = static_cast<std::int32_t>(vocabulary.size());
  CORVID_TRY(model.merges_, Merges::make(vocabulary, merges, options.last_merge_wins));
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const auto piece = to_byte_alphabet(std::string_view(&byte, 1));
    model.byte_ids_[static_cast<std::size_t>(b)] = model.merges_.id_of(vocabulary, piece);
    model.byte_tokens_[static_cast<std::size_t>(b)] = vocabulary.find(piece).value_or(-1);
  }
  if (options.ignore_merges) {
    std::string bytes;
    for (TokenId id = 0; id < model.vocab_; ++id) {
      if (from_byte_alphabet(vocabulary.piece(id), bytes)) model.words_[bytes] = id;
    }
  }
  return model;
}

void BpeModel::encode_word(std::string_view word, std::size_t base, EncodeScratch& scratch, std::vector<TokenSpan>& out) const {
  const auto at = static_cast<std::uint32_t>(base);
  if (options_.ignore_merges) {
    if (const auto found = words_.find(std::string(word)); found != words_.end()) {
      out.push_back({found->second, at, at + static_cast<std::uint32_t>(word.size())});
      return;
    }
  }
  auto& symbols = scratch.symbols;
  symbols.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    if (options_.drop_unknown_bytes && byte_tokens_[byte] < 0) continue;
    const auto begin = static_cast<std::uint32_t>(i);
    symbols.push_back({byte_ids_[byte], 0, 0, begin, begin + 1});
  }
  merges_.apply(symbols);
  for (const Merges::Symbol& symbol : symbols) {
    if (symbol.id >= 0 && symbol.id < vocab_) {
      out.push_back({symbol.id, at + symbol.begin, at + symbol.end});
      continue;
    }
    for (std::uint32_t b = symbol.begin; b < symbol.end; ++b) {
      const TokenId id = byte_tokens_[static_cast<unsigned char>(word[b])];
      if (id >= 0) out.push_back({id, at + b, at + b + 1});
    }
  }
}

void BpeModel::encode(std::string_view text, std::size_t base, std::vector<TokenSpan>& out) const {
  const ScratchPool::Lease scratch(*scratch_);
  const bool valid = !unicode::find_invalid_utf8(text);
  std::string repaired;
  std::vector<std::uint32_t> begins, ends;  // of the character that each repaired byte is of
  if (!valid) {
    for (std::size_t at = 0; at < text.size();) {
      const auto begin = static_cast<std::uint32_t>(at);
      unicode::append_utf8(repaired, next_lenient_code_point(text, at));
      begins.resize(repaired.size(), begin);
      ends.resize(repaired.size(), static_cast<std::uint32_t>(at));
    }
  }
  const std::string_view bytes = valid ? text : std::string_view(repaired);
  const std::size_t first = out.size(), offset = valid ? base : 0;
  pre_tokenize(options_.pre, bytes, scratch->lengths);
  out.reserve(first + scratch->lengths.size() + scratch->lengths.size() / 2);
  std::size_t at = 0;
  for (const std::uint32_t length : scratch->lengths) {
    scratch->cache.through(bytes, at, length, offset + at, out, [&](std::string_view word) { encode_word(word, offset + at, *scratch, out); });
    at += length;
  }
  if (valid) return;
  for (std::size_t i = first; i < out.size(); ++i) {
    out[i].begin = static_cast<std::uint32_t>(base) + begins[out[i].begin];
    out[i].end = static_cast<std::uint32_t>(base) + ends[out[i].end - 1];
  }
}

}  // namespace corvid
