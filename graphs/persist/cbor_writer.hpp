// CborWriter: CBOR (RFC 8949) straight into bytes, the same ones that Json::to_cbor gives for the same document.
//
//   CborWriter out;
//   out.map(2);                       // keys in order, as the library's maps are
//   out.text("next").list(1).text("b");
//   out.text("paused").boolean(false);
//   Bytes body = std::move(out).take();
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/graphs/checkpoint.hpp"

namespace corvid {

class CborWriter {
 public:
  CborWriter& null();
  CborWriter& boolean(bool value);
  CborWriter& number(std::uint64_t value) { return head(0, value); }
  CborWriter& number(std::int64_t value) { return value < 0 ? head(1, static_cast<std::uint64_t>(-1 - value)) : head(0, static_cast<std::uint64_t>(value)); }
  CborWriter& number(double value);
  CborWriter& text(std::string_view value);
  CborWriter& binary(std::span<const std::byte> value);
  CborWriter& list(std::size_t items) { return head(4, items); }    // that many follow
  CborWriter& map(std::size_t pairs) { return head(5, pairs); }     // that many keys and values follow
  CborWriter& texts(const std::vector<std::string>& values);
  CborWriter& json(const Json& document);
  /// A byte that is no CBOR: the tag in front of a stored value.
  CborWriter& tag(std::byte value);

  Bytes take() && { return std::move(out_); }

 private:
  CborWriter& head(unsigned major, std::uint64_t argument);
  CborWriter& append(const void* from, std::size_t size);

  Bytes out_;
};

}  // namespace corvid
