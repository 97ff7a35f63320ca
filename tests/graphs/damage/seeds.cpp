#include "graphs/damage/seeds.hpp"

#include <cstring>
#include <utility>

#include "corvid/graphs/approvals.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"

namespace corvid::test {
namespace {

// A model's state with nothing behind it but numbers.
class Numbers final : public ModelState {
 public:
  explicit Numbers(std::vector<std::uint32_t> with) : numbers(std::move(with)) {}
  Result<std::shared_ptr<ModelState>> fork_state() const override { return std::shared_ptr<ModelState>(std::make_shared<Numbers>(numbers)); }
  Result<std::vector<std::byte>> save_state() const override {
    std::vector<std::byte> out(4 * numbers.size());
    if (!out.empty()) std::memcpy(out.data(), numbers.data(), out.size());
    return out;
  }
  std::string_view state_kind() const noexcept override { return "numbers"; }
  std::vector<std::uint32_t> numbers;
};

Result<RestoredState> restore_numbers(std::span<const std::byte> saved) {
  if (saved.size() % 4 != 0) return fail(Error::bad_input("a model's state of a part of a number"));
  std::vector<std::uint32_t> numbers(saved.size() / 4);
  if (!saved.empty()) std::memcpy(numbers.data(), saved.data(), saved.size());
  return RestoredState{std::make_shared<Numbers>(std::move(numbers)), {}};
}

struct Tour {
  Key<int> round{"round"};
  Key<std::int64_t> item{"item"};
  Key<double> score{"score"};
  Key<bool> flag{"flag"};
  Key<std::int64_t> sum{"sum", [](std::int64_t a, std::int64_t b) { return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b)); }};
  Key<std::string> draft{"draft"};
  Key<std::string> hint{"hint", ephemeral};
  Key<std::vector<std::string>> trail{"trail", append};
  Key<std::vector<Json>> messages{"messages", add_messages};
  Key<std::shared_ptr<Numbers>> cache{"cache"};
};
using State = StateOf<Tour>;

NodeOptions in_place() {
  NodeOptions options;
  options.run_on = RunOn::executor;
  return options;
}

Result<std::string> text_of_answer(const Json& answer) {
  if (!answer.is_string()) return fail(Error::bad_input("an answer that is no text"));
  return answer.get<std::string>();
}

