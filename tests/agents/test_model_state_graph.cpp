// A graph whose state is a model's: a prefix is read once, four branches continue their forks, a person answers, another engine goes on.
#include <algorithm>
#include <mutex>

#include "corvid/agents/model_state.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"
#include "llm/engine/sequence_impl.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/tiny_models.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

constexpr int kBranches = 4;

// Of two branches, the one whose text ends with the greater token; of equal ones, the first.
std::shared_ptr<Sequence> better(std::shared_ptr<Sequence> a, std::shared_ptr<Sequence> b) {
  if (!a) return b;
  return b->tokens().back() > a->tokens().back() ? b : a;
}

struct Work {
  Key<std::shared_ptr<Sequence>> trunk{"trunk"};
  Key<std::shared_ptr<Sequence>> best{"best", better, "better"};
  Key<std::vector<std::string>> texts{"texts", append};
  Key<int> branch{"branch"};
  Key<std::string> verdict{"verdict"};
};

GenerateRequest more(int tokens) {
  GenerateRequest request;
  request.max_tokens = tokens;
  request.ignore_eos = true;
  return request;
}

std::vector<TokenId> list(const std::shared_ptr<Sequence>& sequence) {
  if (!sequence) return {};
  const auto ids = sequence->tokens();
  return {ids.begin(), ids.end()};
}

struct Pages {
  std::int64_t at_start = 0, at_question = 0, of_best = 0;
};

std::int64_t free_pages(const Sequence& sequence) { return sequence.impl()->run.pool()->free_pages(); }

struct Options {
  std::shared_ptr<Checkpointer> saver;
  Restorer restorer;
  int last_tokens = 64;
  NodeOptions finish;
  Pages* pages = nullptr;
};

std::shared_ptr<const CompiledGraph> make_graph(std::shared_ptr<Engine> engine, Options options) {
  StateGraph<Work> graph;
  auto prefill = [engine, pages = options.pages](NodeContext&) -> Task<Update<Work>> {
    CORVID_CO_TRY(auto made, engine->new_sequence());
    auto trunk = std::make_shared<Sequence>(std::move(made));
    if (pages) pages->at_start = free_pages(*trunk);
    std::vector<TokenId> ids;
    for (int i = 0; i < 100; ++i) ids.push_back(3 + (i * 37 + i / 11) % 120);
    CORVID_CO_TRY_STATUS(co_await trunk->append(std::move(ids)));
    co_return update(&Work::trunk, std::move(trunk));
  };
  auto spread = [](const StateOf<Work>& state) {
    std::vector<Send> sends;
    for (int i = 0; i < kBranches; ++i) sends.emplace_back("write", update(&Work::trunk, state[&Work::trunk]).set(&Work::branch, i));
    return sends;
  };
  auto write = [engine](NodeContext& context) -> Task<Update<Work>> {
    const auto state = context.view<Work>();
    const auto fork = state[&Work::trunk];
    const int branch = state[&Work::branch];
    SamplingParams sampling;
    sampling.temperature = 0.9f;
    sampling.seed = static_cast<std::uint64_t>(branch);
    fork->set_sampling(sampling);
    CORVID_CO_TRY(auto result, co_await continue_in_node(context, *engine, *fork, more(24)));
    co_return update(&Work::best, fork).set(&Work::texts, {result.text});
  };
  auto join = [](const StateOf<Work>& state) { return update(&Work::trunk, state[&Work::best]).replace(&Work::best, nullptr); };
  auto ask = [pages = options.pages](const StateOf<Work>& state, NodeContext& context) -> Result<Update<Work>> {
    if (pages) {
      const Sequence& best = *state[&Work::trunk];
      pages->at_question = free_pages(best);
      pages->of_best = static_cast<std::int64_t>(best.impl()->run.pages.size());
    }
    CORVID_TRY(const Json verdict, context.interrupt({{"question", "go on?"}}));
    return update(&Work::verdict, verdict.get<std::string>());
  };
  auto finish = [engine, tokens = options.last_tokens](NodeContext& context) -> Task<Update<Work>> {
    const auto trunk = context.view<Work>()[&Work::trunk];
    CORVID_CO_TRY(auto result, co_await continue_in_node(context, *engine, *trunk, more(tokens)));
    co_return update(&Work::trunk, trunk).set(&Work::texts, {result.text});
  };
  graph.add_node("prefill", prefill).add_node("write", write).add_node("join", join).add_node("ask", ask).add_node("finish", finish, options.finish);
  graph.add_edge(START, "prefill").add_conditional_edges("prefill", spread, {"write"}).add_edge("write", "join").add_edge("join", "ask");
  graph.add_edge("ask", "finish").add_edge("finish", END);
  CompileOptions compile;
  compile.checkpointer = std::move(options.saver);
  compile.restorers["sequence"] = options.restorer ? std::move(options.restorer) : sequence_restorer(engine);
  auto compiled = graph.compile(std::move(compile));
  if (!compiled) FAIL(compiled.error().describe());
  return *compiled;
}

