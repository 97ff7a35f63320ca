// Models on a CUDA device: logits against transformers and against the CPU in f32, recorded steps, sequences, running out of memory.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "corvid/base/json.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
#include "llm/engine/native_engine.hpp"
#include "support/catch.hpp"
#include "support/cuda.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

EngineOptions on(Device device, Precision precision) {
  EngineOptions options;
  options.device = device;
  options.precision = precision;
  options.context_tokens = 512;
  options.max_running = 4;
  return options;
}

std::shared_ptr<Engine> must(Result<std::shared_ptr<Engine>> engine) {
  if (!engine) FAIL(engine.error().describe());
  return *engine;
}

// Logits at every position, token by token or in one piece and then the rest alone.
std::vector<std::vector<float>> all_logits(Engine& engine, const std::vector<TokenId>& ids, std::size_t piece) {
  std::vector<std::vector<float>> rows;
  auto sequence = engine.new_sequence().value();
  for (std::size_t at = 0; at < ids.size(); at += piece) {
    const auto end = ids.begin() + static_cast<std::ptrdiff_t>(std::min(at + piece, ids.size()));
    REQUIRE(sequence.append_blocking({ids.begin() + static_cast<std::ptrdiff_t>(at), end}));
    rows.push_back(sequence.logits().value());
  }
  return rows;
}

struct Agreement { double cosine = 1; int other_best = 0; };
Agreement compare(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& reference) {
  Agreement agreement;
  for (std::size_t r = 0; r < a.size(); ++r) {
    double dot = 0, aa = 0, bb = 0;
    for (std::size_t i = 0; i < a[r].size(); ++i) {
      dot += double(a[r][i]) * double(reference[r][i]);
      aa += double(a[r][i]) * double(a[r][i]);
      bb += double(reference[r][i]) * double(reference[r][i]);
    }
    agreement.cosine = std::min(agreement.cosine, dot / std::sqrt(aa * bb));
    auto sorted = reference[r];
    std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end(), std::greater<>());
    const bool close = sorted[0] - sorted[1] < 0.1f;
    const auto best = [](const std::vector<float>& row) { return std::max_element(row.begin(), row.end()) - row.begin(); };
    if (!close && best(a[r]) != best(reference[r])) ++agreement.other_best;
  }
  return agreement;
}

std::vector<TokenId> some_ids(std::size_t n, std::int64_t vocab) {
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<TokenId>((i * 7919 + 17) % static_cast<std::size_t>(vocab)));
  return ids;
}

GenerateRequest request_for(const std::vector<TokenId>& prompt, int tokens) {
  GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = tokens;
  request.ignore_eos = true;
  return request;
}

std::vector<TokenId> greedy(Engine& engine, const std::vector<TokenId>& prompt, int tokens) {
  auto stream = engine.generate(request_for(prompt, tokens));
  REQUIRE(stream);
  std::vector<TokenId> ids;
  while (auto event = stream->next_blocking()) {
    if (!*event) FAIL(event->error().describe());
    if ((*event)->token) ids.push_back(*(*event)->token);
  }
  return ids;
}

// Decode steps that the engine queued as a recorded graph.
std::uint64_t replayed(Engine& engine) {
  std::uint64_t steps = 0;
  const auto look = [&](llm::Stepper& stepper) -> Status {
    steps = stepper.replayed_steps();
    return {};
  };
  REQUIRE(dynamic_cast<llm::NativeEngine&>(engine).on_engine(look));
  return steps;
}

}  // namespace

