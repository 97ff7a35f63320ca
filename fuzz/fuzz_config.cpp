// A hub folder's config.json, or after "GGUF" a file's metadata, of any bytes: a checked configuration, or a typed error.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "fuzz/fuzz_file.hpp"
#include "llm/config/llm_config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path folder = [] {
    const auto made = std::filesystem::path("/dev/shm") / ("corvid-fuzz-config-" + std::to_string(::getpid()));
    std::filesystem::create_directories(made);
    constexpr std::string_view kHeader = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    std::ofstream weights(made / "model.safetensors", std::ios::binary);
    const std::uint64_t length = kHeader.size();
    weights.write(reinterpret_cast<const char*>(&length), 8);
    weights << kHeader << std::string(4, '\0');
    return made;
  }();
  const bool gguf = size >= 4 && std::memcmp(data, "GGUF", 4) == 0;
  const std::filesystem::path written = gguf ? folder.string() + ".gguf" : (folder / "config.json").string();
  std::ofstream(written, std::ios::binary | std::ios::trunc).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  const auto file = corvid::ModelFile::open(gguf ? written : folder);
  if (!file) return 0;
  const auto config = corvid::llm::read_config(**file);
  if (!config) {
    if (config.error().code() == corvid::ErrorCode::internal) std::abort();
    return 0;
  }
  if (config->layers <= 0 || config->heads <= 0 || config->kv_heads <= 0 || config->head_dim <= 0) std::abort();
  (void)corvid::llm::rope_table(config->rope, config->rope_dims, {});
  return 0;
}
