#include "ref/dequantise_ref.hpp"

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace corvid::ref {

namespace {

using u8 = std::uint8_t;

float half_at(const u8* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  return half_to_float(bits);
}

// Blocks of 32: scale d, optional minimum m, optional fifth bits, then 16 bytes whose low nibbles come first.
void q4_q5(const u8* p, std::size_t blocks, bool has_min, bool five, float* out) {
  const std::size_t bytes = 2u + (has_min ? 2u : 0u) + (five ? 4u : 0u) + 16u;
  for (std::size_t b = 0; b < blocks; ++b, p += bytes, out += 32) {
    const float d = half_at(p);
    const u8* q = p + 2;
    float m = 0;
    if (has_min) { m = half_at(q); q += 2; }
    std::uint32_t high = 0;
    if (five) { std::memcpy(&high, q, 4); q += 4; }
    const int centre = has_min ? 0 : (five ? 16 : 8);
    for (int i = 0; i < 32; ++i) {
      int v = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
      if (five) v |= static_cast<int>((high >> i) & 1u) << 4;
      out[i] = d * static_cast<float>(v - centre) + m;
    }
  }
}

void q8_0(const u8* p, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b, p += 34, out += 32) {
    const float d = half_at(p);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<std::int8_t>(p[2 + i]));
  }
}

// 16 sub-blocks of 16: scales[16] (low nibble scale, high nibble minimum), quants[64] (2 bits), d, dmin.
void q2_k(const u8* p, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b, p += 84, out += 256) {
    const float d = half_at(p + 80), dmin = half_at(p + 82);
    for (int i = 0; i < 256; ++i) {
      const int sub = i / 16;
      const int v = (p[16 + (i / 128) * 32 + i % 32] >> (2 * ((i % 128) / 32))) & 3;
      out[i] = d * static_cast<float>(p[sub] & 15) * static_cast<float>(v) - dmin * static_cast<float>(p[sub] >> 4);
    }
  }
}

// hmask[32], quants[64] (2 bits), scales[12] (16 of 6 bits, minus 32), d.
void q3_k(const u8* p, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b, p += 110, out += 256) {
    const float d = half_at(p + 108);
    const u8* s = p + 96;
    for (int i = 0; i < 256; ++i) {
      const int sub = i / 16;
      const int low = sub < 8 ? s[sub] & 15 : s[sub - 8] >> 4;
      const int high = (s[8 + sub % 4] >> (2 * (sub / 4))) & 3;
      const int scale = (low | high << 4) - 32;
      int v = (p[32 + (i / 128) * 32 + i % 32] >> (2 * ((i % 128) / 32))) & 3;
      if (!((p[i % 32] >> (i / 32)) & 1)) v -= 4;
      out[i] = d * static_cast<float>(scale) * static_cast<float>(v);
    }
  }
}

// Eight 6-bit scales and minimums in 12 bytes.
void scale_min(const u8* s, int j, int& scale, int& min) {
  if (j < 4) {
    scale = s[j] & 63;
    min = s[j + 4] & 63;
  } else {
    scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  }
}

// d, dmin, scales[12], (five: high bits[32],) quants[128]: pairs of 32 share bytes, low nibbles first.
void q4_q5_k(const u8* p, std::size_t blocks, bool five, float* out) {
  const std::size_t bytes = five ? 176 : 144;
  for (std::size_t b = 0; b < blocks; ++b, p += bytes, out += 256) {
    const float d = half_at(p), dmin = half_at(p + 2);
    const u8* high = p + 16;
    const u8* q = p + (five ? 48 : 16);
    for (int i = 0; i < 256; ++i) {
      const int sub = i / 32;
      int scale, min;
      scale_min(p + 4, sub, scale, min);
      int v = (q[(sub / 2) * 32 + i % 32] >> (4 * (sub % 2))) & 15;
      if (five) v |= ((high[i % 32] >> sub) & 1) << 4;
      out[i] = d * static_cast<float>(scale) * static_cast<float>(v) - dmin * static_cast<float>(min);
    }
  }
}

// low nibbles[128], high pairs of bits[64], scales i8[16], d.
void q6_k(const u8* p, std::size_t blocks, float* out) {
  for (std::size_t b = 0; b < blocks; ++b, p += 210, out += 256) {
    const float d = half_at(p + 208);
    for (int i = 0; i < 256; ++i) {
      const int half = i / 128, quarter = (i % 128) / 32, l = i % 32;
      const int low = (p[half * 64 + (quarter % 2) * 32 + l] >> (4 * (quarter / 2))) & 15;
      const int high = (p[128 + half * 32 + l] >> (2 * quarter)) & 3;
      const int scale = static_cast<std::int8_t>(p[192 + i / 16]);
      out[i] = d * static_cast<float>(scale) * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace

void dequantise_row(DType dtype, const std::byte* bytes, std::size_t n, float* out) {
  const auto* p = reinterpret_cast<const u8*>(bytes);
  const std::size_t blocks = n / traits(dtype).block_elements;
  switch (dtype) {
    case DType::f32: std::memcpy(out, p, n * 4); return;
    case DType::f16:
      for (std::size_t i = 0; i < n; ++i) out[i] = half_at(p + 2 * i);
      return;
    case DType::bf16:
      for (std::size_t i = 0; i < n; ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, p + 2 * i, 2);
        out[i] = bfloat16_to_float(bits);
      }
      return;
    case DType::q8_0: return q8_0(p, blocks, out);
    case DType::q4_0: return q4_q5(p, blocks, false, false, out);
    case DType::q4_1: return q4_q5(p, blocks, true, false, out);
    case DType::q5_0: return q4_q5(p, blocks, false, true, out);
    case DType::q5_1: return q4_q5(p, blocks, true, true, out);
    case DType::q2_k: return q2_k(p, blocks, out);
    case DType::q3_k: return q3_k(p, blocks, out);
    case DType::q4_k: return q4_q5_k(p, blocks, false, out);
    case DType::q5_k: return q4_q5_k(p, blocks, true, out);
    case DType::q6_k: return q6_k(p, blocks, out);
    default: throw std::invalid_argument("dequantise_row: not a weight dtype");
  }
}

}  // namespace corvid::ref
