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

}  // namespace corvid::ops
