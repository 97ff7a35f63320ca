// What the tests that inject faults share: whether faults can be, which points they take, where they work.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

namespace corvid::test {

/// False, with a line that says so, under the address sanitizer: it must be the first library of a process, and faults are preloaded.
inline bool faults_can_be_preloaded() {
#if defined(__SANITIZE_ADDRESS__)
  std::fprintf(stderr, "SKIPPED: faults are injected by a preloaded library, which the address sanitizer does not allow\n");
  return false;
#else
  return true;
#endif
}

/// CORVID_FULL_MATRIX: every point instead of a sample.
inline bool full_matrix() { return std::getenv("CORVID_FULL_MATRIX") != nullptr; }

/// A program is many times slower under a sanitizer, and what the matrices show is not a sanitizer's business: a share of the samples.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr std::size_t kSampleShare = 8;
#else
inline constexpr std::size_t kSampleShare = 1;
#endif

/// 1…count, or a sample of `few / kSampleShare` of them, three at least, that is the same each time.
inline std::vector<std::int64_t> points(std::int64_t count, std::size_t few, unsigned seed) {
  few = std::max<std::size_t>(few / kSampleShare, 3);
  std::vector<std::int64_t> all;
  for (std::int64_t n = 1; n <= count; ++n) all.push_back(n);
  if (full_matrix() || all.size() <= few) return all;
  std::mt19937 random(seed);
  std::shuffle(all.begin(), all.end(), random);
  all.resize(few);
  std::sort(all.begin(), all.end());
  return all;
}

/// A folder in memory where there is one: the fault layer decides what survives, not the disk.
inline std::filesystem::path scratch_root() {
  std::error_code none;
  return std::filesystem::is_directory("/dev/shm", none) && ::access("/dev/shm", W_OK) == 0 ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
}

}  // namespace corvid::test
