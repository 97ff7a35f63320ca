// Which instruction set the CPU's ops use.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace corvid {

/// In rising order on each architecture.
enum class SimdLevel : std::uint8_t { scalar, avx2, avxvnni, avx512, avx512vnni, avx512bf16, neon, dotprod, i8mm };

std::string_view to_string(SimdLevel level) noexcept;

/// The level in use: the fastest this machine has (avx512bf16 on AMD only: elsewhere its products are slower than f32's), or the one that the environment variable CORVID_SIMD names where the machine
/// has it too ("scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512bf16", "neon", "dotprod", "i8mm"). Read once, at the first op.
SimdLevel simd_level() noexcept;

/// Every level that this machine and build can run, lowest first.
std::vector<SimdLevel> available_simd_levels();

/// Whether CORVID_SIMD is set to a name that is unknown or not available here, and so was not followed.
bool simd_request_ignored() noexcept;

}  // namespace corvid
