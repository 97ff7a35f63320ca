// GgufCursor: reads little-endian values off a byte span and never past its end.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "corvid/base/result.hpp"

namespace corvid {

static_assert(std::endian::native == std::endian::little, "the model files' numbers are read as they lie");

class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  std::uint64_t offset() const noexcept { return offset_; }
  std::uint64_t remaining() const noexcept { return bytes_.size() - offset_; }
  const std::string& file() const noexcept { return file_; }

  /// A malformed file, at the given byte.
  Error bad(std::string message, std::uint64_t at) const { return Error::bad_input(std::move(message)).at_file(file_).at_offset(at); }

  template <class T>
    requires std::integral<T> || std::floating_point<T>
  Result<T> number(std::string_view what) {
    if (remaining() < sizeof(T)) return fail(ends_early(what, sizeof(T)));
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof value);
    offset_ += sizeof value;
    return value;
  }

  Result<std::span<const std::byte>> take(std::uint64_t count, std::string_view what) {
    if (count > remaining()) return fail(ends_early(what, count));
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  /// A u64 length, then that many bytes.
  Result<std::string_view> string(std::string_view what) {
    const std::uint64_t at = offset_;
    CORVID_TRY(const std::uint64_t length, number<std::uint64_t>(what));
    if (length > remaining()) {
      return fail(bad(std::string(what) + " says it has " + std::to_string(length) + " bytes, but only " + std::to_string(remaining()) + " are left in the file", at));
    }
    const auto taken = bytes_.subspan(offset_, length);
    offset_ += length;
    return std::string_view(reinterpret_cast<const char*>(taken.data()), taken.size());
  }

 private:
  Error ends_early(std::string_view what, std::uint64_t need) const {
    return bad("the file ends inside " + std::string(what) + ": " + std::to_string(need) + " bytes needed, " + std::to_string(remaining()) +
                   " left; the download was cut, fetch the file again", offset_);
  }

  std::span<const std::byte> bytes_;
  std::uint64_t offset_ = 0;
  std::string file_;
};

}  // namespace corvid
