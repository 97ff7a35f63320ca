// The commands that others script against: names, keys and values as documented in docs/commands.md, on real models and files.
#include <cmath>
#include <set>

#include "cli/run_program.hpp"
#include "corvid/base/json.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* kModel = "SmolLM2-135M-Instruct-Q4_1.gguf";
constexpr const char* kEmbedder = "all-MiniLM-L6-v2";

bool models_are_here() { return model(kModel) && model(kEmbedder); }

Json json_of(const Outcome& outcome, int code = 0) {
  INFO(outcome.err);
  REQUIRE(outcome.code == code);
  auto parsed = parse_json(outcome.out);
  REQUIRE(parsed);
  return *parsed;
}

std::set<std::string> keys(const Json& object) {
  std::set<std::string> names;
  for (const auto& [key, value] : object.items()) names.insert(key);
  return names;
}

using Keys = std::set<std::string>;

}  // namespace

TEST_CASE("contract: tokenize") {
  if (!models_are_here()) return;
  TempDir dir;
  const auto ids = [&](std::vector<std::string> more, std::string_view text) {
    std::vector<std::string> words{"tokenize", "--model", kModel, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return json_of(run(dir, words, text));
  };
  CHECK(ids({}, "Hello <|im_start|>").size() > 3);
  CHECK(ids({"--parse-special"}, "Hello <|im_start|>") == Json({19556, 216, 1}));
  CHECK(ids({}, "").empty());
  CHECK(ids({}, "a\n") != ids({}, "a"));  // nothing is trimmed
  CHECK(ids({}, std::string("\xff\0x", 3)).size() > 1);
  const auto words = [&](std::vector<std::string> more) {
    std::vector<std::string> all{"tokenize", "--model", kEmbedder, "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return json_of(run(dir, all, "hello world"));
  };
  CHECK(words({}) == Json({101, 7592, 2088, 102}));
  CHECK(words({"--no-special"}) == Json({7592, 2088}));
  std::string longer;
  for (int i = 0; i < 2000; ++i) longer += "hello ";
  CHECK(json_of(run(dir, {"tokenize", "--model", kEmbedder, "--json"}, longer)).size() == 2002);  // never cut
  const auto bad = run(dir, {"tokenize", "--model", kEmbedder, "--json"}, "ab\xff");
  CHECK(bad.code == 3);
  CHECK(bad.out.empty());
  CHECK(contains(bad.err, "byte 2"));
}

TEST_CASE("contract: generate") {
  if (!models_are_here()) return;
  TempDir dir;
  const auto out = json_of(run(dir, {"generate", "--model", kModel, "--raw", "--temperature", "0", "--max-tokens", "5", "--json", "The capital of France is"}));
  CHECK(keys(out) == Keys{"text", "token_ids", "finish_reason", "usage", "timings"});
  CHECK(out["text"] == " Paris.\n\nThe");
  CHECK(out["token_ids"] == Json({7042, 30, 198, 198, 504}));
  CHECK(out["finish_reason"] == "length");
  CHECK(out["usage"] == Json{{"prompt_tokens", 5}, {"completion_tokens", 5}, {"cached_tokens", 0}});
  CHECK(keys(out["timings"]) == Keys{"load_ms", "prefill_ms", "first_token_ms", "decode_ms"});
  // In f32, whose words do not hang on how an instruction set rounds.
  const auto chat = json_of(run(dir, {"generate", "--model", kModel, "--precision", "f32", "--temperature", "0", "--max-tokens", "60", "--json", "Say hello."}));
  CHECK(chat["finish_reason"] == "stop");
  CHECK(chat["token_ids"].back() == 2);  // the stopping token is there, the text does not show it
  CHECK_FALSE(contains(chat["text"].get<std::string>(), "<|im_end|>"));
  // The same with other thread counts given, and in f32.
  for (const char* precision : {"fast", "f32"}) {
    const auto again = json_of(run(dir, {"generate", "--model", kModel, "--raw", "--max-tokens", "3", "--precision", precision, "--threads", "1", "--device", "cpu", "--json", "The capital of France is"}));
    CHECK(again["text"] == " Paris.\n");
  }
  std::string many;
  for (int i = 0; i < 9000; ++i) many += " a";
  const auto over = run(dir, {"generate", "--model", kModel, "--raw", "--json", many});
  CHECK(over.code != 0);
  CHECK(over.out.empty());
  CHECK(contains(over.err, "9000"));
  CHECK(contains(over.err, "8192"));
  // A device that is not there, with a driver and without one.
  const auto cuda = run(dir, {"generate", "--model", kModel, "--raw", "--device", "cuda:4096", "x"});
  CHECK(cuda.code == 5);
  CHECK(contains(cuda.err, "device"));
}

TEST_CASE("contract: score and perplexity") {
  if (!models_are_here()) return;
  TempDir dir;
  const auto text = json_of(run(dir, {"score", "--model", kModel, "--top", "2", "--json"}, "The capital of"));
  CHECK(keys(text) == Keys{"token_ids", "logprobs", "top"});
  const auto ids = json_of(run(dir, {"score", "--model", kModel, "--ids", "--top", "2", "--json"}, text["token_ids"].dump()));
  CHECK(ids == text);
  REQUIRE(text["logprobs"].size() == 3);
  CHECK(text["logprobs"][0].is_null());
  CHECK(text["logprobs"][1].get<double>() < 0);
  REQUIRE(text["top"].size() == 3);
  for (const auto& top : text["top"]) {
    REQUIRE(top.size() == 2);
    CHECK(top[0][1].get<double>() >= top[1][1].get<double>());
  }
  CHECK(run(dir, {"score", "--model", kModel, "--ids", "--json"}, "[1, 999999]").code == 3);
  CHECK(run(dir, {"score", "--model", kModel, "--ids", "--json"}, "{}").code == 3);

  std::string story;
  for (int i = 0; i < 60; ++i) story += "On day " + std::to_string(i) + " the ship met a storm and lost a sail. ";
  write_file(dir / "t.txt", story);
  const auto tokens = json_of(run(dir, {"tokenize", "--model", kModel, "--json"}, story)).size();
  const auto out = json_of(run(dir, {"perplexity", "--model", kModel, "--file", "t.txt", "--context", "128", "--json"}));
  CHECK(keys(out) == Keys{"perplexity", "tokens"});
  CHECK(out["tokens"] == tokens / 128 * 63);
  CHECK(out["perplexity"].get<double>() > 1);
  CHECK(out["perplexity"].get<double>() < 20);
  CHECK(run(dir, {"perplexity", "--model", kModel, "--file", "absent.txt", "--json"}).code == 4);
  write_file(dir / "short.txt", "too short");
  CHECK(run(dir, {"perplexity", "--model", kModel, "--file", "short.txt", "--json"}).code != 0);
}

TEST_CASE("contract: bench llm") {
  if (!models_are_here()) return;
  TempDir dir;
  const auto out = json_of(run(dir, {"bench", "llm", "--model", kModel, "--runs", "3", "--threads", "2", "--json"}));
  CHECK(out["prefill_tok_s"].get<double>() > 0);
  CHECK(out["decode_tok_s"].get<double>() > 0);
  CHECK(out["prompt_tokens"] == 512);
  CHECK(out["generated_tokens"] == 128);
  CHECK(out["share_of_read"].get<double>() > 0);
  CHECK(out["limits"]["read_gb_s"].get<double>() > 0);
  CHECK(!out.contains("parallel_tok_s"));
  const auto together = json_of(run(dir, {"bench", "llm", "--model", kModel, "--generate-tokens", "8", "--prompt-tokens", "16", "--parallel", "3", "--threads", "2", "--json"}));
  CHECK(together["parallel"] == 3);
  CHECK(together["parallel_tok_s"].get<double>() > 0);
}

TEST_CASE("contract: bench index and bench tokenize") {
  TempDir dir;
  const Keys limits{"read_gb_s", "f32_gflop_s", "bf16_gflop_s", "int8_gop_s"};
  for (const char* storage : {"f32", "f16"}) {
    for (const char* batch : {"1", "32"}) {
      const auto out = json_of(run(dir, {"bench", "index", "--vectors", "2000", "--dims", "48", "--batch", batch, "--storage", storage, "--threads", "2", "--json"}));
      CHECK(out["queries_s"].get<double>() > 0);
      CHECK(out["recall"].get<double>() > 0.99);
      CHECK(out["scan_bytes"] == 2000 * 48 * (storage == std::string("f16") ? 2 : 4));
      CHECK(keys(out["limits"]) == limits);
      CHECK(out["limits"]["read_gb_s"].get<double>() > 0);
      CHECK(out.contains("share_of_read"));
    }
  }
  CHECK(run(dir, {"bench", "index", "--storage", "q8_0"}).code == 2);
  CHECK(run(dir, {"bench", "tokenize"}).code == 2);
  CHECK(run(dir, {"bench", "everything"}).code == 2);
  if (!models_are_here()) return;
  write_file(dir / "t.txt", "The capital of France is Paris.\n");
  const auto out = json_of(run(dir, {"bench", "tokenize", "--model", kModel, "--file", "t.txt", "--json"}));
  CHECK(out["tokens"] == json_of(run(dir, {"tokenize", "--model", kModel, "--json"}, "The capital of France is Paris.\n")).size());
  CHECK(out["bytes"] == 32);
  CHECK(out["mb_s"].get<double>() > 0);
  CHECK(out["load_ms"].get<double>() > 0);
  CHECK(keys(out["limits"]) == limits);
  CHECK(run(dir, {"bench", "tokenize", "--model", kModel, "--file", "absent.txt"}).code == 4);
  const auto embed = json_of(run(dir, {"bench", "embed", "--model", kEmbedder, "--texts", "2", "--prompt-tokens", "8", "--runs", "3", "--json"}));
  CHECK(embed["gop_s"].get<double>() > 0);
  CHECK(keys(embed["limits"]) == limits);
}

TEST_CASE("contract: embed") {
  if (!models_are_here()) return;
  TempDir dir;
  const auto lines = [&](std::string_view text) {
    const auto outcome = run(dir, {"embed", "--model", kEmbedder, "--json"}, text);
    REQUIRE(outcome.code == 0);
    std::vector<Json> all;
    std::size_t at = 0;
    while (at < outcome.out.size()) {
      const auto end = outcome.out.find('\n', at);
      all.push_back(*parse_json(outcome.out.substr(at, end - at)));
      at = end + 1;
    }
    return all;
  };
  const auto three = lines("a storm\n\na river\n");
  REQUIRE(three.size() == 3);
  CHECK(lines("a storm\n\na river").size() == 3);
  CHECK(lines("a storm\r\n").size() == 1);
  CHECK(lines("").empty());
  for (const auto& vector : three) {
    REQUIRE(vector.size() == 384);
    double norm = 0;
    for (const auto& x : vector) norm += x.get<double>() * x.get<double>();
    CHECK(std::abs(norm - 1) < 1e-4);
  }
}

TEST_CASE("contract: ingest, search, collections, ask") {
  if (!models_are_here()) return;
  TempDir dir;
  fs::create_directories(dir / "docs");
  const std::string guide = "# Harbour guide\n\nThe harbour opens at six.\n\n## Fees\n\nA mooring costs nine euros a night. \xff\n";
  write_file(dir.path() / "docs" / "guide.md", guide);
  write_file(dir.path() / "docs" / "boats.csv", "name,length\nHeron,12\nGull,7\n");
  write_file(dir.path() / "docs" / ".hidden", "x");

  const auto none = run(dir, {"search", "fees"});
  CHECK(none.code == 4);
  CHECK(contains(none.err, "no collection \"default\" in "));
  CHECK(contains(none.err, "corvid.db"));

  const auto added = json_of(run(dir, {"ingest", "docs", "nowhere", "--meta", "team=port", "--json"}));
  CHECK(keys(added) == Keys{"files", "skipped", "chunks", "added", "changed", "deleted", "failed", "seconds"});
  CHECK(added["files"] == 2);
  CHECK(added["skipped"] == 1);
  CHECK(added["chunks"] == 4);
  CHECK(added["added"] == 2);
  REQUIRE(added["failed"].size() == 1);
  CHECK(keys(added["failed"][0]) == Keys{"path", "error"});
  CHECK(run(dir, {"ingest", "nowhere", "--json"}).code == 4);

  for (const char* mode : {"dense", "lexical", "hybrid"}) {
    const auto hits = json_of(run(dir, {"search", "mooring costs", "-k", "1", "--mode", mode, "--json"}));
    REQUIRE(hits.size() == 1);
    CHECK(keys(hits[0]) == Keys{"source", "heading", "lines", "bytes", "score", "text"});
    CHECK(hits[0]["source"] == fs::canonical(dir.path() / "docs" / "guide.md").string());
    CHECK(hits[0]["heading"] == Json({"Harbour guide", "Fees"}));
    CHECK(hits[0]["lines"] == Json({5, 7}));
    const auto begin = hits[0]["bytes"][0].get<std::size_t>(), end = hits[0]["bytes"][1].get<std::size_t>();
    CHECK(guide.substr(begin, end - begin) == "## Fees\n\nA mooring costs nine euros a night. \xff");
    CHECK(hits[0]["text"] == "## Fees\n\nA mooring costs nine euros a night. \xef\xbf\xbd");
  }
  CHECK(json_of(run(dir, {"search", "Heron", "--filter", "length > 10 and team = \"port\"", "--json"})).size() == 1);
  CHECK(run(dir, {"search", "Heron", "--filter", "length >", "--json"}).code == 3);

  const auto list = json_of(run(dir, {"collections", "list", "--json"}));
  REQUIRE(list.size() == 1);
  CHECK(list[0]["name"] == "default");
  CHECK(json_of(run(dir, {"collections", "show", "default", "--json"}))["files"] == 2);

  const auto answer = json_of(run(dir, {"ask", "What does a mooring cost?", "--json"}));
  CHECK(keys(answer) == Keys{"answer", "grounded", "citations", "unsupported", "removed", "notes", "usage", "timings"});
  CHECK(answer["grounded"] == true);
  REQUIRE_FALSE(answer["citations"].empty());
  std::set<int> cited;
  for (const auto& citation : answer["citations"]) {
    CHECK(keys(citation) == Keys{"n", "by", "source", "heading", "lines", "bytes", "text"});
    CHECK((citation["by"] == "model" || citation["by"] == "attribution"));
    CHECK(contains(answer["answer"].get<std::string>(), "[" + std::to_string(citation["n"].get<int>()) + "]"));
    cited.insert(citation["n"].get<int>());
  }
  const auto text = answer["answer"].get<std::string>();
  for (std::size_t at = 0; (at = text.find('[', at)) != text.npos; ++at) {
    if (at + 2 < text.size() && std::isdigit(static_cast<unsigned char>(text[at + 1])) && text[at + 2] == ']') CHECK(cited.contains(text[at + 1] - '0'));
  }
  const auto nothing = json_of(run(dir, {"ask", "Who composed the ninth symphony?", "--json"}));
  CHECK(nothing["grounded"] == false);
  CHECK(nothing["citations"].empty());

  const auto removed = json_of(run(dir, {"ingest", "--remove", "docs/boats.csv", "--json"}));
  CHECK(removed["deleted"] == 1);
  CHECK(json_of(run(dir, {"search", "Heron", "--mode", "lexical", "--json"})).empty());
  CHECK(run(dir, {"collections", "delete", "nope", "--json"}).code == 4);
  json_of(run(dir, {"collections", "delete", "default", "--json"}));
  CHECK(json_of(run(dir, {"collections", "list", "--json"})).empty());
}

TEST_CASE("contract: chat remembers its threads") {
  if (!models_are_here()) return;
  TempDir dir;
  write_file(dir / "a.md", "The lighthouse keeper is called Ingrid. She has kept the lighthouse since 1987.\n");
  json_of(run(dir, {"ingest", "a.md", "--json"}));
  const auto first = run(dir, {"chat", "--documents", "--max-tokens", "40"}, "Who keeps the lighthouse?\n");
  INFO(first.err);
  CHECK(first.code == 0);
  CHECK(contains(first.out, "Ingrid"));
  CHECK(contains(first.out, "[1]"));
  const auto turn = [&](const char* thread) { return json_of(run(dir, {"chat", "--thread", thread, "--max-tokens", "8", "--json", "Tell me about boats."})); };
  const auto alone = turn("t"), second = turn("t"), other = turn("u");
  CHECK(second["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]);
  CHECK(other["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]);
  CHECK(other["answer"] == alone["answer"]);
  CHECK(second["dropped_turns"] == 0);
  // Over the context whole oldest turns go, and the answer says how many.
  const auto small = json_of(run(dir, {"chat", "--thread", "t", "--max-tokens", "8", "--context", "64", "--json", "And about ships?"}));
  CHECK(small["dropped_turns"].get<int>() > 0);
  CHECK(run(dir, {"chat", "--thread", "t", "--forget"}).code == 0);
  CHECK(turn("t")["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]);
}
