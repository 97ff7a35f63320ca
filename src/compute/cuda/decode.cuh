// Stored weights to f32 in registers: eight consecutive elements at a time, so that a warp's lanes read neighbouring bytes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/launch.hpp"

namespace corvid::cuda {

__device__ inline float half_bits(std::uint32_t bits) { return __half2float(__ushort_as_half(static_cast<unsigned short>(bits))); }
// Blocks are aligned to two bytes at least: every format's size is even, and so is every row's start.
__device__ inline std::uint32_t u16_at(const std::uint8_t* p) { return *reinterpret_cast<const std::uint16_t*>(p); }
__device__ inline std::uint32_t u32_at(const std::uint8_t* p) { return u16_at(p) | (u16_at(p + 2) << 16); }

// Eight bytes from an address that is even.
__device__ inline void bytes8(const std::uint8_t* p, std::uint32_t* b) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t pair = u16_at(p + 2 * i);
    b[2 * i] = pair & 255;
    b[2 * i + 1] = pair >> 8;
  }
}

// The i-th of eight (scale, minimum) pairs of six bits each in twelve bytes: q4_k and q5_k.
__device__ inline void scale_min(const std::uint8_t* packed, int i, float& scale, float& minimum) {
  if (i < 4) {
    scale = static_cast<float>(packed[i] & 63);
    minimum = static_cast<float>(packed[i + 4] & 63);
  } else {
    scale = static_cast<float>((packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4);
    minimum = static_cast<float>((packed[i + 4] >> 4) | (packed[i] >> 6) << 4);
  }
}

/// Elements [8·unit, 8·unit + 8) of a row of `cols`; what lies beyond the row is 0.
template <Format F>
__device__ inline void decode8(const std::uint8_t* row, std::int64_t unit, std::int64_t cols, float* w) {
  if constexpr (F == Format::f32 || F == Format::f16 || F == Format::bf16) {
    const std::int64_t first = unit * 8;
    if constexpr (F != Format::f32) {
      const std::uint16_t* p = reinterpret_cast<const std::uint16_t*>(row) + first;
      if (first + 8 <= cols && reinterpret_cast<std::uintptr_t>(p) % 16 == 0) {
        const uint4 bits = __ldg(reinterpret_cast<const uint4*>(p));
        const std::uint32_t pairs[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          w[2 * i] = F == Format::f16 ? half_bits(pairs[i] & 0xffff) : __uint_as_float(pairs[i] << 16);
          w[2 * i + 1] = F == Format::f16 ? half_bits(pairs[i] >> 16) : __uint_as_float(pairs[i] & 0xffff0000u);
        }
        return;
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      w[i] = 0;
      if (first + i < cols) {
        if constexpr (F == Format::f32) w[i] = reinterpret_cast<const float*>(row)[first + i];
        else if constexpr (F == Format::f16) w[i] = half_bits(reinterpret_cast<const std::uint16_t*>(row)[first + i]);
        else w[i] = __uint_as_float(static_cast<std::uint32_t>(reinterpret_cast<const std::uint16_t*>(row)[first + i]) << 16);
      }
    }
  } else if constexpr (F == Format::q8_0 || F == Format::q4_0 || F == Format::q4_1 || F == Format::q5_0 || F == Format::q5_1) {
    constexpr int kBytes = F == Format::q8_0 ? 34 : F == Format::q4_0 ? 18 : F == Format::q4_1 ? 20 : F == Format::q5_0 ? 22 : 24;
    const std::uint8_t* block = row + (unit / 4) * kBytes;
    const int part = static_cast<int>(unit % 4);
    const float d = half_bits(u16_at(block));
    std::uint32_t b[8];
    if constexpr (F == Format::q8_0) {
      bytes8(block + 2 + part * 8, b);
#pragma unroll
      for (int i = 0; i < 8; ++i) w[i] = d * static_cast<float>(static_cast<std::int8_t>(b[i]));
    } else {
      // Low nibbles hold elements 0 to 15, high nibbles 16 to 31.
      constexpr bool kMinimum = F == Format::q4_1 || F == Format::q5_1, kFive = F == Format::q5_0 || F == Format::q5_1;
      constexpr int kHigh = kMinimum ? 4 : 2, kLow = kHigh + (kFive ? 4 : 0);
      const float m = kMinimum ? half_bits(u16_at(block + 2)) : 0;
      const std::uint32_t high = kFive ? u32_at(block + kHigh) >> (part * 8) : 0;
      bytes8(block + kLow + (part & 1) * 8, b);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        int q = static_cast<int>(part < 2 ? b[i] & 15 : b[i] >> 4);
        if (kFive) q |= static_cast<int>((high >> i) & 1) << 4;
        w[i] = kMinimum ? d * static_cast<float>(q) + m : d * static_cast<float>(q - (kFive ? 16 : 8));
      }
    }
  } else {
    constexpr int kBytes = F == Format::q2_k ? 84 : F == Format::q3_k ? 110 : F == Format::q4_k ? 144 : F == Format::q5_k ? 176 : 210;
    const std::uint8_t* block = row + (unit / 32) * kBytes;
    const int at = static_cast<int>(unit % 32) * 8;  // the first element's place in the super-block of 256
    const int half = at / 128, plane = (at % 128) / 32, lane = at % 32;
    std::uint32_t b[8];
    if constexpr (F == Format::q2_k) {
      const std::uint32_t scale = block[at / 16];
      const float d = half_bits(u16_at(block + 80)) * static_cast<float>(scale & 15), m = half_bits(u16_at(block + 82)) * static_cast<float>(scale >> 4);
      bytes8(block + 16 + half * 32 + lane, b);
#pragma unroll
      for (int i = 0; i < 8; ++i) w[i] = d * static_cast<float>((b[i] >> (2 * plane)) & 3) - m;
    } else if constexpr (F == Format::q3_k) {
      const std::uint8_t* packed = block + 96;
      const int s = at / 16;
      const int low4 = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4;
      const int scale = (low4 | (((packed[8 + s % 4] >> (2 * (s / 4))) & 3) << 4)) - 32;
      const float d = half_bits(u16_at(block + 108)) * static_cast<float>(scale);
      std::uint32_t high[8];
      bytes8(block + 32 + half * 32 + lane, b);
      bytes8(block + lane, high);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        w[i] = d * static_cast<float>(static_cast<int>((b[i] >> (2 * plane)) & 3) - ((high[i] >> (half * 4 + plane)) & 1 ? 0 : 4));
      }
    } else if constexpr (F == Format::q4_k || F == Format::q5_k) {
      const int group = at / 32;
      float scale, minimum;
      scale_min(block + 4, group, scale, minimum);
      const float d = half_bits(u16_at(block)) * scale, m = half_bits(u16_at(block + 2)) * minimum;
      std::uint32_t high[8] = {};
      bytes8(block + (F == Format::q5_k ? 48 : 16) + (group / 2) * 32 + lane, b);
      if constexpr (F == Format::q5_k) bytes8(block + 16 + lane, high);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        std::uint32_t q = group % 2 ? b[i] >> 4 : b[i] & 15;
        if constexpr (F == Format::q5_k) q |= ((high[i] >> group) & 1) << 4;
        w[i] = d * static_cast<float>(q) - m;
      }
    } else {
      const float d = half_bits(u16_at(block + 208)) * static_cast<float>(static_cast<std::int8_t>(block[192 + at / 16]));
      std::uint32_t high[8];
      bytes8(block + half * 64 + (plane % 2) * 32 + lane, b);
      bytes8(block + 128 + half * 32 + lane, high);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int q = static_cast<int>((plane < 2 ? b[i] & 15 : b[i] >> 4) | ((high[i] >> (2 * plane)) & 3) << 4) - 32;
        w[i] = d * static_cast<float>(q);
      }
    }
  }
}

/// Calls body(std::integral_constant<Format, f>) of the format at hand.
template <Format F>
struct FormatTag { static constexpr Format value = F; };
template <class Body>
void with_format(Format format, Body body) {
  switch (format) {
    case Format::f32: return body(FormatTag<Format::f32>{});
    case Format::f16: return body(FormatTag<Format::f16>{});
    case Format::bf16: return body(FormatTag<Format::bf16>{});
    case Format::q8_0: return body(FormatTag<Format::q8_0>{});
    case Format::q4_0: return body(FormatTag<Format::q4_0>{});
    case Format::q4_1: return body(FormatTag<Format::q4_1>{});
    case Format::q5_0: return body(FormatTag<Format::q5_0>{});
    case Format::q5_1: return body(FormatTag<Format::q5_1>{});
    case Format::q2_k: return body(FormatTag<Format::q2_k>{});
    case Format::q3_k: return body(FormatTag<Format::q3_k>{});
    case Format::q4_k: return body(FormatTag<Format::q4_k>{});
    case Format::q5_k: return body(FormatTag<Format::q5_k>{});
    case Format::q6_k: return body(FormatTag<Format::q6_k>{});
  }
}

}  // namespace corvid::cuda
