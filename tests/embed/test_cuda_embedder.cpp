// Encoders on a CUDA device: tiny ones as sentence-transformers computes them, MiniLM against the CPU in f32.
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "corvid/embed/text_embedder.hpp"
#include "support/catch.hpp"
#include "support/cuda.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::shared_ptr<TextEmbedder> load(Runtime& runtime, const std::filesystem::path& folder, Device device, Precision precision) {
  EmbedderOptions options;
  options.device = device;
  options.precision = precision;
  auto embedder = TextEmbedder::load(runtime, folder, options);
  if (!embedder) FAIL(embedder.error().describe());
  return *embedder;
}

double lowest_cosine(const std::vector<float>& a, const float* b, std::size_t width) {
  double lowest = 1;
  for (std::size_t at = 0; at < a.size(); at += width) {
    double dot = 0, aa = 0, bb = 0;
    for (std::size_t i = at; i < at + width; ++i) {
      dot += double(a[i]) * double(b[i]);
      aa += double(a[i]) * double(a[i]);
      bb += double(b[i]) * double(b[i]);
    }
    lowest = std::min(lowest, dot / std::sqrt(aa * bb));
  }
  return lowest;
}

}  // namespace

TEST_CASE("cuda: tiny encoders of each way of pooling", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  const TinyModels models;
  Runtime runtime;
  const auto texts = models.texts();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  for (const auto& model : models.encoders()) {
    TempDir folder;
    models.write_encoder(model, folder.path());
    for (Precision precision : {Precision::f32, Precision::fast}) {
      const auto result = load(runtime, folder.path(), *device, precision)->embed(views);
      REQUIRE(result);
      INFO(model["name"]);
      CHECK(lowest_cosine(result->values, models.vectors(model), 64) >= (precision == Precision::f32 ? 0.99999 : 0.999));
    }
  }
}

TEST_CASE("cuda: MiniLM against the CPU in f32", "[cuda]") {
  const auto device = cuda_device();
  const auto folder = device ? model("all-MiniLM-L6-v2") : std::nullopt;
  if (!folder) return;
  Runtime runtime;
  std::vector<std::string> texts;
  for (int i = 0; i < 70; ++i) {
    std::string text = "Passage " + std::to_string(i);
    for (int w = 0; w < i * 3; ++w) text += w % 7 == 0 ? " harbour fees," : w % 3 == 0 ? " tide" : " the boats of the night";
    texts.push_back(text);
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto reference = load(runtime, *folder, {}, Precision::f32)->embed(views);
  REQUIRE(reference);
  for (Precision precision : {Precision::f32, Precision::fast}) {
    const auto result = load(runtime, *folder, *device, precision)->embed(views);
    REQUIRE(result);
    CHECK(lowest_cosine(result->values, reference->values.data(), 384) >= 0.9999);
  }
}

TEST_CASE("cuda: an encoder's allocation that fails is a typed error, what runs goes on, nothing leaks", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  const TinyModels models;
  Runtime runtime;
  const auto used = [&] { return runtime.device_memory(device->index, 0).used_bytes(); };
  TempDir folder;
  models.write_encoder(models.encoders()[0], folder.path());
  const auto texts = models.texts();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  {
    const auto running = load(runtime, folder.path(), *device, Precision::fast);
    const auto expected = running->embed(views);
    REQUIRE(expected);
    const std::uint64_t held = used();
    for (int at = 0;; ++at) {
      REQUIRE(at < 1000);
      ::setenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION", std::to_string(at).c_str(), 1);
      EmbedderOptions options;
      options.device = *device;
      auto embedder = TextEmbedder::load(runtime, folder.path(), options);
      ::unsetenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION");
      INFO("allocation " << at);
      if (embedder) {  // all of a load's allocations; the next one would fail, and no batch makes one
        CHECK(at > 12);
        CHECK((*embedder)->embed(views));
        break;
      }
      CHECK(embedder.error().code() == ErrorCode::out_of_memory);
      CHECK(used() == held);
      const auto again = running->embed(views);
      REQUIRE(again);
      CHECK(again->values == expected->values);
    }
  }
  CHECK(used() == 0);
}
