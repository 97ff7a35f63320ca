// GGUF versions 2 and 3: magic, counts, key/values, tensor table, aligned data. Everything is checked where it lies, before use.
#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <optional>

#include "corvid/base/result.hpp"
#include "gguf_cursor.hpp"
#include "tensor_table.hpp"

namespace corvid {

namespace {

constexpr std::uint64_t kMinimumEntryBytes = 8 + 1 + 4 + 1;        // key length, a byte of key, type, a byte of value
constexpr std::uint64_t kMinimumTensorBytes = 8 + 1 + 4 + 4 + 8;   // name length, a byte of name, rank, type, offset
constexpr std::uint64_t kMaximumAlignment = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaximumNameBytes = 63;                    // the format allows 64 with the terminating zero
constexpr std::uint64_t kMaximumKeyBytes = 65'535;                  // the format's own
constexpr std::uint32_t kMaximumRank = 4;
constexpr std::uint64_t kDefaultAlignment = 32;

std::string in_quotes(std::string_view text) { return '"' + std::string(text.substr(0, 80)) + '"'; }

/// Bytes of one value; 0 for strings and arrays, nullopt for a number that is no type.
std::optional<std::uint64_t> value_bytes(std::uint32_t type) {
  switch (static_cast<MetadataType>(type)) {
    case MetadataType::u8: case MetadataType::i8: case MetadataType::boolean: return 1;
    case MetadataType::u16: case MetadataType::i16: return 2;
    case MetadataType::u32: case MetadataType::i32: case MetadataType::f32: return 4;
    case MetadataType::u64: case MetadataType::i64: case MetadataType::f64: return 8;
    case MetadataType::string: case MetadataType::array: return 0;
  }
  return std::nullopt;
}

struct StoredType {
  std::uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;   // nullopt: known to the format, not to Corvid
};
constexpr StoredType kStoredTypes[] = {
    {0, "F32", DType::f32}, {1, "F16", DType::f16}, {2, "Q4_0", DType::q4_0}, {3, "Q4_1", DType::q4_1}, {6, "Q5_0", DType::q5_0},
    {7, "Q5_1", DType::q5_1}, {8, "Q8_0", DType::q8_0}, {9, "Q8_1", {}}, {10, "Q2_K", DType::q2_k}, {11, "Q3_K", DType::q3_k},
    {12, "Q4_K", DType::q4_k}, {13, "Q5_K", DType::q5_k}, {14, "Q6_K", DType::q6_k}, {15, "Q8_K", {}}, {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}}, {18, "IQ3_XXS", {}}, {19, "IQ1_S", {}}, {20, "IQ4_NL", {}}, {21, "IQ3_S", {}}, {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}}, {24, "I8", DType::i8}, {25, "I16", DType::i16}, {26, "I32", DType::i32}, {27, "I64", DType::i64},
    {28, "F64", {}}, {29, "IQ1_M", {}}, {30, "BF16", DType::bf16}, {34, "TQ1_0", {}}, {35, "TQ2_0", {}}, {39, "MXFP4", {}},
    {40, "NVFP4", {}},
};

Result<DType> stored_dtype(const GgufCursor& cursor, std::uint32_t number, std::string_view tensor, std::uint64_t at) {
  for (const auto& known : kStoredTypes) {
    if (known.number != number) continue;
    if (known.dtype) return *known.dtype;
    return fail(Error::unsupported("tensor " + in_quotes(tensor) + " is stored as " + std::string(known.name) +
                                   "; Corvid reads F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 and Q2_K to Q6_K, take a file of one of those")
                    .at_file(cursor.file()).at_offset(at).at_key(std::string(tensor)));
  }
  return fail(cursor.bad("tensor " + in_quotes(tensor) + " has type number " + std::to_string(number) + ", which does not exist", at).at_key(std::string(tensor)));
}

Status check_booleans(const GgufCursor& cursor, const Metadata::Entry& entry) {
  for (std::size_t i = 0; i < entry.payload.size(); ++i) {
    if (std::to_integer<unsigned>(entry.payload[i]) > 1) {
      return fail(cursor.bad("a boolean is neither 0 nor 1", entry.file_offset + i).at_key(std::string(entry.key)));
    }
  }
  return {};
}