TEST_CASE("cuda: tiny models of every architecture and kind of rope, as transformers computes them", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  const TinyModels models;
  Runtime runtime;
  const auto ids = models.ids();
  for (const auto& model : models.decoders()) {
    // A section each, so that a slow tool can be given one model: test_llm "cuda: tiny*" -c NAME.
    DYNAMIC_SECTION(model["name"].get<std::string>()) {
      const float* wanted = models.logits(model);
      TempDir folder;
      models.write_hub(model, model["configs"][0], folder.path());
      const auto engine = must(Engine::load_blocking(runtime, folder.path(), on(*device, Precision::f32)));
      float farthest = 0;
      for (std::size_t piece : {std::size_t{1}, std::size_t{37}}) {
        const auto rows = all_logits(*engine, ids, piece);
        for (std::size_t r = 0; r < rows.size(); ++r) {
          const float* row = wanted + (std::min((r + 1) * piece, ids.size()) - 1) * models.vocab();
          for (std::size_t i = 0; i < models.vocab(); ++i) farthest = std::max(farthest, std::abs(rows[r][i] - row[i]));
        }
      }
      CHECK(farthest <= 1e-3f);
    }
  }
}

TEST_CASE("cuda: generated shapes against the CPU in f32, at every position", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  for (const auto& [shape, quant] : {std::pair{"smollm2-135m", "q4_k_m"}, {"qwen2.5-0.5b", "q8_0"}, {"gemma3-270m", "bf16"}, {"qwen2.5-0.5b", "q4_k_m"}}) {
    Runtime runtime;
    const auto cpu = must(Engine::synthetic_blocking(runtime, shape, quant, on({}, Precision::f32)));
    const auto ids = some_ids(24, cpu->info().vocab);
    const auto reference = all_logits(*cpu, ids, 1);
    const auto fast = must(Engine::synthetic_blocking(runtime, shape, quant, on(*device, Precision::fast)));
    const auto steps = compare(all_logits(*fast, ids, 1), reference);
    INFO(shape << " " << quant);
    CHECK(steps.cosine >= 0.9999);
    CHECK(steps.other_best == 0);
    // In pieces of every kind of product: few rows, tiles, cuBLASLt.
    const auto long_ids = some_ids(300, cpu->info().vocab);
    for (std::size_t piece : {std::size_t{20}, std::size_t{100}}) {
      const auto prefill = compare(all_logits(*fast, long_ids, piece), all_logits(*cpu, long_ids, piece));
      INFO("pieces of " << piece);
      CHECK(prefill.cosine >= 0.9999);
      CHECK(prefill.other_best == 0);
    }
  }
}

TEST_CASE("cuda: SmolLM2 from its file against the CPU in f32", "[cuda]") {
  const auto device = cuda_device();
  const auto path = device ? model("SmolLM2-135M-Instruct-Q4_1.gguf") : std::nullopt;
  if (!path) return;
  Runtime runtime;
  const auto cpu = must(Engine::load_blocking(runtime, *path, on({}, Precision::f32)));
  const auto gpu = must(Engine::load_blocking(runtime, *path, on(*device, Precision::fast)));
  const auto ids = cpu->tokenizer()->encode("The harbour opens at six in the morning, and boats that wait outside are let in one after another. Whoever comes late pays more, because the tide does not wait for anybody and the men at the locks go home at nine.").value();
  const auto reference = all_logits(*cpu, ids, 1);
  const auto steps = compare(all_logits(*gpu, ids, 1), reference);
  CHECK(steps.cosine >= 0.9999);
  CHECK(steps.other_best == 0);
  // A page and more at once, which is how a prompt is read.
  std::vector<TokenId> many;
  while (many.size() < 400) many.insert(many.end(), ids.begin(), ids.end());
  for (std::size_t piece : {std::size_t{20}, std::size_t{90}}) {
    const auto prefill = compare(all_logits(*gpu, many, piece), all_logits(*cpu, many, piece));
    INFO("pieces of " << piece);
    CHECK(prefill.cosine >= 0.9999);
    CHECK(prefill.other_best == 0);
  }
  const auto text = greedy(*cpu, ids, 32), same = greedy(*gpu, ids, 32);
  CHECK(text.size() == same.size());
}

