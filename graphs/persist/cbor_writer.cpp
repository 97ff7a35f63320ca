#include "graphs/persist/cbor_writer.hpp"

#include <bit>
#include <cmath>
#include <limits>

namespace corvid {

CborWriter& CborWriter::append(const void* from, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(from);
  out_.insert(out_.end(), first, first + size);
  return *this;
}

CborWriter& CborWriter::tag(std::byte value) {
  out_.push_back(value);
  return *this;
}

// The shortest form that holds the argument.
CborWriter& CborWriter::head(unsigned major, std::uint64_t argument) {
  if (argument < 24) return tag(static_cast<std::byte>(major << 5 | argument));
  const int size_log2 = argument <= 0xff ? 0 : argument <= 0xffff ? 1 : argument <= 0xffff'ffff ? 2 : 3;
  const std::size_t size = std::size_t{1} << size_log2;
  std::byte bytes[9];
  bytes[0] = static_cast<std::byte>(major << 5 | (24u + static_cast<unsigned>(size_log2)));
  for (std::size_t i = 0; i < size; ++i) bytes[1 + i] = static_cast<std::byte>(argument >> (8 * (size - 1 - i)));
  return append(bytes, 1 + size);
}

CborWriter& CborWriter::null() { return tag(std::byte{0xf6}); }
CborWriter& CborWriter::boolean(bool value) { return tag(value ? std::byte{0xf5} : std::byte{0xf4}); }

// As a float where that holds the same number; what is no number, and infinity, as a half.
CborWriter& CborWriter::number(double value) {
  const auto put = [&](std::byte kind, std::uint64_t bits, std::size_t size) -> CborWriter& {
    tag(kind);
    for (std::size_t i = size; i-- > 0;) tag(static_cast<std::byte>(bits >> (8 * i)));
    return *this;
  };
  if (std::isnan(value)) return put(std::byte{0xf9}, 0x7e00, 2);
  if (std::isinf(value)) return put(std::byte{0xf9}, value > 0 ? 0x7c00 : 0xfc00, 2);
  if (std::abs(value) <= std::numeric_limits<float>::max()) {
    const auto narrow = static_cast<float>(value);
    if (std::bit_cast<std::uint64_t>(static_cast<double>(narrow)) == std::bit_cast<std::uint64_t>(value)) {
      return put(std::byte{0xfa}, std::bit_cast<std::uint32_t>(narrow), 4);
    }
  }
  return put(std::byte{0xfb}, std::bit_cast<std::uint64_t>(value), 8);
}

CborWriter& CborWriter::text(std::string_view value) {
  head(3, value.size());
  return append(value.data(), value.size());
}

CborWriter& CborWriter::binary(std::span<const std::byte> value) {
  head(2, value.size());
  return append(value.data(), value.size());
}

CborWriter& CborWriter::texts(const std::vector<std::string>& values) {
  list(values.size());
  for (const auto& value : values) text(value);
  return *this;
}

CborWriter& CborWriter::json(const Json& document) {
  switch (document.type()) {
    case Json::value_t::null: return null();
    case Json::value_t::boolean: return boolean(document.get<bool>());
    case Json::value_t::number_integer: return number(document.get<std::int64_t>());
    case Json::value_t::number_unsigned: return number(document.get<std::uint64_t>());
    case Json::value_t::number_float: return number(document.get<double>());
    case Json::value_t::string: return text(document.get_ref<const std::string&>());
    case Json::value_t::binary: return binary(std::as_bytes(std::span(document.get_binary())));
    case Json::value_t::array:
      list(document.size());
      for (const auto& item : document) json(item);
      return *this;
    case Json::value_t::object:
      map(document.size());
      for (const auto& [key, value] : document.get_ref<const Json::object_t&>()) text(key).json(value);
      return *this;
    case Json::value_t::discarded: break;
  }
  return *this;
}

}  // namespace corvid
