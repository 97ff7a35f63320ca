// Float matrices rounded to int8 at load: blocks of 32 with a scale each, as q8_0, in packed tiles.
#pragma once

#include <cstddef>

#include "corvid/compute/weight.hpp"
#include "weight_impl.hpp"

namespace corvid::cpu {

/// Whether products of int8 blocks beat the float ones at the level in use, for rows of this dtype and length.
bool rounding_pays(const OpContext& ctx, DType dtype, std::int64_t cols) noexcept;

/// Rounds rows [16 * tile, …) of w.data, which are finite, to a tile of w.packed (kQ8_0). False where a value is too large for a block's scale.
bool round_tile(const Weight::Impl& w, std::size_t tile);

}  // namespace corvid::cpu
