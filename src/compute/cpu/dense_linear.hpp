// y = act(x · Wᵀ + bias), for float matrices in panels.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/tensor/tensor_view.hpp"
#include "weight_impl.hpp"

namespace corvid::cpu {

/// Whether products of ctx may use panels of this kind at the level in use (tests change it between preparing and using).
bool panels_usable(const OpContext& ctx, PanelKind kind);

/// act: a number of ops::Activation, or -1. `accumulate` adds to y. w.panel_kind is not none.
void dense_linear(const OpContext& ctx, ConstTensorView x, const Weight::Impl& w, const float* bias, int act, TensorView y, bool accumulate);

}  // namespace corvid::cpu
