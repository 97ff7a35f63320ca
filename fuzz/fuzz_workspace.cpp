// A workspace file of any bytes: opened and asked, or a typed error.
#include <cstdlib>
#include <filesystem>

#include "corvid/storage/workspace.hpp"
#include "fuzz/fuzz_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = fuzz_file(data, size, ".workspace");
  for (const char* end : {"-wal", "-shm", "-journal"}) std::filesystem::remove(path.string() + end);
  const auto workspace = corvid::Workspace::open(path);
  if (!workspace) {
    if (workspace.error().code() == corvid::ErrorCode::internal) std::abort();
    return 0;
  }
  const auto ask = [](corvid::Database& db) -> corvid::Status {
    CORVID_TRY(auto row, db.prepare("SELECT module, version FROM corvid_migrations"));
    while (true) {
      CORVID_TRY(const bool more, row.step());
      if (!more) return {};
      (void)row.text(0);
      (void)row.integer(1);
    }
  };
  (void)(*workspace)->read(ask);
  constexpr corvid::Migration steps[] = {{"fuzz", 1, "CREATE TABLE fuzz_rows(id INTEGER PRIMARY KEY, text TEXT)"}};
  (void)(*workspace)->migrate(steps);
  return 0;
}
