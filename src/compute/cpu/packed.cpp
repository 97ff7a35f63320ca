#include "cpu/packed.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/simd_level.hpp"

namespace corvid::cpu {

namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using size = std::size_t;

#define INLINE inline __attribute__((always_inline))

INLINE u32 word(const u8* p) {
  u32 v;
  std::memcpy(&v, p, 4);
  return v;
}
INLINE void put(u8* p, u32 v) { std::memcpy(p, &v, 4); }
INLINE void copy_half(u8* to, const u8* from) { std::memcpy(to, from, 2); }
INLINE bool bad_half(const u8* p) { return (p[1] & 0x7c) == 0x7c; }

constexpr u32 k1 = 0x01010101u, k2 = 0x03030303u, k4 = 0x0f0f0f0fu;

// Four bits, one to a byte.
INLINE u32 spread(u32 nibble) { return (nibble * 0x00204081u) & k1; }

// What each format's file block holds: its columns and bytes, and the quants of 32 columns as 8 words of 4.
template <BlockFormat F> struct Stored;

template <size Bytes, size Low, size High = 0>
struct Small {
  static constexpr size columns = 32, bytes = Bytes;
  static INLINE void quants(const u8* p, size, u32 (&v)[8]) {
    for (size j = 0; j < 4; ++j) {
      const u32 w = word(p + Low + 4 * j);
      v[j] = w & k4;
      v[j + 4] = (w >> 4) & k4;
    }
    if constexpr (High != 0) {
      const u32 bits = word(p + High);
      for (size j = 0; j < 8; ++j) v[j] |= spread((bits >> (4 * j)) & 15) << 4;
    }
  }
};
template <> struct Stored<kQ4_0> : Small<18, 2> {};
template <> struct Stored<kQ4_1> : Small<20, 4> {};
template <> struct Stored<kQ5_0> : Small<22, 6, 2> {};
template <> struct Stored<kQ5_1> : Small<24, 8, 4> {};
template <> struct Stored<kQ8_0> {
  static constexpr size columns = 32, bytes = 34;
  static INLINE void quants(const u8* p, size, u32 (&v)[8]) {
    for (size j = 0; j < 8; ++j) v[j] = word(p + 2 + 4 * j) ^ 0x80808080u;
  }
};
template <> struct Stored<kQ2K> {
  static constexpr size columns = 256, bytes = 84;
  static INLINE void quants(const u8* p, size s, u32 (&v)[8]) {
    for (size j = 0; j < 8; ++j) v[j] = (word(p + 16 + 32 * (s / 4) + 4 * j) >> (2 * (s % 4))) & k2;
  }
};
template <> struct Stored<kQ3K> {
  static constexpr size columns = 256, bytes = 110;
  static INLINE void quants(const u8* p, size s, u32 (&v)[8]) {
    for (size j = 0; j < 8; ++j) {
      v[j] = ((word(p + 32 + 32 * (s / 4) + 4 * j) >> (2 * (s % 4))) & k2) | ((word(p + 4 * j) >> s) & k1) << 2;
    }
  }
};
template <size Bytes, size Low, size High = 0>
struct Super {
  static constexpr size columns = 256, bytes = Bytes;
  static INLINE void quants(const u8* p, size s, u32 (&v)[8]) {
    for (size j = 0; j < 8; ++j) {
      v[j] = (word(p + Low + 32 * (s / 2) + 4 * j) >> (4 * (s % 2))) & k4;
      if constexpr (High != 0) v[j] |= ((word(p + High + 4 * j) >> s) & k1) << 4;
    }
  }
};
template <> struct Stored<kQ4K> : Super<144, 16> {};
template <> struct Stored<kQ5K> : Super<176, 48, 16> {};
template <> struct Stored<kQ6K> {
  static constexpr size columns = 256, bytes = 210;
  static INLINE void quants(const u8* p, size s, u32 (&v)[8]) {
    const size h = s / 4, plane = s % 4;
    for (size j = 0; j < 8; ++j) {
      v[j] = ((word(p + 64 * h + 32 * (plane % 2) + 4 * j) >> (4 * (plane / 2))) & k4) |
             ((word(p + 128 + 32 * h + 4 * j) >> (2 * plane)) & k2) << 4;
    }
  }
};

// The same words to their place in a block's lines; `to` is the row's word in the first line.
INLINE u8* put_nibbles(u8* to, const u32 (&v)[8]) {
  for (size j = 0; j < 4; ++j) put(to + kLineBytes * j, (v[j] & k4) | (v[j + 4] & k4) << 4);
  return to + 4 * kLineBytes;
}
INLINE u8* put_pairs(u8* to, const u32 (&v)[8], int bit) {
  for (size j = 0; j < 2; ++j) {
    u32 w = 0;
    for (size i = 0; i < 4; ++i) w |= ((v[4 * j + i] >> bit) & k2) << (2 * i);
    put(to + kLineBytes * j, w);
  }
  return to + 2 * kLineBytes;
}
INLINE void put_bits(u8* to, const u32 (&v)[8], int bit) {
  u32 w = 0;
  for (size j = 0; j < 8; ++j) w |= ((v[j] >> bit) & k1) << j;
  put(to, w);
}

template <BlockFormat F>
INLINE void put_quants(u8* to, const u32 (&v)[8]) {
  if constexpr (F == kQ8_0) {
    for (size j = 0; j < 8; ++j) put(to + kLineBytes * j, v[j]);
  } else if constexpr (F == kQ2K || F == kQ3K) {
    to = put_pairs(to, v, 0);
    if constexpr (F == kQ3K) put_bits(to, v, 2);
  } else {
    to = put_nibbles(to, v);
    if constexpr (F == kQ6K) put_pairs(to, v, 4);
    if constexpr (F == kQ5_0 || F == kQ5_1 || F == kQ5K) put_bits(to, v, 4);
  }
}

// Scales of block `s` of 32 columns within the file block at p, for row r; `super` is null but for the first of a super-block.
template <BlockFormat F>
INLINE void put_scales(const u8* p, size s, size r, u8* scales, u8* super) {
  if constexpr (F == kQ4_0 || F == kQ5_0 || F == kQ8_0) {
    copy_half(scales + 2 * r, p);
  } else if constexpr (F == kQ4_1 || F == kQ5_1) {
    copy_half(scales + 2 * r, p);
    copy_half(scales + 32 + 2 * r, p + 2);
  } else if constexpr (F == kQ4K || F == kQ5K) {
    const u8* packed = p + 4;
    scales[r] = static_cast<u8>(s < 4 ? packed[s] & 63 : (packed[s + 4] & 15) | (packed[s - 4] >> 6) << 4);
    scales[16 + r] = static_cast<u8>(s < 4 ? packed[s + 4] & 63 : (packed[s + 4] >> 4) | (packed[s] >> 6) << 4);
    if (super) copy_half(super + 2 * r, p), copy_half(super + 32 + 2 * r, p + 2);
  } else if constexpr (F == kQ2K) {
    for (size h = 0; h < 2; ++h) scales[16 * h + r] = p[2 * s + h];
    if (super) copy_half(super + 2 * r, p + 80), copy_half(super + 32 + 2 * r, p + 82);
  } else if constexpr (F == kQ6K) {
    for (size h = 0; h < 2; ++h) scales[16 * h + r] = p[192 + 2 * s + h];
    if (super) copy_half(super + 2 * r, p + 208);
  } else {
    const u8* packed = p + 96;
    for (size h = 0; h < 2; ++h) {
      const size g = 2 * s + h;
      const int low = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4, high = (packed[8 + g % 4] >> (2 * (g / 4))) & 3;
      scales[16 * h + r] = static_cast<u8>((low | high << 4) - 32);
    }
    if (super) copy_half(super + 2 * r, p + 108);
  }
}

template <BlockFormat F>
INLINE bool finite(const u8* p) {
  if constexpr (F == kQ4_0 || F == kQ5_0 || F == kQ8_0) return !bad_half(p);
  else if constexpr (F == kQ2K) return !bad_half(p + 80) && !bad_half(p + 82);
  else if constexpr (F == kQ3K) return !bad_half(p + 108);
  else if constexpr (F == kQ6K) return !bad_half(p + 208);
  else return !bad_half(p) && !bad_half(p + 2);
}

template <BlockFormat F>
size pack(const PackedLayout& at, const u8* rows, size row_bytes, size count, u8* tile) {
  using File = Stored<F>;
  constexpr size kParts = File::columns / kBlockColumns;
  if (count < kTileRows) std::memset(tile, 0, at.tile_bytes);
  size bad = ~size{0};
  for (size i = 0; i < at.blocks / kParts; ++i) {
    for (size r = 0; r < count; ++r) {
      const u8* p = rows + r * row_bytes + i * File::bytes;
      if (!finite<F>(p)) bad = std::min(bad, static_cast<size>(p - rows));
      for (size s = 0; s < kParts; ++s) {
        const size b = i * kParts + s;
        u32 v[8];
        File::quants(p, s, v);
        put_quants<F>(tile + b * at.block_bytes + 4 * r, v);
        put_scales<F>(p, s, r, tile + at.scales_at + b * at.scale_bytes, s == 0 && at.super_bytes ? tile + at.supers_at + i * at.super_bytes : nullptr);
      }
    }
  }
  return bad;
}

// The way back, for one row of a tile.
INLINE void add_bits(const u8* line, u32 (&v)[8], int bit) {
  const u32 w = word(line);
  for (size j = 0; j < 8; ++j) v[j] |= ((w >> j) & k1) << bit;
}
INLINE void add_pairs(const u8* line, u32 (&v)[8], int bit) {
  for (size j = 0; j < 8; ++j) v[j] |= ((word(line + kLineBytes * (j / 4)) >> (2 * (j % 4))) & k2) << bit;
}
template <BlockFormat F>
INLINE void get_quants(const u8* line, u32 (&v)[8]) {
  if constexpr (F == kQ8_0) {
    for (size j = 0; j < 8; ++j) v[j] = word(line + kLineBytes * j);
  } else if constexpr (F == kQ2K || F == kQ3K) {
    for (size j = 0; j < 8; ++j) v[j] = 0;
    add_pairs(line, v, 0);
    if constexpr (F == kQ3K) add_bits(line + 2 * kLineBytes, v, 2);
  } else {
    for (size j = 0; j < 8; ++j) v[j] = (word(line + kLineBytes * (j % 4)) >> (4 * (j / 4))) & k4;
    if constexpr (F == kQ6K) add_pairs(line + 4 * kLineBytes, v, 4);
    if constexpr (F == kQ5_0 || F == kQ5_1 || F == kQ5K) add_bits(line + 4 * kLineBytes, v, 4);
  }
}

INLINE float half_at(const u8* p) { return half_to_float(static_cast<u16>(p[0] | p[1] << 8)); }

template <BlockFormat F>
void row(const PackedLayout& at, const u8* tile, size r, float* out) {
  constexpr int kOffset = F == kQ8_0 ? 128 : F == kQ6K ? 32 : F == kQ5_0 ? 16 : F == kQ4_0 ? 8 : F == kQ3K ? 4 : 0;
  for (size b = 0; b < at.blocks; ++b) {
    u32 v[8];
    get_quants<F>(tile + b * at.block_bytes + 4 * r, v);
    const u8 *block = tile + at.scales_at + b * at.scale_bytes, *super = tile + at.supers_at + b / 8 * at.super_bytes;
    for (size h = 0; h < 2; ++h) {
      float scale, min = 0;
      if constexpr (F == kQ4_0 || F == kQ5_0 || F == kQ8_0) {
        scale = half_at(block + 2 * r);
      } else if constexpr (F == kQ4_1 || F == kQ5_1) {
        scale = half_at(block + 2 * r), min = half_at(block + 32 + 2 * r);
      } else if constexpr (F == kQ4K || F == kQ5K) {
        scale = half_at(super + 2 * r) * static_cast<float>(block[r]), min = -half_at(super + 32 + 2 * r) * static_cast<float>(block[16 + r]);
      } else if constexpr (F == kQ2K) {
        scale = half_at(super + 2 * r) * static_cast<float>(block[16 * h + r] & 15), min = -half_at(super + 32 + 2 * r) * static_cast<float>(block[16 * h + r] >> 4);
      } else {
        scale = half_at(super + 2 * r) * static_cast<float>(static_cast<std::int8_t>(block[16 * h + r]));
      }
      for (size i = 0; i < 16; ++i) {
        const int q = static_cast<int>(v[4 * h + i / 4] >> (8 * (i % 4)) & 255) - kOffset;
        out[32 * b + 16 * h + i] = scale * static_cast<float>(q) + min;
      }
    }
  }
}

#undef INLINE

}  // namespace

