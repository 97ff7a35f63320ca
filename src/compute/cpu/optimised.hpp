// The optimised CPU members. Arguments are checked by the callers (<op>.cpp).
#pragma once

#include <atomic>
#include <cstddef>
#include <span>

#include "corvid/compute/ops.hpp"

namespace corvid::cpu {

void linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate);
/// False where not all weights are packed: nothing was done.
bool linear_many(const OpContext& ctx, ConstTensorView x, std::span<const ops::Projection> projections);
void linear_activation(const OpContext& ctx, ops::Activation act, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y);
void embedding(const OpContext& ctx, ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate);
void rms_norm(const OpContext& ctx, ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset);
void layer_norm(const OpContext& ctx, ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y);
void gated_activation(const OpContext& ctx, ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y);
void activation(const OpContext& ctx, ops::Activation act, ConstTensorView x, TensorView y);
void rope(const OpContext& ctx, const ops::RopeParams& params, ConstTensorView positions, TensorView x);
void pool_rows(const OpContext& ctx, ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y);
void kv_append(const OpContext& ctx, const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv);
void paged_attention(const OpContext& ctx, const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y);
void encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y, bool rounded);
void scan_top_k(const OpContext& ctx, ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids, TensorView scores);

/// Threads that for_threads would use: how much scratch to allocate before the loop (pool bodies must not throw).
inline std::size_t thread_count(const OpContext& ctx) {
  return ctx.pool ? static_cast<std::size_t>(ctx.pool->threads()) : 1;
}

/// body(thread, begin, end) over pieces of [0, n); one thread alone when there is no more than one piece.
template <class Body>
void for_threads(const OpContext& ctx, std::size_t n, std::size_t grain, Body&& body) {
  if (n == 0) return;
  if (!ctx.pool || n <= grain || ctx.pool->threads() == 1) return body(std::size_t{0}, std::size_t{0}, n);
  std::atomic<std::size_t> next{0};
  ctx.pool->run([&](int index, int) {
    for (std::size_t begin; (begin = next.fetch_add(grain)) < n;) {
      body(static_cast<std::size_t>(index), begin, begin + grain < n ? begin + grain : n);
    }
  });
}

/// Rows a piece should have so that a piece is worth handing to a thread (about 20 µs of simple arithmetic).
inline std::size_t grain_for(std::size_t work_per_row) { return 1 + 32768 / (work_per_row + 1); }

}  // namespace corvid::cpu
