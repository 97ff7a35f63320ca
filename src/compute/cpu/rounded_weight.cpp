#include "cpu/rounded_weight.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "corvid/compute/simd.hpp"
#include "corvid/tensor/dequantise.hpp"

namespace corvid::cpu {

namespace {

constexpr float kLargest = 127.0f * 65504.0f;  // the largest value of the largest scale of f16

// The scale is rounded to f16 first, so that the quants are the nearest to what will be read. Returns its bits.
std::uint16_t round_block(const float* x, std::int8_t* quants) {
  float top = 0;
  for (std::size_t i = 0; i < kBlockColumns; ++i) top = std::max(top, std::abs(x[i]));
  const std::uint16_t bits = float_to_half(top / 127.0f);
  const float scale = half_to_float(bits), inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (std::size_t i = 0; i < kBlockColumns; ++i) quants[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(x[i] * inverse), -127.0f, 127.0f));
  return bits;
}

}  // namespace

bool rounding_pays(const OpContext& ctx, DType dtype, std::int64_t cols) noexcept {
  if (ctx.precision != Precision::fast || ctx.path == OpPath::reference || cols % static_cast<std::int64_t>(kBlockColumns) != 0) return false;
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) return false;
  switch (simd_level()) {
    case SimdLevel::avxvnni:
    case SimdLevel::avx512vnni:
    case SimdLevel::avx512bf16:
    case SimdLevel::dotprod:
    case SimdLevel::i8mm: return true;  // four products to a lane and instruction
    default: return false;  // bytes are multiplied in several steps: MiniLM gained a tenth under AVX2, not worth its rounding, and would lose under AVX-512
  }
}

bool round_tile(const Weight::Impl& w, std::size_t tile) {
  const PackedLayout& layout = w.packed.layout;
  auto* const to = reinterpret_cast<std::uint8_t*>(w.packed.data.get()) + tile * layout.tile_bytes;
  std::memset(to, 0, layout.tile_bytes);
  const std::size_t first = tile * kTileRows, count = std::min(kTileRows, w.packed.rows - first), stored = w.row_bytes / layout.blocks;
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t b = 0; b < layout.blocks; ++b) {
      float x[kBlockColumns];
      std::int8_t quants[kBlockColumns];
      if (!dequantise(w.dtype, {w.row(static_cast<std::int64_t>(first + r)) + b * stored, stored}, x)) return false;
      if (std::any_of(std::begin(x), std::end(x), [](float v) { return std::abs(v) > kLargest; })) return false;
      const std::uint16_t scale = round_block(x, quants);
      put_block(layout, to, b, r, scale, quants);
    }
  }
  return true;
}

}  // namespace corvid::cpu
