// rope: rotary position embedding, in place. Su et al. 2021; YaRN: Peng et al. 2023.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/compute/weight.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

enum class RopePairing : std::uint8_t {
  interleaved,  ///< pairs (0,1), (2,3), …: `llama` in GGUF, whose converter permutes q and k
  halves,       ///< pairs (i, i + dims/2): hub folders, qwen2, qwen3, gemma3
};

struct RopeParams {
  RopePairing pairing = RopePairing::halves;
  int dims = 0;                  ///< rotated dimensions of each head (even, ≤ head_dim)
  float base = 10000.0f;
  float position_scale = 1.0f;   ///< linear scaling: angles use position * position_scale
  float magnitude = 1.0f;        ///< multiplies cos and sin (YaRN's attention factor)
  /// Inverse frequency of each pair [dims/2] f32 on the device, all scaling (linear, llama3 rope_freqs, YaRN) applied.
  /// Empty: base^(-2i/dims) * position_scale.
  ConstTensorView inverse_frequencies{};
};

/// x [tokens, heads, head_dim] f32, rotated in place (token stride allowed); positions [tokens] i32.
/// Angles are computed in double or by an equally exact reduction: correct at position 131,072.
Status rope(const OpContext& ctx, const RopeParams& params, ConstTensorView positions, TensorView x);

}  // namespace corvid::ops
