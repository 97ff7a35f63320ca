#include "corvid/compute/ops/norm.hpp"

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

namespace {

const float* vector_of(const Weight& w, std::int64_t d, const char* what) {
  detail::require(w && w.vector().data && w.cols() == d, what);
  return static_cast<const float*>(w.vector().data);
}

}  // namespace

Status rms_norm(const OpContext& ctx, ConstTensorView x, const Weight& gain, float eps, TensorView y, float gain_offset) {
  detail::require(x.rank == 2 || x.rank == 3, "rms_norm: x must have rank 2 or 3");
  detail::require(detail::is_f32(x, x.rank) && detail::is_f32(y, x.rank) && x.shape == y.shape, "rms_norm: x and y must be f32 of one shape");
  const float* g = vector_of(gain, x.dim(-1), "rms_norm: gain must be a vector [d]");
  if (x.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "rms_norm"));
    return stream->rms_norm(x, g, eps, y, gain_offset);
  }
  if (ctx.path == OpPath::reference) ref::rms_norm(x, g, eps, y, gain_offset);
  else cpu::rms_norm(ctx, x, g, eps, y, gain_offset);
  return {};
}

Status layer_norm(const OpContext& ctx, ConstTensorView x, const Weight& gain, const Weight& bias, float eps, TensorView y) {
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2) && x.shape == y.shape, "layer_norm: x and y must be f32 [rows, d]");
  const float* g = vector_of(gain, x.dim(1), "layer_norm: gain must be a vector [d]");
  const float* b = vector_of(bias, x.dim(1), "layer_norm: bias must be a vector [d]");
  if (x.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "layer_norm"));
    return stream->layer_norm(x, g, b, eps, y);
  }
  if (ctx.path == OpPath::reference) ref::layer_norm(x, g, b, eps, y);
  else cpu::layer_norm(ctx, x, g, b, eps, y);
  return {};
}

Status add(const OpContext& ctx, ConstTensorView x, TensorView y) {
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2) && x.shape == y.shape, "add: x and y must be f32 [rows, d]");
  if (x.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "add"));
    return stream->add(x, y);
  }
  ref::add(x, y);  // bound by memory: the plain loop is the fast one
  return {};
}

}  // namespace corvid::ops
