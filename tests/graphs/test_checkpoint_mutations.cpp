// Damaged threads: a typed error that says where, or a valid result; never a crash, never without end. CORVID_CHECKPOINT_MUTATIONS sets
// how many there are in all, 6,000 without it; CORVID_CHECKPOINT_MUTATION=N runs one case of a test alone.
#include <unistd.h>

#include <filesystem>
#include <string>

#include "corvid/graphs/savers.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"
#include "graphs/damage/use.hpp"
#include "graphs/damage/workspace_rows.hpp"
#include "graphs/persist/rows.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

// Of the whole: rows as they are in memory, encrypted rows, exports, workspace files.
constexpr long kDefault = 6'000;
long part(double share) { return static_cast<long>(static_cast<double>(mutations_wanted(kDefault)) * share); }

std::vector<StoreImage> images_of(const std::vector<Seed>& seeds) {
  std::vector<StoreImage> images;
  for (const auto& seed : seeds) images.push_back(seed.image);
  return images;
}

}  // namespace

TEST_CASE("checkpoint mutations: rows", "[graphs]") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto images = images_of(seeds);
  run_cases("rows", part(0.75), [&](Dice& dice, Tally& tally) {
    const auto& seed = seeds[dice.below(seeds.size())];
    auto image = seed.image;
    mutate_image(image, images, dice);
    use_thread(runtime, seed, make_damaged_store(kThread, std::move(image)), dice, tally);
  });
}

TEST_CASE("checkpoint mutations: encrypted rows", "[graphs]") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto key = test_key(1);
  std::vector<StoreImage> images;
  for (const auto& seed : seeds) {
    const auto inner = make_memory_saver();
    store_image(*encrypt(inner, key), kThread, seed.image);
    images.push_back(image_of(*inner, kThread));
  }
  run_cases("encrypted rows", part(0.1), [&](Dice& dice, Tally& tally) {
    const auto number = dice.below(seeds.size());
    auto image = images[number];
    mutate_image(image, images, dice);
    use_thread(runtime, seeds[number], encrypt(make_damaged_store(kThread, std::move(image)), key), dice, tally);
  });
}

TEST_CASE("checkpoint mutations: exports", "[graphs]") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  std::vector<Bytes> exports;
  for (const auto& seed : seeds) {
    const auto saver = make_memory_saver();
    store_image(*saver, kThread, seed.image);
    exports.push_back(*export_thread(*saver, kThread));
  }
  run_cases("exports", part(0.12), [&](Dice& dice, Tally& tally) {
    const auto number = dice.below(seeds.size());
    auto document = exports[number];
    if (dice.below(4) == 0) {
      mutate_bytes(document, dice);
    } else {  // under a digest that fits
      document.resize(document.size() - 34);
      for (auto times = 1 + dice.below(3); times > 0; --times) mutate_bytes(document, dice);
      const auto digest = persist::sha256_of(document);
      document.push_back(std::byte{0x58});
      document.push_back(std::byte{0x20});
      for (const auto byte : digest) document.push_back(std::byte{byte});
    }
    const auto saver = make_memory_saver();
    const auto imported = import_thread(*saver, document, kThread);
    tally.expect(imported, "import_thread");
    const auto left = saver->namespaces(kThread);
    if (!imported && (!left || !left->empty())) tally.complain("an import that failed left something");
    if (imported) use_thread(runtime, seeds[number], saver, dice, tally);
  });
}

TEST_CASE("checkpoint mutations: workspace files", "[graphs]") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  // In memory where there is such a file system: what is tried here is not the disk.
  const std::filesystem::path folder = std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
  const auto path = folder / ("corvid-damage-" + std::to_string(::getpid()) + ".db");
  const auto clean = [&] {
    for (const char* end : {"", "-wal", "-shm", ".lock"}) std::filesystem::remove(path.string() + end);
  };
  std::vector<std::string> files;
  for (const auto& seed : seeds) files.push_back(workspace_with(path, kThread, seed.image));
  run_cases("workspaces", part(0.03), [&](Dice& dice, Tally& tally) {
    clean();
    const auto number = dice.below(seeds.size());
    std::string bytes = files[number];
    const bool rows = dice.below(4) != 0;
    if (!rows) {
      for (auto times = 1 + dice.below(8); times > 0; --times) bytes[dice.below(bytes.size())] = static_cast<char>(dice());
      if (dice.below(16) == 0) bytes.resize(dice.below(bytes.size()));
    }
    write_file(path, bytes);
    if (rows) mutate_row(path, dice);
    const auto workspace = Workspace::open(path);
    if (!tally.expect(workspace, "Workspace::open")) return;
    const auto store = open_sqlite_store(*workspace);
    if (!tally.expect(store, "open_sqlite_store")) return;
    tally.expect(store->saver->threads(), "threads");
    tally.expect(store->saver->audit(), "audit");
    tally.expect(store->saver->check_audit(), "check_audit");
    use_thread(runtime, seeds[number], store->saver, dice, tally);
    tally.expect(store->saver->prune(kThread, {.keep_last = 1}), "prune");
    tally.expect(store->saver->copy_thread(kThread, "copy"), "copy_thread");
    tally.expect(store->saver->delete_thread(kThread), "delete_thread");
  });
  clean();
}
