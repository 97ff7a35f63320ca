// linear: y = x · Wᵀ + bias.
#pragma once

#include <span>

#include "corvid/compute/op_context.hpp"
#include "corvid/compute/ops/activation.hpp"
#include "corvid/compute/weight.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

/// x [rows, in] f32, row-strided allowed; w [out, in]; bias [out] or empty; y [rows, out] f32, row-strided allowed.
/// Precision::fast may quantise each x row once (int8 per block, or bf16) and accumulates in i32/f32.
/// `accumulate` adds to y (a residual) instead of overwriting it.
Status linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y,
              bool accumulate = false);

/// One of several products of the same x. Borrowed for the call; bias null or empty: none.
struct Projection {
  const Weight* w;     // [out, in]
  const Weight* bias;  // [out]
  TensorView y;        // [rows, out]
};

/// As linear() for each projection in turn, with the same results; on the CPU x is quantised once and the threads meet once.
Status linear_many(const OpContext& ctx, ConstTensorView x, std::span<const Projection> projections);
/// y = act(x · Wᵀ + bias); shapes as linear().
Status linear_activation(const OpContext& ctx, Activation act, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y);

}  // namespace corvid::ops
