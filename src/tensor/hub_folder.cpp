// A hub folder's weights. Names that an index file gives are not trusted to stay inside the folder until they are shown to.
#include <algorithm>
#include <map>
#include <system_error>

#include "corvid/base/json.hpp"
#include "tensor_table.hpp"

namespace corvid {

namespace {

namespace fs = std::filesystem;
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

std::uint64_t offset_of(std::string_view text, std::string_view name) {
  const auto at = text.find('"' + std::string(name) + '"');
  return at == std::string_view::npos ? 0 : at;
}

/// The shard's path once it is known to be a regular file whose true place is inside the folder.
Result<fs::path> resolve_shard(const fs::path& folder, const std::string& name, const fs::path& index, std::uint64_t at) {
  auto refuse = [&](const std::string& why) {
    return fail(Error::bad_input("the index names the shard \"" + name.substr(0, 120) + "\", " + why).at_file(index.string()).at_offset(at).at_key("/weight_map"));
  };
  const bool plain = !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain) return refuse("which is not a plain file name; shards lie in the folder itself");
  std::error_code failure;
  const fs::path home = fs::canonical(folder, failure);
  if (failure) return fail(Error::io("cannot resolve the folder: " + failure.message()).at_file(folder.string()));
  const fs::path target = fs::canonical(folder / name, failure);
  if (failure) return refuse("which is not in the folder; fetch it");
  // A hub cache lays files out as snapshots/REVISION/NAME, links to blobs/HASH of the same repository.
  const bool cached = home.parent_path().filename() == "snapshots" && target.parent_path() == home.parent_path().parent_path() / "blobs";
  if (target.parent_path() != home && !cached) return refuse("which is a link out of the folder");
  if (!fs::is_regular_file(target, failure)) return refuse("which is not a regular file");
  return folder / name;
}

Result<std::vector<WeightFile>> read_shards(const fs::path& folder) {
  const fs::path index = folder / kIndexName;
  CORVID_TRY(const auto mapping, MappedFile::open(index));
  const std::string_view text = mapping->text();
  auto bad = [&](std::string message, std::uint64_t at, std::string key) {
    return fail(Error::bad_input(std::move(message)).at_file(index.string()).at_offset(at).at_key(std::move(key)));
  };
  JsonLimits limits;
  limits.max_bytes = std::size_t{100} << 20;
  limits.reject_duplicate_keys = true;
  auto json = parse_json(text, limits);
  if (!json) return fail(std::move(json).error().at_file(index.string()).at_offset(0));
  if (!json->is_object() || !json->contains("weight_map") || !(*json)["weight_map"].is_object()) return bad("the index has no object \"weight_map\"", 0, "/weight_map");

  std::map<std::string, std::vector<std::string>> tensors_of;  // by shard
  for (const auto& [tensor, shard] : (*json)["weight_map"].items()) {
    if (!shard.is_string()) return bad("the shard of tensor \"" + tensor + "\" is not a string", offset_of(text, tensor), "/weight_map/" + tensor);
    tensors_of[shard.get<std::string>()].push_back(tensor);
  }
  std::vector<WeightFile> files;
  std::map<std::string, std::string> home_of;  // tensor → shard, over all shards
  for (const auto& [shard, tensors] : tensors_of) {
    CORVID_TRY(const fs::path path, resolve_shard(folder, shard, index, offset_of(text, shard)));
    CORVID_TRY(auto file, read_safetensors(path));
    for (const auto& info : file.tensors) {
      const auto [other, fresh] = home_of.emplace(info.name, shard);
      if (!fresh) return bad("tensor \"" + info.name + "\" is in both " + other->second + " and " + shard, offset_of(text, info.name), info.name);
    }
    for (const auto& tensor : tensors) {
      const auto found = home_of.find(tensor);
      if (found == home_of.end() || found->second != shard) return bad("tensor \"" + tensor + "\" is not in its shard " + shard, offset_of(text, tensor), "/weight_map/" + tensor);
    }
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

Result<std::vector<WeightFile>> read_hub_weights(const fs::path& folder) {
  std::error_code failure;
  if (fs::exists(folder / kSingleName, failure)) {
    // The user named this folder; in a hub cache this one file is a link to its blob.
    CORVID_TRY(auto file, read_safetensors(folder / kSingleName));
    std::vector<WeightFile> files;
    files.push_back(std::move(file));
    return files;
  }
  if (fs::exists(folder / kIndexName, failure)) return read_shards(folder);
  return std::vector<WeightFile>{};
}

}  // namespace corvid
