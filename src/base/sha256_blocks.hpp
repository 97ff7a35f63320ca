// SHA-256's compression of whole blocks: by the processor's own instructions where it has them, portable elsewhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace corvid {

using Sha256State = std::array<std::uint32_t, 8>;
/// Takes in `count` blocks of 64 bytes each.
using Sha256Blocks = void (*)(Sha256State& state, const std::uint8_t* data, std::size_t count);

void sha256_blocks_portable(Sha256State& state, const std::uint8_t* data, std::size_t count);
/// What this processor has, or null.
Sha256Blocks sha256_blocks_accelerated() noexcept;
/// The faster of the two; chosen once.
Sha256Blocks sha256_blocks() noexcept;

}  // namespace corvid
