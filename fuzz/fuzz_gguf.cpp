// A GGUF file of any bytes: opened, or a typed error; never a read outside the file.
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
  (void)model;
  return 0;
}
