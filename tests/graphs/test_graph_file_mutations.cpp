// Damaged graph files: problems with places, never a crash. CORVID_GRAPH_MUTATIONS sets how many; 20,000 without it.
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "corvid/graphs/graph_file.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

const std::vector<std::string> kWords{"START",
                                      "END",
                                      " -> ",
                                      " + ",
                                      ", ",
                                      "state",
                                      ".x",
                                      "{{",
                                      "}}",
                                      "[",
                                      "]",
                                      "{",
                                      "}",
                                      ":",
                                      ": ",
                                      "\n",
                                      "\n  ",
                                      "\n    ",
                                      "- ",
                                      "\"",
                                      "'",
                                      "&a ",
                                      "*a",
                                      "!!str ",
                                      "|\n",
                                      ">-\n",
                                      "#",
                                      "null",
                                      "true",
                                      "-1",
                                      "1e400",
                                      "99999999999999999999",
                                      "type: set",
                                      "type: map",
                                      "with: {x: 1}",
                                      "edges:",
                                      "nodes:",
                                      "state:",
                                      "graphs:",
                                      "when: ",
                                      "cases:",
                                      "send: ",
                                      "retry: 3",
                                      "on_error: {goto: END}",
                                      "\t",
                                      "\xff",
                                      "\xc3",
                                      "\xe2\x82\xac",
                                      "if 1 else 2",
                                      "for x in",
                                      "len(",
                                      "graph: g",
                                      "default: [",
                                      "<<: *a",
                                      "%YAML 1.1\n",
                                      "---\n",
                                      "...",
                                      "\\u0000",
                                      "? ",
                                      "@",
                                      "`"};

std::string mutated(std::string text, const std::vector<std::string>& seeds, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random() % n); };
  for (auto times = below(4) + 1; times > 0; --times) {
    const auto at = below(text.size() + 1), length = below(std::min<std::size_t>(40, text.size() - at) + 1);
    switch (below(8)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kWords[below(kWords.size())]);
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      case 3:
        if (at < text.size()) text[at] = "{}[]:,\"'- \n&*!|>%@`#"[below(20)];
        break;
      case 4:
        text.insert(below(text.size() + 1), text.substr(at, length));
        break;
      case 5:
        text.replace(at, length, kWords[below(kWords.size())]);
        break;
      case 6: {
        const auto& other = seeds[below(seeds.size())];
        const auto from = below(other.size());
        text.replace(at, length, other, from, below(80));
        break;
      }
      default:
        text.resize(at);
        break;
    }
  }
  return text;
}

}  // namespace

TEST_CASE("graph files: damaged ones give problems with places", "[graphs]") {
  std::vector<std::string> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_dir() / "examples" / "graphs")) {
    if (entry.path().extension() == ".yaml") seeds.push_back(test::read_file(entry.path()));
  }
  REQUIRE(seeds.size() >= 3);
  const auto registry = NodeRegistry::library();
  const std::size_t whole = seeds.size();
  for (std::size_t i = 0; i < whole; ++i) seeds.push_back(dump_json(GraphFile::parse(seeds[i]).to_json(), 1));
  const char* wanted = std::getenv("CORVID_GRAPH_MUTATIONS");
  const long count = wanted ? std::atol(wanted) : 20'000;
  std::mt19937_64 random(20261125);
  long good = 0, parsed = 0, wrong = 0;
  for (long i = 0; i < count; ++i) {
    const auto text = mutated(seeds[static_cast<std::size_t>(random() % seeds.size())], seeds, random);
    const auto file = GraphFile::parse(text);
    const auto problems = file.validate(registry);
    for (const auto& each : problems) wrong += each.line < 1 || each.column < 1 || each.message.empty() ? 1 : 0;
    parsed += file.to_json().is_null() ? 0 : 1;
    if (!problems.empty()) continue;
    ++good;
    const auto again = GraphFile::parse(dump_json(file.to_json()));
    if (again.to_json() != file.to_json() || !again.validate(registry).empty()) {
      INFO(text);
      CHECK(again.to_json() == file.to_json());
      CHECK(again.validate(registry).empty());
      FAIL("the long form is another graph");
    }
  }
  CHECK(wrong == 0);
  CHECK(good > count / 50);  // the mutations are not so coarse that nothing but the YAML parser is tested
  CHECK(parsed - good > count / 10);
}
