// ModelFile: a GGUF file, a safetensors file, or a hub folder, mapped and validated completely before use.
//
//   CORVID_TRY(auto file, ModelFile::open("model.gguf"));        // shared_ptr<const ModelFile>
//   if (auto arch = file->metadata().string("general.architecture")) …
//   const TensorInfo* embd = file->find("token_embd.weight");
//
// Nothing that the file says is believed before it is checked; no allocation is sized by an unchecked number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "corvid/tensor/dtype.hpp"

namespace corvid {

/// One stored tensor. `bytes` lies in the mapping and lives as long as its ModelFile. In GGUF it is aligned as the file says (32 bytes
/// unless it says otherwise); in safetensors it may lie at any byte.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;         ///< row-major, outermost first: a linear weight is [out, in]
  std::span<const std::byte> bytes;        ///< exactly bytes_of(dtype, elements)
  std::uint64_t file_offset = 0;           ///< of the first byte, in `file`
  std::string file;                        ///< the shard that holds it

  std::int64_t elements() const noexcept;
};

/// GGUF value types, with their numbers in the file.
enum class MetadataType : std::uint32_t {
  u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, boolean = 7, string = 8, array = 9, u64 = 10, i64 = 11, f64 = 12,
};

/// The typed key/value section of a GGUF file; empty for other formats. Values are read from the mapping when asked.
class Metadata {
 public:
  struct Entry {
    std::string_view key;
    MetadataType type{};
    MetadataType element_type{};           ///< for arrays
    std::uint64_t count = 1;               ///< elements of an array, else 1
    std::span<const std::byte> payload;    ///< the value (strings and arrays: without their headers), little-endian
    std::uint64_t file_offset = 0;         ///< of the value's first byte
  };

  const Entry* find(std::string_view key) const noexcept;
  std::span<const Entry> entries() const noexcept { return entries_; }

  // Typed reads: nullopt when absent. A present key of another type is an Error (bad_input, key, byte offset).
  Result<std::optional<std::string_view>> string(std::string_view key) const;
  Result<std::optional<std::uint64_t>> unsigned_integer(std::string_view key) const;  ///< any integer type ≥ 0
  Result<std::optional<double>> real(std::string_view key) const;                     ///< f32, f64 or integer
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::vector<std::string_view>>> strings(std::string_view key) const;
  Result<std::optional<std::vector<float>>> floats(std::string_view key) const;       ///< f32 arrays only
  Result<std::optional<std::vector<std::int64_t>>> integers(std::string_view key) const;  ///< any integer or bool array
  /// As the typed reads, but absence is bad_input naming the key.
  Result<std::string_view> require_string(std::string_view key) const;
  Result<std::uint64_t> require_unsigned(std::string_view key) const;

 private:
  friend class GgufReader;
  std::vector<Entry> entries_;             ///< in file order
  std::vector<std::uint32_t> by_key_;      ///< indices sorted by key
  std::string file_;
};

enum class ModelFormat : std::uint8_t { gguf, safetensors, hub_folder };
std::string_view to_string(ModelFormat format) noexcept;

class ModelFile {
 public:
  virtual ~ModelFile() = default;

  /// Opens and validates. A directory is a hub folder: config.json (required) and its model.safetensors or
  /// model.safetensors.index.json shards; tokenizer files are read by text/. A folder without weights opens with no tensors.
  /// Scales are not read here (that would read the whole file): check_finite of dequantise.hpp does, at load.
  /// Errors: not_found, io, bad_input (file, byte offset, key), unsupported (a known but unhandled tensor type).
  static Result<std::shared_ptr<const ModelFile>> open(const std::filesystem::path& path);

  virtual ModelFormat format() const noexcept = 0;
  virtual const std::filesystem::path& path() const noexcept = 0;
  virtual const Metadata& metadata() const noexcept = 0;       ///< GGUF only, else empty
  /// config.json of a hub folder, else null.
  virtual const Json& config() const noexcept = 0;
  /// The hub folder itself, or the folder that the file lies in.
  std::filesystem::path folder() const;
  /// Another JSON file of folder(), "sentence_bert_config.json" say; nullopt where it does not exist. Errors: as read_json_file.
  Result<std::optional<Json>> sibling_json(std::string_view name) const;
  virtual std::span<const TensorInfo> tensors() const noexcept = 0;  ///< in file order
  virtual const TensorInfo* find(std::string_view name) const noexcept = 0;
  /// Errors: bad_input naming the tensor when it is missing.
  Result<const TensorInfo*> require(std::string_view name) const;
  virtual std::uint64_t total_tensor_bytes() const noexcept = 0;
  /// Identity of the weights: SHA-256 over every file's header bytes (metadata, tensor table), its size, and its first and last 64 KiB
  /// of tensor data. Cheap; tells models apart, is not a proof of integrity.
  virtual std::string identity() const = 0;                    ///< 64 hex digits
  /// The caller has copied these bytes of a tensor: the mapping need not keep them in memory. Where touched, they are read again. Any thread.
  virtual void release(std::span<const std::byte> bytes) const noexcept { static_cast<void>(bytes); }
};

}  // namespace corvid
