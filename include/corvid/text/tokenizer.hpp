// Tokenizer: text to token ids and back, exactly as the model's own tokenizer does it.
//
//   CORVID_TRY(auto tokenizer, Tokenizer::open("model.gguf"));   // or a hub folder, or tokenizer.json
//   CORVID_TRY(auto ids, tokenizer->encode("Hello"));
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid {

class ModelFile;
using TokenId = std::int32_t;

/// Bytes of a text, from 0, end excluded.
struct TextRange {
  std::size_t begin = 0, end = 0;
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

struct EncodeOptions {
  bool add_special = true;     ///< BOS, EOS, CLS, SEP as the model's file says
  bool parse_special = false;  ///< markers of control tokens in the text become those tokens
  /// With parse_special: a marker that has a byte in one of these stays text, so that what came from outside cannot open a turn. Sorted,
  /// apart from each other; borrowed for the call.
  std::span<const TextRange> literal{};
};

/// A token and where in the text it came from.
struct TokenSpan {
  TokenId id = 0;
  std::uint32_t begin = 0;  ///< bytes into the text; specials added around it have begin == end
  std::uint32_t end = 0;
};

/// Immutable after load; every method may be called from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// A GGUF file (also vocabulary-only), a folder with tokenizer.json, or a tokenizer.json.
  /// Errors: not_found, bad_input (file, offset or key), unsupported naming the tokenizer kind or pre-tokenizer.
  static Result<std::shared_ptr<const Tokenizer>> open(const std::filesystem::path& path);
  /// From an opened file (GGUF metadata, or tokenizer.json beside a hub folder's config).
  static Result<std::shared_ptr<const Tokenizer>> from_model(const ModelFile& file);

  /// Never truncates or pads. GGUF tokenizers take any bytes; tokenizer.json ones need valid UTF-8 (bad_input with the offset).
  virtual Result<std::vector<TokenId>> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  /// encode with each token's byte range in `text` (the ranges of a token that is part of a character cover the character).
  virtual Result<std::vector<TokenSpan>> encode_spans(std::string_view text, const EncodeOptions& options = {}) const = 0;
  /// Tokens of the text without specials; what budgets count. Same errors as encode.
  Result<std::size_t> count(std::string_view text) const;

  /// The bytes that the token stands for in a text; control tokens give nothing unless `show_special`.
  virtual std::string token_bytes(TokenId id, bool show_special = false) const = 0;
  /// All tokens' bytes as the model's detokeniser joins them (word pieces, leading space). May be invalid UTF-8.
  virtual std::string decode(std::span<const TokenId> ids, bool show_special = false) const = 0;

  virtual std::int64_t vocab_size() const noexcept = 0;
  virtual std::string_view kind() const noexcept = 0;       ///< "bpe/smollm", "spm", "wordpiece", …
  virtual std::optional<TokenId> find(std::string_view piece) const noexcept = 0;  ///< exact vocabulary entry, markers included
  virtual bool is_control(TokenId id) const noexcept = 0;
  virtual std::optional<TokenId> bos() const noexcept = 0;
  virtual std::optional<TokenId> eos() const noexcept = 0;
  virtual bool adds_bos() const noexcept = 0;               ///< encode(add_special) begins with bos()
  /// Tokens that end a generation: EOS, end of turn, as the file says and as known markers name them. Sorted.
  virtual std::span<const TokenId> end_of_generation() const noexcept = 0;
};

/// Turns a stream of tokens into text that never ends inside a code point. One stream, one thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool show_special = false);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  /// The text that this token completes: valid UTF-8, maybe empty. Bytes that can never become a code point come out as U+FFFD.
  std::string push(TokenId id);
  std::string finish();  ///< what is left, an incomplete tail as U+FFFD

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corvid
