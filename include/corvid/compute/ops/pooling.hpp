// Pooling of token states into one vector a sequence, and normalisation.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

enum class Pooling : std::uint8_t { mean, cls, last, max };

/// x [rows, d] f32 of packed sequences; row_offsets [sequences + 1] i32, no sequence empty; y [sequences, d] f32.
Status pool_rows(const OpContext& ctx, Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y);

/// Scales each row of x [rows, d] f32 to unit length in place; a zero row stays zero.
Status l2_normalise(const OpContext& ctx, TensorView x);

}  // namespace corvid::ops