/// The elements of an array: fills element_type, count and payload.
Status read_array(GgufCursor& cursor, Metadata::Entry& entry) {
  const std::uint64_t type_at = cursor.offset();
  CORVID_TRY(const std::uint32_t type, cursor.number<std::uint32_t>("an array's element type"));
  const auto element_bytes = value_bytes(type);
  const std::string key(entry.key);
  if (!element_bytes) return fail(cursor.bad("array " + in_quotes(key) + " has element type " + std::to_string(type) + ", which does not exist", type_at).at_key(key));
  entry.element_type = static_cast<MetadataType>(type);
  if (entry.element_type == MetadataType::array) return fail(cursor.bad("array " + in_quotes(key) + " holds arrays, which Corvid does not accept", type_at).at_key(key));
  const std::uint64_t count_at = cursor.offset();
  CORVID_TRY(entry.count, cursor.number<std::uint64_t>("an array's length"));
  const std::uint64_t minimum = *element_bytes ? *element_bytes : 8;
  if (entry.count > cursor.remaining() / minimum) {
    return fail(cursor.bad("array " + in_quotes(key) + " says it has " + std::to_string(entry.count) + " elements, more than the " +
                           std::to_string(cursor.remaining()) + " bytes left can hold", count_at).at_key(key));
  }
  entry.file_offset = cursor.offset();
  if (*element_bytes) {
    CORVID_TRY(entry.payload, cursor.take(entry.count * *element_bytes, "an array"));
    return entry.element_type == MetadataType::boolean ? check_booleans(cursor, entry) : Status{};
  }
  GgufCursor whole = cursor;
  for (std::uint64_t i = 0; i < entry.count; ++i) {
    auto text = cursor.string("a string in an array");
    if (!text) return fail(std::move(text).error().at_key(key));
  }
  CORVID_TRY(entry.payload, whole.take(cursor.offset() - entry.file_offset, "an array"));
  return {};
}

Status read_value(GgufCursor& cursor, Metadata::Entry& entry) {
  const std::uint64_t type_at = cursor.offset();
  CORVID_TRY(const std::uint32_t type, cursor.number<std::uint32_t>("a key's type"));
  const auto bytes = value_bytes(type);
  if (!bytes) return fail(cursor.bad("key " + in_quotes(entry.key) + " has value type " + std::to_string(type) + ", which does not exist", type_at).at_key(std::string(entry.key)));
  entry.type = static_cast<MetadataType>(type);
  if (entry.type == MetadataType::array) return read_array(cursor, entry);
  entry.file_offset = cursor.offset();
  if (entry.type == MetadataType::string) {
    auto text = cursor.string("a string value");
    if (!text) return fail(std::move(text).error().at_key(std::string(entry.key)));
    entry.payload = std::as_bytes(std::span(text->data(), text->size()));
    entry.file_offset += 8;
    return {};
  }
  CORVID_TRY(entry.payload, cursor.take(*bytes, "a value"));
  return entry.type == MetadataType::boolean ? check_booleans(cursor, entry) : Status{};
}

Result<std::uint64_t> read_alignment(const GgufCursor& cursor, const Metadata& metadata) {
  const auto* entry = metadata.find("general.alignment");
  if (!entry) return kDefaultAlignment;
  if (entry->type != MetadataType::u32) return fail(cursor.bad("general.alignment is not a 32-bit unsigned integer", entry->file_offset).at_key("general.alignment"));
  CORVID_TRY(const auto value, metadata.unsigned_integer("general.alignment"));
  if (!std::has_single_bit(*value) || *value > kMaximumAlignment) {
    return fail(cursor.bad("general.alignment is " + std::to_string(*value) + "; a power of two of at most 1 MiB is needed", entry->file_offset).at_key("general.alignment"));
  }
  return *value;
}

/// A tensor's entry in the table. `relative_offset` is from the start of the data, not yet checked.
struct TableEntry {
  TensorInfo info;
  std::uint64_t relative_offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t entry_at = 0;    ///< of the entry in the file, for errors
  std::uint64_t offset_at = 0;   ///< of the offset field
};

