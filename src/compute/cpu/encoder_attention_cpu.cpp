// Attention within the sequences of a packed batch, a head of a sequence at a time: keys and values are packed into panels once, then tiles
// of query rows meet all keys, softmax in two passes, and all values. Rounded, both products are bf16 and the softmax between them f32.
#include <algorithm>
#include <cstring>

#include "cpu/dense_kernels.hpp"
#include "cpu/dense_scratch.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

std::size_t rounded(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

struct Head {
  const DenseKernels& kernel;
  float scale;
  std::size_t d;
  bool bf16;
  std::size_t width() const { return rounded(d, kPanel); }  // of a value row, in whole panels

  // Keys of `n` rows to panels [n / 16][d][16].
  void pack_keys(const float* k, std::size_t stride, std::size_t n, std::byte* to) const {
    const float* rows[kPanel];
    for (std::size_t at = 0; at < n; at += kPanel) {
      for (std::size_t i = 0; i < kPanel; ++i) rows[i] = at + i < n ? k + (at + i) * stride : nullptr;
      if (bf16) kernel.transpose_bf16(rows, d, reinterpret_cast<std::uint16_t*>(to) + at * d);
      else kernel.transpose_f32(rows, d, reinterpret_cast<float*>(to) + at * d);
    }
  }
  // Values to one matrix [n][width], in pairs of rows for bf16; `keys`, n rounded up to whole panels, is its depth.
  void pack_values(const float* v, std::size_t stride, std::size_t n, std::size_t keys, float* row, std::byte* to) const {
    const std::size_t w = width();
    if (!bf16) {
      float* out = reinterpret_cast<float*>(to);
      for (std::size_t i = 0; i < keys; ++i, out += w) {
        std::fill_n(out, w, 0.0f);
        if (i < n) std::copy_n(v + i * stride, d, out);
      }
      return;
    }
    std::fill_n(row, 2 * w, 0.0f);
    for (std::size_t i = 0; i < keys; i += 2) {
      if (i < n) std::copy_n(v + i * stride, d, row);
      if (i + 1 < n) std::copy_n(v + (i + 1) * stride, d, row + w);
      kernel.pair_bf16(i < n ? row : row + 2 * w, i + 1 < n ? row + w : nullptr, w, reinterpret_cast<std::uint16_t*>(to) + i * w);
    }
  }
};

}  // namespace

void encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k,
                       ConstTensorView v, TensorView y, bool rounded_products) {
  const DenseKernels& kernel = dense_kernels();
  const auto d = static_cast<std::size_t>(q.dim(2));
  const Head head{kernel, scale, d, rounded_products && kernel.product_bf16 && d % 2 == 0};
  const auto* offsets = row_offsets.as<const std::int32_t>();
  const auto sequences = static_cast<std::size_t>(row_offsets.dim(0) - 1), heads = static_cast<std::size_t>(q.dim(1));
  std::size_t longest = 0;
  for (std::size_t s = 0; s < sequences; ++s) longest = std::max(longest, static_cast<std::size_t>(offsets[s + 1] - offsets[s]));
  const std::size_t capacity = rounded(longest, kPanel), tile = kernel.tile_rows, w = head.width();
  const std::size_t query_pairs = rounded(d, 2) / 2, q_stride = static_cast<std::size_t>(q.stride(0));
  const std::size_t room = Pieces::room<float>(capacity * d) + Pieces::room<float>(capacity * w) + Pieces::room<float>(3 * w) + Pieces::room<float>(tile * (capacity + kPanel)) +
                           Pieces::room<std::uint32_t>(tile * (capacity / 2 + kPanel)) + Pieces::room<std::uint32_t>(tile * query_pairs) + Pieces::room<float>(tile * w);
  for_threads(ctx, sequences * heads, grain_for(longest * longest * d / 8), [&](std::size_t, std::size_t begin, std::size_t end) {
    thread_local Scratch scratch;
    Pieces pieces(scratch.get<std::byte>(room));
    auto* keys = reinterpret_cast<std::byte*>(pieces.take<float>(capacity * d));
    auto* values = reinterpret_cast<std::byte*>(pieces.take<float>(capacity * w));
    float* row = pieces.take<float>(3 * w);
    std::fill_n(row, 3 * w, 0.0f);
    float* s = pieces.take<float>(tile * (capacity + kPanel));
    auto* terms = pieces.take<std::uint32_t>(tile * (capacity / 2 + kPanel));
    auto* queries = pieces.take<std::uint32_t>(tile * query_pairs);
    float* out = pieces.take<float>(tile * w);
    for (std::size_t task = begin; task < end; ++task) {
      const std::size_t sequence = task / heads, h = task % heads, first = static_cast<std::size_t>(offsets[sequence]);
      const std::size_t n = static_cast<std::size_t>(offsets[sequence + 1]) - first, padded = rounded(n, kPanel);
      if (n == 0) continue;
      const auto at = static_cast<std::int64_t>(first * heads + h);
      const std::size_t s_stride = padded + kPanel, term_stride = padded / 2 + kPanel;  // apart by an odd number of lines or half of one
      head.pack_keys(detail::row_at(k, at), static_cast<std::size_t>(k.stride(0)), n, keys);
      head.pack_values(detail::row_at(v, at), static_cast<std::size_t>(v.stride(0)), n, padded, row, values);
      for (std::size_t r = 0; r < n; r += tile) {
        const std::size_t rows = std::min(tile, n - r);
        const float* query = detail::row_at(q, at) + r * q_stride;
        if (head.bf16) {
          for (std::size_t i = 0; i < rows; ++i) kernel.round_bf16(query + i * q_stride, d, reinterpret_cast<std::uint16_t*>(queries + i * query_pairs));
          kernel.product_bf16(queries, query_pairs, rows, {keys, kPanel, query_pairs * kPanel, padded / kPanel}, query_pairs, false, s, s_stride);
        } else {
          kernel.product_f32(query, q_stride, rows, {keys, kPanel, d * kPanel, padded / kPanel}, d, false, s, s_stride);
        }
        float sums[32];
        for (std::size_t i = 0; i < rows; ++i) kernel.softmax_terms(s + i * s_stride, 0, n, padded, scale, 0, &sums[i]);
        if (head.bf16) {
          for (std::size_t i = 0; i < rows; ++i) kernel.round_bf16(s + i * s_stride, padded, reinterpret_cast<std::uint16_t*>(terms + i * term_stride));
          kernel.product_bf16(terms, term_stride, rows, {values, w, kPanel, w / kPanel}, padded / 2, false, out, w);
        } else {
          kernel.product_f32(s, s_stride, rows, {values, w, kPanel, w / kPanel}, padded, false, out, w);
        }
        for (std::size_t i = 0; i < rows; ++i) {
          kernel.scale_rows(out + i * w, 1.0f / sums[i], d, detail::row_at(y, at) + static_cast<std::int64_t>(r + i) * y.stride(0));
        }
      }
    }
  });
}

}  // namespace corvid::cpu
