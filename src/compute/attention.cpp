#include "corvid/compute/ops/attention.hpp"

#include <utility>

#include "cpu/optimised.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ops {

namespace {

using detail::require;

void check_offsets(ConstTensorView row_offsets, std::int64_t rows, const char* what) {
  require(detail::is_i32(row_offsets) && row_offsets.rank == 1 && row_offsets.dim(0) >= 1, what);
  if (!row_offsets.device.is_cpu()) return;  // the values are not here to be looked at
  const auto* offsets = row_offsets.as<const std::int32_t>();
  const std::int64_t sequences = row_offsets.dim(0) - 1;
  require(offsets[0] == 0 && offsets[sequences] == rows, what);
  for (std::int64_t s = 0; s < sequences; ++s) require(offsets[s] <= offsets[s + 1], what);
}

void check_pages(const RaggedRows& rows, std::int64_t n, const PagedKv& kv) {
  check_offsets(rows.row_offsets, n, "attention: row_offsets must rise from 0 to the number of rows");
  require(detail::is_i32(rows.positions) && rows.positions.rank == 1 && rows.positions.dim(0) == n, "attention: positions must be i32 [rows]");
  require(detail::is_i32(rows.page_table) && rows.page_table.rank == 2 && rows.page_table.dim(0) == rows.row_offsets.dim(0) - 1,
          "attention: page_table must be i32 [sequences, max_pages]");
  auto keys = kv.k.shape;
  if (kv.k_transposed) std::swap(keys[2], keys[3]);
  require(kv.k.rank == 4 && kv.v.rank == 4 && keys == kv.v.shape && kv.k.dtype == kv.v.dtype && kv.v.dim(2) > 0,
          "attention: k and v pages must be [pages, kv_heads, page_tokens, head_dim] of one dtype");
  if (!rows.row_offsets.device.is_cpu()) return;
  const auto* offsets = rows.row_offsets.as<const std::int32_t>();
  const auto* positions = rows.positions.as<const std::int32_t>();
  for (std::int64_t s = 0; s < rows.page_table.dim(0); ++s) {
    if (offsets[s] == offsets[s + 1]) continue;
    const std::int64_t first = positions[offsets[s]], last = positions[offsets[s + 1] - 1];
    require(first >= 0 && last - first == offsets[s + 1] - offsets[s] - 1, "attention: positions must be consecutive in a sequence");
    require(last / kv.v.dim(2) < rows.page_table.dim(1), "attention: page_table is too short for a position");
  }
}

Status check_kv_kind(const OpContext& ctx, const PagedKv& kv) {
  if (kv.k_transposed && !ctx.device.is_cpu()) return fail(Error::unsupported("transposed keys in pages of a device: give them as they are"));
  if (kv.k.dtype == DType::f32 || kv.k.dtype == DType::f16) return {};
  return fail(Error::unsupported("KV pages of " + std::string(traits(kv.k.dtype).name) + ": choose f32 or f16"));
}

// Every page in [first page, last page] of a sequence must exist.
void check_page_ids(const RaggedRows& rows, const PagedKv& kv, bool from_start, int window) {
  if (!rows.row_offsets.device.is_cpu()) return;
  const auto* offsets = rows.row_offsets.as<const std::int32_t>();
  const auto* positions = rows.positions.as<const std::int32_t>();
  for (std::int64_t s = 0; s < rows.page_table.dim(0); ++s) {
    if (offsets[s] == offsets[s + 1]) continue;
    std::int64_t first = positions[offsets[s]];
    if (from_start) first = window > 0 ? (first >= window ? first - window + 1 : 0) : 0;
    const std::int64_t last = positions[offsets[s + 1] - 1];
    for (std::int64_t p = first / kv.v.dim(2); p <= last / kv.v.dim(2); ++p) {
      const std::int32_t page = rows.page_table.as<const std::int32_t>()[s * rows.page_table.stride(0) + p];
      require(page >= 0 && page < kv.v.dim(0), "attention: page_table names a page that is not in the pool");
    }
  }
}

}  // namespace

Status kv_append(const OpContext& ctx, const RaggedRows& rows, ConstTensorView k, ConstTensorView v, PagedKv kv) {
  require(detail::is_f32(k, 3) && detail::is_f32(v, 3) && k.shape == v.shape, "kv_append: k and v must be f32 [rows, kv_heads, head_dim]");
  check_pages(rows, k.dim(0), kv);
  require(k.dim(1) == kv.v.dim(1) && k.dim(2) == kv.v.dim(3), "kv_append: k and the pages differ in heads or head_dim");
  CORVID_TRY_STATUS(check_kv_kind(ctx, kv));
  check_page_ids(rows, kv, false, 0);
  if (k.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "kv_append"));
    return stream->kv_append(rows, k, v, kv);
  }
  if (ctx.path == OpPath::reference) ref::kv_append(rows, k, v, kv);
  else cpu::kv_append(ctx, rows, k, v, kv);
  return {};
}

Status paged_attention(const OpContext& ctx, const AttentionParams& params, const RaggedRows& rows, ConstTensorView q, PagedKv kv,
                       TensorView y) {
  require(detail::is_f32(q, 3) && detail::is_f32(y, 3) && q.shape == y.shape, "paged_attention: q and y must be f32 [rows, heads, head_dim]");
  check_pages(rows, q.dim(0), kv);
  require(kv.v.dim(1) > 0 && q.dim(1) % kv.v.dim(1) == 0 && q.dim(2) == kv.v.dim(3), "paged_attention: heads must be a multiple of kv_heads, of one head_dim");
  require(params.window >= 0, "paged_attention: window must not be negative");
  CORVID_TRY_STATUS(check_kv_kind(ctx, kv));
  check_page_ids(rows, kv, true, params.window);
  if (q.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "paged_attention"));
    return stream->paged_attention(params, rows, q, kv, y);
  }
  if (ctx.path == OpPath::reference) ref::paged_attention(params, rows, q, kv, y);
  else cpu::paged_attention(ctx, params, rows, q, kv, y);
  return {};
}

Status encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k,
                         ConstTensorView v, TensorView y, bool rounded) {
  require(detail::is_f32(q, 3) && detail::is_f32(k, 3) && detail::is_f32(v, 3) && detail::is_f32(y, 3) && q.shape == k.shape &&
              q.shape == v.shape && q.shape == y.shape,
          "encoder_attention: q, k, v and y must be f32 [rows, heads, head_dim]");
  check_offsets(row_offsets, q.dim(0), "encoder_attention: row_offsets must rise from 0 to the number of rows");
  if (q.elements() == 0) return {};
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "encoder_attention"));
    return stream->encoder_attention(ctx, scale, row_offsets, q, k, v, y);
  }
  if (ctx.path == OpPath::reference) ref::encoder_attention(scale, row_offsets, q, k, v, y);
  else cpu::encoder_attention(ctx, scale, row_offsets, q, k, v, y, rounded && ctx.precision == Precision::fast);
  return {};
}

}  // namespace corvid::ops
