// FakeEmbedder: an embedder without a model. Words are tokens; a vector counts words by hash, so shared words mean similar texts.
#pragma once

#include <cmath>
#include <functional>

#include "corvid/embed/text_embedder.hpp"

namespace corvid::test {

class WordTokenizer final : public Tokenizer {
 public:
  Result<std::vector<TokenSpan>> encode_spans(std::string_view text, const EncodeOptions& options = {}) const override {
    std::vector<TokenSpan> spans;
    if (options.add_special) spans.push_back({1, 0, 0});
    for (std::size_t i = 0; i < text.size();) {
      if (blank(text[i])) { ++i; continue; }
      std::size_t end = i;
      while (end < text.size() && !blank(text[end]) && end - i < 12) ++end;  // a long word is several tokens
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
      spans.push_back({static_cast<TokenId>(2 + std::hash<std::string_view>{}(text.substr(i, end - i)) % 1000), static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(end)});
      i = end;
    }
    if (options.add_special) spans.push_back({0, static_cast<std::uint32_t>(text.size()), static_cast<std::uint32_t>(text.size())});
    return spans;
  }
  Result<std::vector<TokenId>> encode(std::string_view text, const EncodeOptions& options = {}) const override {
    CORVID_TRY(const auto spans, encode_spans(text, options));
    std::vector<TokenId> ids;
    for (const auto& span : spans) ids.push_back(span.id);
    return ids;
  }
  std::string token_bytes(TokenId, bool = false) const override { return {}; }
  std::string decode(std::span<const TokenId>, bool = false) const override { return {}; }
  std::int64_t vocab_size() const noexcept override { return 1002; }
  std::string_view kind() const noexcept override { return "words"; }
  std::optional<TokenId> find(std::string_view) const noexcept override { return std::nullopt; }
  bool is_control(TokenId id) const noexcept override { return id < 2; }
  std::optional<TokenId> bos() const noexcept override { return 1; }
  std::optional<TokenId> eos() const noexcept override { return 0; }
  bool adds_bos() const noexcept override { return true; }
  std::span<const TokenId> end_of_generation() const noexcept override { return {}; }

 private:
  static bool blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
};

class FakeEmbedder final : public TextEmbedder {
 public:
  explicit FakeEmbedder(std::filesystem::path folder, std::string identity = "fake-embedder-one", std::uint32_t dimension = 64)
      : folder_(std::move(folder)), identity_(std::move(identity)), dimension_(dimension), tokenizer_(std::make_shared<WordTokenizer>()) {}

  std::function<void(std::size_t call)> on_embed;  ///< called before each call's work
  std::size_t calls = 0, texts_seen = 0;

  Result<EmbedResult> embed(std::span<const std::string_view> texts, const CancellationToken& cancellation = {}, const ProgressSink& = {}) override {
    if (on_embed) on_embed(calls);
    ++calls;
    texts_seen += texts.size();
    CORVID_TRY_STATUS(cancellation.check());
    EmbedResult out;
    for (const auto text : texts) {
      CORVID_TRY(const auto ids, tokenizer_->encode(text, {.add_special = false}));
      std::vector<float> v(dimension_, 1e-3f);
      for (const auto id : ids) v[static_cast<std::size_t>(id) % dimension_] += 1;
      float norm = 0;
      for (const float x : v) norm += x * x;
      for (float& x : v) x /= std::sqrt(norm);
      out.values.insert(out.values.end(), v.begin(), v.end());
      out.tokens.push_back(static_cast<std::uint32_t>(ids.size() + 2));
      out.cut.push_back(ids.size() + 2 > max_tokens());
    }
    return out;
  }
  std::uint32_t dimension() const noexcept override { return dimension_; }
  std::uint32_t max_tokens() const noexcept override { return 66; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const noexcept override { return tokenizer_; }
  const std::string& identity() const noexcept override { return identity_; }
  const std::filesystem::path& folder() const noexcept override { return folder_; }

 private:
  std::filesystem::path folder_;
  std::string identity_;
  std::uint32_t dimension_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

/// A small, valid PDF with one line of ASCII text a page.
inline std::string pdf_of(const std::vector<std::string>& pages) {
  std::string out = "%PDF-1.4\n";
  std::vector<std::size_t> offsets;
  const auto object = [&](const std::string& body) {
    offsets.push_back(out.size());
    out += std::to_string(offsets.size()) + " 0 obj\n" + body + "\nendobj\n";
  };
  std::string kids;
  for (std::size_t i = 0; i < pages.size(); ++i) kids += std::to_string(4 + 2 * i) + " 0 R ";
  object("<< /Type /Catalog /Pages 2 0 R >>");
  object("<< /Type /Pages /Kids [ " + kids + "] /Count " + std::to_string(pages.size()) + " >>");
  object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
  for (std::size_t i = 0; i < pages.size(); ++i) {
    object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents " + std::to_string(5 + 2 * i) + " 0 R >>");
    const std::string text = "BT /F1 12 Tf 72 700 Td (" + pages[i] + ") Tj ET";
    object("<< /Length " + std::to_string(text.size()) + " >>\nstream\n" + text + "\nendstream");
  }
  const auto start = out.size();
  out += "xref\n0 " + std::to_string(offsets.size() + 1) + "\n0000000000 65535 f \n";
  for (const auto offset : offsets) {
    std::string digits = std::to_string(offset);
    out += std::string(10 - digits.size(), '0') + digits + " 00000 n \n";
  }
  out += "trailer\n<< /Size " + std::to_string(offsets.size() + 1) + " /Root 1 0 R >>\nstartxref\n" + std::to_string(start) + "\n%%EOF\n";
  return out;
}

}  // namespace corvid::test
