// Gated and plain activations.
#pragma once

#include "corvid/compute/op_context.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::ops {

enum class Activation : std::uint8_t { silu, gelu_erf, gelu_tanh, relu };

/// y = act(gate) * up; all [rows, d] f32; y may be gate or up.
Status gated_activation(const OpContext& ctx, Activation act, ConstTensorView gate, ConstTensorView up, TensorView y);

/// y = act(x); both [rows, d] f32; y may be x.
Status activation(const OpContext& ctx, Activation act, ConstTensorView x, TensorView y);

}  // namespace corvid::ops
