// Splits a text into the words that byte-level BPE merges within, as the model families' regular expressions do.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace corvid {

enum class PreTokenizer : std::uint8_t {
  gpt2,    ///< contractions, " ?letters", " ?numbers", " ?others", white space
  smollm,  ///< gpt2 with each digit alone
  llama3,  ///< any-case contractions, one non-letter before letters, up to three digits, line ends
  qwen2,   ///< llama3 with each digit alone
};

/// The name of tokenizer.ggml.pre, or nullopt when it is not one of these families.
std::optional<PreTokenizer> pre_tokenizer_from_gguf(std::string_view name);
std::string_view to_string(PreTokenizer kind) noexcept;

/// The length in bytes of each word, in order; they add up to text.size(). Characters are read as next_lenient_code_point() reads them.
void pre_tokenize(PreTokenizer kind, std::string_view text, std::vector<std::uint32_t>& lengths);

}  // namespace corvid
