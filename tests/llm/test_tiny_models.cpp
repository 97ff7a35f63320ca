// Every architecture and kind of rope on tiny weights, from a GGUF file and from a hub folder, against transformers in f32
// (tests/golden/make_tiny_models.py says how the weights are drawn and what is recorded).
#include <cmath>
#include <cstring>

#include "corvid/base/json.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

constexpr float kTolerance = 1e-3f;

std::shared_ptr<Engine> load(Runtime& runtime, const std::filesystem::path& path) {
  EngineOptions options;
  options.precision = Precision::f32;
  options.context_tokens = 128;
  options.max_running = 2;
  auto engine = Engine::load_blocking(runtime, path, options);
  if (!engine) FAIL(engine.error().describe());
  return *engine;
}

float farthest(const std::vector<float>& logits, const float* wanted) {
  float worst = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(logits[i] - wanted[i]));
  return worst;
}

// Token by token, as in decoding, and in two pieces with a border inside a page, as in prefill.
float worst_difference(Engine& engine, const std::vector<TokenId>& ids, const float* wanted, std::size_t vocab) {
  float worst = 0;
  auto decode = *engine.new_sequence();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    REQUIRE(decode.append_blocking({ids[i]}));
    const auto logits = decode.logits();
    REQUIRE(logits);
    REQUIRE(logits->size() == vocab);
    worst = std::max(worst, farthest(*logits, wanted + i * vocab));
  }
  auto prefill = *engine.new_sequence();
  REQUIRE(prefill.append_blocking({ids.begin(), ids.begin() + 37}));
  worst = std::max(worst, farthest(*prefill.logits(), wanted + 36 * vocab));
  REQUIRE(prefill.append_blocking({ids.begin() + 37, ids.end()}));
  return std::max(worst, farthest(*prefill.logits(), wanted + (ids.size() - 1) * vocab));
}

Error refusal(Runtime& runtime, const std::filesystem::path& path) {
  auto engine = Engine::load_blocking(runtime, path);
  REQUIRE_FALSE(engine);
  return engine.error();
}

}  // namespace

TEST_CASE("tiny models: logits as transformers computes them", "[tiny]") {
  const TinyModels models;
  Runtime runtime;
  const auto ids = models.ids();
  for (const auto& model : models.decoders()) {
    const float* wanted = models.logits(model);
    for (std::size_t form = 0; form < model["configs"].size(); ++form) {
      TempDir folder;
      models.write_hub(model, model["configs"][form], folder.path());
      const auto engine = load(runtime, folder.path());
      INFO(model["name"] << " from a hub folder, form " << form);
      CHECK(worst_difference(*engine, ids, wanted, models.vocab()) <= kTolerance);
    }
    if (!model.contains("gguf")) continue;
    TempDir folder;
    write_file(folder / "model.gguf", models.gguf(model).bytes());
    const auto engine = load(runtime, folder / "model.gguf");
    INFO(model["name"] << " from a GGUF file");
    CHECK(worst_difference(*engine, ids, wanted, models.vocab()) <= kTolerance);
  }
}

TEST_CASE("tiny models: a folder of several modalities gives its language model", "[tiny]") {
  const TinyModels models;
  Runtime runtime;
  Json model = models.decoder("gemma3-window-8");
  const float* wanted = models.logits(model);
  const Json config{{"model_type", "gemma3"}, {"text_config", model["configs"][0]}, {"vision_config", Json::object()}};
  for (const char* front : {"language_model.model.", "model.language_model."}) {
    Json renamed = model;
    for (auto& tensor : renamed["tensors"]) tensor = Json{front + tensor[0].get<std::string>().substr(6), tensor[1], tensor[2], tensor[3], tensor[0]};
    renamed["tensors"].push_back(Json{"vision_tower.patch.weight", Json{4, 4}, 1.0, 0.0});
    TempDir folder;
    models.write_hub(renamed, config, folder.path());
    const auto engine = load(runtime, folder.path());
    INFO(front);
    CHECK(worst_difference(*engine, models.ids(), wanted, models.vocab()) <= kTolerance);
  }
}

