#include "corvid/tensor/dtype.hpp"

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <string>

namespace corvid {

namespace {

// In the order of the enumerators.
constexpr std::array<DTypeTraits, 18> kTraits{{
    {"f32", 1, 4},    {"f16", 1, 2},    {"bf16", 1, 2},   {"i8", 1, 1},     {"u8", 1, 1},     {"i16", 1, 2},
    {"i32", 1, 4},    {"i64", 1, 8},    {"q8_0", 32, 34}, {"q4_0", 32, 18}, {"q4_1", 32, 20}, {"q5_0", 32, 22},
    {"q5_1", 32, 24}, {"q2_k", 256, 84}, {"q3_k", 256, 110}, {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210},
}};
static_assert(kTraits.size() == static_cast<std::size_t>(DType::q6_k) + 1);

}  // namespace

const DTypeTraits& traits(DType dtype) noexcept { return kTraits[static_cast<std::size_t>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kTraits.size(); ++i) {
    if (kTraits[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

Result<std::uint64_t> bytes_of(DType dtype, std::uint64_t elements) {
  const auto& t = traits(dtype);
  if (elements % t.block_elements != 0) {
    return fail(Error::invalid_argument(std::to_string(elements) + " elements are not whole " + std::string(t.name) + " blocks of " +
                                        std::to_string(t.block_elements)));
  }
  const std::uint64_t blocks = elements / t.block_elements;
  if (blocks > std::numeric_limits<std::uint64_t>::max() / t.block_bytes) {
    return fail(Error::limit_exceeded(std::to_string(elements) + " elements of " + std::string(t.name) + " have more bytes than 64 bits can count"));
  }
  return blocks * t.block_bytes;
}

float half_to_float(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal: exact in f32
  return sign ? -magnitude : magnitude;
}

std::uint16_t float_to_half(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);  // NaN
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // ≥ 65520 rounds to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 aligns the mantissa so that its last bit weighs 2^-24; the addition rounds to nearest even.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3f000000u));
  }
  const std::uint32_t rebased = magnitude - (112u << 23);
  const std::uint32_t rounded = rebased + 0xfffu + ((rebased >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

float bfloat16_to_float(std::uint16_t bits) noexcept { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

std::uint16_t float_to_bfloat16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);  // NaN stays NaN
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace corvid
