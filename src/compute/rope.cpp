#include "corvid/compute/ops/rope.hpp"

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status rope(const OpContext& ctx, const RopeParams& params, ConstTensorView positions, TensorView x) {
  detail::require(detail::is_f32(x, 3), "rope: x must be f32 [tokens, heads, head_dim]");
  detail::require(detail::is_i32(positions) && positions.rank == 1 && positions.dim(0) == x.dim(0), "rope: positions must be i32 [tokens]");
  detail::require(params.dims >= 0 && params.dims % 2 == 0 && params.dims <= x.dim(2), "rope: dims must be even and at most head_dim");
  detail::require(!params.inverse_frequencies.data || (detail::is_f32(params.inverse_frequencies, 1) &&
                                                       params.inverse_frequencies.dim(0) >= params.dims / 2),
                  "rope: inverse_frequencies must be f32 [dims/2]");
  if (x.elements() == 0 || params.dims == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "rope"));
    return stream->rope(params, positions, x);
  }
  if (ctx.path == OpPath::reference) ref::rope(params, positions, x);
  else cpu::rope(ctx, params, positions, x);
  return {};
}

}  // namespace corvid::ops
