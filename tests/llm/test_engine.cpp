#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "corvid/base/json.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

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

namespace {

// 64 tokens, drawn, from a sequence as it stands.
std::vector<TokenId> next_64(Sequence& sequence) {
  std::vector<TokenId> out;
  for (int i = 0; i < 64; ++i) {
    const auto id = sequence.sample();
    if (!id || !sequence.append_blocking({*id})) return {};
    out.push_back(*id);
  }
  return out;
}

// The child is made before this process has any thread; it waits for the saved sequence, restores it in an engine of its own and goes on.
void check_restore_elsewhere(const std::filesystem::path& path, const std::filesystem::path& file, const std::vector<TokenId>& prompt) {
  int ready[2], answer[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(answer) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ready[1]);
    ::close(answer[0]);
    char go = 0;
    int code = 1;
    if (::read(ready[0], &go, 1) == 1) {
      Runtime runtime;
      const auto engine = Engine::load_blocking(runtime, path);
      const auto bytes = read_file(file);
      if (engine) {
        auto restored = (*engine)->restore_sequence(std::as_bytes(std::span(bytes)));
        if (restored) {
          const auto ids = next_64(*restored);
          const auto size = ids.size() * sizeof(TokenId);
          if (::write(answer[1], ids.data(), size) == static_cast<ssize_t>(size)) code = 0;
        }
      }
    }
    ::_exit(code);
  }
  ::close(ready[0]);
  ::close(answer[1]);
  {
    Runtime runtime;
    const auto engine = Engine::load_blocking(runtime, path);
    REQUIRE(engine);
    SamplingParams sampling;
    sampling.temperature = 0.9f;
    sampling.top_p = 0.95f;
    sampling.seed = 11;
    auto trunk = *(*engine)->new_sequence();
    trunk.set_sampling(sampling);
    REQUIRE(trunk.append_blocking(prompt));
    REQUIRE(trunk.sample());  // the generator's state is part of what is saved
    const auto saved = trunk.save();
    REQUIRE(saved);
    write_file(file, std::string_view(reinterpret_cast<const char*>(saved->data()), saved->size()));
    REQUIRE(::write(ready[1], "g", 1) == 1);
    auto fork = trunk.fork();
    trunk.release();
    const auto expected = next_64(fork);
    REQUIRE(expected.size() == 64);
    std::vector<TokenId> elsewhere(64);
    std::size_t got = 0;
    while (got < 64 * sizeof(TokenId)) {
      const auto n = ::read(answer[0], reinterpret_cast<char*>(elsewhere.data()) + got, 64 * sizeof(TokenId) - got);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    CHECK(got == 64 * sizeof(TokenId));
    CHECK(elsewhere == expected);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  ::close(ready[1]);
  ::close(answer[0]);
}

}  // namespace

TEST_CASE("engine: a sequence saved here goes on in another process", "[engine]") {
  TempDir dir;
  const TinyModels models;
  write_file(dir / "tiny.gguf", models.gguf(models.decoder("llama-llama3")).bytes());
  check_restore_elsewhere(dir / "tiny.gguf", dir / "saved", {3, 17, 40, 9, 77, 5, 61});
  if (const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf")) check_restore_elsewhere(*path, dir / "saved", {6403, 5345, 253, 655, 28, 281, 253, 1165, 8188});
}

TEST_CASE("engine: every byte of a saved sequence counts; another model refuses it", "[engine]") {
  TempDir dir;
  const TinyModels models;
  write_file(dir / "a.gguf", models.gguf(models.decoder("llama-llama3")).bytes());
  write_file(dir / "b.gguf", models.gguf(models.decoder("gemma3-window-8")).bytes());
  Runtime runtime;
  const auto a = Engine::load_blocking(runtime, dir / "a.gguf"), b = Engine::load_blocking(runtime, dir / "b.gguf");
  REQUIRE(a);
  REQUIRE(b);
  auto sequence = *(*a)->new_sequence();
  sequence.set_sampling({});
  REQUIRE(sequence.append_blocking({1, 2, 3}));
  const auto saved = *sequence.save();
  const auto other = (*b)->restore_sequence(saved);
  REQUIRE_FALSE(other);
  CHECK(other.error().code() == ErrorCode::conflict);
  for (std::size_t i = 0; i < saved.size(); ++i) {
    auto damaged = saved;
    damaged[i] ^= static_cast<std::byte>(1 << (i % 8));
    const auto refused = (*a)->restore_sequence(damaged);
    REQUIRE_FALSE(refused);
    REQUIRE(refused.error().code() == ErrorCode::bad_input);
  }
  for (std::size_t size = 0; size < saved.size(); ++size) REQUIRE((*a)->restore_sequence(std::span(saved).first(size)).error().code() == ErrorCode::bad_input);
}

namespace {

// Tokens must rise by steps of at most 5, and start again at 2.
class Rising final : public TokenConstraint {
 public:
  explicit Rising(TokenId last = 2) : last_(last) {}
  Status mask(std::vector<bool>& allowed) override {
    for (TokenId id = last_ + 1; id <= last_ + 5 && id < static_cast<TokenId>(allowed.size()); ++id) allowed[static_cast<std::size_t>(id)] = true;
    return {};
  }
  Status advance(TokenId id) override {
    if (id <= last_ || id > last_ + 5) return fail(Error::invalid_argument("not allowed"));
    last_ = id > 110 ? 2 : id;
    return {};
  }
  std::unique_ptr<TokenConstraint> fork() const override { return std::make_unique<Rising>(last_); }
  std::vector<std::byte> save() const override { return {static_cast<std::byte>(last_)}; }

 private:
  TokenId last_;
};

}  // namespace

TEST_CASE("engine: a constraint is forked, saved and made again", "[engine]") {
  TempDir dir;
  const TinyModels models;
  write_file(dir / "tiny.gguf", models.gguf(models.decoder("llama-llama3")).bytes());
  Runtime runtime;
  const auto engine = Engine::load_blocking(runtime, dir / "tiny.gguf");
  REQUIRE(engine);
  auto trunk = *(*engine)->new_sequence();
  SamplingParams sampling;
  sampling.temperature = 1.5f;
  sampling.seed = 4;
  trunk.set_sampling(sampling, std::make_shared<Rising>());
  REQUIRE(trunk.append_blocking({3, 17, 40}));
  for (int i = 0; i < 7; ++i) REQUIRE(trunk.append_blocking({*trunk.sample()}));
  const auto saved = trunk.save();
  REQUIRE(saved);
  auto fork = trunk.fork();
  const auto expected = next_64(trunk);
  REQUIRE(expected.size() == 64);
  CHECK(next_64(fork) == expected);
  const auto without = (*engine)->restore_sequence(*saved);
  REQUIRE_FALSE(without);
  CHECK(without.error().code() == ErrorCode::invalid_argument);
  const ConstraintFactory factory = [](std::span<const std::byte> state) -> Result<std::unique_ptr<TokenConstraint>> {
    if (state.size() != 1) return fail(Error::bad_input("a state of one byte is expected"));
    return std::unique_ptr<TokenConstraint>(std::make_unique<Rising>(static_cast<TokenId>(state[0])));
  };
  auto restored = (*engine)->restore_sequence(*saved, factory);
  REQUIRE(restored);
  CHECK(next_64(*restored) == expected);
}

TEST_CASE("engine: no token comes after the step in flight", "[engine]") {
  TempDir dir;
  const TinyModels models;
  write_file(dir / "tiny.gguf", models.gguf(models.decoder("llama-llama3")).bytes());
  Runtime runtime;
  EngineOptions options;
  options.context_tokens = 4096;
  const auto engine = Engine::load_blocking(runtime, dir / "tiny.gguf", options);
  REQUIRE(engine);
  for (int round = 0; round < 20; ++round) {
    GenerateRequest request;
    request.prompt = std::vector<TokenId>{3, 17, 40};
    request.max_tokens = 4000;
    request.ignore_eos = true;
    CancellationSource source;
    request.cancellation = source.token();
    auto stream = (*engine)->generate(std::move(request));
    REQUIRE(stream);
    for (int i = 0; i <= round; ++i) REQUIRE(stream->next_blocking());
    source.cancel();
    // What the channel held, and the step in flight; a stream holds 64 events.
    std::size_t after = 0;
    bool ended = false;
    while (auto event = stream->next_blocking()) {
      REQUIRE(*event);
      after += (*event)->token.has_value();
      if ((*event)->finish_reason) {
        ended = true;
        CHECK(*(*event)->finish_reason == FinishReason::cancelled);
      }
    }
    CHECK(ended);
    CHECK(after <= 66);
  }
}

TEST_CASE("a full KV pool: requests give way and go on with the same text; scoring finds room") {
  const TinyModels tiny;
  const TempDir dir;
  write_file(dir / "tiny.gguf", tiny.gguf(tiny.decoder("llama-tied")).bytes());
  Runtime runtime;
  EngineOptions options;
  options.context_tokens = 128;
  options.prefix_cache = false;
  const auto roomy = Engine::load_blocking(runtime, dir / "tiny.gguf", options);
  REQUIRE(roomy);
  const auto ask = [](Engine& engine, int i) {
    GenerateRequest request = greedy("request " + std::to_string(i), 60);
    request.ignore_eos = true;
    auto stream = engine.generate(std::move(request));
    REQUIRE(stream);
    return std::move(*stream);
  };
  std::vector<std::vector<TokenId>> alone;
  for (int i = 0; i < 12; ++i) {
    auto result = gather_blocking(ask(**roomy, i));
    REQUIRE(result);
    alone.push_back(result->token_ids);
  }
  const std::vector<TokenId> ids{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  const auto calm = runtime.wait((*roomy)->score(ids, 1));
  REQUIRE(calm);
  // Room for two and a half of them.
  options.kv_budget_bytes = (*roomy)->info().kv_bytes_per_token * 176;
  for (const bool cached : {false, true}) {
    options.prefix_cache = cached;
    const auto tight = Engine::load_blocking(runtime, dir / "tiny.gguf", options);
    REQUIRE(tight);
    std::vector<EventStream> streams;
    for (int i = 0; i < 12; ++i) streams.push_back(ask(**tight, i));
    const auto scored = runtime.wait((*tight)->score(ids, 1));
    REQUIRE(scored);
    CHECK(scored->logprobs == calm->logprobs);
    for (int i = 0; i < 12; ++i) {
      const auto result = gather_blocking(std::move(streams[static_cast<std::size_t>(i)]));
      INFO("request " << i << (result ? "" : ": " + result.error().describe()));
      REQUIRE(result);
      CHECK(result->token_ids == alone[static_cast<std::size_t>(i)]);
      CHECK(result->usage.completion_tokens == 60);
    }
    // Finished prompts fill the pool; scoring takes their room.
    CHECK(runtime.wait((*tight)->score(ids, 1)));
  }
}
