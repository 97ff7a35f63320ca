// What the tokenizers share: special tokens, BOS and EOS, end-of-generation tokens.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "corvid/text/tokenizer.hpp"
#include "special_tokens.hpp"
#include "vocabulary.hpp"

namespace corvid {

class TokenizerBase : public Tokenizer {
 public:
  Result<std::vector<TokenId>> encode(std::string_view text, const EncodeOptions& options) const override {
    CORVID_TRY(const auto spans, encode_spans(text, options));
    std::vector<TokenId> ids;
    ids.reserve(spans.size());
    for (const auto& span : spans) ids.push_back(span.id);
    return ids;
  }
  std::int64_t vocab_size() const noexcept override { return vocabulary_.size(); }
  std::string_view kind() const noexcept override { return kind_; }
  std::optional<TokenId> find(std::string_view piece) const noexcept override { return vocabulary_.find(piece); }
  bool is_control(TokenId id) const noexcept override {
    return vocabulary_.valid(id) && (vocabulary_.kind(id) == TokenKind::control || vocabulary_.kind(id) == TokenKind::unknown);
  }
  std::optional<TokenId> bos() const noexcept override { return bos_; }
  std::optional<TokenId> eos() const noexcept override { return eos_; }
  bool adds_bos() const noexcept override { return !prefix_.empty() && bos_ && prefix_.front() == *bos_; }
  std::span<const TokenId> end_of_generation() const noexcept override { return eog_; }

 protected:
  /// Adds eos, the given ids and the markers by which known families end a turn; sorts.
  void collect_end_of_generation(std::vector<TokenId> ids);
  static void widen_to_characters(std::string_view text, std::vector<TokenSpan>& spans);

  Vocabulary vocabulary_;
  SpecialTokens specials_;
  std::string kind_;
  std::optional<TokenId> bos_, eos_;
  std::vector<TokenId> prefix_, suffix_;  // what add_special puts around a text
  std::vector<TokenId> eog_;
};

}  // namespace corvid
