#include <atomic>
#include <thread>

#include "corvid/base/json.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

GenerateRequest greedy(std::string prompt, int tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = tokens;
  return request;
}

GenerationResult run(Engine& engine, GenerateRequest request) {
  auto stream = engine.generate(std::move(request));
  REQUIRE(stream);
  auto result = gather_blocking(std::move(*stream));
  REQUIRE(result);
  return *result;
}

// Best tokens, teacher-forced, against an f32 reference that is independent of any engine: equal but where the reference's two best
// are closer than `tie`.
void check_best_tokens(Runtime& runtime, const char* file, const char* key, Precision precision, double tie, std::size_t cases) {
  const auto path = model(file);
  const auto greedy_file = test_data("golden_greedy.json"), f32_file = test_data("golden_f32.json");
  if (!path || !greedy_file || !f32_file) return;
  const auto prompts = *read_json_file(*greedy_file), reference = *read_json_file(*f32_file);
  EngineOptions options;
  options.precision = precision;
  const auto engine = Engine::load_blocking(runtime, *path, options);
  REQUIRE(engine);
  for (std::size_t c = 0; c < cases; ++c) {
    auto ids = prompts[key]["cases"][c]["prompt_ids"].get<std::vector<TokenId>>();
    const auto output = prompts[key]["cases"][c]["output_ids"].get<std::vector<TokenId>>();
    const std::size_t first = ids.size() - 1;
    ids.insert(ids.end(), output.begin(), output.end());
    const auto scored = runtime.wait((*engine)->score(ids, 1));
    REQUIRE(scored);
    const auto& best = reference[key]["cases"][c]["best"];
    const auto& gap = reference[key]["cases"][c]["gap"];
    for (std::size_t i = 0; i < output.size(); ++i) {
      if (gap[i].get<double>() < tie) continue;
      INFO(key << " case " << c << " position " << i);
      CHECK(scored->top[first + i][0].id == best[i].get<TokenId>());
    }
  }
}

}  // namespace

TEST_CASE("engine: best tokens of three real models as the f32 reference has them", "[engine]") {
  Runtime runtime;
  for (const auto& [precision, tie] : {std::pair{Precision::f32, 0.01}, std::pair{Precision::fast, 0.5}}) {
    check_best_tokens(runtime, "SmolLM2-135M-Instruct-Q4_1.gguf", "smollm2", precision, tie, 5);
    check_best_tokens(runtime, "gemma-3-270m-Q4_K_M.gguf", "gemma3", precision, tie, 2);
    check_best_tokens(runtime, "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf", "qwen25c", precision, tie, 1);
  }
}

TEST_CASE("engine: concurrent requests give the texts that they give alone", "[engine]") {
  const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf");
  if (!path) return;
  Runtime runtime;
  EngineOptions options;
  options.prefix_cache = false;
  const auto engine = Engine::load_blocking(runtime, *path, options);
  REQUIRE(engine);
  std::vector<std::vector<TokenId>> alone, together(8);
  const auto request = [](int i) {
    auto made = greedy("Number " + std::to_string(i) + " is a story of " + std::string(static_cast<std::size_t>(i * 7), 'a'), 12);
    if (i % 2) {
      made.sampling.temperature = 0.8f;
      made.sampling.seed = static_cast<std::uint64_t>(i);
    }
    return made;
  };
  for (int i = 0; i < 8; ++i) alone.push_back(run(**engine, request(i)).token_ids);
  std::vector<EventStream> streams;
  for (int i = 0; i < 8; ++i) {
    auto stream = (*engine)->generate(request(i));
    REQUIRE(stream);
    streams.push_back(std::move(*stream));
  }
  for (std::size_t i = 0; i < 8; ++i) together[i] = gather_blocking(std::move(streams[i]))->token_ids;
  CHECK(together == alone);
}

