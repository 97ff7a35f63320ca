// What a reader finds in one weight file, and checks that every format shares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/tensor/model_file.hpp"
#include "mapped_file.hpp"

namespace corvid {

/// One mapped weight file, validated.
struct WeightFile {
  std::shared_ptr<const MappedFile> mapping;
  std::uint64_t header_bytes = 0;      ///< everything before the tensor data
  std::vector<TensorInfo> tensors;     ///< in file order
};

/// Indices of `tensors` sorted by name.
std::vector<std::uint32_t> index_by_name(const std::vector<TensorInfo>& tensors);

/// Reads a safetensors file. Errors: as ModelFile::open.
Result<WeightFile> read_safetensors(const std::filesystem::path& path);

/// Reads a GGUF file's typed metadata and its tensor table. A friend of Metadata, so that only a validated file fills one.
class GgufReader {
 public:
  /// Errors: as ModelFile::open. `metadata` borrows from the mapping.
  static Result<WeightFile> read(const std::filesystem::path& path, Metadata& metadata);

 private:
  static Status read_metadata(class GgufCursor& cursor, std::uint64_t count, Metadata& metadata);
};

/// A hub folder's weights: none, model.safetensors, or the shards of model.safetensors.index.json.
Result<std::vector<WeightFile>> read_hub_weights(const std::filesystem::path& folder);

}  // namespace corvid
