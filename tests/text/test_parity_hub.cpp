// tokenizer.json in the form of each family, against the `tokenizers` package (tests/golden/make_tokenizer_files.py).
#include <string>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/text/tokenizer.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

TEST_CASE("tokenizer.json: ids and texts of each family's form as the peer gives them", "[text]") {
  const auto golden = Json::parse(read_file(source_dir() / "tests" / "golden" / "tokenizer_files.json"));
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  for (const auto& file : golden["files"]) {
    TempDir folder;
    write_file(folder / "tokenizer.json", file["file"].dump());
    const auto tokenizer = Tokenizer::open(folder.path());
    INFO(file["name"]);
    if (!tokenizer) FAIL(tokenizer.error().describe());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO("text " << i << ": " << texts[i]);
      const auto plain = (*tokenizer)->encode_spans(texts[i], {false, false});
      REQUIRE(plain);
      std::vector<TokenId> ids;
      for (const auto& span : *plain) {
        ids.push_back(span.id);
        CHECK((span.begin <= span.end && span.end <= texts[i].size()));
      }
      CHECK(ids == file["plain"][i].get<std::vector<TokenId>>());
      CHECK(*(*tokenizer)->encode(texts[i], {true, false}) == file["special"][i].get<std::vector<TokenId>>());
      CHECK(*(*tokenizer)->encode(texts[i], {false, true}) == file["parse"][i].get<std::vector<TokenId>>());
      if (!file["decoded"][i].is_null()) CHECK((*tokenizer)->decode(ids, true) == file["decoded"][i].get<std::string>());
    }
  }
}

TEST_CASE("tokenizer.json: a component that is not supported is refused by its name", "[text]") {
  const auto golden = Json::parse(read_file(source_dir() / "tests" / "golden" / "tokenizer_files.json"));
  const auto refused = [&](const char* where, const Json& value, const char* named) {
    Json file = golden["files"][0]["file"];
    file[Json::json_pointer(where)] = value;
    TempDir folder;
    write_file(folder / "tokenizer.json", file.dump());
    const auto tokenizer = Tokenizer::open(folder.path());
    INFO(where);
    REQUIRE_FALSE(tokenizer);
    INFO(tokenizer.error().describe());
    CHECK(tokenizer.error().code() == ErrorCode::unsupported);
    CHECK(tokenizer.error().describe().find(named) != std::string::npos);
  };
  refused("/normalizer", Json{{"type", "Precompiled"}, {"precompiled_charsmap", ""}}, "Precompiled");
  refused("/normalizer", Json{{"type", "Replace"}, {"pattern", {{"Regex", " +"}}}, {"content", " "}}, "regular expression");
  refused("/pre_tokenizer", Json{{"type", "UnicodeScripts"}}, "UnicodeScripts");
  refused("/pre_tokenizer", Json{{"type", "Sequence"}, {"pretokenizers", {{{"type", "Punctuation"}}, {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}}, "Punctuation");
  refused("/post_processor", Json{{"type", "Other"}}, "Other");
  refused("/decoder", Json{{"type", "CTC"}}, "CTC");
  refused("/model/end_of_word_suffix", "</w>", "end_of_word_suffix");
  refused("/model/dropout", 0.1, "dropout");
  refused("/model/type", "WordLevel", "WordLevel");
}

TEST_CASE("tokenizer.json: the folder's other files name BOS, EOS and the ends of a generation", "[text]") {
  const auto golden = Json::parse(read_file(source_dir() / "tests" / "golden" / "tokenizer_files.json"));
  TempDir folder;
  write_file(folder / "tokenizer.json", golden["files"][0]["file"].dump());
  write_file(folder / "tokenizer_config.json", R"({"bos_token":{"content":"<s>"},"eos_token":"</s>"})");
  write_file(folder / "generation_config.json", R"({"eos_token_id":[2,7]})");
  const auto tokenizer = *Tokenizer::open(folder.path());
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->adds_bos());
  const auto ends = tokenizer->end_of_generation();
  CHECK(std::vector<TokenId>(ends.begin(), ends.end()) == std::vector<TokenId>{2, 7, *tokenizer->find("<|end|>")});
}
