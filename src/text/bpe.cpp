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

void BpeModel::encode_word(std::string_view word, std::vector<Merges::Symbol>& symbols) const {
  symbols.clear();
  for (std::size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    if (options_.drop_unknown_bytes && byte_tokens_[byte] < 0) continue;
    const auto at = static_cast<std::uint32_t>(i);
    symbols.push_back({byte_ids_[byte], 0, 0, at, at + 1});
  }
  merges_.apply(symbols);
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
    const char32_t c = valid ? unicode::next_code_point(text, at) : next_lenient_code_point(text, at);
    points.push_back(c);
    if (!valid) unicode::append_utf8(repaired, c);
  }
  starts.push_back(static_cast<std::uint32_t>(text.size()));
  const std::string_view bytes = valid ? text : std::string_view(repaired);

  std::vector<Merges::Symbol> symbols;
  std::vector<std::uint32_t> owner;  // code point of each byte of the word, when the text was repaired
  std::size_t point = 0, at = 0;
  for (const std::uint32_t length : pre_tokenize(options_.pre, points)) {
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
    if (options_.ignore_merges) {
      if (const auto found = words_.find(std::string(word)); found != words_.end()) {
        out.push_back({found->second, begin_of(0), end_of(static_cast<std::uint32_t>(size))});
        whole = true;
      }
    }
    if (!whole) {
      encode_word(word, symbols);
      for (const Merges::Symbol& symbol : symbols) {
        if (symbol.id >= 0 && symbol.id < vocab_) {
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
