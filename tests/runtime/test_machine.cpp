// Which processors a computation takes, on machines as their kernels describe them.
#include <filesystem>
#include <numeric>
#include <vector>

#include "src/runtime/machine.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::vector<int> range(int first, int last) {
  std::vector<int> out(static_cast<std::size_t>(last - first + 1));
  std::iota(out.begin(), out.end(), first);
  return out;
}

void tell(const TempDir& devices, const std::filesystem::path& file, std::string_view text) {
  std::filesystem::create_directories((devices.path() / file).parent_path());
  write_file(devices.path() / file, text);
}

}  // namespace

TEST_CASE("machine: a plain one gives all its processors, as many as the quota allows") {
  const TempDir devices;
  CHECK(compute_processors(devices.path(), range(0, 7), 8) == range(0, 7));
  CHECK(compute_processors(devices.path(), range(0, 7), 3) == range(0, 2));
  CHECK(compute_processors(devices.path(), {5}, 8) == std::vector<int>{5});
  tell(devices, "system/node/online", "0\n");
  tell(devices, "system/node/node0/cpulist", "0-7\n");
  CHECK(compute_processors(devices.path(), range(0, 7), 8) == range(0, 7));
  CHECK(compute_processors(devices.path(), {}, 8).empty());
  CHECK(!compute_processors().empty());
}

TEST_CASE("machine: of several NUMA nodes the one with the most allowed processors") {
  const TempDir devices;
  tell(devices, "system/node/online", "0,2-3\n");
  tell(devices, "system/node/node0/cpulist", "0-3,8-11\n");
  tell(devices, "system/node/node2/cpulist", "4-7,12-15\n");
  tell(devices, "system/node/node3/cpulist", "\n");   // memory alone
  CHECK(compute_processors(devices.path(), range(0, 15), 16) == std::vector<int>{0, 1, 2, 3, 8, 9, 10, 11});
  CHECK(compute_processors(devices.path(), range(2, 15), 16) == std::vector<int>{4, 5, 6, 7, 12, 13, 14, 15});
  CHECK(compute_processors(devices.path(), {3, 4, 12}, 16) == std::vector<int>{4, 12});
  CHECK(compute_processors(devices.path(), {100, 101}, 16) == std::vector<int>{100, 101});   // of no node that is told of
}

TEST_CASE("machine: efficiency cores are left to others") {
  const TempDir hybrid;
  tell(hybrid, "cpu_core/cpus", "0-11\n");
  tell(hybrid, "cpu_atom/cpus", "12-19\n");
  CHECK(compute_processors(hybrid.path(), range(0, 19), 20) == range(0, 11));
  CHECK(compute_processors(hybrid.path(), range(14, 19), 20) == range(14, 19));   // where nothing else is allowed
  const TempDir arm;
  for (int i = 0; i < 8; ++i) tell(arm, "system/cpu/cpu" + std::to_string(i) + "/cpu_capacity", i < 4 ? "325\n" : i < 7 ? "870\n" : "1024\n");
  CHECK(compute_processors(arm.path(), range(0, 7), 8) == range(4, 7));
  CHECK(compute_processors(arm.path(), range(0, 3), 8) == range(0, 3));
  CHECK(compute_processors(arm.path(), range(0, 7), 2) == range(4, 5));
}

TEST_CASE("machine: a description that is damaged leaves all in") {
  const TempDir devices;
  for (const char* text : {"", "x", "0-", "99999999999999999999", "3-1", "-", ",,,"}) {
    tell(devices, "system/node/online", *text != '\0' && *text != '0' ? text : "0");
    tell(devices, "system/node/node0/cpulist", text);
    tell(devices, "cpu_atom/cpus", text);
    tell(devices, "system/cpu/cpu1/cpu_capacity", text);
    CHECK(compute_processors(devices.path(), range(10, 12), 8) == range(10, 12));
  }
}
