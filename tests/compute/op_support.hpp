// What the tests of ops share: a machine with threads, random values and weights, views, distances, each instruction set in turn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "corvid/compute/ops.hpp"
#include "src/compute/cpu/simd_level.hpp"
#include "support/catch.hpp"

namespace corvid::test {

inline constexpr DType kMatrixTypes[] = {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_1, DType::q5_0,
                                  DType::q5_1, DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k};

/// Values and weights, the same for the same seed.
struct Draws {
  explicit Draws(unsigned seed) : random(seed) {}
  std::mt19937 random;

  std::vector<float> floats(std::int64_t n, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& v : values) v = normal(random);
    return values;
  }
  // Random stored bytes of a dtype whose scales are finite and of ordinary size.
  std::vector<std::byte> stored(DType dtype, std::int64_t rows, std::int64_t cols) {
    const auto size = static_cast<std::size_t>(bytes_of(dtype, static_cast<std::uint64_t>(rows * cols)).value());
    std::vector<std::byte> bytes(size);
    if (!is_quantised(dtype)) {
      const auto values = floats(rows * cols);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint16_t bits = dtype == DType::f16 ? float_to_half(values[i]) : float_to_bfloat16(values[i]);
        if (dtype == DType::f32) std::memcpy(bytes.data() + 4 * i, &values[i], 4);
        else std::memcpy(bytes.data() + 2 * i, &bits, 2);
      }
      return bytes;
    }
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    const std::size_t step = traits(dtype).block_bytes;
    std::vector<std::size_t> scales{0};
    if (dtype == DType::q4_1 || dtype == DType::q5_1 || dtype == DType::q4_k || dtype == DType::q5_k) scales = {0, 2};
    if (dtype == DType::q2_k) scales = {80, 82};
    if (dtype == DType::q3_k) scales = {108};
    if (dtype == DType::q6_k) scales = {208};
    for (std::size_t block = 0; block < size; block += step) {
      for (std::size_t at : scales) {
        const std::uint16_t bits = float_to_half(0.01f * (1.0f + static_cast<float>(random() % 100) / 50.0f));
        std::memcpy(bytes.data() + block + at, &bits, 2);
      }
    }
    return bytes;
  }
};

struct Machine : Draws {
  Machine() : Draws(7) {}
  ComputePool pool{3};
  MemoryBudget budget{std::uint64_t{1} << 30};

  OpContext context(Precision precision, OpPath path = OpPath::optimised, bool parallel = true) {
    OpContext ctx;
    ctx.precision = precision;
    ctx.path = path;
    ctx.pool = parallel ? &pool : nullptr;
    return ctx;
  }
  Result<Weight> prepare(const OpContext& ctx, DType dtype, std::int64_t rows, std::int64_t cols, const std::vector<std::byte>& bytes, WeightUse use = WeightUse::matrix) {
    TensorInfo info;
    info.name = "weight";
    info.dtype = dtype;
    info.shape = {rows, cols};
    info.bytes = bytes;
    info.file_offset = 1000;
    return prepare_weight(ctx, nullptr, info, use, budget);
  }
  Weight vector(const std::vector<float>& values) {
    return make_weight(context(Precision::f32), values, 1, static_cast<std::int64_t>(values.size()), WeightUse::vector, budget).value();
  }
};

inline ConstTensorView view(const std::vector<float>& v, std::int64_t rows, std::int64_t cols) { return ConstTensorView(v.data(), DType::f32, {rows, cols}); }
inline TensorView view(std::vector<float>& v, std::int64_t rows, std::int64_t cols) { return TensorView(v.data(), DType::f32, {rows, cols}); }
inline TensorView view(std::vector<float>& v, std::int64_t a, std::int64_t b, std::int64_t c) { return TensorView(v.data(), DType::f32, {a, b, c}); }
inline ConstTensorView ints(const std::vector<std::int32_t>& v) { return ConstTensorView(v.data(), DType::i32, {static_cast<std::int64_t>(v.size())}); }

// |a - b| relative to the reference's root mean square.
inline double worst(const std::vector<float>& a, const std::vector<float>& reference) {
  double square = 0, top = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return std::numeric_limits<double>::infinity();
    square += double(reference[i]) * double(reference[i]);
    top = std::max(top, std::abs(double(a[i]) - double(reference[i])));
  }
  return top / (std::sqrt(square / double(std::max<std::size_t>(a.size(), 1))) + 1e-30);
}

template <class Body>
void at_each_level(Body&& body) {
  const SimdLevel before = simd_level();
  for (SimdLevel level : available_simd_levels()) {
    cpu::override_simd_level(level);
    INFO("level " << to_string(level));
    body();
  }
  cpu::override_simd_level(before);
}

}  // namespace corvid::test
