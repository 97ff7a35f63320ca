#include "corvid/tensor/model_file.hpp"

#include <algorithm>
#include <fstream>
#include <mutex>
#include <numeric>
#include <system_error>

#include "corvid/base/hash.hpp"
#include "tensor_table.hpp"

namespace corvid {

namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kIdentityWindowBytes = std::uint64_t{64} << 10;

/// The one implementation; the formats differ only in how it is filled.
class OpenedModelFile final : public ModelFile {
 public:
  OpenedModelFile(fs::path path, ModelFormat format) : path_(std::move(path)), format_(format) {}

  ModelFormat format() const noexcept override { return format_; }
  const fs::path& path() const noexcept override { return path_; }
  const Metadata& metadata() const noexcept override { return metadata_; }
  const Json& config() const noexcept override { return config_; }
  std::span<const TensorInfo> tensors() const noexcept override { return tensors_; }
  std::uint64_t total_tensor_bytes() const noexcept override { return total_bytes_; }

  const TensorInfo* find(std::string_view name) const noexcept override {
    const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](std::uint32_t i, std::string_view n) { return tensors_[i].name < n; });
    return at == by_name_.end() || tensors_[*at].name != name ? nullptr : &tensors_[*at];
  }

  std::string identity() const override {
    std::call_once(identity_once_, [this] { identity_ = compute_identity(); });
    return identity_;
  }

  void release(std::span<const std::byte> bytes) const noexcept override {
    for (const auto& file : files_) {
      const auto all = file.mapping->bytes();
      if (bytes.data() >= all.data() && bytes.data() + bytes.size() <= all.data() + all.size()) return file.mapping->release(bytes);
    }
  }

  Metadata& fill_metadata() { return metadata_; }
  void fill_config(Json config) { config_ = std::move(config); }
  void add(WeightFile file) {
    for (auto& info : file.tensors) {
      total_bytes_ += info.bytes.size();
      tensors_.push_back(std::move(info));
    }
    files_.push_back({std::move(file.mapping), file.header_bytes});
    by_name_ = index_by_name(tensors_);
  }

 private:
  struct File {
    std::shared_ptr<const MappedFile> mapping;
    std::uint64_t header_bytes;
  };

  std::string compute_identity() const {
    Sha256 hash;
    for (const auto& file : files_) {
      const auto bytes = file.mapping->bytes();
      const std::uint64_t size = bytes.size();
      const auto data = bytes.subspan(file.header_bytes);
      const std::size_t window = std::min<std::size_t>(kIdentityWindowBytes, data.size());
      hash.update(std::as_bytes(std::span(&size, 1)));
      hash.update(bytes.first(file.header_bytes));
      hash.update(data.first(window));
      hash.update(data.last(window));
    }
    return to_hex(hash.finish());
  }

  fs::path path_;
  ModelFormat format_;
  Metadata metadata_;
  Json config_;
  std::vector<File> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::uint32_t> by_name_;
  std::uint64_t total_bytes_ = 0;
  mutable std::once_flag identity_once_;
  mutable std::string identity_;
};

Result<std::shared_ptr<const ModelFile>> open_folder(const fs::path& path) {
  auto model = std::make_shared<OpenedModelFile>(path, ModelFormat::hub_folder);
  CORVID_TRY(auto config, read_json_file(path / "config.json"));
  if (!config.is_object()) return fail(Error::bad_input("config.json is not an object").at_file((path / "config.json").string()).at_offset(0));
  model->fill_config(std::move(config));
  CORVID_TRY(auto files, read_hub_weights(path));
  for (auto& file : files) model->add(std::move(file));
  return model;
}

/// The first bytes decide, not the name: a renamed file still opens.
Result<ModelFormat> sniff(const fs::path& path) {
  CORVID_TRY(const auto mapping, MappedFile::open(path));
  const std::string_view bytes = mapping->text();
  if (bytes.starts_with("GGUF")) return ModelFormat::gguf;
  if (path.extension() == ".gguf") return ModelFormat::gguf;  // its reader says what is wrong with it
  if (path.extension() == ".safetensors" || (bytes.size() > 8 && bytes[8] == '{')) return ModelFormat::safetensors;
  return fail(Error::bad_input("neither a GGUF nor a safetensors file; give one of those, or a folder with config.json").at_file(path.string()).at_offset(0));
}

}  // namespace

std::int64_t TensorInfo::elements() const noexcept {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::string_view to_string(ModelFormat format) noexcept {
  switch (format) {
    case ModelFormat::gguf: return "gguf";
    case ModelFormat::safetensors: return "safetensors";
    case ModelFormat::hub_folder: return "hub_folder";
  }
  return "unknown";
}

std::vector<std::uint32_t> index_by_name(const std::vector<TensorInfo>& tensors) {
  std::vector<std::uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return tensors[a].name < tensors[b].name; });
  return order;
}

Result<std::shared_ptr<const ModelFile>> ModelFile::open(const fs::path& path) {
  std::error_code failure;
  const auto status = fs::status(path, failure);
  if (status.type() == fs::file_type::not_found) return fail(Error::not_found("no model at this path").at_file(path.string()));
  if (status.type() == fs::file_type::directory) return open_folder(path);
  CORVID_TRY(const ModelFormat format, sniff(path));
  auto model = std::make_shared<OpenedModelFile>(path, format);
  if (format == ModelFormat::gguf) {
    CORVID_TRY(auto file, GgufReader::read(path, model->fill_metadata()));
    model->add(std::move(file));
  } else {
    CORVID_TRY(auto file, read_safetensors(path));
    model->add(std::move(file));
  }
  return model;
}

Result<const TensorInfo*> ModelFile::require(std::string_view name) const {
  if (const TensorInfo* info = find(name)) return info;
  return fail(Error::bad_input("tensor \"" + std::string(name) + "\" is missing; the file is not of the kind that it says").at_file(path().string()).at_key(std::string(name)));
}

fs::path ModelFile::folder() const {
  if (format() == ModelFormat::hub_folder) return path();
  return path().has_parent_path() ? path().parent_path() : fs::path(".");
}

Result<std::optional<Json>> ModelFile::sibling_json(std::string_view name) const {
  const fs::path beside = folder() / name;
  std::error_code failure;
  if (!fs::exists(beside, failure)) return std::nullopt;
  CORVID_TRY(auto json, read_json_file(beside));
  return std::optional<Json>(std::move(json));
}

}  // namespace corvid
