#include <algorithm>
#include <cstring>

#include "corvid/tensor/model_file.hpp"

namespace corvid {

namespace {

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

bool is_integer(MetadataType type) {
  switch (type) {
    case MetadataType::u8: case MetadataType::i8: case MetadataType::u16: case MetadataType::i16: case MetadataType::u32:
    case MetadataType::i32: case MetadataType::u64: case MetadataType::i64: return true;
    default: return false;
  }
}

/// The integer at `p`; nullopt when a u64 does not fit.
std::optional<std::int64_t> integer_at(MetadataType type, const std::byte* p) {
  switch (type) {
    case MetadataType::u8: case MetadataType::boolean: return load<std::uint8_t>(p);
    case MetadataType::i8: return load<std::int8_t>(p);
    case MetadataType::u16: return load<std::uint16_t>(p);
    case MetadataType::i16: return load<std::int16_t>(p);
    case MetadataType::u32: return load<std::uint32_t>(p);
    case MetadataType::i32: return load<std::int32_t>(p);
    case MetadataType::i64: return load<std::int64_t>(p);
    case MetadataType::u64: {
      const auto value = load<std::uint64_t>(p);
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
    default: return std::nullopt;
  }
}

std::size_t width(MetadataType type) {
  switch (type) {
    case MetadataType::u8: case MetadataType::i8: case MetadataType::boolean: return 1;
    case MetadataType::u16: case MetadataType::i16: return 2;
    case MetadataType::u32: case MetadataType::i32: case MetadataType::f32: return 4;
    default: return 8;
  }
}

std::string_view name_of(MetadataType type) {
  constexpr std::string_view names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "boolean", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<std::size_t>(type)];
}

Error mismatch(const std::string& file, const Metadata::Entry& entry, std::string_view wanted) {
  std::string found(name_of(entry.type));
  if (entry.type == MetadataType::array) found += " of " + std::string(name_of(entry.element_type));
  return Error::bad_input("key \"" + std::string(entry.key) + "\" is " + found + ", not " + std::string(wanted))
      .at_file(file).at_offset(entry.file_offset).at_key(std::string(entry.key));
}

}  // namespace

const Metadata::Entry* Metadata::find(std::string_view key) const noexcept {
  const auto at = std::lower_bound(by_key_.begin(), by_key_.end(), key, [&](std::uint32_t index, std::string_view k) { return entries_[index].key < k; });
  if (at == by_key_.end() || entries_[*at].key != key) return nullptr;
  return &entries_[*at];
}

Result<std::optional<std::string_view>> Metadata::string(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type != MetadataType::string) return fail(mismatch(file_, *entry, "a string"));
  return std::string_view(reinterpret_cast<const char*>(entry->payload.data()), entry->payload.size());
}

Result<std::optional<std::uint64_t>> Metadata::unsigned_integer(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type == MetadataType::u64) return load<std::uint64_t>(entry->payload.data());
  if (!is_integer(entry->type)) return fail(mismatch(file_, *entry, "an integer"));
  const auto value = integer_at(entry->type, entry->payload.data());
  if (!value || *value < 0) {
    return fail(Error::bad_input("key \"" + std::string(key) + "\" is negative").at_file(file_).at_offset(entry->file_offset).at_key(std::string(key)));
  }
  return static_cast<std::uint64_t>(*value);
}

Result<std::optional<double>> Metadata::real(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  const std::byte* p = entry->payload.data();
  if (entry->type == MetadataType::f32) return static_cast<double>(load<float>(p));
  if (entry->type == MetadataType::f64) return load<double>(p);
  if (entry->type == MetadataType::u64) return static_cast<double>(load<std::uint64_t>(p));
  if (!is_integer(entry->type)) return fail(mismatch(file_, *entry, "a number"));
  return static_cast<double>(*integer_at(entry->type, p));
}

Result<std::optional<bool>> Metadata::boolean(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type != MetadataType::boolean) return fail(mismatch(file_, *entry, "a boolean"));
  return load<std::uint8_t>(entry->payload.data()) != 0;
}

Result<std::optional<std::vector<std::string_view>>> Metadata::strings(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type != MetadataType::array || entry->element_type != MetadataType::string) return fail(mismatch(file_, *entry, "an array of strings"));
  std::vector<std::string_view> values;
  values.reserve(entry->count);  // the reader has checked that this many lie in the payload
  const std::byte* p = entry->payload.data();
  for (std::uint64_t i = 0; i < entry->count; ++i) {
    const auto length = load<std::uint64_t>(p);
    values.emplace_back(reinterpret_cast<const char*>(p + 8), length);
    p += 8 + length;
  }
  return values;
}

Result<std::optional<std::vector<float>>> Metadata::floats(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  if (entry->type != MetadataType::array || entry->element_type != MetadataType::f32) return fail(mismatch(file_, *entry, "an array of f32"));
  std::vector<float> values(entry->count);
  if (!values.empty()) std::memcpy(values.data(), entry->payload.data(), entry->payload.size());
  return values;
}

Result<std::optional<std::vector<std::int64_t>>> Metadata::integers(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) return std::nullopt;
  const bool fits = entry->type == MetadataType::array && (is_integer(entry->element_type) || entry->element_type == MetadataType::boolean);
  if (!fits) return fail(mismatch(file_, *entry, "an array of integers"));
  std::vector<std::int64_t> values;
  values.reserve(entry->count);
  const std::size_t step = width(entry->element_type);
  for (std::uint64_t i = 0; i < entry->count; ++i) {
    const auto value = integer_at(entry->element_type, entry->payload.data() + i * step);
    if (!value) {
      return fail(Error::bad_input("an element of \"" + std::string(key) + "\" is over 63 bits").at_file(file_).at_offset(entry->file_offset + i * step).at_key(std::string(key)));
    }
    values.push_back(*value);
  }
  return values;
}

Result<std::string_view> Metadata::require_string(std::string_view key) const {
  CORVID_TRY(const auto value, string(key));
  if (!value) return fail(Error::bad_input("key \"" + std::string(key) + "\" is missing").at_file(file_).at_key(std::string(key)));
  return *value;
}

Result<std::uint64_t> Metadata::require_unsigned(std::string_view key) const {
  CORVID_TRY(const auto value, unsigned_integer(key));
  if (!value) return fail(Error::bad_input("key \"" + std::string(key) + "\" is missing").at_file(file_).at_key(std::string(key)));
  return *value;
}

}  // namespace corvid
