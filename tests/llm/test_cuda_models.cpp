// Models on a CUDA device: logits against transformers and against the CPU in f32, recorded steps, sequences, running out of memory.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "corvid/base/json.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/runtime/wait.hpp"
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

std::vector<TokenId> greedy(Engine& engine, const std::vector<TokenId>& prompt, int tokens) {
  GenerateRequest request;
  request.prompt = prompt;
  request.max_tokens = tokens;
  request.ignore_eos = true;
  auto stream = engine.generate(std::move(request));
  REQUIRE(stream);
  std::vector<TokenId> ids;
  while (auto event = stream->next_blocking()) {
    if (!*event) FAIL(event->error().describe());
    if ((*event)->token) ids.push_back(*(*event)->token);
  }
  return ids;
}

}  // namespace

TEST_CASE("cuda: tiny models of every architecture and kind of rope, as transformers computes them", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  const TinyModels models;
  Runtime runtime;
  const auto ids = models.ids();
  for (const auto& model : models.decoders()) {
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
    INFO(model["name"]);
    CHECK(farthest <= 1e-3f);
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
    GenerateRequest request;
    request.prompt = some_ids(5 + 9 * i, engine->info().vocab);
    request.max_tokens = 16;
    request.ignore_eos = true;
    streams.push_back(engine->generate(std::move(request)).value());
  }
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<TokenId> ids;
    while (auto event = streams[i].next_blocking()) if (*event && (*event)->token) ids.push_back(*(*event)->token);
    CHECK(ids == alone[i]);
  }
}

TEST_CASE("cuda: an allocation that fails is a typed error, nothing leaks, and the next load works", "[cuda]") {
  const auto device = cuda_device();
  if (!device) return;
  Runtime runtime;
  const auto free_now = [] { return list_devices().value().front().free_bytes; };
  auto options = on(*device, Precision::fast);
  options.kv_budget_bytes = std::uint64_t{64} << 20;
  const auto load = [&] { return Engine::synthetic_blocking(runtime, "smollm2-135m", "q4_k_m", options); };
  { const auto warm = must(load()); }
  const std::uint64_t start = free_now(), used = runtime.device_memory(device->index, 0).used_bytes();
  CHECK(used == 0);
  int failed = 0;
  // All of the first allocations, then some of the many.
  for (int at = 0; at < 2000; at += at < 12 ? 1 : 41) {
    ::setenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION", std::to_string(at).c_str(), 1);
    auto engine = load();
    ::unsetenv("CORVID_TEST_FAIL_DEVICE_ALLOCATION");
    if (engine) break;
    ++failed;
    INFO("allocation " << at);
    CHECK(engine.error().code() == ErrorCode::out_of_memory);
    CHECK(runtime.device_memory(device->index, 0).used_bytes() == 0);
  }
  CHECK(failed > 12);
  CHECK(free_now() >= start);
  const auto engine = must(load());
  CHECK(greedy(*engine, some_ids(4, engine->info().vocab), 4).size() == 4);
}