std::optional<BlockFormat> block_format(DType dtype) noexcept {
  switch (dtype) {
    case DType::q8_0: return kQ8_0;
    case DType::q4_0: return kQ4_0;
    case DType::q4_1: return kQ4_1;
    case DType::q5_0: return kQ5_0;
    case DType::q5_1: return kQ5_1;
    case DType::q2_k: return kQ2K;
    case DType::q3_k: return kQ3K;
    case DType::q4_k: return kQ4K;
    case DType::q5_k: return kQ5K;
    case DType::q6_k: return kQ6K;
    default: return std::nullopt;
  }
}

const PackedKernels& packed_kernels() noexcept {
  switch (simd_level()) {
#if defined(__x86_64__)
    case SimdLevel::avx2: return kPackedAvx2;
    case SimdLevel::avxvnni: return kPackedAvxVnni;
    case SimdLevel::avx512: return kPackedAvx512;
    case SimdLevel::avx512vnni:
    case SimdLevel::avx512bf16: return kPackedAvx512Vnni;
#elif defined(__aarch64__)
    case SimdLevel::neon: return kPackedNeon;
    case SimdLevel::dotprod: return kPackedDotprod;
    case SimdLevel::i8mm: return kPackedI8mm;
#endif
    default: return kPackedScalar;
  }
}

