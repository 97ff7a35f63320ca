// What every test may need: scratch folders, files, the models' folder, loud skips.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace corvid::test {

/// A fresh folder, removed when the object goes.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

void write_file(const std::filesystem::path& path, std::string_view bytes);
std::string read_file(const std::filesystem::path& path);

/// A real model by its name in $CORVID_MODELS (else $XDG_DATA_HOME/corvid/models, else ~/.local/share/corvid/models).
/// nullopt, with a line on stderr that says SKIPPED and what to fetch, when it is not there; but when
/// CORVID_REQUIRE_MODELS is set, a missing model throws, so that CI cannot skip silently.
std::optional<std::filesystem::path> model(std::string_view name);

/// A folder of reference data in $CORVID_TEST_DATA, likewise.
std::optional<std::filesystem::path> test_data(std::string_view name);

std::filesystem::path source_dir();

/// This process's resident memory.
std::int64_t resident_bytes();

/// The part of a long series of cases that this process runs: those whose number is `index` modulo `of`. Of CORVID_SHARD=INDEX/OF, else all.
struct Shard {
  long index = 0, of = 1;
};
Shard shard();

}  // namespace corvid::test
