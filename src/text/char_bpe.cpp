#include "char_bpe.hpp"

#include <algorithm>
#include <cstdio>

#include "corvid/text/unicode.hpp"

namespace corvid {

Result<CharBpe> CharBpe::make(const Vocabulary& vocabulary, const std::vector<std::string_view>& merges, const Options& options) {
  CharBpe model;
  model.options_ = options;
  CORVID_TRY(model.merges_, Merges::make(vocabulary, merges, true));
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    model.bytes_[static_cast<std::size_t>(b)] = vocabulary.find(name).value_or(-1);
  }
  return model;
}

void CharBpe::encode(const Vocabulary& vocabulary, std::string_view word, std::vector<TokenSpan>& out) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto whole = vocabulary.find(word)) return out.push_back({*whole, 0, static_cast<std::uint32_t>(word.size())});
  }
  std::vector<Merges::Symbol> symbols;
  bool unknown_before = false;
  for (std::size_t at = 0; at < word.size();) {
    const auto begin = static_cast<std::uint32_t>(at);
    unicode::next_code_point(word, at);
    const auto end = static_cast<std::uint32_t>(at);
    const auto character = word.substr(begin, end - begin);
    const auto byte_token = [this](char b) { return bytes_[static_cast<unsigned char>(b)]; };
    if (const auto id = vocabulary.find(character)) {
      symbols.push_back({*id, 0, 0, begin, end});
      unknown_before = false;
    } else if (options_.byte_fallback && std::all_of(character.begin(), character.end(), [&](char b) { return byte_token(b) >= 0; })) {
      for (std::uint32_t i = begin; i < end; ++i) symbols.push_back({byte_token(word[i]), 0, 0, i, i + 1});
      unknown_before = false;
    } else if (options_.unknown) {
      if (unknown_before && options_.fuse_unknown) symbols.back().end = end;
      else symbols.push_back({*options_.unknown, 0, 0, begin, end});
      unknown_before = true;
    }
  }
  merges_.apply(symbols);
  for (const auto& symbol : symbols) {
    if (symbol.id < vocabulary.size()) out.push_back({symbol.id, symbol.begin, symbol.end});
  }
}

}  // namespace corvid
