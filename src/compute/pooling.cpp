#include "corvid/compute/ops/pooling.hpp"

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status pool_rows(const OpContext& ctx, Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) {
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2) && x.dim(1) == y.dim(1), "pool_rows: x and y must be f32 of one width");
  detail::require(detail::is_i32(row_offsets) && row_offsets.rank == 1 && row_offsets.dim(0) == y.dim(0) + 1,
                  "pool_rows: row_offsets must be i32 [sequences + 1]");
  if (y.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "pool_rows"));
    return stream->pool_rows(pooling, row_offsets, x, y);
  }
  const auto* offsets = row_offsets.as<const std::int32_t>();
  for (std::int64_t s = 0; s < y.dim(0); ++s) {
    detail::require(offsets[s] >= 0 && offsets[s] < offsets[s + 1] && offsets[s + 1] <= x.dim(0), "pool_rows: row_offsets must rise within x");
  }
  if (ctx.path == OpPath::reference) ref::pool_rows(pooling, row_offsets, x, y);
  else cpu::pool_rows(ctx, pooling, row_offsets, x, y);
  return {};
}

Status l2_normalise(const OpContext& ctx, TensorView x) {
  detail::require(detail::is_f32(x, 2), "l2_normalise: x must be f32 [rows, d]");
  if (x.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "l2_normalise"));
    return stream->l2_normalise(x);
  }
  ref::l2_normalise(x);  // once a sequence: never where the time goes
  return {};
}

}  // namespace corvid::ops
