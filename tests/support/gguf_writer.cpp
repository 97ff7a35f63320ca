#include "support/gguf_writer.hpp"

namespace corvid::test {

namespace {

std::string padding(std::size_t size, std::size_t alignment) { return std::string((alignment - size % alignment) % alignment, '\0'); }

}  // namespace

GgufWriter& GgufWriter::raw_entry(std::string_view key, std::string_view type_and_value) {
  entries_.text(key).raw(type_and_value);
  ++entry_count_;
  return *this;
}
GgufWriter& GgufWriter::string(std::string_view key, std::string_view value) { return raw_entry(key, ByteWriter().put<std::uint32_t>(8).text(value).bytes()); }
GgufWriter& GgufWriter::u32(std::string_view key, std::uint32_t value) { return raw_entry(key, ByteWriter().put<std::uint32_t>(4).put(value).bytes()); }
GgufWriter& GgufWriter::f32(std::string_view key, float value) { return raw_entry(key, ByteWriter().put<std::uint32_t>(6).put(value).bytes()); }
GgufWriter& GgufWriter::boolean(std::string_view key, bool value) { return raw_entry(key, ByteWriter().put<std::uint32_t>(7).put<std::uint8_t>(value).bytes()); }
GgufWriter& GgufWriter::strings(std::string_view key, const std::vector<std::string>& values) {
  ByteWriter w;
  w.put<std::uint32_t>(9).put<std::uint32_t>(8).put<std::uint64_t>(values.size());
  for (const auto& value : values) w.text(value);
  return raw_entry(key, w.bytes());
}
GgufWriter& GgufWriter::floats(std::string_view key, const std::vector<float>& values) {
  ByteWriter w;
  w.put<std::uint32_t>(9).put<std::uint32_t>(6).put<std::uint64_t>(values.size());
  for (const float value : values) w.put(value);
  return raw_entry(key, w.bytes());
}
GgufWriter& GgufWriter::integers(std::string_view key, const std::vector<std::int32_t>& values) {
  ByteWriter w;
  w.put<std::uint32_t>(9).put<std::uint32_t>(5).put<std::uint64_t>(values.size());
  for (const auto value : values) w.put(value);
  return raw_entry(key, w.bytes());
}
GgufWriter& GgufWriter::tensor(std::string_view name, const std::vector<std::int64_t>& shape, std::uint32_t type, std::string_view data) {
  tensors_.push_back({std::string(name), shape, type, std::string(data)});
  return *this;
}

std::string GgufWriter::bytes() const {
  ByteWriter out;
  out.raw("GGUF").put(version).put<std::uint64_t>(tensors_.size()).put(entry_count_).raw(entries_.bytes());
  std::string data;
  for (const auto& t : tensors_) {
    data += padding(data.size(), alignment);
    out.text(t.name).put(static_cast<std::uint32_t>(t.shape.size()));
    for (auto extent = t.shape.rbegin(); extent != t.shape.rend(); ++extent) out.put(*extent);
    out.put(t.type).put<std::uint64_t>(data.size());
    data += t.data;
  }
  out.raw(padding(out.size(), alignment)).raw(data).raw(padding(data.size(), alignment));
  return out.bytes();
}

std::string safetensors_bytes(std::string_view header, std::string_view data) {
  return ByteWriter().text(header).raw(data).bytes();
}

}  // namespace corvid::test
