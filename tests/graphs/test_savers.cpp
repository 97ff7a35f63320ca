#include <memory>
#include <string>

#include "corvid/graphs/savers.hpp"
#include "corvid/storage/workspace.hpp"
#include "graphs/checkpointer_conformance.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

TEST_CASE("memory saver: conformance") {
  check_checkpointer([] { return make_memory_saver(); });
  CHECK_FALSE(make_memory_saver()->blocks());
}

TEST_CASE("sqlite saver: conformance") {
  SqliteFiles files;
  check_checkpointer([&] { return files.fresh().saver; });
  CHECK(files.fresh().saver->blocks());
}

TEST_CASE("encrypted memory saver: conformance") {
  check_checkpointer([] { return encrypt(make_memory_saver(), test_key(1)); });
}

TEST_CASE("encrypted sqlite saver: conformance") {
  SqliteFiles files;
  check_checkpointer([&] { return encrypt(files.fresh().saver, test_key(1)); });
}

TEST_CASE("sqlite work queue: conformance") {
  SqliteFiles files;
  check_work_queue([&] { return files.fresh().queue; });
}