TEST_CASE("cuda: a recorded decode step, replayed, gives the tokens of steps that are queued op by op", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  Runtime runtime;
  auto options = on(*device, Precision::fast);
  const auto recorded = must(Engine::synthetic_blocking(runtime, "smollm2-135m", "q8_0", options));
  options.record_steps = false;
  const auto queued = must(Engine::synthetic_blocking(runtime, "smollm2-135m", "q8_0", options));
  const auto prompt = some_ids(10, recorded->info().vocab);
  CHECK(greedy(*recorded, prompt, 40) == greedy(*queued, prompt, 40));
  CHECK(replayed(*recorded) >= 32);
  CHECK(replayed(*queued) == 0);
  const auto a = all_logits(*recorded, some_ids(40, recorded->info().vocab), 1), b = all_logits(*queued, some_ids(40, recorded->info().vocab), 1);
  CHECK(a == b);
}

TEST_CASE("cuda: fork, save and restore", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  Runtime runtime;
  const auto engine = must(Engine::synthetic_blocking(runtime, "smollm2-135m", "q4_k_m", on(*device, Precision::fast)));
  const auto ids = some_ids(70, engine->info().vocab);
  auto sequence = engine->new_sequence().value();
  REQUIRE(sequence.append_blocking(ids));
  auto fork = sequence.fork();
  const auto saved = sequence.save();
  REQUIRE(saved);
  auto restored = engine->restore_sequence(*saved);
  REQUIRE(restored);
  std::vector<TokenId> texts[3];
  Sequence* const all[] = {&sequence, &fork, &*restored};
  for (int which = 0; which < 3; ++which) {
    for (int i = 0; i < 24; ++i) {
      const TokenId next = all[which]->sample().value();
      texts[which].push_back(next);
      REQUIRE(all[which]->append_blocking({next}));
    }
  }
  CHECK(texts[0] == texts[1]);
  CHECK(texts[0] == texts[2]);
  auto damaged = *saved;
  damaged[damaged.size() / 2] ^= std::byte{1};
  const auto refused = engine->restore_sequence(damaged);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::bad_input);
}

TEST_CASE("cuda: several requests at once give the tokens that each gives alone", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  Runtime runtime;
  const auto engine = must(Engine::synthetic_blocking(runtime, "smollm2-135m", "bf16", on(*device, Precision::f32)));
  std::vector<std::vector<TokenId>> alone;
  std::vector<EventStream> streams;
  for (std::size_t i = 0; i < 4; ++i) alone.push_back(greedy(*engine, some_ids(5 + 9 * i, engine->info().vocab), 16));
  for (std::size_t i = 0; i < 4; ++i) {
    streams.push_back(engine->generate(request_for(some_ids(5 + 9 * i, engine->info().vocab), 16)).value());
  }
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<TokenId> ids;
    while (auto event = streams[i].next_blocking()) if (*event && (*event)->token) ids.push_back(*(*event)->token);
    CHECK(ids == alone[i]);
  }
}

TEST_CASE("cuda: an engine on each device of the machine, all at once", "[cuda]") {
  if (!cuda_device()) return;
  Runtime runtime;
  std::vector<std::shared_ptr<Engine>> engines;
  std::vector<EventStream> streams;
  const auto devices = list_devices().value();
  for (const auto& info : devices) engines.push_back(must(Engine::synthetic_blocking(runtime, "smollm2-135m", "q8_0", on(info.device, Precision::f32))));
  for (auto& engine : engines) streams.push_back(engine->generate(request_for(some_ids(70, engine->info().vocab), 32)).value());
  std::vector<std::vector<TokenId>> texts(engines.size());
  for (std::size_t i = 0; i < engines.size(); ++i) {
    while (auto event = streams[i].next_blocking()) {
      REQUIRE(*event);
      if ((*event)->token) texts[i].push_back(*(*event)->token);
    }
    CHECK(texts[i].size() == 32);
    CHECK(texts[i] == texts[0]);
    CHECK(runtime.device_memory(static_cast<int>(i), 0).used_bytes() > 0);
  }
}

