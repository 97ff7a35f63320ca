// embedding: gathers rows of a table.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/compute/weight.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

/// ids [n] i32, each in [0, table.rows()); table [vocab, d] (WeightUse::lookup); y [n, d] f32 = scale * table[ids].
/// `accumulate` adds to y (position and token-type tables of encoders).
Status embedding(const OpContext& ctx, ConstTensorView ids, const Weight& table, float scale, TensorView y,
                 bool accumulate = false);

/// y[i] = x[rows[i]]; rows [n] i32, each in [0, x.dim(0)); x [m, d] f32, y [n, d] f32, which must not overlap.
Status gather_rows(const OpContext& ctx, ConstTensorView rows, ConstTensorView x, TensorView y);

}  // namespace corvid::ops