Result<TableEntry> read_table_entry(GgufCursor& cursor) {
  TableEntry entry;
  entry.entry_at = cursor.offset();
  CORVID_TRY(const std::string_view name, cursor.string("a tensor's name"));
  if (name.empty()) return fail(cursor.bad("a tensor has an empty name", entry.entry_at));
  if (name.size() > kMaximumNameBytes) return fail(cursor.bad("tensor name " + in_quotes(name) + " has " + std::to_string(name.size()) + " bytes; 63 are allowed", entry.entry_at));
  auto bad = [&](std::string message, std::uint64_t at) { return fail(cursor.bad("tensor " + in_quotes(name) + " " + std::move(message), at).at_key(std::string(name))); };

  const std::uint64_t rank_at = cursor.offset();
  CORVID_TRY(const std::uint32_t rank, cursor.number<std::uint32_t>("a tensor's rank"));
  if (rank > kMaximumRank) return bad("has " + std::to_string(rank) + " dimensions; 4 are allowed", rank_at);
  std::int64_t elements = 1;
  std::int64_t innermost = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const std::uint64_t at = cursor.offset();
    CORVID_TRY(const std::int64_t extent, cursor.number<std::int64_t>("a tensor's shape"));
    if (extent <= 0) return bad("has the extent " + std::to_string(extent), at);
    if (extent > std::numeric_limits<std::int64_t>::max() / elements) return bad("has more elements than 63 bits can count", at);
    elements *= extent;
    if (i == 0) innermost = extent;
    entry.info.shape.insert(entry.info.shape.begin(), extent);  // the file has the innermost first
  }
  const std::uint64_t type_at = cursor.offset();
  CORVID_TRY(const std::uint32_t type, cursor.number<std::uint32_t>("a tensor's type"));
  CORVID_TRY(entry.info.dtype, stored_dtype(cursor, type, name, type_at));
  const auto& t = traits(entry.info.dtype);
  if (innermost % t.block_elements != 0) {
    return bad("has rows of " + std::to_string(innermost) + " elements, which are not whole " + std::string(t.name) + " blocks of " + std::to_string(t.block_elements), rank_at + 4);
  }
  auto bytes = bytes_of(entry.info.dtype, static_cast<std::uint64_t>(elements));
  if (!bytes) return bad("has more bytes than 64 bits can count", rank_at + 4);
  entry.bytes = *bytes;
  entry.offset_at = cursor.offset();
  CORVID_TRY(entry.relative_offset, cursor.number<std::uint64_t>("a tensor's offset"));
  entry.info.name = std::string(name);
  return entry;
}

Status check_duplicate_names(const GgufCursor& cursor, const std::vector<TableEntry>& table) {
  std::vector<const TableEntry*> sorted;
  for (const auto& entry : table) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return std::tie(a->info.name, a->entry_at) < std::tie(b->info.name, b->entry_at); });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const auto& name = sorted[i]->info.name;
    if (name == sorted[i - 1]->info.name) return fail(cursor.bad("two tensors are named " + in_quotes(name), sorted[i]->entry_at).at_key(name));
  }
  return {};
}

Status check_placement(const GgufCursor& cursor, const std::vector<TableEntry>& table, std::uint64_t data_bytes, std::uint64_t alignment) {
  for (const auto& entry : table) {
    const std::string name = in_quotes(entry.info.name);
    if (entry.relative_offset % alignment != 0) {
      return fail(cursor.bad("tensor " + name + " lies at " + std::to_string(entry.relative_offset) + ", which is not a multiple of " + std::to_string(alignment), entry.offset_at).at_key(entry.info.name));
    }
    if (entry.relative_offset > data_bytes || entry.bytes > data_bytes - entry.relative_offset) {
      return fail(cursor.bad("tensor " + name + " of " + std::to_string(entry.bytes) + " bytes at " + std::to_string(entry.relative_offset) +
                             " reaches past the end of the file's " + std::to_string(data_bytes) + " data bytes; the download was cut, fetch the file again", entry.offset_at).at_key(entry.info.name));
    }
  }
  std::vector<const TableEntry*> sorted;
  for (const auto& entry : table) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return std::tie(a->relative_offset, a->entry_at) < std::tie(b->relative_offset, b->entry_at); });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const auto& before = *sorted[i - 1];
    const auto& after = *sorted[i];
    if (before.relative_offset + before.bytes > after.relative_offset) {
      return fail(cursor.bad("tensors " + in_quotes(before.info.name) + " and " + in_quotes(after.info.name) + " overlap", after.offset_at).at_key(after.info.name));
    }
  }
  return {};
}

Status check_version(GgufCursor& cursor) {
  CORVID_TRY(const auto magic, cursor.take(4, "the magic number"));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) return fail(cursor.bad("not a GGUF file: it does not begin with \"GGUF\"", 0));
  CORVID_TRY(const std::uint32_t version, cursor.number<std::uint32_t>("the version"));
  if (version == 2 || version == 3) return {};
  if (version != 0 && (version & 0xffffu) == 0) {
    return fail(Error::unsupported("a big-endian GGUF file; convert it to little-endian").at_file(cursor.file()).at_offset(4));
  }
  if (version == 1) return fail(Error::unsupported("GGUF version 1; convert the file to version 3").at_file(cursor.file()).at_offset(4));
  return fail(cursor.bad("GGUF version " + std::to_string(version) + " does not exist; Corvid reads 2 and 3", 4));
}

}  // namespace

