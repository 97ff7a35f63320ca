#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ref {

namespace {

float kv_element(const TensorView& t, std::int64_t at) {
  return t.dtype == DType::f16 ? half_to_float(static_cast<const std::uint16_t*>(t.data)[at]) : static_cast<const float*>(t.data)[at];
}
void set_kv_element(const TensorView& t, std::int64_t at, float value) {
  if (t.dtype == DType::f16) static_cast<std::uint16_t*>(t.data)[at] = float_to_half(value);
  else static_cast<float*>(t.data)[at] = value;
}
// Element offset of (page, kv head, slot).
std::int64_t kv_offset(const TensorView& t, std::int64_t page, std::int64_t head, std::int64_t slot, bool transposed = false) {
  return page * t.stride(0) + head * t.stride(1) + slot * t.stride(transposed ? 3 : 2);
}
// From one element of a key to the next.
std::int64_t key_step(const ops::PagedKv& kv) { return kv.k.stride(kv.k_transposed ? 2 : 3); }

void softmax(std::vector<double>& s) {
  double top = -std::numeric_limits<double>::infinity(), sum = 0;
  for (double v : s) top = std::max(top, v);
  for (double& v : s) sum += v = std::exp(v - top);
  for (double& v : s) v /= sum;
}

}  // namespace

void kv_append(const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) {
  const auto* offsets = rows.row_offsets.as<const std::int32_t>();
  const auto* positions = rows.positions.as<const std::int32_t>();
  const auto* pages = rows.page_table.as<const std::int32_t>();
  const std::int64_t page_tokens = kv.v.dim(2);
  for (std::int64_t s = 0; s + 1 < rows.row_offsets.dim(0); ++s) {
    for (std::int64_t r = offsets[s]; r < offsets[s + 1]; ++r) {
      const std::int64_t page = pages[s * rows.page_table.stride(0) + positions[r] / page_tokens];
      for (std::int64_t h = 0; h < k.dim(1); ++h) {
        for (std::int64_t i = 0; i < k.dim(2); ++i) {
          set_kv_element(kv.k, kv_offset(kv.k, page, h, positions[r] % page_tokens, kv.k_transposed) + i * key_step(kv), detail::row_at(k, r * k.dim(1) + h)[i]);
          set_kv_element(kv.v, kv_offset(kv.v, page, h, positions[r] % page_tokens) + i, detail::row_at(v, r * v.dim(1) + h)[i]);
        }
      }
    }
  }
}

void paged_attention(const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y) {
  const auto* offsets = rows.row_offsets.as<const std::int32_t>();
  const auto* positions = rows.positions.as<const std::int32_t>();
  const auto* pages = rows.page_table.as<const std::int32_t>();
  const std::int64_t page_tokens = kv.v.dim(2), heads = q.dim(1), d = q.dim(2), group = heads / kv.v.dim(1);
  std::vector<double> s;
  for (std::int64_t sequence = 0; sequence + 1 < rows.row_offsets.dim(0); ++sequence) {
    const std::int32_t* table = pages + sequence * rows.page_table.stride(0);
    for (std::int64_t r = offsets[sequence]; r < offsets[sequence + 1]; ++r) {
      const std::int64_t last = positions[r];
      const std::int64_t first = params.window > 0 ? std::max<std::int64_t>(0, last - params.window + 1) : 0;
      for (std::int64_t h = 0; h < heads; ++h) {
        const float* query = detail::row_at(q, r * heads + h);
        float* out = detail::row_at(y, r * heads + h);
        s.assign(static_cast<std::size_t>(last - first + 1), 0.0);
        for (std::int64_t p = first; p <= last; ++p) {
          const std::int64_t at = kv_offset(kv.k, table[p / page_tokens], h / group, p % page_tokens, kv.k_transposed);
          double dot = 0;
          for (std::int64_t i = 0; i < d; ++i) dot += static_cast<double>(query[i]) * static_cast<double>(kv_element(kv.k, at + i * key_step(kv)));
          dot *= static_cast<double>(params.scale);
          if (params.logit_softcap > 0) {
            const double cap = static_cast<double>(params.logit_softcap);
            dot = cap * std::tanh(dot / cap);
          }
          s[static_cast<std::size_t>(p - first)] = dot;
        }
        softmax(s);
        for (std::int64_t i = 0; i < d; ++i) {
          double sum = 0;
          for (std::int64_t p = first; p <= last; ++p) {
            sum += s[static_cast<std::size_t>(p - first)] *
                   static_cast<double>(kv_element(kv.v, kv_offset(kv.v, table[p / page_tokens], h / group, p % page_tokens) + i));
          }
          out[i] = static_cast<float>(sum);
        }
      }
    }
  }
}

void encoder_attention(float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y) {
  const auto* offsets = row_offsets.as<const std::int32_t>();
  const std::int64_t heads = q.dim(1), d = q.dim(2);
  std::vector<double> s;
  for (std::int64_t sequence = 0; sequence + 1 < row_offsets.dim(0); ++sequence) {
    const std::int64_t begin = offsets[sequence], end = offsets[sequence + 1];
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t h = 0; h < heads; ++h) {
        const float* query = detail::row_at(q, r * heads + h);
        s.assign(static_cast<std::size_t>(end - begin), 0.0);
        for (std::int64_t p = begin; p < end; ++p) {
          const float* key = detail::row_at(k, p * heads + h);
          double dot = 0;
          for (std::int64_t i = 0; i < d; ++i) dot += static_cast<double>(query[i]) * static_cast<double>(key[i]);
          s[static_cast<std::size_t>(p - begin)] = dot * static_cast<double>(scale);
        }
        softmax(s);
        float* out = detail::row_at(y, r * heads + h);
        for (std::int64_t i = 0; i < d; ++i) {
          double sum = 0;
          for (std::int64_t p = begin; p < end; ++p) {
            sum += s[static_cast<std::size_t>(p - begin)] * static_cast<double>(detail::row_at(v, p * heads + h)[i]);
          }
          out[i] = static_cast<float>(sum);
        }
      }
    }
  }
}

}  // namespace corvid::ref