// Rounds: 0 a fan-out with a join, 1 Sends, 2 a subgraph that asks, 3 an approval beside a sibling, 4 an at_most_once node, 5 the end.
std::shared_ptr<const CompiledGraph> tour(std::shared_ptr<Checkpointer> saver) {
  StateGraph<Tour> inner;
  inner.add_node("look", [](const State&) { return update(&Tour::trail, {"look"}).set(&Tour::hint, "left"); }, in_place());
  inner.add_node("ask", [](const State&, NodeContext& context) -> Result<Update<Tour>> {
    CORVID_TRY(const Json answer, context.interrupt({{"question", "which way?"}}));
    CORVID_TRY(auto text, text_of_answer(answer));
    return update(&Tour::draft, std::move(text));
  }, in_place());
  inner.add_edge(START, "look").add_edge("look", "ask").add_edge("ask", END);
  CompileOptions inside;
  inside.restorers = {{"numbers", restore_numbers}};
  StateGraph<Tour> graph;
  graph.add_node("begin", [](const State& s) {
    auto numbers = s[&Tour::cache] ? s[&Tour::cache]->numbers : std::vector<std::uint32_t>();
    numbers.push_back(static_cast<std::uint32_t>(s[&Tour::round]));
    return update(&Tour::cache, std::make_shared<Numbers>(std::move(numbers))).set(&Tour::score, s[&Tour::score] + 0.5);
  }, in_place());
  for (const char* name : {"left", "right"}) {
    graph.add_node(name, [name](const State&) { return update(&Tour::sum, 1).set(&Tour::trail, {name}); }, in_place());
  }
  graph.add_node("join", [](const State&) { return update(&Tour::flag, true); }, in_place());
  graph.add_node("work", [](const State& s) { return update(&Tour::sum, s[&Tour::item]).set(&Tour::trail, {"work"}); }, in_place());
  graph.add_subgraph("inner", *inner.compile(std::move(inside)));
  graph.add_node("approve", [](const State&, NodeContext& context) -> Result<Update<Tour>> {
    InterruptOptions options;
    options.kind = "approval";
    options.response_schema = {{"type", "string"}, {"maxLength", 20}};
    CORVID_TRY(const Json answer, context.interrupt({{"publish", true}, {"n", 3}}, options));
    CORVID_TRY(auto text, text_of_answer(answer));
    return update(&Tour::draft, std::move(text));
  }, in_place());
  graph.add_node("sibling", [](const State&) { return update(&Tour::sum, 10).set(&Tour::trail, {"sibling"}); }, in_place());
  auto once = in_place();
  once.effect = SideEffect::at_most_once;
  graph.add_node("notify", [](const State&) -> Result<Update<Tour>> { return update(&Tour::trail, {"notify"}); }, once);
  graph.add_node("turn", [](const State& s) {
    const int round = static_cast<int>(static_cast<unsigned>(s[&Tour::round]) + 1u);
    Json message = {{"role", "user"}, {"content", "round " + std::to_string(round)}};
    return update(&Tour::round, round).set(&Tour::messages, {std::move(message)});
  }, in_place());
  graph.add_edge(START, "begin");
  graph.add_conditional_edges("begin", [](const State& s) -> Route {
    switch (s[&Tour::round]) {
      case 0: return std::vector<std::string>{"left", "right"};
      case 1: {
        std::vector<Send> sends;
        for (int i = 0; i < 3; ++i) sends.emplace_back("work", update(&Tour::item, i));
        sends.back().timeout = std::chrono::milliseconds(60'000);
        sends.emplace_back("work", Json{{"item", 7}, {"colour", "red"}});
        return sends;
      }
      case 2: return "inner";
      case 3: return std::vector<std::string>{"approve", "sibling"};
      case 4: return "notify";
      default: return END;
    }
  }, {"left", "right", "work", "inner", "approve", "sibling", "notify"});
  graph.add_edge({"left", "right"}, "join");
  for (const char* name : {"join", "work", "inner", "approve", "notify"}) graph.add_edge(name, "turn");
  graph.add_edge("turn", "begin");
  CompileOptions options;
  options.name = "tour";
  options.checkpointer = std::move(saver);
  options.restorers = {{"numbers", restore_numbers}};
  options.snapshot_every = 3;
  auto compiled = graph.compile(std::move(options));
  REQUIRE(compiled);
  return *compiled;
}

// Channels as graph files make them, a node that fails once it is told to, and pauses.
std::shared_ptr<const CompiledGraph> plain(std::shared_ptr<Checkpointer> saver) {
  std::vector<ChannelSpec> channels;
  const auto channel = [&](const char* name, const char* type, const char* reducer) {
    channels.push_back(*json_channel(name, type, *json_reducer(reducer)));
  };
  channel("n", "integer", "add");
  channel("list", "list", "append");
  channel("seen", "list", "union");
  channel("messages", "list", "add_messages");
  channel("any", "json", "overwrite");
  GraphBuilder graph(std::move(channels));
  graph.add_node("count", [](NodeContext& context) -> Result<NodeResult> {
    return NodeResult().set(context, "n", 1).set(context, "list", {"count"}).set(context, "seen", Json::array({"a", 1}));
  }, in_place());
  graph.add_node("talk", [](NodeContext& context) -> Result<NodeResult> {
    return NodeResult().set(context, "messages", Json::array({{{"role", "user"}, {"content", "hello"}}})).set(context, "any", {{"deep", {1, {2, 3}}}, {"t", nullptr}});
  }, in_place());
  graph.add_node("maybe", [](NodeContext& context) -> Result<NodeResult> {
    const Value* any = context.state().find("any");
    const Json* said = any ? any->get_if<Json>() : nullptr;
    if (said && said->is_string()) return fail(Error::rejected("told to fail"));
    return NodeResult().set(context, "list", {"maybe"});
  }, in_place());
  graph.add_edge(START, "count").add_edge("count", "talk").add_edge("count", "maybe").add_edge({"talk", "maybe"}, "rest");
  auto last = in_place();
  last.defer = true;
  graph.add_node("rest", [](NodeContext& context) -> Result<NodeResult> { return NodeResult().set(context, "n", 10); }, last);
  CompileOptions options;
  options.name = "plain";
  options.checkpointer = std::move(saver);
  options.interrupt_before = {"rest"};
  options.snapshot_every = 2;
  auto compiled = graph.compile(std::move(options));
  REQUIRE(compiled);
  return *compiled;
}

// Stores nothing any more after so many commits: the process as it looks from its store when it is killed.
class Killed final : public Checkpointer {
 public:
  Killed(std::shared_ptr<Checkpointer> inner, int commits) : inner_(std::move(inner)), left_(commits) {}
  std::string_view name() const noexcept override { return "killed"; }
  bool blocks() const noexcept override { return false; }
  Status commit(const Commit& commit) override {
    if (left_-- <= 0) return fail(Error::io("the store is gone"));
    return inner_->commit(commit);
  }
  Result<std::optional<LoadedCheckpoint>> get(std::string_view t, std::string_view ns, std::string_view id) override { return inner_->get(t, ns, id); }
  Result<std::vector<CheckpointRecord>> list(std::string_view t, std::string_view ns, const ListOptions& o) override { return inner_->list(t, ns, o); }
  Result<std::vector<std::string>> namespaces(std::string_view t) override { return inner_->namespaces(t); }
  Result<std::vector<ThreadInfo>> threads() override { return inner_->threads(); }
  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view t, bool e) override { return inner_->open_interrupts(t, e); }
  Status answer(const AnswerRecord& a, const AuditRecord& r, std::int64_t now) override { return inner_->answer(a, r, now); }
  Status append_audit(const AuditRecord& e) override { return inner_->append_audit(e); }
  Result<std::vector<AuditRecord>> audit() override { return inner_->audit(); }
  Status lease(std::string_view t, const LeaseChange& c) override { return inner_->lease(t, c); }
  Status delete_thread(std::string_view t) override { return inner_->delete_thread(t); }
  Status copy_thread(std::string_view f, std::string_view t) override { return inner_->copy_thread(f, t); }
  Result<std::size_t> prune(std::string_view t, const PruneOptions& o) override { return inner_->prune(t, o); }
  Result<std::optional<Bytes>> cache_get(std::string_view k, std::int64_t n) override { return inner_->cache_get(k, n); }
  Status cache_put(std::string_view k, const Bytes& v, std::int64_t e) override { return inner_->cache_put(k, v, e); }

 private:
  std::shared_ptr<Checkpointer> inner_;
  int left_;
};

