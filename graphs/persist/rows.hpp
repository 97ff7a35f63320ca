// What rows of a database hold beside names and numbers: channel lists as bytes, and checksums, since SQLite has none of its own.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "corvid/base/hash.hpp"
#include "corvid/base/result.hpp"
#include "corvid/graphs/checkpoint.hpp"

namespace corvid::persist {

/// SHA-256 by OpenSSL, which uses the processor's own instructions: for large values.
Sha256Digest sha256_of(std::span<const std::byte> bytes);

/// A checksum over the fields of a row, each with its length: 64 bits of SHA-256. Against damage, not against an attacker: that is
/// what encryption is for.
class RowSum {
 public:
  RowSum& add(std::string_view text);
  RowSum& add(std::int64_t number);
  RowSum& add(std::span<const std::byte> bytes);
  std::int64_t finish();

 private:
  void length(std::uint64_t n);
  Sha256 hash_;
};

Bytes pack_channels(const std::vector<ChannelVersion>& channels);
Result<std::vector<ChannelVersion>> unpack_channels(std::span<const std::byte> bytes);  ///< errors: bad_input

}  // namespace corvid::persist
