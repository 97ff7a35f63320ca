#include "corvid/compute/ops/activation.hpp"

#include "cpu/optimised.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status gated_activation(const OpContext& ctx, Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) {
  CORVID_TRY_STATUS(detail::require_cpu(ctx, "gated_activation"));
  detail::require(detail::is_f32(gate, 2) && detail::is_f32(up, 2) && detail::is_f32(y, 2) && gate.shape == up.shape && gate.shape == y.shape,
                  "gated_activation: gate, up and y must be f32 [rows, d]");
  if (gate.elements() == 0) return {};
  if (ctx.path == OpPath::reference) ref::gated_activation(act, gate, up, y);
  else cpu::gated_activation(ctx, act, gate, up, y);
  return {};
}

Status activation(const OpContext& ctx, Activation act, ConstTensorView x, TensorView y) {
  CORVID_TRY_STATUS(detail::require_cpu(ctx, "activation"));
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2) && x.shape == y.shape, "activation: x and y must be f32 [rows, d]");
  if (x.elements() == 0) return {};
  if (ctx.path == OpPath::reference) ref::activation(act, x, y);
  else cpu::activation(ctx, act, x, y);
  return {};
}

}  // namespace corvid::ops