TEST_CASE("engine: fork, release, save and restore go on with the same tokens", "[engine]") {
  const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf");
  if (!path) return;
  Runtime runtime;
  const auto engine = Engine::load_blocking(runtime, *path);
  REQUIRE(engine);
  const auto prompt = *(*engine)->tokenizer()->encode("Once upon a time, in a small village by the sea, there lived an old man who");
  const auto go_on = [](Sequence& sequence, int tokens) {
    std::vector<TokenId> out;
    for (int i = 0; i < tokens; ++i) {
      out.push_back(*sequence.sample());
      REQUIRE(sequence.append_blocking({out.back()}));
    }
    return out;
  };
  auto trunk = *(*engine)->new_sequence();
  SamplingParams sampling;
  sampling.temperature = 0.7f;
  sampling.seed = 3;
  trunk.set_sampling(sampling);
  REQUIRE(trunk.append_blocking(prompt));
  auto fork = trunk.fork();
  auto other = trunk.fork();
  const auto saved = trunk.save();
  REQUIRE(saved);
  const auto expected = go_on(trunk, 16);
  REQUIRE(other.append_blocking({5, 6, 7}));  // writes behind the shared prefix must not show anywhere
  CHECK(go_on(fork, 16) == expected);
  other.release();
  auto restored = (*engine)->restore_sequence(*saved);
  REQUIRE(restored);
  CHECK(go_on(*restored, 16) == expected);
  CHECK(trunk.cost().bytes_held > 0);
  for (std::size_t i = 0; i < saved->size(); i += saved->size() / 37 + 1) {
    auto damaged = *saved;
    damaged[i] ^= std::byte{4};
    const auto refused = (*engine)->restore_sequence(damaged);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::bad_input);
  }
}

TEST_CASE("engine: prefixes are reused, stops and limits end, cancelling stops", "[engine]") {
  const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf");
  if (!path) return;
  Runtime runtime;
  EngineOptions options;
  options.context_tokens = 256;
  const auto engine = Engine::load_blocking(runtime, *path, options);
  REQUIRE(engine);
  const std::string prefix = "The quick brown fox jumps over the lazy dog and then it goes home to sleep for a very long time because it is tired.";
  const auto first = run(**engine, greedy(prefix, 4));
  CHECK(first.usage.cached_tokens == 0);
  const auto second = run(**engine, greedy(prefix + " After that", 4));
  CHECK(second.usage.cached_tokens >= first.usage.prompt_tokens - 1);
  CHECK(second.usage.cached_tokens < second.usage.prompt_tokens);

  auto stopping = greedy("The capital of France is", 20);
  stopping.stop = {"is.\n", "ris."};
  const auto stopped = run(**engine, std::move(stopping));
  CHECK(stopped.text == " Pa");
  CHECK(stopped.finish_reason == FinishReason::stop);
  CHECK(run(**engine, greedy("The capital of France is", 3)).finish_reason == FinishReason::length);

  const auto long_prompt = (*engine)->generate(greedy(std::string(4000, 'x'), 3));
  REQUIRE_FALSE(long_prompt);
  CHECK(long_prompt.error().code() == ErrorCode::limit_exceeded);
  CHECK(long_prompt.error().message().find("256") != std::string::npos);

  CancellationSource source;
  auto endless = greedy("The capital of France is", 200);
  endless.ignore_eos = true;
  endless.cancellation = source.token();
  auto stream = (*engine)->generate(std::move(endless));
  REQUIRE(stream);
  REQUIRE(stream->next_blocking());
  source.cancel();
  const auto rest = gather_blocking(std::move(*stream));
  REQUIRE(rest);
  CHECK(rest->finish_reason == FinishReason::cancelled);
  CHECK(rest->usage.completion_tokens < 200);

  auto late = greedy("The capital of France is", 200);
  CancellationSource deadline;
  deadline.set_deadline(std::chrono::steady_clock::now());
  late.cancellation = deadline.token();
  CHECK(run(**engine, std::move(late)).finish_reason == FinishReason::deadline);
}
