// Tiny BERT encoders of each way of pooling against sentence-transformers (tests/golden/make_tiny_models.py).
#include <cmath>
#include <string_view>

#include "corvid/embed/text_embedder.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

void check_vectors(const TinyModels& models, const Json& model, const std::filesystem::path& folder) {
  Runtime runtime;
  EmbedderOptions options;
  options.precision = Precision::f32;
  options.unit_vectors = false;
  auto embedder = TextEmbedder::load(runtime, folder, options);
  if (!embedder) FAIL(embedder.error().describe());
  CHECK((*embedder)->max_tokens() == 32);
  const auto texts = models.texts();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  auto result = (*embedder)->embed(views);
  REQUIRE(result);
  REQUIRE(result->values.size() == texts.size() * 64);
  const float* wanted = models.vectors(model);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    double dot = 0, aa = 0, bb = 0, farthest = 0;
    for (std::size_t k = i * 64; k < (i + 1) * 64; ++k) {
      const double a = static_cast<double>(result->values[k]), b = static_cast<double>(wanted[k]);
      dot += a * b;
      aa += a * a;
      bb += b * b;
      farthest = std::max(farthest, std::abs(a - b));
    }
    INFO(model["name"] << ": \"" << texts[i] << '"');
    CHECK(dot / std::sqrt(aa * bb) >= 0.99999);
    CHECK(farthest < 1e-4);  // the length too: normalised where the model says so, and only there
  }
}

}  // namespace

TEST_CASE("tiny encoders: vectors as sentence-transformers computes them") {
  const TinyModels models;
  for (const auto& model : models.encoders()) {
    TempDir folder;
    models.write_encoder(model, folder.path());
    check_vectors(models, model, folder.path());
    // Most folders on hubs have the earlier form of the pooling's settings.
    write_file(folder.path() / "1_Pooling" / "config.json", model["earlier_pooling"].dump());
    check_vectors(models, model, folder.path());
  }
}

TEST_CASE("tiny encoders: two ways of pooling at once and unknown ones are refused by name") {
  const TinyModels models;
  Runtime runtime;
  const auto refused = [&](const Json& pooling, const char* named) {
    TempDir folder;
    models.write_encoder(models.encoders()[0], folder.path());
    write_file(folder.path() / "1_Pooling" / "config.json", pooling.dump());
    auto embedder = TextEmbedder::load(runtime, folder.path());
    REQUIRE_FALSE(embedder);
    CHECK(embedder.error().code() == ErrorCode::unsupported);
    CHECK(embedder.error().describe().find(named) != std::string::npos);
  };
  refused(Json{{"pooling_mode_cls_token", true}, {"pooling_mode_mean_tokens", true}}, "2 ways");
  refused(Json{{"pooling_mode_weightedmean_tokens", true}}, "weightedmean");
  refused(Json{{"pooling_mode", "weightedmean"}}, "weightedmean");
  refused(Json{{"pooling_mode", Json{"cls", "mean"}}}, "2 ways");
}
