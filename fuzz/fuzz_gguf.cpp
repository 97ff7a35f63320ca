// A GGUF file of any bytes: opened, its metadata read as every type and its tensors to their ends, or a typed error; never a read outside the file.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "corvid/tensor/model_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Files are told apart by their content; without the magic only one path of many would be tried.
  static const std::string path = (std::filesystem::temp_directory_path() / ("corvid-fuzz-" + std::to_string(getpid()) + ".gguf")).string();
  static const int registered = std::atexit([] { std::remove(path.c_str()); });
  (void)registered;
  {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write("GGUF", 4);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    if (!file) std::abort();
  }
  const auto model = corvid::ModelFile::open(path);
  if (!model) {
    if (model.error().code() == corvid::ErrorCode::internal) std::abort();
    return 0;
  }
  const corvid::Metadata& metadata = (*model)->metadata();
  for (const auto& entry : metadata.entries()) {
    (void)metadata.string(entry.key);
    (void)metadata.unsigned_integer(entry.key);
    (void)metadata.real(entry.key);
    (void)metadata.boolean(entry.key);
    (void)metadata.strings(entry.key);
    (void)metadata.integers(entry.key);
    (void)metadata.floats(entry.key);
    (void)metadata.require_string(entry.key);
    (void)metadata.require_unsigned(entry.key);
  }
  (void)metadata.require_string("none");
  (void)metadata.require_unsigned("none");
  unsigned ends = 0;
  for (const auto& tensor : (*model)->tensors()) {
    if (!tensor.bytes.empty()) ends += std::to_integer<unsigned>(tensor.bytes.front()) + std::to_integer<unsigned>(tensor.bytes.back());
  }
  static volatile unsigned seen = 0;   // so that the reads happen
  seen = seen + ends;
  return 0;
}
