// Random: the sampler's own generator, so that a seed gives the same draws with every compiler and after a restore.
#pragma once

#include <cstdint>

namespace corvid::llm {

/// Counter-based: draw n is SplitMix64's finaliser (Steele, Lea, Flood 2014) of seed and n. Its whole state is the two numbers.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t counter = 0) noexcept : seed_(seed), counter_(counter) {}

  std::uint64_t bits() noexcept {
    std::uint64_t z = mix(seed_ + 0x632be59bd9b4e019ULL) + (++counter_) * 0x9e3779b97f4a7c15ULL;
    return mix(z);
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() noexcept { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }

  std::uint64_t seed() const noexcept { return seed_; }
  std::uint64_t counter() const noexcept { return counter_; }

 private:
  static std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::uint64_t seed_;
  std::uint64_t counter_;
};

}  // namespace corvid::llm