TEST_CASE("tiny models: log probabilities of score are those of the logits", "[tiny]") {
  const TinyModels models;
  Runtime runtime;
  const auto& model = models.decoder("gemma3-window-8");
  TempDir folder;
  models.write_hub(model, model["configs"][0], folder.path());
  const auto engine = load(runtime, folder.path());
  const auto ids = models.ids();
  const auto scored = runtime.wait(engine->score(ids, 1));
  REQUIRE(scored);
  const float* wanted = models.logits(model);
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    const float* row = wanted + i * models.vocab();
    double sum = 0;
    for (std::size_t v = 0; v < models.vocab(); ++v) sum += std::exp(static_cast<double>(row[v]));
    const double logprob = static_cast<double>(row[static_cast<std::size_t>(ids[i + 1])]) - std::log(sum);
    CHECK(std::abs(static_cast<double>(*scored->logprobs[i + 1]) - logprob) < 2e-3);
  }
}

TEST_CASE("tiny models: what is not supported is refused by its name", "[tiny]") {
  const TinyModels models;
  Runtime runtime;
  const auto& model = models.decoder("llama-tied");
  const auto hub = [&](const char* where, const Json& value, ErrorCode code, const char* named) {
    TempDir folder;
    Json config = model["configs"][0];
    config[Json::json_pointer(where)] = value;
    models.write_hub(model, config, folder.path());
    const Error error = refusal(runtime, folder.path());
    INFO(where << ": " << error.describe());
    CHECK(error.code() == code);
    CHECK(error.describe().find(named) != std::string::npos);
  };
  hub("/model_type", "mamba", ErrorCode::unsupported, "mamba");
  hub("/rope_parameters/rope_type", "longrope", ErrorCode::unsupported, "longrope");
  hub("/rope_parameters/rope_type", "dynamic", ErrorCode::unsupported, "dynamic");
  hub("/rope_scaling", Json{{"type", "su"}, {"factor", 4.0}}, ErrorCode::unsupported, "su");
  hub("/hidden_act", "relu2", ErrorCode::unsupported, "relu2");
  hub("/mlp_bias", true, ErrorCode::unsupported, "mlp_bias");
  hub("/tie_word_embeddings", false, ErrorCode::bad_input, "lm_head.weight");
  hub("/head_dim", 15, ErrorCode::bad_input, "odd");

  const auto gguf = [&](const std::vector<Json>& entries, ErrorCode code, const char* named) {
    Json changed = model;
    for (const auto& entry : entries) changed["gguf"]["metadata"].push_back(entry);
    TempDir folder;
    write_file(folder / "model.gguf", models.gguf(changed).bytes());
    const Error error = refusal(runtime, folder / "model.gguf");
    INFO(error.describe());
    CHECK(error.code() == code);
    CHECK(error.describe().find(named) != std::string::npos);
  };
  gguf({Json{"llama.rope.scaling.type", "string", "longrope"}}, ErrorCode::unsupported, "longrope");
  gguf({Json{"llama.rope.scaling.type", "string", "yarn"}, Json{"llama.rope.scaling.factor", "f32", 4.0}, Json{"llama.rope.scaling.yarn_ext_factor", "f32", 0.5}},
       ErrorCode::unsupported, "yarn_ext_factor");
  Json mamba = model;
  mamba["gguf"]["metadata"][0][2] = "mamba";
  TempDir folder;
  write_file(folder / "model.gguf", models.gguf(mamba).bytes());
  const Error error = refusal(runtime, folder / "model.gguf");
  CHECK(error.code() == ErrorCode::unsupported);
  CHECK(error.describe().find("mamba") != std::string::npos);

  // A tensor that the forward pass would leave out changes the result: it is refused, not ignored.
  Json more = model;
  more["tensors"].push_back(Json{"model.layers.0.mlp.down_proj.bias", Json{64}, 0.5, 0.0});
  more["gguf"]["tensors"].push_back(Json{"blk.0.ffn_down.bias", "model.layers.0.mlp.down_proj.bias", "none"});
  write_file(folder / "more.gguf", models.gguf(more).bytes());
  CHECK(refusal(runtime, folder / "more.gguf").describe().find("blk.0.ffn_down.bias") != std::string::npos);
  TempDir hub_folder;
  models.write_hub(more, more["configs"][0], hub_folder.path());
  CHECK(refusal(runtime, hub_folder.path()).describe().find("model.layers.0.mlp.down_proj.bias") != std::string::npos);
}
