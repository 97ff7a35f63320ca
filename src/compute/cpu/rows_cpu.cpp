// The ops that work on each row alone: norms, activations, rope, pooling.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/kernels.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

template <class Body>
void each_row(const OpContext& ctx, std::int64_t rows, std::size_t work, Body&& body) {
  for_threads(ctx, static_cast<std::size_t>(rows), grain_for(work), [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) body(static_cast<std::int64_t>(r));
  });
}

}  // namespace

void rms_norm(const OpContext& ctx, ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset) {
  const KernelTable& k = kernels();
  const auto d = static_cast<std::size_t>(x.dim(-1));
  each_row(ctx, detail::row_count(x), d, [&](std::int64_t r) { k.rms_norm(detail::row_at(x, r), d, gain, eps, gain_offset, detail::row_at(y, r)); });
}

void layer_norm(const OpContext& ctx, ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) {
  const KernelTable& k = kernels();
  const auto d = static_cast<std::size_t>(x.dim(1));
  each_row(ctx, x.dim(0), d * 2, [&](std::int64_t r) { k.layer_norm(detail::row_at(x, r), d, gain, bias, eps, detail::row_at(y, r)); });
}

void gated_activation(const OpContext& ctx, ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) {
  const KernelTable& k = kernels();
  const auto d = static_cast<std::size_t>(gate.dim(1));
  each_row(ctx, gate.dim(0), d * 4, [&](std::int64_t r) {
    k.activate(static_cast<int>(act), detail::row_at(gate, r), detail::row_at(up, r), d, detail::row_at(y, r));
  });
}

void activation(const OpContext& ctx, ops::Activation act, ConstTensorView x, TensorView y) {
  const KernelTable& k = kernels();
  const auto d = static_cast<std::size_t>(x.dim(1));
  each_row(ctx, x.dim(0), d * 4, [&](std::int64_t r) { k.activate(static_cast<int>(act), detail::row_at(x, r), nullptr, d, detail::row_at(y, r)); });
}

void rope(const OpContext& ctx, const ops::RopeParams& params, ConstTensorView positions, TensorView x) {
  const auto half = static_cast<std::size_t>(params.dims / 2);
  const std::int64_t heads = x.dim(1);
  const bool interleaved = params.pairing == ops::RopePairing::interleaved;
  std::vector<double> frequency(half);
  for (std::size_t i = 0; i < half; ++i) {
    frequency[i] = params.inverse_frequencies.data
        ? static_cast<double>(params.inverse_frequencies.as<const float>()[i])
        : std::pow(static_cast<double>(params.base), -2.0 * static_cast<double>(i) / params.dims) * static_cast<double>(params.position_scale);
  }
  std::vector<float> angles(thread_count(ctx) * half * 2);
  const auto work = static_cast<std::size_t>(params.dims) * static_cast<std::size_t>(heads + 20);
  for_threads(ctx, static_cast<std::size_t>(x.dim(0)), grain_for(work), [&](std::size_t thread, std::size_t begin, std::size_t end) {
    float* c = angles.data() + thread * half * 2;
    float* s = c + half;
    for (std::size_t t = begin; t < end; ++t) {
      const double position = positions.as<const std::int32_t>()[t];
      for (std::size_t i = 0; i < half; ++i) {
        c[i] = static_cast<float>(std::cos(position * frequency[i])) * params.magnitude;
        s[i] = static_cast<float>(std::sin(position * frequency[i])) * params.magnitude;
      }
      for (std::int64_t h = 0; h < heads; ++h) {
        float* v = detail::row_at(x, static_cast<std::int64_t>(t) * heads + h);
        for (std::size_t i = 0; i < half; ++i) {
          float& a = v[interleaved ? 2 * i : i];
          float& b = v[interleaved ? 2 * i + 1 : i + half];
          const float a0 = a, b0 = b;
          a = a0 * c[i] - b0 * s[i];
          b = a0 * s[i] + b0 * c[i];
        }
      }
    }
  });
}

void pool_rows(const OpContext& ctx, ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) {
  const KernelTable& k = kernels();
  const auto d = static_cast<std::size_t>(y.dim(1));
  const auto* offsets = row_offsets.as<const std::int32_t>();
  each_row(ctx, y.dim(0), d * 64, [&](std::int64_t s) {
    const std::int64_t begin = offsets[s], end = offsets[s + 1];
    float* out = detail::row_at(y, s);
    std::memcpy(out, detail::row_at(x, pooling == ops::Pooling::last ? end - 1 : begin), d * sizeof(float));
    if (pooling == ops::Pooling::max) {
      for (std::int64_t r = begin + 1; r < end; ++r) {
        const float* row = detail::row_at(x, r);
        for (std::size_t i = 0; i < d; ++i) out[i] = std::max(out[i], row[i]);
      }
    } else if (pooling == ops::Pooling::mean) {
      for (std::int64_t r = begin + 1; r < end; ++r) k.axpy(1.0f, detail::row_at(x, r), d, out);
      const float share = 1.0f / static_cast<float>(end - begin);
      for (std::size_t i = 0; i < d; ++i) out[i] *= share;
    }
  });
}

}  // namespace corvid::cpu
