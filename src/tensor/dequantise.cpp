// The block layouts are those of the GGUF format; each function below is one block, written as its formula reads.
#include "corvid/tensor/dequantise.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "corvid/tensor/model_file.hpp"

namespace corvid {

namespace {

using Byte = std::uint8_t;

std::uint16_t u16_at(const Byte* p) { return static_cast<std::uint16_t>(p[0] | (p[1] << 8)); }
std::uint32_t u32_at(const Byte* p) { return p[0] | (std::uint32_t{p[1]} << 8) | (std::uint32_t{p[2]} << 16) | (std::uint32_t{p[3]} << 24); }
float half_at(const Byte* p) { return half_to_float(u16_at(p)); }

float f32_at(const Byte* p) {
  float value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Block: f16 d, i8 q[32]. x = d·q
void q8_0(const Byte* block, float* x) {
  const float d = half_at(block);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
}

// Block: f16 d, u8 q[16], low nibbles first. x = d·(q − 8)
void q4_0(const Byte* block, float* x) {
  const float d = half_at(block);
  for (int i = 0; i < 16; ++i) {
    x[i] = d * static_cast<float>((block[2 + i] & 15) - 8);
    x[i + 16] = d * static_cast<float>((block[2 + i] >> 4) - 8);
  }
}

// Block: f16 d, f16 m, u8 q[16]. x = d·q + m
void q4_1(const Byte* block, float* x) {
  const float d = half_at(block), m = half_at(block + 2);
  for (int i = 0; i < 16; ++i) {
    x[i] = d * static_cast<float>(block[4 + i] & 15) + m;
    x[i + 16] = d * static_cast<float>(block[4 + i] >> 4) + m;
  }
}

/// The 32 five-bit values of q5_0 and q5_1: nibbles in `low`, fifth bits in the word at `high`.
int five_bits(const Byte* high, const Byte* low, int i) {
  const int nibble = i < 16 ? low[i] & 15 : low[i - 16] >> 4;
  return nibble | static_cast<int>((u32_at(high) >> i) & 1u) << 4;
}

// Block: f16 d, u32 high bits, u8 q[16]. x = d·(q − 16)
void q5_0(const Byte* block, float* x) {
  const float d = half_at(block);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(five_bits(block + 2, block + 6, i) - 16);
}

// Block: f16 d, f16 m, u32 high bits, u8 q[16]. x = d·q + m
void q5_1(const Byte* block, float* x) {
  const float d = half_at(block), m = half_at(block + 2);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(five_bits(block + 4, block + 8, i)) + m;
}

// Super-block: u8 scales[16] (low nibble scale, high nibble minimum), u8 q[64] of two bits, f16 d, f16 dmin.
void q2_k(const Byte* block, float* x) {
  const Byte* scales = block;
  const Byte* q = block + 16;
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, plane = (i % 128) / 32, lane = i % 32;
    const int value = (q[half * 32 + lane] >> (2 * plane)) & 3;
    const Byte scale = scales[i / 16];
    x[i] = d * static_cast<float>(scale & 15) * static_cast<float>(value) - dmin * static_cast<float>(scale >> 4);
  }
}

// Super-block: u8 high bits[32], u8 q[64] of two bits, u8 scales[12] (sixteen of six bits), f16 d. x = d·(scale − 32)·(q − 4 without high bit)
void q3_k(const Byte* block, float* x) {
  const Byte* high = block;
  const Byte* q = block + 32;
  const Byte* packed = block + 96;
  const float d = half_at(block + 108);
  for (int i = 0; i < 256; ++i) {
    const int s = i / 16;
    const int low4 = s < 8 ? packed[s] & 15 : packed[s - 8] >> 4;
    const int scale = (low4 | (((packed[8 + s % 4] >> (2 * (s / 4))) & 3) << 4)) - 32;
    const int half = i / 128, plane = (i % 128) / 32, lane = i % 32;
    const int value = ((q[half * 32 + lane] >> (2 * plane)) & 3) - ((high[lane] >> (half * 4 + plane)) & 1 ? 0 : 4);
    x[i] = d * static_cast<float>(scale) * static_cast<float>(value);
  }
}

/// The i-th of eight (scale, minimum) pairs of six bits each, packed in twelve bytes: q4_k and q5_k.
struct ScaleMin { int scale, minimum; };
ScaleMin scale_min(const Byte* packed, int i) {
  if (i < 4) return {packed[i] & 63, packed[i + 4] & 63};
  return {(packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4, (packed[i + 4] >> 4) | (packed[i] >> 6) << 4};
}

// Super-block: f16 d, f16 dmin, u8 scales[12], u8 q[128] of nibbles: 32 low, then the same bytes' 32 high.
void q4_k(const Byte* block, float* x) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const Byte* q = block + 16;
  for (int i = 0; i < 256; ++i) {
    const int group = i / 32, lane = i % 32;
    const auto [scale, minimum] = scale_min(block + 4, group);
    const Byte byte = q[(group / 2) * 32 + lane];
    const int value = group % 2 ? byte >> 4 : byte & 15;
    x[i] = d * static_cast<float>(scale) * static_cast<float>(value) - dmin * static_cast<float>(minimum);
  }
}

// Super-block: as q4_k with u8 fifth bits[32] before the nibbles; bit g of byte `lane` belongs to group g.
void q5_k(const Byte* block, float* x) {
  const float d = half_at(block), dmin = half_at(block + 2);
  const Byte* high = block + 16;
  const Byte* q = block + 48;
  for (int i = 0; i < 256; ++i) {
    const int group = i / 32, lane = i % 32;
    const auto [scale, minimum] = scale_min(block + 4, group);
    const Byte byte = q[(group / 2) * 32 + lane];
    const int value = (group % 2 ? byte >> 4 : byte & 15) | ((high[lane] >> group) & 1) << 4;
    x[i] = d * static_cast<float>(scale) * static_cast<float>(value) - dmin * static_cast<float>(minimum);
  }
}

// Super-block: u8 low nibbles[128], u8 high pairs[64], i8 scales[16], f16 d. x = d·scale·(q − 32)
void q6_k(const Byte* block, float* x) {
  const float d = half_at(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, plane = (i % 128) / 32, lane = i % 32;
    const Byte low = block[half * 64 + (plane % 2) * 32 + lane];
    const int nibble = plane < 2 ? low & 15 : low >> 4;
    const int value = (nibble | ((block[128 + half * 32 + lane] >> (2 * plane)) & 3) << 4) - 32;
    const auto scale = static_cast<std::int8_t>(block[192 + i / 16]);
    x[i] = d * static_cast<float>(scale) * static_cast<float>(value);
  }
}

using BlockFunction = void (*)(const Byte*, float*);

BlockFunction block_function(DType dtype) {
  switch (dtype) {
    case DType::f32: return [](const Byte* p, float* x) { *x = f32_at(p); };
    case DType::f16: return [](const Byte* p, float* x) { *x = half_at(p); };
    case DType::bf16: return [](const Byte* p, float* x) { *x = bfloat16_to_float(u16_at(p)); };
    case DType::q8_0: return q8_0;
    case DType::q4_0: return q4_0;
    case DType::q4_1: return q4_1;
    case DType::q5_0: return q5_0;
    case DType::q5_1: return q5_1;
    case DType::q2_k: return q2_k;
    case DType::q3_k: return q3_k;
    case DType::q4_k: return q4_k;
    case DType::q5_k: return q5_k;
    case DType::q6_k: return q6_k;
    case DType::i8: case DType::u8: case DType::i16: case DType::i32: case DType::i64: return nullptr;
  }
  return nullptr;
}

/// Byte offsets of the f16 scales inside a block; −1 where there is none.
struct ScalePlaces { int first = -1, second = -1; };
ScalePlaces scale_places(DType dtype) {
  switch (dtype) {
    case DType::q8_0: case DType::q4_0: case DType::q5_0: return {0, -1};
    case DType::q4_1: case DType::q5_1: case DType::q4_k: case DType::q5_k: return {0, 2};
    case DType::q2_k: return {80, 82};
    case DType::q3_k: return {108, -1};
    case DType::q6_k: return {208, -1};
    default: return {};
  }
}

bool half_is_finite(const Byte* p) { return (u16_at(p) & 0x7c00u) != 0x7c00u; }

}  // namespace

Status dequantise(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  const BlockFunction convert = block_function(dtype);
  if (!convert) return fail(Error::unsupported("a tensor of " + std::string(traits(dtype).name) + " has no f32 form"));
  CORVID_TRY(const std::uint64_t need, bytes_of(dtype, out.size()));
  if (bytes.size() != need) {
    return fail(Error::invalid_argument(std::to_string(out.size()) + " elements of " + std::string(traits(dtype).name) + " take " +
                                        std::to_string(need) + " bytes, not " + std::to_string(bytes.size())));
  }
  const auto* block = reinterpret_cast<const Byte*>(bytes.data());
  const auto& t = traits(dtype);
  for (std::size_t i = 0; i < out.size(); i += t.block_elements, block += t.block_bytes) convert(block, out.data() + i);
  return {};
}

Status check_finite(const TensorInfo& tensor) {
  const auto& t = traits(tensor.dtype);
  const auto [first, second] = scale_places(tensor.dtype);
  const auto* data = reinterpret_cast<const Byte*>(tensor.bytes.data());
  for (std::size_t at = 0; at + t.block_bytes <= tensor.bytes.size(); at += t.block_bytes) {
    const Byte* block = data + at;
    bool finite = true;
    if (first >= 0) {
      finite = half_is_finite(block + first) && (second < 0 || half_is_finite(block + second));
    } else if (tensor.dtype == DType::f32) {
      finite = std::isfinite(f32_at(block));
    } else if (tensor.dtype == DType::f16) {
      finite = half_is_finite(block);
    } else if (tensor.dtype == DType::bf16) {
      finite = (u16_at(block) & 0x7f80u) != 0x7f80u;
    } else {
      return {};
    }
    if (!finite) {
      return fail(Error::bad_input("tensor \"" + tensor.name + "\" holds a NaN or infinite " + (first >= 0 ? "scale" : "value") +
                                   "; the file is damaged, fetch it again")
                      .at_file(tensor.file).at_offset(tensor.file_offset + at).at_key(tensor.name));
    }
  }
  return {};
}

}  // namespace corvid
