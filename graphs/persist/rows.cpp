#include "persist/rows.hpp"

#include <openssl/evp.h>

#include <new>
#include <string>

namespace corvid::persist {
namespace {

// Above this a value's digest is made by OpenSSL, whose start costs more than our own code needs for less.
constexpr std::size_t kLarge = 4096;

void put_number(Bytes& out, std::uint64_t n) {  // LEB128
  for (; n >= 0x80; n >>= 7) out.push_back(static_cast<std::byte>(n | 0x80));
  out.push_back(static_cast<std::byte>(n));
}

bool take_number(std::span<const std::byte>& in, std::uint64_t& n) {
  n = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<std::uint64_t>(in.front());
    in = in.subspan(1);
    n |= (byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

}  // namespace

Sha256Digest sha256_of(std::span<const std::byte> bytes) {
  Sha256Digest digest{};
  unsigned size = 0;
  // It fails for want of memory only.
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  return digest;
}

void RowSum::length(std::uint64_t n) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(n >> (8 * i));
  hash_.update(bytes);
}

RowSum& RowSum::add(std::string_view text) {
  length(text.size());
  hash_.update(text);
  return *this;
}

RowSum& RowSum::add(std::int64_t number) {
  length(static_cast<std::uint64_t>(number));
  return *this;
}

RowSum& RowSum::add(std::span<const std::byte> bytes) {
  length(bytes.size());
  if (bytes.size() <= kLarge) {
    hash_.update(bytes);
  } else {
    const auto digest = sha256_of(bytes);
    hash_.update(std::as_bytes(std::span(digest)));
  }
  return *this;
}

std::int64_t RowSum::finish() {
  const auto digest = hash_.finish();
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < 8; ++i) sum |= std::uint64_t{digest[i]} << (8 * i);
  return static_cast<std::int64_t>(sum);
}

Bytes pack_channels(const std::vector<ChannelVersion>& channels) {
  Bytes out;
  for (const auto& channel : channels) {
    put_number(out, channel.channel.size());
    const auto name = std::as_bytes(std::span(channel.channel));
    out.insert(out.end(), name.begin(), name.end());
    put_number(out, channel.version);
  }
  return out;
}

Result<std::vector<ChannelVersion>> unpack_channels(std::span<const std::byte> bytes) {
  std::vector<ChannelVersion> channels;
  while (!bytes.empty()) {
    std::uint64_t size = 0, version = 0;
    if (!take_number(bytes, size) || size > bytes.size()) return fail(Error::bad_input("a checkpoint's list of channels is damaged"));
    const auto name = bytes.first(size);
    bytes = bytes.subspan(size);
    if (!take_number(bytes, version)) return fail(Error::bad_input("a checkpoint's list of channels is damaged"));
    channels.push_back({std::string(reinterpret_cast<const char*>(name.data()), name.size()), version});
  }
  return channels;
}

}  // namespace corvid::persist
