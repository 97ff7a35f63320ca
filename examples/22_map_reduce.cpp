// Map and reduce over documents: a task for each file, all in one superstep; their results are joined in their order.
//
//   22_map_reduce examples/documents
#include <algorithm>
#include <corvid/graphs/state_graph.hpp>
#include <corvid/runtime/runtime.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

struct Counting {
  corvid::Key<std::string> folder{"folder"};
  corvid::Key<std::string> file{"file"};  // of one task: what its Send carries
  corvid::Key<std::vector<std::pair<std::string, int>>> counts{"counts", corvid::append};
  corvid::Key<int> total{"total"};
};
using State = corvid::StateOf<Counting>;

corvid::Result<corvid::Route> every_file(const State& s) {
  std::vector<std::string> files;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(s[&Counting::folder], failure)) files.push_back(entry.path().string());
  if (failure) return corvid::fail(corvid::Error::not_found(failure.message()).at_file(s[&Counting::folder]));
  std::sort(files.begin(), files.end());
  std::vector<corvid::Send> sends;
  for (auto& file : files) sends.emplace_back("count", corvid::update(&Counting::file, std::move(file)));
  return corvid::Route(std::move(sends));
}

// A plain function: it may block, for it runs on a thread of the runtime's pool.
corvid::Update<Counting> count(const State& s) {
  std::ifstream in(s[&Counting::file]);
  int words = 0;
  for (std::string word; in >> word;) ++words;
  return corvid::update(&Counting::counts, {{std::filesystem::path(s[&Counting::file]).filename().string(), words}});
}

corvid::Update<Counting> add_up(const State& s) {
  int total = 0;
  for (const auto& [file, words] : s[&Counting::counts]) total += words;
  return corvid::update(&Counting::total, total);
}

corvid::Status run(const char* folder) {
  corvid::Runtime runtime;
  corvid::StateGraph<Counting> graph;
  graph.add_node("count", count).add_node("add_up", add_up);
  graph.add_conditional_edges(corvid::START, every_file, {"count"});
  graph.add_edge("count", "add_up").add_edge("add_up", corvid::END);

  CORVID_TRY(auto compiled, graph.compile());
  corvid::RunConfig config;
  config.max_concurrency = 8;  // of however many files there are
  CORVID_TRY(auto result, compiled->invoke_blocking(runtime, corvid::input(corvid::update(&Counting::folder, folder)), config));
  for (const auto& [file, words] : result.get(&Counting::counts)) std::printf("%5d  %s\n", words, file.c_str());
  std::printf("%5d  in all\n", result.get(&Counting::total));
  return {};
}

}  // namespace

int main(int argc, char* argv[]) {
  if (auto status = run(argc > 1 ? argv[1] : "."); !status) {
    std::fprintf(stderr, "%s\n", status.error().describe().c_str());
    return 1;
  }
}
