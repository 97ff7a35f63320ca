// rms_norm, layer_norm, add.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/compute/weight.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

/// y = x / sqrt(mean(x²) + eps) * (gain_offset + gain), over the last dimension; x, y [..., d] f32 (rank 2 or 3); y may be x.
/// gain_offset is 0 for GGUF (Gemma's +1 is folded in by its converter) and 1 for Gemma hub folders.
/// Zhang & Sennrich 2019, eq. 4.
Status rms_norm(const OpContext& ctx, ConstTensorView x, const Weight& gain, float eps, TensorView y, float gain_offset = 0);

/// y = (x - mean) / sqrt(var + eps) * gain + bias, over the last dimension; x, y [rows, d] f32; y may be x. Ba et al. 2016.
Status layer_norm(const OpContext& ctx, ConstTensorView x, const Weight& gain, const Weight& bias, float eps, TensorView y);

/// y += x; both [rows, d] f32.
Status add(const OpContext& ctx, ConstTensorView x, TensorView y);

}  // namespace corvid::ops