PackedLayout PackedLayout::of(BlockFormat format, std::size_t cols) noexcept {
  constexpr std::size_t lines[kBlockFormats] = {8, 4, 4, 5, 5, 2, 3, 4, 5, 6};
  constexpr std::size_t scale[kBlockFormats] = {32, 32, 64, 32, 64, 32, 32, 32, 32, 32};
  constexpr std::size_t super[kBlockFormats] = {0, 0, 0, 0, 0, 64, 32, 64, 64, 32};
  PackedLayout at;
  at.blocks = cols / kBlockColumns;
  at.block_bytes = lines[format] * kLineBytes;
  at.scale_bytes = scale[format];
  at.super_bytes = super[format];
  at.scales_at = at.blocks * at.block_bytes;
  at.supers_at = at.scales_at + at.blocks * at.scale_bytes;
  at.tile_bytes = (at.supers_at + at.blocks / 8 * at.super_bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
  return at;
}

std::size_t pack_tile(BlockFormat format, const PackedLayout& layout, const std::uint8_t* rows, std::size_t row_bytes, std::size_t count, std::uint8_t* tile) {
  switch (format) {
    case kQ8_0: return pack<kQ8_0>(layout, rows, row_bytes, count, tile);
    case kQ4_0: return pack<kQ4_0>(layout, rows, row_bytes, count, tile);
    case kQ4_1: return pack<kQ4_1>(layout, rows, row_bytes, count, tile);
    case kQ5_0: return pack<kQ5_0>(layout, rows, row_bytes, count, tile);
    case kQ5_1: return pack<kQ5_1>(layout, rows, row_bytes, count, tile);
    case kQ2K: return pack<kQ2K>(layout, rows, row_bytes, count, tile);
    case kQ3K: return pack<kQ3K>(layout, rows, row_bytes, count, tile);
    case kQ4K: return pack<kQ4K>(layout, rows, row_bytes, count, tile);
    case kQ5K: return pack<kQ5K>(layout, rows, row_bytes, count, tile);
    default: return pack<kQ6K>(layout, rows, row_bytes, count, tile);
  }
}

void put_block(const PackedLayout& layout, std::uint8_t* tile, std::size_t b, std::size_t r, std::uint16_t scale, const std::int8_t* quants) {
  u32 v[8];
  std::memcpy(v, quants, sizeof v);
  for (u32& four : v) four ^= 0x80808080u;
  put_quants<kQ8_0>(tile + b * layout.block_bytes + 4 * r, v);
  std::memcpy(tile + layout.scales_at + b * layout.scale_bytes + 2 * r, &scale, sizeof scale);
}

void unpack_row(const PackedMatrix& m, std::size_t i, float* out) {
  const std::uint8_t* tile = m.tile(i / kTileRows);
  const std::size_t r = i % kTileRows;
  switch (m.format) {
    case kQ8_0: return row<kQ8_0>(m.layout, tile, r, out);
    case kQ4_0: return row<kQ4_0>(m.layout, tile, r, out);
    case kQ4_1: return row<kQ4_1>(m.layout, tile, r, out);
    case kQ5_0: return row<kQ5_0>(m.layout, tile, r, out);
    case kQ5_1: return row<kQ5_1>(m.layout, tile, r, out);
    case kQ2K: return row<kQ2K>(m.layout, tile, r, out);
    case kQ3K: return row<kQ3K>(m.layout, tile, r, out);
    case kQ4K: return row<kQ4K>(m.layout, tile, r, out);
    case kQ5K: return row<kQ5K>(m.layout, tile, r, out);
    default: return row<kQ6K>(m.layout, tile, r, out);
  }
}

}  // namespace corvid::cpu
