// One process, many mixed requests with random cancels, deadlines and readers that go away: no leak, no wedge, memory flat.
// CORVID_SOAK: how many (10,000 for a soak). CORVID_SOAK_MODEL: a model's name instead of the generated one.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <random>
#include <thread>

#include "corvid/agents/rag.hpp"
#include "corvid/embed/text_embedder.hpp"
#include "corvid/llm/engine.hpp"
#include "corvid/retrieval/collection.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::int64_t requests() {
  const char* asked = std::getenv("CORVID_SOAK");
  return asked ? std::strtoll(asked, nullptr, 10) : 400;
}

// What a request may end with beside success.
bool expected(const Error& error) {
  return error.code() == ErrorCode::cancelled || error.code() == ErrorCode::deadline_exceeded || error.code() == ErrorCode::limit_exceeded;
}

}  // namespace

TEST_CASE("soak: mixed requests with cancels, deadlines and readers that go away", "[soak]") {
  const TempDir dir;
  const TinyModels tiny;
  Json decoder = tiny.decoder("llama-tied");
  for (auto& entry : decoder["gguf"]["metadata"]) if (entry[0] == "llama.context_length") entry[2] = 2048;
  std::filesystem::path model_file = dir / "tiny.gguf";
  write_file(model_file, tiny.gguf(decoder).string("tokenizer.chat_template", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ").bytes());
  tiny.write_encoder(tiny.encoders()[0], dir / "encoder");
  std::filesystem::create_directories(dir / "documents");
  write_file(dir / "documents" / "harbour.md", "# Harbour\n\nThe office opens at six.\n\n## Fees\n\nA mooring costs nine euros a night. Fees are paid at the office.\n");
  if (const char* name = std::getenv("CORVID_SOAK_MODEL")) {
    const auto found = model(name);
    REQUIRE(found);
    model_file = *found;
  }
  RuntimeOptions runtime_options;
  runtime_options.threads = 2;
  Runtime runtime(runtime_options);
  EngineOptions engine_options;
  engine_options.max_running = 6;
  engine_options.context_tokens = 512;
  engine_options.kv_budget_bytes = std::uint64_t{64} << 20;
  const auto loaded = Engine::load_blocking(runtime, model_file, engine_options);
  REQUIRE(loaded);
  const auto engine = *loaded;
  const auto embedder = TextEmbedder::load(runtime, dir / "encoder");
  REQUIRE(embedder);
  const auto workspace = Workspace::open(dir / "corvid.db");
  REQUIRE(workspace);
  const auto collection = Collection::open_or_create(runtime, *workspace, "default", [&](const std::filesystem::path&) -> Result<std::shared_ptr<TextEmbedder>> { return *embedder; }, dir / "encoder");
  REQUIRE(collection);
  REQUIRE((*collection)->ingest({dir / "documents"}, {}));

  const std::int64_t count = requests();
  std::atomic<std::int64_t> next{0}, done{0}, cut_short{0}, dropped{0};
  std::mutex mutex;
  std::vector<std::string> wrong;
  const auto complain = [&](const char* what, const Error& error) {
    if (expected(error)) {
      ++cut_short;
      return;
    }
    std::lock_guard lock(mutex);
    if (wrong.size() < 20) wrong.push_back(std::string(what) + ": " + error.describe());
  };
  std::int64_t warm_bytes = 0;
  const auto one = [&](std::mt19937& random) {
    CancellationSource source;
    const auto kind = random() % 12;
    const auto fate = random() % 5;   // 0: cancelled at once or after some events, 1: a deadline, 2: the reader goes; else to the end
    if (fate == 1) source.set_deadline(std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 20000));
    if (fate == 0 && random() % 3 == 0) source.cancel();
    if (kind < 5) {
      GenerateRequest request;
      request.prompt = std::string("Say something about boats ") + std::string(random() % 200, 'a' + static_cast<char>(random() % 26));
      request.max_tokens = static_cast<int>(1 + random() % 24);
      request.sampling.temperature = random() % 2 ? 0.8f : 0.0f;
      request.sampling.seed = random();
      request.ignore_eos = true;
      if (random() % 8 == 0) request.beams = 2, request.sampling = {};
      request.cancellation = source.token();
      auto stream = engine->generate(std::move(request));
      if (!stream) return complain("generate", stream.error());
      for (unsigned seen = 0; auto event = stream->next_blocking(); ++seen) {
        if (!*event) return complain("generate", event->error());
        if (fate == 0 && seen == random() % 8) source.cancel();
        if (fate == 2 && seen == 2) {
          ++dropped;
          return;   // the stream goes away with tokens still to come
        }
      }
    } else if (kind < 7) {
      ChatRequest request;
      request.messages = {Message::system("You are brief."), Message::user("Where is the harbour? " + std::to_string(random() % 1000))};
      request.max_tokens = static_cast<int>(1 + random() % 16);
      request.cancellation = source.token();
      auto stream = runtime.wait(engine->chat(std::move(request)));
      if (!stream) return complain("chat", stream.error());
      if (fate == 2) return void(++dropped);
      auto result = gather_blocking(std::move(*stream));
      if (!result) return complain("chat", result.error());
    } else if (kind == 7) {
      std::vector<TokenId> ids;
      for (unsigned i = 0; i < 2 + random() % 60; ++i) ids.push_back(static_cast<TokenId>(random() % 40));
      const auto scored = runtime.wait(engine->score(std::move(ids), 2, source.token()));
      if (!scored) return complain("score", scored.error());
    } else if (kind == 8) {
      const std::vector<std::string_view> texts{"a text", "another, longer text about water", ""};
      const auto vectors = (*embedder)->embed(texts, source.token());
      if (!vectors) return complain("embed", vectors.error());
    } else if (kind < 11) {
      SearchOptions options;
      options.mode = static_cast<SearchMode>(random() % 3);
      const auto hits = (*collection)->search("mooring fees", options, source.token());
      if (!hits) return complain("search", hits.error());
      if (hits->empty()) {
        std::lock_guard lock(mutex);
        wrong.emplace_back("search: nothing found");
      }
    } else {
      RagOptions options;
      options.max_tokens = 4;
      options.context_tokens = 200;
      options.cancellation = source.token();
      RagPipeline pipeline(runtime, *collection, engine);
      const auto answer = pipeline.ask("What does a mooring cost?", options);
      if (!answer) return complain("ask", answer.error());
    }
  };
  std::vector<std::thread> lanes;
  for (unsigned lane = 0; lane < 4; ++lane) {
    lanes.emplace_back([&, lane] {
      std::mt19937 random(lane + 1);
      while (next.fetch_add(1) < count) {
        one(random);
        if (++done == count / 4) {
          std::lock_guard lock(mutex);
          warm_bytes = resident_bytes();
        }
      }
    });
  }
  for (auto& lane : lanes) lane.join();
  // The engine still answers, whole.
  GenerateRequest last;
  last.prompt = "The end";
  last.max_tokens = 5;
  last.ignore_eos = true;
  auto stream = engine->generate(std::move(last));
  REQUIRE(stream);
  const auto whole = gather_blocking(std::move(*stream));
  REQUIRE(whole);
  CHECK(whole->token_ids.size() == 5);
  const auto grown = resident_bytes() - warm_bytes;
  std::printf("soak: %lld requests, %lld cut short, %lld readers gone, resident memory %+.1f MiB since the first quarter\n", static_cast<long long>(count), static_cast<long long>(cut_short), static_cast<long long>(dropped), static_cast<double>(grown) / (1 << 20));
  for (const auto& each : wrong) UNSCOPED_INFO(each);
  CHECK(wrong.empty());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Pages of the KV pool are touched for the first time as load happens to need them: the pool is the bound.
  CHECK(grown < (std::int64_t{64 + 16} << 20));
#endif
}