std::shared_ptr<Engine> tiny_engine(Runtime& runtime, const TempDir& dir, double disk_bytes_per_s = 500e6) {
  static const TinyModels models;
  const auto path = dir / "tiny.gguf";
  write_file(path, models.gguf(models.decoder("llama-llama3")).bytes());
  EngineOptions options;
  options.context_tokens = 8192;
  options.disk_bytes_per_s = disk_bytes_per_s;
  auto engine = Engine::load_blocking(runtime, path, options);
  if (!engine) FAIL(engine.error().describe());
  return *engine;
}

RunConfig thread(std::string id) {
  RunConfig config;
  config.thread_id = std::move(id);
  return config;
}

RunResult must(Result<RunResult> result) {
  if (!result) FAIL(result.error().describe());
  return std::move(*result);
}

Input begin() { return input(Update<Work>().set(&Work::verdict, "none")); }

}  // namespace

TEST_CASE("model state: a graph forks a prefix, joins, asks, and another engine goes on with the same tokens", "[model_state]") {
  TempDir dir;
  std::mutex mutex;
  std::vector<std::string> log;
  RuntimeOptions logging;
  logging.log = [&](LogLevel, std::string_view, std::string_view message) {
    std::lock_guard lock(mutex);
    log.emplace_back(message);
  };
  Runtime runtime(logging);

  // Undisturbed: one engine, one graph object.
  std::vector<TokenId> expected;
  std::vector<std::string> texts;
  {
    Pages pages;
    Options options;
    options.saver = make_memory_saver();
    options.pages = &pages;
    const auto engine = tiny_engine(runtime, dir);
    const auto graph = make_graph(engine, std::move(options));
    const auto asked = must(graph->invoke_blocking(runtime, begin(), thread("a")));
    REQUIRE(asked.status == RunStatus::interrupted);
    // The three branches that lost have given their pages back.
    CHECK(pages.at_start - pages.at_question == pages.of_best);
    const auto done = must(graph->invoke_blocking(runtime, Answer{"yes"}, thread("a")));
    REQUIRE(done.status == RunStatus::done);
    expected = list(done.get(&Work::trunk));
    texts = done.get(&Work::texts);
    CHECK(expected.size() == 100 + 24 + 64);
    CHECK(texts.size() == kBranches + 1);
    CHECK(texts[0] != texts[1]);
    CHECK(done.get(&Work::verdict) == "yes");
  }

  // Restarted at the question, with and without KV in the checkpoint, and with KV that has been damaged there.
  const Json kinds = {"kv", "no kv", "damaged kv"};
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    for (const bool sqlite : {false, true}) {
      INFO(kinds[kind].get<std::string>() << (sqlite ? " in SQLite" : " in memory"));
      auto saver = make_memory_saver();
      const auto path = dir / ("workspace" + std::to_string(kind) + ".db");
      const double disk = kind == 1 ? 1 : 1e15;
      if (sqlite) saver = open_sqlite_store(*Workspace::open(path))->saver;
      {
        Options options;
        options.saver = saver;
        const auto graph = make_graph(tiny_engine(runtime, dir, disk), std::move(options));
        REQUIRE(must(graph->invoke_blocking(runtime, begin(), thread("a"))).status == RunStatus::interrupted);
      }
      if (sqlite) {
        saver.reset();
        saver = open_sqlite_store(*Workspace::open(path))->saver;
      }
      const auto engine = tiny_engine(runtime, dir, disk);
      Options options;
      options.saver = saver;
      if (kind == 2) {
        options.restorer = [inner = sequence_restorer(engine)](std::span<const std::byte> saved) {
          std::vector<std::byte> damaged(saved.begin(), saved.end());
          damaged[damaged.size() - 200] ^= std::byte{8};
          return inner(damaged);
        };
      }
      {
        std::lock_guard lock(mutex);
        log.clear();
      }
      const auto graph = make_graph(engine, std::move(options));
      const auto done = must(graph->invoke_blocking(runtime, Answer{"yes"}, thread("a")));
      REQUIRE(done.status == RunStatus::done);
      CHECK(list(done.get(&Work::trunk)) == expected);
      CHECK(done.get(&Work::texts) == texts);
      std::lock_guard lock(mutex);
      const auto said = [](const std::string& line) { return line.find("computed again") != std::string::npos; };
      CHECK(std::any_of(log.begin(), log.end(), said) == (kind == 2));
    }
  }
}

