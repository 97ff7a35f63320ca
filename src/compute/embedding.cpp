#include "corvid/compute/ops/embedding.hpp"

#include "cpu/optimised.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status embedding(const OpContext& ctx, ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) {
  CORVID_TRY_STATUS(detail::require_cpu(ctx, "embedding"));
  detail::require(static_cast<bool>(table) && !table.vector().data, "embedding: the table must be a matrix or lookup weight");
  detail::require(detail::is_i32(ids) && ids.rank == 1, "embedding: ids must be i32 [n]");
  detail::require(detail::is_f32(y, 2) && y.dim(0) == ids.dim(0) && y.dim(1) == table.cols(), "embedding: y must be f32 [n, d]");
  for (std::int64_t i = 0; i < ids.dim(0); ++i) {
    const std::int32_t id = ids.as<const std::int32_t>()[i];
    detail::require(id >= 0 && id < table.rows(), "embedding: an id is outside the table");
  }
  if (ctx.path == OpPath::reference) ref::embedding(ids, table, scale, y, accumulate);
  else cpu::embedding(ctx, ids, table, scale, y, accumulate);
  return {};
}

}  // namespace corvid::ops
