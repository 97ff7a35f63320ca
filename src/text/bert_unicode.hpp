// The classes of characters that BERT's normalisation goes by. Hugging Face's tokenizers keep the tables of Unicode 8.
#pragma once

#include <cstdint>

namespace corvid {

enum class BertTables : std::uint8_t {
  current,   ///< GGUF files, as in llama.cpp
  unicode8,  ///< tokenizer.json; for characters that Unicode 14 assigns
};

bool is_bert_control(BertTables tables, char32_t c) noexcept;      ///< removed by clean_text
bool is_bert_punctuation(BertTables tables, char32_t c) noexcept;  ///< a word by itself
bool is_bert_accent(BertTables tables, char32_t c) noexcept;       ///< removed by strip_accents

}  // namespace corvid
