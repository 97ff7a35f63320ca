// Workspaces with a graph store in them, for tests.
#pragma once

#include <string>
#include <string_view>

#include "corvid/graphs/savers.hpp"
#include "corvid/storage/workspace.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

namespace corvid::test {

/// One file a store; all of them go with this.
class SqliteFiles {
 public:
  SqliteStore fresh() { return open(dir_ / (std::to_string(++made_) + ".db")); }
  static SqliteStore open(const std::filesystem::path& path) {
    auto workspace = Workspace::open(path);
    REQUIRE(workspace);
    auto store = open_sqlite_store(*workspace);
    REQUIRE(store);
    return *store;
  }
  std::filesystem::path operator/(std::string_view name) const { return dir_ / name; }

 private:
  TempDir dir_;
  int made_ = 0;
};

inline EncryptionKey test_key(int seed) {
  EncryptionKey key{};
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(31 * i + static_cast<std::size_t>(seed));
  return key;
}

}  // namespace corvid::test
