#include "corvid/compute/ops/activation.hpp"

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status gated_activation(const OpContext& ctx, Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) {
  detail::require(detail::is_f32(gate, 2) && detail::is_f32(up, 2) && detail::is_f32(y, 2) && gate.shape == up.shape && gate.shape == y.shape,
                  "gated_activation: gate, up and y must be f32 [rows, d]");
  if (gate.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "gated_activation"));
    return stream->gated_activation(act, gate, up, y);
  }
  if (ctx.path == OpPath::reference) ref::gated_activation(act, gate, up, y);
  else cpu::gated_activation(ctx, act, gate, up, y);
  return {};
}

Status activation(const OpContext& ctx, Activation act, ConstTensorView x, TensorView y) {
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2) && x.shape == y.shape, "activation: x and y must be f32 [rows, d]");
  if (x.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "activation"));
    return stream->activation(act, x, y);
  }
  if (ctx.path == OpPath::reference) ref::activation(act, x, y);
  else cpu::activation(ctx, act, x, y);
  return {};
}

}  // namespace corvid::ops
