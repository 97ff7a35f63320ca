// Softmax attention of one (row, head) at a time: all its scores, then the weighted sum of values, page by page in order of
// position, so that the result depends on the row's position alone.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/kernels.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

const void* element(const TensorView& t, std::int64_t at) {
  return static_cast<const std::byte*>(t.data) + at * static_cast<std::int64_t>(t.dtype == DType::f16 ? 2 : 4);
}

std::vector<std::int32_t> sequence_of_rows(const std::int32_t* offsets, std::int64_t sequences) {
  std::vector<std::int32_t> owner(static_cast<std::size_t>(offsets[sequences]));
  for (std::int64_t s = 0; s < sequences; ++s) {
    std::fill(owner.begin() + offsets[s], owner.begin() + offsets[s + 1], static_cast<std::int32_t>(s));
  }
  return owner;
}

}  // namespace

void kv_append(const OpContext& ctx, const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) {
  const KernelTable& kernel = kernels();
  const auto owner = sequence_of_rows(rows.row_offsets.as<const std::int32_t>(), rows.row_offsets.dim(0) - 1);
  const std::int64_t heads = k.dim(1), page_tokens = kv.k.dim(2);
  const auto d = static_cast<std::size_t>(k.dim(2));
  const auto put = [&](const float* from, const TensorView& to, std::int64_t at) {
    if (to.dtype == DType::f16) kernel.f32_to_half(from, d, static_cast<std::uint16_t*>(to.data) + at);
    else std::copy_n(from, d, static_cast<float*>(to.data) + at);
  };
  for_threads(ctx, owner.size(), grain_for(d * static_cast<std::size_t>(heads)), [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const std::int64_t position = rows.positions.as<const std::int32_t>()[r];
      const std::int64_t page = rows.page_table.as<const std::int32_t>()[owner[r] * rows.page_table.stride(0) + position / page_tokens];
      const std::int64_t slot = position % page_tokens;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t row = static_cast<std::int64_t>(r) * heads + h;
        put(detail::row_at(k, row), kv.k, page * kv.k.stride(0) + h * kv.k.stride(1) + slot * kv.k.stride(2));
        put(detail::row_at(v, row), kv.v, page * kv.v.stride(0) + h * kv.v.stride(1) + slot * kv.v.stride(2));
      }
    }
  });
}

void paged_attention(const OpContext& ctx, const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q,
                     ops::PagedKv kv, TensorView y) {
  const KernelTable& kernel = kernels();
  const auto* positions = rows.positions.as<const std::int32_t>();
  const auto owner = sequence_of_rows(rows.row_offsets.as<const std::int32_t>(), rows.row_offsets.dim(0) - 1);
  const std::int64_t page_tokens = kv.k.dim(2), heads = q.dim(1), group = heads / kv.k.dim(1);
  const auto d = static_cast<std::size_t>(q.dim(2));
  const bool half = kv.k.dtype == DType::f16;
  std::int64_t longest = 0;
  for (std::size_t r = 0; r < owner.size(); ++r) {
    const std::int64_t seen = std::int64_t{positions[r]} + 1;
    longest = std::max(longest, params.window > 0 ? std::min<std::int64_t>(seen, params.window) : seen);
  }
  const auto capacity = static_cast<std::size_t>(longest);
  const std::unique_ptr<float[]> scratch(new float[thread_count(ctx) * capacity]);
  const std::size_t tasks = owner.size() * static_cast<std::size_t>(heads);
  for_threads(ctx, tasks, grain_for(capacity * d / 2), [&](std::size_t thread, std::size_t begin, std::size_t end) {
    float* s = scratch.get() + thread * capacity;
    for (std::size_t task = begin; task < end; ++task) {
      const auto at = static_cast<std::int64_t>(task);
      const std::int64_t r = at / heads, h = at % heads / group;
      const std::int32_t* table = rows.page_table.as<const std::int32_t>() + owner[static_cast<std::size_t>(r)] * rows.page_table.stride(0);
      const std::int64_t last = positions[r], first = params.window > 0 ? std::max<std::int64_t>(0, last - params.window + 1) : 0;
      const auto n = static_cast<std::size_t>(last - first + 1);
      // Calls visit(page's first element, first index in s, positions) for each page in order.
      const auto each_page = [&](const TensorView& t, auto&& visit) {
        for (std::int64_t p = first; p <= last;) {
          const std::int64_t slot = p % page_tokens, count = std::min(page_tokens - slot, last - p + 1);
          visit(element(t, table[p / page_tokens] * t.stride(0) + h * t.stride(1) + slot * t.stride(2)), s + (p - first), static_cast<std::size_t>(count));
          p += count;
        }
      };
      const float* query = detail::row_at(q, at);
      each_page(kv.k, [&](const void* k, float* out, std::size_t count) {
        kernel.scores(query, k, static_cast<std::size_t>(kv.k.stride(2)), half, count, d, params.scale, out);
      });
      if (params.logit_softcap > 0) {
        for (std::size_t i = 0; i < n; ++i) s[i] = params.logit_softcap * std::tanh(s[i] / params.logit_softcap);
      }
      const float share = 1.0f / kernel.softmax_terms(s, n);
      float* out = detail::row_at(y, at);
      std::fill_n(out, d, 0.0f);
      each_page(kv.v, [&](const void* v, float* weights, std::size_t count) {
        kernel.weighted_sum(weights, v, static_cast<std::size_t>(kv.v.stride(2)), half, count, d, out);
      });
      for (std::size_t i = 0; i < d; ++i) out[i] *= share;
    }
  });
}

void encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k,
                       ConstTensorView v, TensorView y) {
  const KernelTable& kernel = kernels();
  const auto* offsets = row_offsets.as<const std::int32_t>();
  const std::int64_t sequences = row_offsets.dim(0) - 1, heads = q.dim(1);
  const auto owner = sequence_of_rows(offsets, sequences);
  const auto d = static_cast<std::size_t>(q.dim(2));
  std::size_t capacity = 0;
  for (std::int64_t s = 0; s < sequences; ++s) capacity = std::max(capacity, static_cast<std::size_t>(offsets[s + 1] - offsets[s]));
  const std::unique_ptr<float[]> scratch(new float[thread_count(ctx) * capacity]);
  const std::size_t tasks = owner.size() * static_cast<std::size_t>(heads), rows = owner.size();
  for_threads(ctx, tasks, grain_for(capacity * d / 2), [&](std::size_t thread, std::size_t begin, std::size_t end) {
    float* s = scratch.get() + thread * capacity;
    for (std::size_t task = begin; task < end; ++task) {
      // Head by head, so that a head's keys and values stay in the cache for all rows.
      const auto h = static_cast<std::int64_t>(task / rows), r = static_cast<std::int64_t>(task % rows);
      const std::int32_t sequence = owner[static_cast<std::size_t>(r)];
      const std::int64_t first = offsets[sequence] * heads + h;
      const auto n = static_cast<std::size_t>(offsets[sequence + 1] - offsets[sequence]);
      kernel.scores(detail::row_at(q, r * heads + h), detail::row_at(k, first), static_cast<std::size_t>(k.stride(0)), false, n, d, scale, s);
      const float share = 1.0f / kernel.softmax_terms(s, n);
      float* out = detail::row_at(y, r * heads + h);
      std::fill_n(out, d, 0.0f);
      kernel.weighted_sum(s, detail::row_at(v, first), static_cast<std::size_t>(v.stride(0)), false, n, d, out);
      for (std::size_t i = 0; i < d; ++i) out[i] *= share;
    }
  });
}

}  // namespace corvid::cpu
