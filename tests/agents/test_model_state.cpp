// Sequences on the edges of graphs: the restorer, and nodes that generate.
#include "corvid/agents/model_state.hpp"

#include <thread>

#include "corvid/llm/fake_chat_model.hpp"
#include "corvid/runtime/wait.hpp"
#include "doubles.hpp"
#include "llm/engine/sequence_impl.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::shared_ptr<Engine> tiny_engine(Runtime& runtime, const TempDir& dir, EngineOptions options = {}) {
  static const TinyModels models;
  const auto path = dir / "tiny.gguf";
  write_file(path, models.gguf(models.decoder("llama-llama3")).bytes());
  options.context_tokens = 4096;
  auto engine = Engine::load_blocking(runtime, path, options);
  if (!engine) FAIL(engine.error().describe());
  return *engine;
}

SamplingParams drawn(std::uint64_t seed) {
  SamplingParams sampling;
  sampling.temperature = 0.9f;
  sampling.seed = seed;
  return sampling;
}

std::vector<TokenId> next(Sequence& sequence, int tokens) {
  std::vector<TokenId> out;
  for (int i = 0; i < tokens; ++i) {
    const auto id = sequence.sample();
    if (!id || !sequence.append_blocking({*id})) return {};
    out.push_back(*id);
  }
  return out;
}

std::vector<TokenId> list(std::span<const TokenId> ids) { return {ids.begin(), ids.end()}; }

GenerateRequest more(int tokens) {
  GenerateRequest request;
  request.max_tokens = tokens;
  request.ignore_eos = true;
  return request;
}

/// A node's end of a task, without a graph: keeps what is emitted, and can cancel itself at the nth message.
class FakeContext final : public NodeContext {
 public:
  explicit FakeContext(Runtime& runtime) : runtime_(&runtime), view_(schema_, {}) {}
  CancellationSource source;
  std::size_t cancel_at = 0;
  std::vector<Json> messages;
  int heartbeats = 0;

  const StateView& state() const noexcept override { return view_; }
  Runtime& runtime() noexcept override { return *runtime_; }
  const std::string& node() const noexcept override { return name_; }
  const std::string& thread_id() const noexcept override { return name_; }
  const std::string& run_id() const noexcept override { return name_; }
  const std::string& checkpoint_ns() const noexcept override { return name_; }
  const std::string& task_id() override { return name_; }
  std::int64_t step() const noexcept override { return 0; }
  int attempt() const noexcept override { return 1; }
  CancellationToken cancellation() const override { return source.token(); }
  void heartbeat() noexcept override { ++heartbeats; }
  void emit(Json) override {}
  void emit_message(Json token) override {
    messages.push_back(std::move(token));
    if (messages.size() == cancel_at) source.cancel();
  }
  Result<Json> interrupt(Json, const InterruptOptions&) override { return Json(); }
  Result<Json> interrupt_decision(Json, const InterruptOptions&) override { return Json(); }
  const std::string& trace_parent() const noexcept override { return name_; }

  std::string text() const {
    std::string all;
    for (const auto& message : messages) all += message["text"].get<std::string>();
    return all;
  }

 private:
  Runtime* runtime_;
  std::string name_ = "node";
  Schema schema_{{}};
  StateView view_;
};

}  // namespace

TEST_CASE("model state: what a checkpoint holds of a sequence comes back through the restorer", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto engine = tiny_engine(runtime, dir);
  const auto trunk = std::make_shared<Sequence>(*engine->new_sequence());
  trunk->set_sampling(drawn(3));
  REQUIRE(trunk->append_blocking({3, 17, 40}));
  // As a channel holds it: forked for each task, saved by its handle, wrapped again when it comes back.
  const Value value = Value::of(trunk);
  CHECK(value.type()->name == "model_state");
  const auto forked = value.type()->fork(value.data());
  REQUIRE(forked);
  const auto handle = *value.type()->handle(value.data());
  CHECK(handle->state_kind() == "sequence");
  auto saved = *handle->save_state();
  const auto expected = next(*trunk, 16);
  CHECK(next(*forked->as<std::shared_ptr<Sequence>>(), 16) == expected);

  const auto other = tiny_engine(runtime, dir);
  const Restorer restorer = sequence_restorer(other);
  const auto restored = restorer(saved);
  REQUIRE(restored);
  CHECK(restored->note.empty());
  const auto again = value.type()->wrap(restored->state);
  REQUIRE(again);
  CHECK(next(*again->as<std::shared_ptr<Sequence>>(), 16) == expected);

  auto damaged = *trunk->save();
  damaged[damaged.size() - 100] ^= std::byte{1};
  const auto recomputed = restorer(damaged);
  REQUIRE(recomputed);
  CHECK(recomputed->note.find("damaged") != std::string::npos);
  damaged[20] ^= std::byte{1};
  CHECK(restorer(damaged).error().code() == ErrorCode::bad_input);
}

