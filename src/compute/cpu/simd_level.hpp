// Choosing the kernel table; tests run each level in turn.
#pragma once

#include "corvid/compute/simd.hpp"

namespace corvid::cpu {

/// For tests: uses `level` (available here) until called again. Not while ops run; weights prepared before keep their form.
void override_simd_level(SimdLevel level) noexcept;

}  // namespace corvid::cpu
