// A chain: typed state, three nodes one after the other, a run to its end.
//
//   20_chain boats
#include <corvid/graphs/state_graph.hpp>
#include <corvid/runtime/runtime.hpp>
#include <cstdio>
#include <sstream>
#include <string>

namespace {

// A wrong type or a key of another struct does not compile.
struct Essay {
  corvid::Key<std::string> topic{"topic"};
  corvid::Key<std::string> title{"title"};
  corvid::Key<std::string> text{"text"};
  corvid::Key<int> words{"words"};
};
using State = corvid::StateOf<Essay>;

corvid::Status run(const char* topic) {
  corvid::Runtime runtime;
  corvid::StateGraph<Essay> graph;
  graph.add_node("title", [](const State& s) { return corvid::update(&Essay::title, "On " + s[&Essay::topic]); });
  graph.add_node("write", [](const State& s) {
    return corvid::update(&Essay::text, s[&Essay::title] + ": all that is known of " + s[&Essay::topic] + ".");
  });
  graph.add_node("count", [](const State& s) {
    std::istringstream text(s[&Essay::text]);
    int words = 0;
    for (std::string word; text >> word;) ++words;
    return corvid::update(&Essay::words, words);
  });
  graph.add_edge(corvid::START, "title").add_edge("title", "write").add_edge("write", "count").add_edge("count", corvid::END);

  CORVID_TRY(auto compiled, graph.compile());  // everything that is wrong with the graph, at once
  CORVID_TRY(auto result, compiled->invoke_blocking(runtime, corvid::input(corvid::update(&Essay::topic, topic))));
  std::printf("%s\n%d words, %d steps\n", result.get(&Essay::text).c_str(), result.get(&Essay::words), static_cast<int>(result.steps));
  return {};
}

}  // namespace

int main(int argc, char* argv[]) {
  if (auto status = run(argc > 1 ? argv[1] : "boats"); !status) {
    std::fprintf(stderr, "%s\n", status.error().describe().c_str());
    return 1;
  }
}
