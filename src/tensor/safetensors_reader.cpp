// safetensors: u64 header length, a JSON header, one gapless data buffer.
#include <algorithm>
#include <cstring>
#include <limits>

#include "corvid/base/json.hpp"
#include "tensor_table.hpp"

namespace corvid {

namespace {

constexpr std::uint64_t kMaximumHeaderBytes = 100'000'000;
constexpr std::size_t kMaximumRank = 8;
constexpr std::uint64_t kPrefixBytes = 8;

struct StoredType { std::string_view name; std::optional<DType> dtype; };
constexpr StoredType kStoredTypes[] = {
    {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16}, {"I8", DType::i8}, {"U8", DType::u8}, {"I16", DType::i16},
    {"I32", DType::i32}, {"I64", DType::i64}, {"BOOL", DType::u8}, {"F64", {}}, {"U16", {}}, {"U32", {}}, {"U64", {}},
    {"F8_E4M3", {}}, {"F8_E5M2", {}}, {"F8_E8M0", {}}, {"F4", {}}, {"F6_E2M3", {}}, {"F6_E3M2", {}}, {"C64", {}},
};

/// Where the errors of one file point.
struct Place {
  std::string file;
  std::string_view header;

  Error bad(std::string message, std::uint64_t at) const { return Error::bad_input(std::move(message)).at_file(file).at_offset(at); }
  /// The byte of the file at which `name` is first written in quotes; the header's start where it is written with escapes.
  std::uint64_t offset_of(std::string_view name) const {
    const auto at = header.find('"' + std::string(name) + '"');
    return kPrefixBytes + (at == std::string_view::npos ? 0 : at);
  }
  Error bad_tensor(std::string_view name, std::string message) const {
    return bad("tensor \"" + std::string(name.substr(0, 80)) + "\" " + std::move(message), offset_of(name)).at_key(std::string(name));
  }
};

Result<DType> stored_dtype(const Place& place, const std::string& tensor, const std::string& name) {
  for (const auto& known : kStoredTypes) {
    if (known.name != name) continue;
    if (known.dtype) return *known.dtype;
    return fail(Error::unsupported("tensor \"" + tensor + "\" is stored as " + name + "; Corvid reads F32 F16 BF16 I8 U8 I16 I32 I64 BOOL")
                    .at_file(place.file).at_offset(place.offset_of(tensor)).at_key(tensor));
  }
  return fail(place.bad_tensor(tensor, "has the unknown dtype \"" + name.substr(0, 40) + "\""));
}

struct Range { std::uint64_t begin = 0, end = 0; std::size_t tensor = 0; };

Result<TensorInfo> read_tensor(const Place& place, const std::string& name, const Json& entry, Range& range) {
  const auto fields = {"dtype", "shape", "data_offsets"};
  if (!entry.is_object()) return fail(place.bad_tensor(name, "is not described by an object"));
  for (const char* field : fields) {
    if (!entry.contains(field)) return fail(place.bad_tensor(name, std::string("has no ") + field));
  }
  const Json& dtype = entry["dtype"];
  const Json& shape = entry["shape"];
  const Json& offsets = entry["data_offsets"];
  if (!dtype.is_string()) return fail(place.bad_tensor(name, "has a dtype that is not a string"));
  if (!shape.is_array()) return fail(place.bad_tensor(name, "has a shape that is not an array"));
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    return fail(place.bad_tensor(name, "has data_offsets that are not two unsigned integers"));
  }
  if (shape.size() > kMaximumRank) return fail(place.bad_tensor(name, "has " + std::to_string(shape.size()) + " dimensions; 8 are allowed"));
  TensorInfo info;
  info.name = name;
  CORVID_TRY(info.dtype, stored_dtype(place, name, dtype.get<std::string>()));
  std::uint64_t elements = 1;
  for (const Json& extent : shape) {
    if (!extent.is_number_unsigned()) return fail(place.bad_tensor(name, "has an extent that is not an unsigned integer"));
    const auto value = extent.get<std::uint64_t>();
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / std::max<std::uint64_t>(elements, 1)) {
      return fail(place.bad_tensor(name, "has more elements than 63 bits can count"));
    }
    elements *= value;
    info.shape.push_back(static_cast<std::int64_t>(value));
  }
  auto bytes = bytes_of(info.dtype, elements);
  if (!bytes) return fail(place.bad_tensor(name, "has more bytes than 64 bits can count"));
  range.begin = offsets[0].get<std::uint64_t>();
  range.end = offsets[1].get<std::uint64_t>();
  if (range.begin > range.end || range.end - range.begin != *bytes) {
    return fail(place.bad_tensor(name, "has the bytes " + std::to_string(range.begin) + " to " + std::to_string(range.end) + ", but its shape and dtype take " + std::to_string(*bytes)));
  }
  return info;
}

