#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/embed/text_embedder.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

double cosine(const float* a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return dot / std::sqrt(aa * bb);
}

void check_golden(Precision precision, double least) {
  const auto folder = test::model("all-MiniLM-L6-v2");
  const auto golden = test::test_data("golden_minilm.json");
  if (!folder || !golden) return;
  Runtime runtime;
  EmbedderOptions options;
  options.precision = precision;
  auto embedder = TextEmbedder::load(runtime, *folder, options);
  REQUIRE(embedder);
  auto cases = read_json_file(*golden);
  REQUIRE(cases);
  std::vector<std::string> texts;
  for (const auto& one : *cases) texts.push_back(one["text"].get<std::string>());
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  auto result = (*embedder)->embed(views);
  REQUIRE(result);
  double worst = 1;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    worst = std::min(worst, cosine(result->values.data() + i * 384, (*cases)[i]["embedding"].get<std::vector<float>>()));
    CHECK(result->tokens[i] == (*cases)[i]["ids"].size());
  }
  CHECK(worst >= least);
}

}  // namespace

TEST_CASE("MiniLM's vectors are the reference's") {
  SECTION("f32") { check_golden(Precision::f32, 0.99999); }
  SECTION("fast") { check_golden(Precision::fast, 0.999); }
}

TEST_CASE("a text's vector does not depend on its batch; empty, long and invalid texts") {
  const auto folder = test::model("all-MiniLM-L6-v2");
  if (!folder) return;
  Runtime runtime;
  EmbedderOptions options;
  options.max_batch_tokens = 300;
  auto embedder = TextEmbedder::load(runtime, *folder, options);
  REQUIRE(embedder);
  CHECK((*embedder)->dimension() == 384);
  CHECK((*embedder)->max_tokens() == 256);
  CHECK((*embedder)->identity().size() == 64);
  std::string lengthy;
  for (int i = 0; i < 400; ++i) lengthy += "word ";
  const std::vector<std::string_view> texts{"a cat", "", lengthy, "the heart pumps blood through the body", "a cat"};
  auto all = (*embedder)->embed(texts);
  REQUIRE(all);
  CHECK(all->tokens == std::vector<std::uint32_t>{4, 2, 256, 9, 4});
  CHECK(all->cut == std::vector<bool>{false, false, true, false, false});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto alone = (*embedder)->embed(std::span(texts).subspan(i, 1));
    REQUIRE(alone);
    CHECK(std::equal(alone->values.begin(), alone->values.end(), all->values.begin() + static_cast<std::ptrdiff_t>(i * 384)));
  }
  const std::vector<std::string_view> broken{"fine", "bad \xff"};
  auto refused = (*embedder)->embed(broken);
  REQUIRE(!refused);
  CHECK(refused.error().code() == ErrorCode::bad_input);
  REQUIRE(refused.error().cause());
  CHECK(refused.error().cause()->offset() == 4u);
  CancellationSource source;
  source.cancel();
  auto stopped = (*embedder)->embed(texts, source.token());
  REQUIRE(!stopped);
  CHECK(stopped.error().code() == ErrorCode::cancelled);
}

TEST_CASE("what is not a BERT encoder is refused by name") {
  test::TempDir folder;
  Runtime runtime;
  test::write_file(folder / "config.json", R"({"model_type":"t5"})");
  auto refused = TextEmbedder::load(runtime, folder.path());
  REQUIRE(!refused);
  CHECK(TextEmbedder::load(runtime, folder / "nowhere").error().code() == ErrorCode::not_found);
}