TEST_CASE("cuda: an allocation that fails is a typed error, what runs goes on, nothing leaks", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  Runtime runtime;
  const auto free_now = [&] { return list_devices().value()[static_cast<std::size_t>(device->index)].free_bytes; };
  const auto used = [&] { return runtime.device_memory(device->index, 0).used_bytes(); };
  const auto load = [&](const std::filesystem::path& folder) { return Engine::load_blocking(runtime, folder, on(*device, Precision::fast)); };
  const TinyModels models;
  const auto ids = models.ids();
  // Prefill, decoding queued, recorded and replayed, two at once, a fork that copies its page.
  const auto use = [&](Engine& engine) {
    CHECK(greedy(engine, ids, 12).size() == 12);
    auto one = engine.generate(request_for(ids, 8)).value(), other = engine.generate(request_for({ids[0]}, 8)).value();
    for (EventStream* stream : {&one, &other}) while (auto event = stream->next_blocking()) CHECK(*event);
    auto sequence = engine.new_sequence().value();
    REQUIRE(sequence.append_blocking(ids));
    auto fork = sequence.fork();
    CHECK(fork.append_blocking({ids[0]}));
    CHECK(sequence.append_blocking({ids[1]}));
  };
  std::vector<const Json*> first;  // of each architecture
  for (const auto& model : models.decoders()) {
    const auto& type = model["configs"][0]["model_type"];
    if (std::none_of(first.begin(), first.end(), [&](const Json* other) { return (*other)["configs"][0]["model_type"] == type; })) first.push_back(&model);
  }
  REQUIRE(first.size() >= 3);
  std::vector<std::unique_ptr<TempDir>> folders;
  for (const Json* model : first) {
    folders.push_back(std::make_unique<TempDir>());
    models.write_hub(*model, (*model)["configs"][0], folders.back()->path());
    use(*must(load(folders.back()->path())));  // what the driver keeps for kernels is taken at their first use
  }
  const std::uint64_t start = free_now();
  CHECK(used() == 0);
  {
    const auto running = must(load(folders[0]->path()));
    const auto expected = greedy(*running, ids, 8);
    const std::uint64_t held = used();
    for (const auto& folder : folders) {
      for (int at = 0;; ++at) {
        REQUIRE(at < 1000);
        ::setenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION", std::to_string(at).c_str(), 1);
        auto engine = load(folder->path());
        ::unsetenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION");
        INFO("allocation " << at);
        if (!engine) {
          CHECK(engine.error().code() == ErrorCode::out_of_memory);
          CHECK(used() == held);
          CHECK(greedy(*running, ids, 8) == expected);
          continue;
        }
        // It made all of a load's allocations, and the next one would fail: so no step makes one.
        CHECK(at > 12);
        use(**engine);
        break;
      }
      CHECK(used() == held);
    }
  }
  CHECK(used() == 0);
  CHECK(free_now() >= start);
}

TEST_CASE("cuda: a request that finds no page is a typed error, and the next one runs", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  Runtime runtime;
  auto options = on(*device, Precision::fast);
  const std::uint64_t page = must(Engine::synthetic_blocking(runtime, "smollm2-135m", "q4_k_m", options))->info().kv_bytes_per_token * 32;
  options.kv_budget_bytes = 6 * page;
  options.prefix_cache = false;
  const auto engine = must(Engine::synthetic_blocking(runtime, "smollm2-135m", "q4_k_m", options));
  const auto ids = some_ids(100, engine->info().vocab);
  const auto expected = greedy(*engine, ids, 8);
  auto sequence = engine->new_sequence().value();
  REQUIRE(sequence.append_blocking(ids));
  auto refused = engine->new_sequence().value();
  const auto full = refused.append_blocking(ids);
  REQUIRE_FALSE(full);
  CHECK(full.error().code() == ErrorCode::out_of_memory);
  auto stream = engine->generate(request_for(ids, 8)).value();
  const auto event = stream.next_blocking();
  REQUIRE(event);
  REQUIRE_FALSE(*event);
  CHECK(event->error().code() == ErrorCode::out_of_memory);
  sequence.release();
  CHECK(greedy(*engine, ids, 8) == expected);
}
