// Matrix products with packed weights.
#pragma once

#include <span>

#include "corvid/compute/op_context.hpp"
#include "corvid/tensor/tensor_view.hpp"
#include "cpu/packed.hpp"

namespace corvid::cpu {

/// y [rows, out] = act(x · Wᵀ + bias); bias [out] or null; act a number of ops::Activation, or -1.
struct PackedProduct {
  const PackedMatrix* w;
  const float* bias;
  TensorView y;
  bool accumulate;
  int act = -1;
};

/// All products of one x [rows, in]: its rows are quantised once, and the threads meet once.
void packed_linear(const OpContext& ctx, ConstTensorView x, std::span<const PackedProduct> products);

}  // namespace corvid::cpu