/// The ranges, in order, must tile the data exactly.
Status check_coverage(const Place& place, const std::vector<TensorInfo>& tensors, std::vector<Range>& ranges, std::uint64_t data_bytes) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return std::tie(a.begin, a.end, a.tensor) < std::tie(b.begin, b.end, b.tensor); });
  std::uint64_t covered = 0;
  for (const Range& range : ranges) {
    const auto& name = tensors[range.tensor].name;
    if (range.end > data_bytes) {
      return fail(place.bad_tensor(name, "ends at data byte " + std::to_string(range.end) + " of " + std::to_string(data_bytes) + "; the download was cut, fetch the file again"));
    }
    if (range.begin < covered) return fail(place.bad_tensor(name, "overlaps the tensor before it"));
    if (range.begin > covered) return fail(place.bad_tensor(name, "leaves a hole of " + std::to_string(range.begin - covered) + " bytes before it"));
    covered = range.end;
  }
  if (covered != data_bytes) {
    return fail(place.bad(std::to_string(data_bytes - covered) + " bytes after the last tensor belong to none", kPrefixBytes + place.header.size() + covered));
  }
  return {};
}

}  // namespace

Result<WeightFile> read_safetensors(const std::filesystem::path& path) {
  WeightFile file;
  CORVID_TRY(file.mapping, MappedFile::open(path));
  const std::string_view bytes = file.mapping->text();
  Place place{path.string(), {}};
  if (bytes.size() < kPrefixBytes) return fail(place.bad("the file has " + std::to_string(bytes.size()) + " bytes; a safetensors file begins with 8 for its header's length", 0));
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaximumHeaderBytes) return fail(place.bad("the header says it has " + std::to_string(header_bytes) + " bytes; 100,000,000 are allowed", 0));
  if (header_bytes > bytes.size() - kPrefixBytes) {
    return fail(place.bad("the header says it has " + std::to_string(header_bytes) + " bytes, but only " + std::to_string(bytes.size() - kPrefixBytes) + " are left in the file", 0));
  }
  place.header = bytes.substr(kPrefixBytes, header_bytes);
  if (place.header.empty() || place.header.front() != '{') return fail(place.bad("the header does not begin with '{'", kPrefixBytes));

  JsonLimits limits;
  limits.reject_duplicate_keys = true;
  auto header = parse_json(place.header, limits);
  if (!header) {
    const Error& cause = header.error();
    return fail(Error(cause.code(), "the header is not valid: " + cause.message()).at_file(place.file)
                    .at_offset(kPrefixBytes + cause.offset().value_or(0)).at_key(cause.key()));
  }
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") {
      const bool strings = entry.is_object() && std::all_of(entry.begin(), entry.end(), [](const Json& v) { return v.is_string(); });
      if (!strings) return fail(place.bad("__metadata__ is not an object of strings", place.offset_of(name)).at_key(name));
      continue;
    }
    Range range;
    CORVID_TRY(auto info, read_tensor(place, name, entry, range));
    range.tensor = file.tensors.size();
    ranges.push_back(range);
    file.tensors.push_back(std::move(info));
  }
  file.header_bytes = kPrefixBytes + header_bytes;
  CORVID_TRY_STATUS(check_coverage(place, file.tensors, ranges, bytes.size() - file.header_bytes));
  std::vector<TensorInfo> in_file_order;
  for (const Range& range : ranges) {
    auto& info = file.tensors[range.tensor];
    info.file_offset = file.header_bytes + range.begin;
    info.file = place.file;
    info.bytes = file.mapping->bytes().subspan(info.file_offset, range.end - range.begin);
    in_file_order.push_back(std::move(info));
  }
  file.tensors = std::move(in_file_order);
  return file;
}

}  // namespace corvid
