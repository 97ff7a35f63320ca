// Models of known shapes with random weights, in memory: what a file of them would hold.
#pragma once

#include <memory>
#include <string_view>

#include "corvid/llm/engine.hpp"
#include "corvid/tensor/model_file.hpp"
#include "llm/config/llm_config.hpp"

namespace corvid::llm {

struct SyntheticModel {
  std::shared_ptr<const ModelFile> file;
  LlmConfig config;
  std::shared_ptr<const Tokenizer> tokenizer;   // ids only: it reads and writes no text
};

/// Errors: invalid_argument (unknown shape or quantisation), out_of_memory.
Result<SyntheticModel> synthetic_model(Runtime& runtime, std::string_view shape, std::string_view quant, Device device);

/// From a model's parts to a running engine.
Result<std::shared_ptr<Engine>> assemble(Runtime& runtime, std::shared_ptr<const ModelFile> file, const LlmConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                                         EngineOptions options);

}  // namespace corvid::llm
