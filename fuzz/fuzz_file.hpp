// The bytes of one run as a file, for readers that map files.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

inline std::filesystem::path fuzz_file(const std::uint8_t* data, std::size_t size, const char* name) {
  const char* memory = std::filesystem::exists("/dev/shm") ? "/dev/shm/" : "/tmp/";
  const std::filesystem::path path = std::string(memory) + std::to_string(::getpid()) + name;
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return path;
}
