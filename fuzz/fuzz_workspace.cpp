// A workspace file of any bytes: opened and asked, or a typed error.
#include <cstdlib>
#include <filesystem>

#include "corvid/storage/workspace.hpp"
#include "fuzz/fuzz_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = fuzz_file(data, size, ".workspace");
  for (const char* end : {"-wal", "-shm", "-journal"}) std::filesystem::remove(path.string() + end);
  if (corvid::Workspace::open(path.string() + ".none", {.create = false})) std::abort();
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
  constexpr corvid::Migration steps[] = {{"fuzz", 1, "CREATE TABLE fuzz_rows(id INTEGER PRIMARY KEY, text TEXT)"}, {"fuzz", 2, "ALTER TABLE fuzz_rows ADD COLUMN more BLOB"}};
  if (const auto made = (*workspace)->migrate(steps)) {
    const auto put = [](corvid::Database& db) -> corvid::Status {
      CORVID_TRY(auto row, db.prepare("INSERT INTO fuzz_rows(text) VALUES(?)"));
      row.bind(1, std::string_view("a row"));
      CORVID_TRY(const bool more, row.step());
      return more ? corvid::fail(corvid::Error::internal("an INSERT gave a row")) : corvid::Status{};
    };
    for (int i = 0; i < 2; ++i) (void)(*workspace)->write(put);
  } else if (made.error().code() == corvid::ErrorCode::internal) {
    std::abort();
  }
  (void)(*workspace)->read(ask);
  return 0;
}
