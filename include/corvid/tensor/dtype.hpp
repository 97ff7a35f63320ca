// DType: element types and GGUF block formats.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "corvid/base/result.hpp"

namespace corvid {

enum class DType : std::uint8_t {
  f32, f16, bf16, i8, u8, i16, i32, i64,
  // Block formats of GGUF: a row is a whole number of blocks.
  q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k,
};

struct DTypeTraits {
  std::string_view name;       ///< "f32", "q4_1", …
  std::uint32_t block_elements; ///< elements a block; 1 for plain types
  std::uint32_t block_bytes;   ///< bytes a block
};

/// Never fails for a valid enumerator.
const DTypeTraits& traits(DType dtype) noexcept;
inline bool is_quantised(DType dtype) noexcept { return traits(dtype).block_elements > 1; }
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

/// Bytes of `elements` consecutive elements. Errors: invalid_argument when not whole blocks, limit_exceeded on overflow.
Result<std::uint64_t> bytes_of(DType dtype, std::uint64_t elements);

/// IEEE half and bfloat16 conversions, round to nearest even; for hosts, tests and references.
float half_to_float(std::uint16_t bits) noexcept;
std::uint16_t float_to_half(float value) noexcept;
float bfloat16_to_float(std::uint16_t bits) noexcept;
std::uint16_t float_to_bfloat16(float value) noexcept;

}  // namespace corvid
