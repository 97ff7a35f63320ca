// SHA-256, for content addressing: model files, documents, blobs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "corvid/base/result.hpp"

namespace corvid {

using Sha256Digest = std::array<std::uint8_t, 32>;

/// Incremental SHA-256 (FIPS 180-4). Not thread-safe; one per thread.
class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  Sha256Digest finish();  ///< the object must not be used again

 private:
  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> buffer_{};
  std::uint64_t length_bytes_ = 0;
  std::size_t buffered_ = 0;
};

Sha256Digest sha256(std::string_view bytes);
std::string to_hex(std::span<const std::uint8_t> bytes);  ///< lower case
Result<Sha256Digest> sha256_file(const std::filesystem::path& path);

/// A fast 64-bit hash for tables and cache keys; not stable across versions, never stored, not for security.
std::uint64_t fast_hash(std::string_view bytes, std::uint64_t seed = 0) noexcept;

}  // namespace corvid
