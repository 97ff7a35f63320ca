// What sentence-transformers' files say of an encoder: its modules, pooling and limit.
#pragma once

#include <cstdint>

#include "corvid/base/result.hpp"
#include "corvid/compute/ops/pooling.hpp"
#include "corvid/tensor/model_file.hpp"

namespace corvid::embed {

struct SentenceConfig {
  ops::Pooling pooling = ops::Pooling::mean;
  bool normalise = false;                  ///< a Normalize module
  std::uint32_t max_tokens = 0;            ///< max_seq_length, specials included; 0: not said
  bool lower_case = false;                 ///< of sentence_bert_config.json: before the tokenizer
};

/// Reads modules.json, N_Pooling/config.json and sentence_bert_config.json. A folder without modules.json is a bare encoder, whose states
/// are averaged. Errors: bad_input (file, key), unsupported (module, pooling).
Result<SentenceConfig> read_sentence_config(const ModelFile& file);

}  // namespace corvid::embed
