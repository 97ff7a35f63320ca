#include "corvid/compute/ops/linear.hpp"

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

namespace {

void check(ConstTensorView x, const Weight& w, const Weight& bias, TensorView y) {
  detail::require(static_cast<bool>(w), "linear: no weight");
  detail::require(!w.vector().data, "linear: w was prepared as a vector");
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2), "linear: x and y must be f32 [rows, width] with contiguous rows");
  detail::require(x.dim(1) == w.cols() && y.dim(1) == w.rows() && x.dim(0) == y.dim(0), "linear: x [rows, in], w [out, in], y [rows, out]");
  detail::require(!bias || (bias.vector().data && bias.cols() == w.rows()), "linear: bias must be a vector [out]");
}

}  // namespace

Status linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) {
  check(x, w, bias, y);
  if (x.dim(0) == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "linear"));
    return stream->linear(ctx, x, w, bias, y, accumulate);
  }
  if (ctx.path == OpPath::reference) ref::linear(x, w, bias, y, accumulate);
  else cpu::linear(ctx, x, w, bias, y, accumulate);
  return {};
}

Status linear_many(const OpContext& ctx, ConstTensorView x, std::span<const Projection> projections) {
  if (projections.empty()) return {};
  const Weight none;
  for (const Projection& p : projections) check(x, *p.w, p.bias ? *p.bias : none, p.y);
  if (x.dim(0) == 0) return {};
  if (ctx.device.is_cpu() && ctx.path != OpPath::reference && cpu::linear_many(ctx, x, projections)) return {};
  for (const Projection& p : projections) CORVID_TRY_STATUS(linear(ctx, x, *p.w, p.bias ? *p.bias : none, p.y));
  return {};
}

Status linear_activation(const OpContext& ctx, Activation act, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y) {
  check(x, w, bias, y);
  if (ctx.device.is_cpu() && ctx.path == OpPath::optimised) {
    if (x.dim(0) > 0) cpu::linear_activation(ctx, act, x, w, bias, y);
    return {};
  }
  CORVID_TRY_STATUS(linear(ctx, x, w, bias, y));
  return activation(ctx, act, y, y);
}

}  // namespace corvid::ops
