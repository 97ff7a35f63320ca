// The ops that work on each row alone: norms, activations, rope, pooling.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/dense_kernels.hpp"
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
  const DenseKernels& k = dense_kernels();
  const auto d = static_cast<std::size_t>(x.dim(-1));
  each_row(ctx, detail::row_count(x), d, [&](std::int64_t r) { k.rms_norm(detail::row_at(x, r), d, gain, eps, gain_offset, detail::row_at(y, r)); });
}

void layer_norm(const OpContext& ctx, ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) {
  const DenseKernels& k = dense_kernels();
  const auto d = static_cast<std::size_t>(x.dim(1));
  each_row(ctx, x.dim(0), d * 2, [&](std::int64_t r) { k.layer_norm(detail::row_at(x, r), d, gain, bias, eps, detail::row_at(y, r)); });
}

void gated_activation(const OpContext& ctx, ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) {
  const DenseKernels& k = dense_kernels();
  const auto d = static_cast<std::size_t>(gate.dim(1));
  each_row(ctx, gate.dim(0), d * 4, [&](std::int64_t r) {
    k.activate(static_cast<int>(act), detail::row_at(gate, r), detail::row_at(up, r), d, detail::row_at(y, r));
  });
}

void activation(const OpContext& ctx, ops::Activation act, ConstTensorView x, TensorView y) {
  const DenseKernels& k = dense_kernels();
  const auto d = static_cast<std::size_t>(x.dim(1));
  each_row(ctx, x.dim(0), d * 4, [&](std::int64_t r) { k.activate(static_cast<int>(act), detail::row_at(x, r), nullptr, d, detail::row_at(y, r)); });
}

namespace {

// cos and sin of every position and frequency of a call. All layers of a step ask for the same ones: a thread keeps the last few.
struct Angles {
  std::vector<std::int32_t> positions;
  std::vector<double> frequency;
  float magnitude = 0;
  std::vector<float> values;  // [positions][cos of half, sin of half]
};
constexpr std::size_t kKeptAngles = 2;              // models with a sliding window have a second base
constexpr std::size_t kLargestKept = std::size_t{1} << 20;  // floats

const float* angles_of(const OpContext& ctx, const ops::RopeParams& params, ConstTensorView positions) {
  const auto half = static_cast<std::size_t>(params.dims / 2), n = static_cast<std::size_t>(positions.dim(0));
  thread_local std::vector<double> frequency;
  thread_local Angles kept[kKeptAngles];
  thread_local std::size_t oldest = 0;
  frequency.resize(half);
  for (std::size_t i = 0; i < half; ++i) {
    frequency[i] = params.inverse_frequencies.data
        ? static_cast<double>(params.inverse_frequencies.as<const float>()[i])
        : std::pow(static_cast<double>(params.base), -2.0 * static_cast<double>(i) / params.dims) * static_cast<double>(params.position_scale);
  }
  const auto* at = positions.as<const std::int32_t>();
  for (const Angles& a : kept) {
    if (a.magnitude == params.magnitude && a.frequency == frequency && a.positions.size() == n && std::equal(at, at + n, a.positions.begin())) return a.values.data();
  }
  Angles& made = kept[oldest];
  oldest = (oldest + 1) % kKeptAngles;
  made.positions.clear();  // not to be taken for whole, should memory run out below
  if (made.values.capacity() > kLargestKept) made.values = {};
  made.values.resize(n * half * 2);
  made.frequency = frequency;
  made.magnitude = params.magnitude;
  float* const values = made.values.data();
  const double* const frequencies = made.frequency.data();
  for_threads(ctx, n, grain_for(half * 40), [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      float* c = values + t * half * 2;
      for (std::size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(at[t]) * frequencies[i];
        c[i] = static_cast<float>(std::cos(angle)) * params.magnitude;
        c[half + i] = static_cast<float>(std::sin(angle)) * params.magnitude;
      }
    }
  });
  made.positions.assign(at, at + n);
  return values;
}

}  // namespace

void rope(const OpContext& ctx, const ops::RopeParams& params, ConstTensorView positions, TensorView x) {
  const auto half = static_cast<std::size_t>(params.dims / 2);
  const std::int64_t heads = x.dim(1);
  const DenseKernels& k = dense_kernels();
  const auto rotate = params.pairing == ops::RopePairing::interleaved ? k.rotate_interleaved : k.rotate_halves;
  const float* const angles = angles_of(ctx, params, positions);
  each_row(ctx, x.dim(0), half * static_cast<std::size_t>(heads), [&](std::int64_t t) {
    const float* c = angles + static_cast<std::size_t>(t) * half * 2;
    for (std::int64_t h = 0; h < heads; ++h) rotate(detail::row_at(x, t * heads + h), c, c + half, half);
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