RunConfig config() {
  RunConfig config;
  config.thread_id = kThread;
  return config;
}

}  // namespace

namespace {

RunResult ran(const Result<RunResult>& result) {
  INFO((result ? std::string() : result.error().describe()));
  REQUIRE(result);
  return *result;
}

}  // namespace

std::vector<Seed> make_seeds(Runtime& runtime) {
  std::vector<Seed> seeds;
  const auto keep = [&](const char* name, auto graph, Checkpointer& saver) { seeds.push_back({name, graph, image_of(saver, kThread)}); };
  const auto saver = make_memory_saver();
  const auto graph = tour(saver);
  const Json input = {{"round", 0}, {"draft", "start"}};
  auto result = ran(graph->invoke_blocking(runtime, input, config()));
  REQUIRE(result.status == RunStatus::interrupted);
  keep("a subgraph's question", tour, *saver);
  REQUIRE(answer_interrupt(*saver, result.interrupts.at(0).id, {Decision::respond, "left", "ana"}));
  keep("an answer that nobody has acted on", tour, *saver);
  result = ran(graph->invoke_blocking(runtime, Continue{}, config()));
  REQUIRE(result.status == RunStatus::interrupted);
  keep("an approval beside a finished sibling", tour, *saver);
  REQUIRE(answer_interrupt(*saver, result.interrupts.at(0).id, {Decision::respond, "yes", "ana"}));
  // One commit stores the barrier after the approval, two more lead to round 4, whose node starts in the next.
  for (int commits = 1; commits < 12; ++commits) {
    const auto copy = make_memory_saver();
    REQUIRE(import_thread(*copy, *export_thread(*saver, kThread), kThread));
    const auto stopped = tour(std::make_shared<Killed>(copy, commits))->invoke_blocking(runtime, Continue{}, config());
    if (stopped) break;
    const auto loaded = copy->get(kThread, "");
    REQUIRE(loaded);
    REQUIRE(loaded->has_value());
    if ((*loaded)->writes.empty() || commits < 3) continue;
    keep("an at_most_once task of which nobody knows", tour, *copy);
    const auto later = make_memory_saver();          // where the dead run holds no lease
    store_image(*later, kThread, seeds.back().image);
    result = ran(tour(later)->invoke_blocking(runtime, Continue{}, config()));
    REQUIRE(result.interrupts.size() == 1);
    REQUIRE(result.interrupts[0].kind == "unknown");
    REQUIRE(answer_interrupt(*later, result.interrupts[0].id, {Decision::respond, {{"action", "retry"}}, "ana"}));
    keep("an UNKNOWN that was answered", tour, *later);
    break;
  }
  REQUIRE(seeds.size() == 5);
  REQUIRE(graph->invoke_blocking(runtime, Continue{}, config()));
  keep("a thread that has ended", tour, *saver);

  const auto paused = make_memory_saver();
  REQUIRE(plain(paused)->invoke_blocking(runtime, Json{{"n", 5}}, config()));
  keep("a pause before a deferred node", plain, *paused);
  const auto failed = make_memory_saver();
  REQUIRE_FALSE(plain(failed)->invoke_blocking(runtime, Json{{"n", 5}, {"any", "fail"}}, config()));
  keep("a superstep of which one task failed", plain, *failed);
  return seeds;
}

}  // namespace corvid::test
