#include "corvid/compute/ops/embedding.hpp"

#include <algorithm>

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status embedding(const OpContext& ctx, ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) {
  detail::require(static_cast<bool>(table) && !table.vector().data, "embedding: the table must be a matrix or lookup weight");
  detail::require(detail::is_i32(ids) && ids.rank == 1, "embedding: ids must be i32 [n]");
  detail::require(detail::is_f32(y, 2) && y.dim(0) == ids.dim(0) && y.dim(1) == table.cols(), "embedding: y must be f32 [n, d]");
  if (y.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "embedding"));
    return stream->embedding(ids, table, scale, y, accumulate);
  }
  for (std::int64_t i = 0; i < ids.dim(0); ++i) {
    const std::int32_t id = ids.as<const std::int32_t>()[i];
    detail::require(id >= 0 && id < table.rows(), "embedding: an id is outside the table");
  }
  if (ctx.path == OpPath::reference) ref::embedding(ids, table, scale, y, accumulate);
  else cpu::embedding(ctx, ids, table, scale, y, accumulate);
  return {};
}

Status gather_rows(const OpContext& ctx, ConstTensorView rows, ConstTensorView x, TensorView y) {
  detail::require(detail::is_i32(rows) && rows.rank == 1, "gather_rows: rows must be i32 [n]");
  detail::require(detail::is_f32(x, 2) && detail::is_f32(y, 2) && y.dim(0) == rows.dim(0) && y.dim(1) == x.dim(1), "gather_rows: x f32 [rows, d], y f32 [n, d]");
  if (y.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "gather_rows"));
    return stream->gather_rows(rows, x, y);
  }
  for (std::int64_t i = 0; i < rows.dim(0); ++i) {
    const std::int32_t row = rows.as<const std::int32_t>()[i];
    detail::require(row >= 0 && row < x.dim(0), "gather_rows: a row is outside x");
    std::copy_n(x.as<const float>() + row * x.stride(0), x.dim(1), y.as<float>() + i * y.stride(0));
  }
  return {};
}

}  // namespace corvid::ops
