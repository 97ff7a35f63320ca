// GgufWriter, SafetensorsWriter: small model files for tests, well-formed unless told otherwise.
//
//   auto bytes = GgufWriter().string("general.architecture", "llama").tensor("w", {2, 32}, 8, data).bytes();
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace corvid::test {

/// Little-endian bytes, appended.
class ByteWriter {
 public:
  template <class T>
  ByteWriter& put(T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    bytes_.append(raw, sizeof value);
    return *this;
  }
  ByteWriter& raw(std::string_view text) { bytes_ += text; return *this; }
  ByteWriter& text(std::string_view value) { return put<std::uint64_t>(value.size()).raw(value); }   ///< u64 length, bytes
  std::size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint32_t alignment = 32;   ///< of the data; write general.alignment yourself where it is not 32

  GgufWriter& string(std::string_view key, std::string_view value);
  GgufWriter& u32(std::string_view key, std::uint32_t value);
  GgufWriter& f32(std::string_view key, float value);
  GgufWriter& boolean(std::string_view key, bool value);
  GgufWriter& strings(std::string_view key, const std::vector<std::string>& values);
  GgufWriter& floats(std::string_view key, const std::vector<float>& values);
  GgufWriter& integers(std::string_view key, const std::vector<std::int32_t>& values);
  /// Any entry: the bytes after the key, type number included.
  GgufWriter& raw_entry(std::string_view key, std::string_view type_and_value);
  /// `shape` outermost first; `type` the format's number (0 F32, 1 F16, 8 Q8_0, …).
  GgufWriter& tensor(std::string_view name, const std::vector<std::int64_t>& shape, std::uint32_t type, std::string_view data);
  std::string bytes() const;

 private:
  struct Tensor { std::string name; std::vector<std::int64_t> shape; std::uint32_t type; std::string data; };
  ByteWriter entries_;
  std::uint64_t entry_count_ = 0;
  std::vector<Tensor> tensors_;
};

/// A safetensors file of this header text and data.
std::string safetensors_bytes(std::string_view header, std::string_view data);

}  // namespace corvid::test