TEST_CASE("model state: a node continues its sequence and emits what it writes", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto engine = tiny_engine(runtime, dir);
  auto trunk = *engine->new_sequence();
  trunk.set_sampling(drawn(4));
  REQUIRE(trunk.append_blocking({3, 17, 40}));
  auto branch = trunk.fork();
  FakeContext context(runtime);
  const auto result = runtime.wait(continue_in_node(context, *engine, branch, more(50)));
  REQUIRE(result);
  CHECK(result->token_ids.size() == 50);
  CHECK(result->finish_reason == FinishReason::length);
  CHECK(result->usage.completion_tokens == 50);
  CHECK(context.text() == result->text);
  CHECK(context.messages.size() + static_cast<std::size_t>(context.heartbeats) == 50);
  CHECK(result->token_ids == next(trunk, 50));
  CHECK(list(branch.tokens()) == list(trunk.tokens()));

  auto foreign = *tiny_engine(runtime, dir)->new_sequence();
  REQUIRE(foreign.append_blocking({3}));
  CHECK(runtime.wait(continue_in_node(context, *engine, foreign, more(5))).error().code() == ErrorCode::invalid_argument);
  CHECK(foreign.tokens().size() == 1);
}

TEST_CASE("model state: cancel and deadline stop a node's decode at once and leave the sequence as it was", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto engine = tiny_engine(runtime, dir);
  auto sequence = *engine->new_sequence();
  sequence.set_sampling(drawn(4));
  REQUIRE(sequence.append_blocking({3, 17, 40}));
  const auto before = *sequence.save();
  const auto pages = sequence.impl()->run.pool()->free_pages();
  const auto unchanged = [&] { return *sequence.save() == before && sequence.impl()->run.pool()->free_pages() == pages; };

  for (std::size_t n = 1; n <= 70; n += 3) {
    FakeContext context(runtime);
    context.cancel_at = n;
    const auto cancelled = runtime.wait(continue_in_node(context, *engine, sequence, more(4000)));
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().code() == ErrorCode::cancelled);
    CHECK(context.messages.size() == n);              // nothing is emitted after it
    CHECK(unchanged());
  }
  FakeContext early(runtime);
  early.source.cancel();
  CHECK(runtime.wait(continue_in_node(early, *engine, sequence, more(4000))).error().code() == ErrorCode::cancelled);
  CHECK(unchanged());

  FakeContext late(runtime);
  late.source.set_deadline(std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
  CHECK(runtime.wait(continue_in_node(late, *engine, sequence, more(4000))).error().code() == ErrorCode::deadline_exceeded);
  CHECK(unchanged());

  // The request's own token counts too.
  FakeContext context(runtime);
  CancellationSource source;
  auto request = more(4000);
  request.cancellation = source.token();
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    source.cancel();
  });
  CHECK(runtime.wait(continue_in_node(context, *engine, sequence, std::move(request))).error().code() == ErrorCode::cancelled);
  canceller.join();
  CHECK(unchanged());
}

TEST_CASE("model state: a chat in a node emits words, and returns nothing of a broken-off answer", "[model_state]") {
  Runtime runtime;
  FakeChatModel model;
  model.reply("one two three four");
  FakeContext context(runtime);
  ChatRequest request;
  request.messages = {Message::user("count")};
  const auto result = runtime.wait(chat_in_node(context, model, request));
  REQUIRE(result);
  CHECK(result->text == "one two three four");
  CHECK(context.text() == result->text);
  CHECK(context.messages.size() == 4);

  model.reply("one two three four");
  FakeContext stopped(runtime);
  stopped.cancel_at = 2;
  const auto cancelled = runtime.wait(chat_in_node(stopped, model, request));
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
  CHECK(stopped.messages.size() == 2);

  model.fail_with(Error::network("gone"));
  CHECK(runtime.wait(chat_in_node(context, model, request)).error().code() == ErrorCode::network);
}
