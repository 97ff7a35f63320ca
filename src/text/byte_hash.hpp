// A hash of a few bytes for the tokenizers' tables. Not for what an attacker may choose at will: a table's size is bounded before.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace corvid {

inline std::uint64_t mix_bits(std::uint64_t x) noexcept {
  x *= 0x9E3779B97F4A7C15ull;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93ull;
  return x ^ x >> 32;
}

inline std::uint64_t hash_bytes(std::string_view text) noexcept {
  std::uint64_t h = text.size() * 0x9E3779B97F4A7C15ull;
  const char* p = text.data();
  std::size_t n = text.size();
  for (; n >= 8; n -= 8, p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    h = (h ^ word) * 0xD6E8FEB86659FD93ull;
    h ^= h >> 32;
  }
  std::uint64_t rest = 0;
  for (std::size_t i = 0; i < n; ++i) rest |= std::uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
  return mix_bits(h ^ rest);
}

}  // namespace corvid