TEST_CASE("model state: cancelling a run stops its decode; the thread stands where it was and goes on", "[model_state]") {
  TempDir dir;
  Runtime runtime;
  const auto engine = tiny_engine(runtime, dir);
  Options options;
  options.saver = make_memory_saver();
  options.last_tokens = 4000;
  const auto graph = make_graph(engine, options);
  REQUIRE(must(graph->invoke_blocking(runtime, begin(), thread("a"))).status == RunStatus::interrupted);
  const auto before = runtime.wait(graph->get_state(runtime, thread("a")));
  REQUIRE(before);
  const auto index = Layout<Work>::get().index(&Work::trunk);
  const auto trunk = list(before->values[index].as<std::shared_ptr<Sequence>>());
  CHECK(trunk.size() == 124);

  CancellationSource source;
  auto config = thread("a");
  config.cancellation = source.token();
  auto stream = graph->stream(runtime, Answer{"yes"}, config, {StreamMode::messages}, 1);
  std::size_t seen = 0, after = 0;
  std::string written;
  while (auto event = stream.next_blocking()) {
    if (event->node != "finish") continue;
    if (source.token().cancelled()) ++after;
    else written += event->data["text"].get<std::string>();
    if (++seen == 5) source.cancel();
  }
  const auto cancelled = stream.result_blocking();
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
  CHECK(after < 1000);                                // what was emitted before this reader came to say so; 4,000 were asked for
  const auto stands = runtime.wait(graph->get_state(runtime, thread("a")));
  REQUIRE(stands);
  CHECK(list(stands->values[index].as<std::shared_ptr<Sequence>>()) == trunk);
  CHECK(stands->next == std::vector<std::string>{"finish"});

  // A shorter last node now; it begins as the one that was cancelled began: the sampler stands where it stood.
  options.last_tokens = 64;
  const auto done = must(make_graph(engine, options)->invoke_blocking(runtime, Continue{}, thread("a")));
  CHECK(list(done.get(&Work::trunk)).size() == 124 + 64);
  CHECK(done.get(&Work::texts).back().starts_with(written));
  CHECK_FALSE(written.empty());

  // A node's own time limit.
  Options limited;
  limited.last_tokens = 8000;
  limited.saver = make_memory_saver();
  limited.finish.timeout.run = std::chrono::milliseconds(30);
  const auto slow = make_graph(engine, limited);
  REQUIRE(must(slow->invoke_blocking(runtime, begin(), thread("b"))).status == RunStatus::interrupted);
  const auto start = std::chrono::steady_clock::now();
  const auto late = slow->invoke_blocking(runtime, Answer{"yes"}, thread("b"));
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == ErrorCode::deadline_exceeded);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
}