Status GgufReader::read_metadata(GgufCursor& cursor, std::uint64_t count, Metadata& metadata) {
  metadata.file_ = cursor.file();
  std::vector<std::uint64_t> key_at;
  for (std::uint64_t i = 0; i < count; ++i) {
    key_at.push_back(cursor.offset());
    Metadata::Entry entry;
    CORVID_TRY(entry.key, cursor.string("a key"));
    if (entry.key.empty()) return fail(cursor.bad("a key is empty", key_at.back()));
    if (entry.key.size() > kMaximumKeyBytes) return fail(cursor.bad("key " + in_quotes(entry.key) + " has " + std::to_string(entry.key.size()) + " bytes; 65535 are allowed", key_at.back()));
    CORVID_TRY_STATUS(read_value(cursor, entry));
    metadata.entries_.push_back(entry);
  }
  auto& order = metadata.by_key_;
  order.resize(metadata.entries_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return std::tie(metadata.entries_[a].key, a) < std::tie(metadata.entries_[b].key, b); });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const auto key = metadata.entries_[order[i]].key;
    if (key == metadata.entries_[order[i - 1]].key) return fail(cursor.bad("key " + in_quotes(key) + " appears twice", key_at[order[i]]).at_key(std::string(key)));
  }
  return {};
}

Result<WeightFile> GgufReader::read(const std::filesystem::path& path, Metadata& metadata) {
  WeightFile file;
  CORVID_TRY(file.mapping, MappedFile::open(path));
  GgufCursor cursor(file.mapping->bytes(), path.string());
  CORVID_TRY_STATUS(check_version(cursor));
  const std::uint64_t tensors_at = cursor.offset();
  CORVID_TRY(const std::uint64_t tensor_count, cursor.number<std::uint64_t>("the number of tensors"));
  const std::uint64_t keys_at = cursor.offset();
  CORVID_TRY(const std::uint64_t key_count, cursor.number<std::uint64_t>("the number of keys"));
  if (key_count > cursor.remaining() / kMinimumEntryBytes) {
    return fail(cursor.bad("the file says it has " + std::to_string(key_count) + " keys, more than its " + std::to_string(cursor.remaining()) + " bytes can hold", keys_at));
  }
  if (tensor_count > cursor.remaining() / kMinimumTensorBytes) {
    return fail(cursor.bad("the file says it has " + std::to_string(tensor_count) + " tensors, more than its " + std::to_string(cursor.remaining()) + " bytes can hold", tensors_at));
  }
  CORVID_TRY_STATUS(read_metadata(cursor, key_count, metadata));
  CORVID_TRY(const std::uint64_t alignment, read_alignment(cursor, metadata));
  if (const auto* split = metadata.find("split.count")) {
    CORVID_TRY(const auto parts, metadata.unsigned_integer("split.count"));
    if (*parts > 1) {
      return fail(Error::unsupported("one of " + std::to_string(*parts) + " parts of a split GGUF; join them with llama-gguf-split --merge")
                      .at_file(cursor.file()).at_offset(split->file_offset).at_key("split.count"));
    }
  }
  if (tensor_count > cursor.remaining() / kMinimumTensorBytes) {
    return fail(cursor.bad("the file says it has " + std::to_string(tensor_count) + " tensors, more than the " + std::to_string(cursor.remaining()) + " bytes after its keys can hold", tensors_at));
  }
  std::vector<TableEntry> table;
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    CORVID_TRY(auto entry, read_table_entry(cursor));
    table.push_back(std::move(entry));
  }
  CORVID_TRY_STATUS(check_duplicate_names(cursor, table));
  const std::uint64_t file_bytes = file.mapping->bytes().size();
  const std::uint64_t padded = (cursor.offset() + alignment - 1) / alignment * alignment;
  const std::uint64_t data_begin = std::min(padded, file_bytes);  // a vocabulary-only file may end before the padding
  CORVID_TRY_STATUS(check_placement(cursor, table, file_bytes - data_begin, alignment));
  for (auto& entry : table) {
    entry.info.file_offset = data_begin + entry.relative_offset;
    entry.info.file = path.string();
    entry.info.bytes = file.mapping->bytes().subspan(entry.info.file_offset, entry.bytes);
    file.tensors.push_back(std::move(entry.info));
  }
  file.header_bytes = data_begin;
  return file;
}

}  // namespace corvid
