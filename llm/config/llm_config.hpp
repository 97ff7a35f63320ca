// LlmConfig: what a decoder needs to know, from GGUF metadata or a hub folder's config.json, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/compute/ops/activation.hpp"
#include "corvid/compute/ops/rope.hpp"
#include "corvid/tensor/model_file.hpp"

namespace corvid::llm {

enum class RopeScaling : std::uint8_t { none, linear, llama3, yarn };

/// How a kind of layer rotates; gemma3 has two kinds.
struct RopeConfig {
  double base = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;        ///< llama3
  double beta_fast = 32, beta_slow = 1;                    ///< yarn
  bool truncate = true;                                    ///< yarn: the ramp's ends are whole pairs
  double attention_factor = 0;                             ///< yarn's factor on cos and sin; 0 = 0.1 ln(factor) + 1
  double mscale = 0, mscale_all = 0;                       ///< yarn; both given: the quotient of their factors instead
  double multiplier = 1;                                   ///< on cos and sin, beside attention_factor
  double original_context = 0;                             ///< llama3, yarn
};

struct LlmConfig {
  std::string architecture;  // llama, qwen2, qwen3, gemma3
  bool hub = false;          // tensor names and layouts of a hub folder
  std::int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0, context = 0, rope_dims = 0;
  float eps = 1e-5f;
  float embedding_scale = 1, attention_scale = 0, norm_offset = 0;
  ops::Activation activation = ops::Activation::silu;
  ops::RopePairing pairing = ops::RopePairing::halves;
  bool qk_norm = false, post_norms = false;
  std::optional<bool> tied;          // the output matrix is the embedding; unsaid: where there is no other
  RopeConfig rope, local_rope;
  std::int64_t window = 0;           // of sliding layers
  std::vector<bool> sliding;         // per layer
};

/// Errors: unsupported (architecture, rope kind), bad_input (missing keys, contradictions, absurd sizes).
Result<LlmConfig> read_config(const ModelFile& file);

/// base^(-2i/dims) for each pair with the scaling applied, and the factor on cos and sin. `factors` (rope_freqs) divide, where given.
struct RopeTable { std::vector<float> inverse_frequencies; float magnitude = 1; };
RopeTable rope_table(const RopeConfig& rope, std::int64_t dims, std::span<const float> factors);

}  // namespace corvid::llm
