#include "support/support.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>

namespace corvid::test {

namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "corvid-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("cannot make a folder in " + fs::temp_directory_path().string());
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;  // a test's leftovers must not hide its result
  fs::remove_all(path_, ignored);
}

void write_file(const fs::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

namespace {

std::optional<fs::path> look_up(const fs::path& path, std::string_view what, const char* require) {
  if (fs::exists(path)) return path;
  const std::string line = std::string("SKIPPED: ") + std::string(what) + " is not at " + path.string() +
                           " (scripts/fetch_models.sh fetches it)";
  if (std::getenv(require)) throw std::runtime_error(line);
  std::cerr << line << '\n';
  return std::nullopt;
}

}  // namespace

std::optional<fs::path> model(std::string_view name) {
  fs::path folder;
  if (const char* models = std::getenv("CORVID_MODELS")) folder = models;
  else if (const char* data = std::getenv("XDG_DATA_HOME")) folder = fs::path(data) / "corvid" / "models";
  else if (const char* home = std::getenv("HOME")) folder = fs::path(home) / ".local" / "share" / "corvid" / "models";
  return look_up(folder / name, name, "CORVID_REQUIRE_MODELS");
}

std::optional<fs::path> test_data(std::string_view name) {
  const char* data = std::getenv("CORVID_TEST_DATA");
  return look_up(fs::path(data ? data : "test-data") / name, name, "CORVID_REQUIRE_TEST_DATA");
}

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

fs::path source_dir() { return CORVID_SOURCE_DIR; }

Shard shard() {
  const char* text = std::getenv("CORVID_SHARD");
  if (!text) return {};
  Shard shard;
  if (std::sscanf(text, "%ld/%ld", &shard.index, &shard.of) != 2 || shard.of < 1 || shard.index < 0 || shard.index >= shard.of) {
    throw std::runtime_error("CORVID_SHARD must be INDEX/OF, as in 0/8");
  }
  return shard;
}

}  // namespace corvid::test
