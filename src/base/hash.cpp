#include "corvid/base/hash.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "sha256_blocks.hpp"

namespace corvid {

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // an empty span may have no address, which memcpy must not be given
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t left = bytes.size();
  length_bytes_ += left;
  if (buffered_ > 0) {
    const auto take = std::min(left, buffer_.size() - buffered_);
    std::memcpy(buffer_.data() + buffered_, data, take);
    buffered_ += take;
    data += take;
    left -= take;
    if (buffered_ < buffer_.size()) return;
    sha256_blocks()(state_, buffer_.data(), 1);
    buffered_ = 0;
  }
  if (left >= 64) {
    sha256_blocks()(state_, data, left / 64);
    data += left / 64 * 64;
    left %= 64;
  }
  if (left > 0) std::memcpy(buffer_.data(), data, left);
  buffered_ = left;
}

Sha256Digest Sha256::finish() {
  const std::uint64_t bits = length_bytes_ * 8;
  std::array<std::uint8_t, 72> pad{};
  pad[0] = 0x80;
  const std::size_t zeros = (buffered_ < 56 ? 56 : 120) - buffered_;
  for (std::size_t i = 0; i < 8; ++i) pad[zeros + i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  update(std::as_bytes(std::span(pad.data(), zeros + 8)));
  Sha256Digest digest;
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t j = 0; j < 4; ++j) digest[4 * i + j] = static_cast<std::uint8_t>(state_[i] >> (24 - 8 * j));
  }
  return digest;
}

Sha256Digest sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const auto b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

Result<Sha256Digest> sha256_file(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) {
    const int why = errno;
    Error error(why == ENOENT ? ErrorCode::not_found : ErrorCode::io, std::string("cannot read the file: ") + std::strerror(why));
    return fail(std::move(error).at_file(path.string()));
  }
  Sha256 hash;
  std::vector<std::byte> buffer(std::size_t{1} << 18);
  while (true) {
    const auto n = std::fread(buffer.data(), 1, buffer.size(), file.get());
    hash.update(std::span(buffer.data(), n));
    if (n < buffer.size()) break;
  }
  if (std::ferror(file.get())) return fail(Error::io("the file could not be read to its end").at_file(path.string()));
  return hash.finish();
}

std::uint64_t fast_hash(std::string_view bytes, std::uint64_t seed) noexcept {
  // A multiply-and-fold hash over 8-byte words, finished by splitmix64's mixer (Steele et al. 2014).
  std::uint64_t h = seed ^ (0x9e3779b97f4a7c15ull + bytes.size());
  const auto mix = [&h](std::uint64_t word) {
    h = (h ^ word) * 0xbf58476d1ce4e5b9ull;
    h ^= h >> 29;
  };
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  std::uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  mix(tail);
  h ^= h >> 30; h *= 0xbf58476d1ce4e5b9ull; h ^= h >> 27; h *= 0x94d049bb133111ebull; h ^= h >> 31;
  return h;
}

}  // namespace corvid
