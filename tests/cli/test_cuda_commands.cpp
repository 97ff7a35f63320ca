// The commands with --device cuda against the same on the CPU in f32, as a script would run them.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "cli/run_program.hpp"
#include "corvid/base/json.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* kModel = "SmolLM2-135M-Instruct-Q4_1.gguf";
constexpr const char* kEmbedder = "all-MiniLM-L6-v2";

Json json_of(const Outcome& outcome) {
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  auto parsed = parse_json(outcome.out);
  REQUIRE(parsed);
  return *parsed;
}

// The device as --device takes it; empty with a line on stderr where there is none.
std::string device(const TempDir& dir) {
  const char* wanted = std::getenv("CORVID_TEST_CUDA_DEVICE");
  const std::string name = std::string("cuda:") + (wanted ? wanted : "0");
  const auto checks = json_of(run(dir, {"doctor", "--json"}))["checks"];
  for (const auto& check : checks) {
    if (check["name"] == name && check["ok"] == true) return name;
  }
  std::fprintf(stderr, "SKIPPED: doctor shows no usable %s\n", name.c_str());
  if (std::getenv("CORVID_REQUIRE_CUDA")) FAIL("a CUDA device is required");
  return {};
}

}  // namespace

TEST_CASE("cuda: generate, score and perplexity", "[cuda]") {
  TempDir dir;
  const auto cuda = device(dir);
  if (cuda.empty() || !model(kModel)) return;
  const auto both = [&](std::vector<std::string> words, std::string_view input, const char* precision) {
    std::vector<std::string> other = words;
    for (const char* word : {"--device", "cpu", "--precision", "f32"}) words.emplace_back(word);
    for (const char* word : {"--device", cuda.c_str(), "--precision", precision}) other.emplace_back(word);
    return std::pair(json_of(run(dir, words, input)), json_of(run(dir, other, input)));
  };
  std::string story;
  for (int i = 0; i < 120; ++i) story += "On day " + std::to_string(i) + " the ship met a storm and lost " + (i % 3 ? "a sail. " : "two men at the helm. ");
  write_file(dir / "t.txt", story);
  for (const char* precision : {"f32", "fast"}) {
    INFO(precision);
    const auto [said, same] = both({"generate", "--model", kModel, "--raw", "--max-tokens", "24", "--json", "The capital of France is"}, {}, precision);
    CHECK(same["text"].get<std::string>().substr(0, 8) == said["text"].get<std::string>().substr(0, 8));
    if (precision == std::string("f32")) CHECK(same["token_ids"] == said["token_ids"]);
    const auto [scored, likewise] = both({"score", "--model", kModel, "--json"}, story.substr(0, 2000), precision);
    REQUIRE(scored["token_ids"] == likewise["token_ids"]);
    double farthest = 0;
    for (std::size_t i = 1; i < scored["logprobs"].size(); ++i) farthest = std::max(farthest, std::abs(scored["logprobs"][i].get<double>() - likewise["logprobs"][i].get<double>()));
    CHECK(farthest < (precision == std::string("f32") ? 0.001 : 0.1));
    const auto [expected, measured] = both({"perplexity", "--model", kModel, "--file", "t.txt", "--context", "256", "--json"}, {}, precision);
    CHECK(measured["tokens"] == expected["tokens"]);
    CHECK(std::abs(measured["perplexity"].get<double>() / expected["perplexity"].get<double>() - 1) < 0.003);
  }
}

TEST_CASE("cuda: embed, ingest, search and ask", "[cuda]") {
  TempDir dir;
  const auto cuda = device(dir);
  if (cuda.empty() || !model(kModel) || !model(kEmbedder)) return;
  const auto vectors = [&](const std::string& where, const char* precision) {
    const auto outcome = run(dir, {"embed", "--model", kEmbedder, "--device", where, "--precision", precision, "--json"}, "the harbour opens at six\n\nA mooring costs nine euros a night.\n");
    REQUIRE(outcome.code == 0);
    std::vector<std::vector<double>> all;
    for (std::size_t at = 0, end; (end = outcome.out.find('\n', at)) != std::string::npos; at = end + 1) {
      all.push_back(parse_json(outcome.out.substr(at, end - at)).value().get<std::vector<double>>());
    }
    return all;
  };
  const auto expected = vectors("cpu", "f32"), got = vectors(cuda, "fast");
  REQUIRE(expected.size() == 3);
  REQUIRE(got.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    double dot = 0;
    for (std::size_t k = 0; k < 384; ++k) dot += expected[i][k] * got[i][k];
    CHECK(dot >= 0.9999);
  }

  fs::create_directories(dir / "docs");
  write_file(dir.path() / "docs" / "guide.md", "# Harbour guide\n\nThe harbour opens at six.\n\n## Fees\n\nA mooring costs nine euros a night.\n");
  write_file(dir.path() / "docs" / "boats.csv", "name,length\nHeron,12\nGull,7\n");
  CHECK(json_of(run(dir, {"ingest", "docs", "--device", cuda, "--json"}))["chunks"] == 4);
  const auto hits = json_of(run(dir, {"search", "mooring costs", "-k", "1", "--mode", "dense", "--device", cuda, "--json"}));
  REQUIRE(hits.size() == 1);
  CHECK(hits[0]["heading"] == Json({"Harbour guide", "Fees"}));
  const auto answer = json_of(run(dir, {"ask", "What does a mooring cost?", "--device", cuda, "--json"}));
  CHECK(answer["grounded"] == true);
  REQUIRE_FALSE(answer["citations"].empty());
  CHECK(contains(answer["answer"].get<std::string>(), "nine euros"));
}
