// Several processes on one workspace: ingests, searches and questions at once. No lost update, no "database is locked", and a search sees a
// document whole or not at all.
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "corvid/base/json.hpp"
#include "reliability/place.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;
namespace fs = std::filesystem;

namespace {

constexpr int kSections = 6;

// A document of several chunks that all name the same edition.
std::string edition(const std::string& name, int n) {
  std::string text = "# " + name + "\n";
  for (int i = 0; i < kSections; ++i) text += "\n## Part " + std::to_string(i) + "\n\nThe ferry " + name + " sails, edition" + std::to_string(n) + " part" + std::to_string(i) + ".\n";
  return text;
}

void replace(const fs::path& path, const std::string& text) {
  const auto fresh = path.parent_path() / (".fresh-" + path.filename().string());
  write_file(fresh, text);
  fs::rename(fresh, path);
}

class Problems {
 public:
  void add(const std::string& text) {
    std::lock_guard lock(mutex_);
    if (found_.size() < 20) found_.push_back(text.substr(0, 800));
  }
  std::vector<std::string> found() {
    std::lock_guard lock(mutex_);
    return found_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> found_;
};

// Runs of one command in a Place of its own that shares the workspace.
std::string in_order(const Ended& ended) {
  if (ended.hung) return "it hung";
  if (ended.exit != 0) return "exit " + std::to_string(ended.exit) + ", signal " + std::to_string(ended.signal) + ": " + ended.err;
  for (const char* word : {"locked", "busy"}) if (ended.err.find(word) != std::string::npos) return "a user would see: " + ended.err;
  return {};
}

}  // namespace

TEST_CASE("together: two ingests, searches and questions on one workspace", "[together]") {
  const TempDir dir;
  Place place(dir / "place");
  const int rounds = full_matrix() ? 4000 : 12;   // 4,000: about ten minutes
  fs::create_directories(place.documents() / "a");
  fs::create_directories(place.documents() / "b");
  for (const char* folder : {"a", "b"}) for (int i = 0; i < 4; ++i) write_file(place.documents() / folder / (std::string("f") + std::to_string(i) + ".md"), edition(std::string(folder) + std::to_string(i), 0));
  REQUIRE(place.ingest().exit == 0);
  // Each process has its own folder for standard streams; the workspace is one.
  Problems problems;
  std::atomic<int> writers{2};
  std::atomic<std::int64_t> runs{0}, hits{0};
  const auto workspace = place.workspace();
  const auto command = [&](const std::string& lane, std::vector<std::string> words, std::string_view input = {}) {
    ++runs;
    return place.run(std::move(words), {}, input, -1, lane);
  };
  std::vector<std::thread> lanes;
  for (const char* folder : {"a", "b"}) {
    lanes.emplace_back([&, folder] {
      for (int n = 1; n <= rounds; ++n) {
        for (int i = 0; i < 4; ++i) {
          const auto path = place.documents() / folder / (std::string("f") + std::to_string(i) + ".md");
          if ((n + i) % 5 == 0) fs::remove(path);
          else replace(path, edition(std::string(folder) + std::to_string(i), n));
        }
        const auto ended = command(folder, {"ingest", (place.documents() / folder).string(), "--threads", "1"});
        if (const auto bad = in_order(ended); !bad.empty()) problems.add("ingest: " + bad);
      }
      --writers;
    });
  }
  for (int reader = 0; reader < 2; ++reader) {
    lanes.emplace_back([&, reader] {
      while (writers > 0) {
        const auto ended = command("r" + std::to_string(reader), {"search", "ferry sails", "--mode", "lexical", "-k", "100", "--threads", "1"});
        if (const auto bad = in_order(ended); !bad.empty()) {
          problems.add("search: " + bad);
          continue;
        }
        const auto found = parse_json(ended.out);
        if (!found) {
          problems.add("search: " + ended.out);
          continue;
        }
        std::map<std::string, std::pair<std::set<std::string>, int>> documents;
        const Json& list = found->is_array() ? *found : (*found)["hits"];
        for (const auto& hit : list) {
          const auto text = hit["text"].get<std::string>();
          const auto at = text.find("edition");
          auto& [editions, parts] = documents[hit["source"].get<std::string>()];
          if (at != std::string::npos) editions.insert(text.substr(at, text.find(' ', at) - at));
          for (std::size_t part = text.find(" part"); part != std::string::npos; part = text.find(" part", part + 1)) ++parts;
        }
        for (const auto& [source, seen] : documents) {
          ++hits;
          if (seen.first.size() != 1) problems.add("a document of two editions: " + source);
          if (seen.second != kSections) problems.add("part of a document: " + source + " has " + std::to_string(seen.second) + " of " + std::to_string(kSections));
        }
      }
    });
  }
  lanes.emplace_back([&] {
    while (writers > 0) {
      const auto ended = command("ask", {"ask", "Which ferry sails?", "--model", (place.root() / "tiny.gguf").string(), "--max-tokens", "4", "--threads", "1"});
      // Between editions there may be nothing to answer from; what is not allowed is an error of the store.
      if (const auto bad = in_order(ended); !bad.empty()) problems.add("ask: " + bad);
    }
  });
  for (auto& lane : lanes) lane.join();
  std::printf("together: %lld commands, %lld documents seen by searches\n", static_cast<long long>(runs), static_cast<long long>(hits));
  for (const auto& each : problems.found()) UNSCOPED_INFO(each);
  CHECK(problems.found().empty());
  CHECK(hits > 0);
  // No lost update: what lies in the folders is what is in the index.
  for (const char* folder : {"a", "b"}) CHECK(command(folder, {"ingest", (place.documents() / folder).string(), "--threads", "1"}).exit == 0);
  const auto index = place.indexed();
  REQUIRE(index);
  std::size_t files = 0;
  for (const char* folder : {"a", "b"}) {
    for (const auto& entry : fs::directory_iterator(place.documents() / folder)) {
      if (entry.path().filename().string().front() == '.') continue;
      ++files;
      const auto stored = index->find(fs::canonical(entry.path()).string());
      REQUIRE(stored != index->end());
      const auto text = read_file(entry.path());
      const auto at = text.find("edition");
      CHECK(stored->second.find(text.substr(at, text.find(' ', at) - at)) != std::string::npos);
    }
  }
  CHECK(index->size() == files);
}
