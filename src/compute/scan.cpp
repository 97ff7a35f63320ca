#include "corvid/compute/ops/scan.hpp"

#include "cpu/optimised.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

Status scan_top_k(const OpContext& ctx, ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids,
                  TensorView scores) {
  using detail::require;
  CORVID_TRY_STATUS(detail::require_cpu(ctx, "scan_top_k"));
  require(detail::is_f32(queries, 2), "scan_top_k: queries must be f32 [n_queries, d]");
  require(vectors.rank == 2 && vectors.dim(1) == queries.dim(1) && (vectors.elements() == 0 || vectors.data), "scan_top_k: vectors must be [rows, d]");
  require(!allowed.data || (allowed.dtype == DType::i64 && allowed.rank == 1 && allowed.dim(0) >= (vectors.dim(0) + 63) / 64),
          "scan_top_k: allowed must be i64 [ceil(rows/64)]");
  require(row_ids.dtype == DType::i64 && row_ids.rank == 2 && detail::is_f32(scores, 2) && row_ids.shape == scores.shape &&
              row_ids.dim(0) == queries.dim(0),
          "scan_top_k: row_ids i64 and scores f32 must be [n_queries, k]");
  if (vectors.dtype != DType::f32 && vectors.dtype != DType::f16) {
    return fail(Error::unsupported("scan_top_k over " + std::string(traits(vectors.dtype).name) + " vectors on cpu: choose f32 or f16"));
  }
  if (row_ids.elements() == 0) return {};
  if (ctx.path == OpPath::reference) ref::scan_top_k(queries, vectors, allowed, row_ids, scores);
  else cpu::scan_top_k(ctx, queries, vectors, allowed, row_ids, scores);
  return {};
}

}  // namespace corvid::ops
