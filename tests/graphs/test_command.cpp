// A Command as a run's input: what it writes and where it goes are durable before anything acts on them.
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

struct Plan {
  Key<int> budget{"budget"};
  Key<std::vector<std::string>> log{"log", append};
};
using State = StateOf<Plan>;

RunConfig on(std::string thread) {
  RunConfig config;
  config.thread_id = std::move(thread);
  return config;
}

// ask -> END; review is led to by commands only, and fails while *broken.
std::shared_ptr<const CompiledGraph> graph(std::shared_ptr<Checkpointer> saver, std::shared_ptr<bool> broken) {
  StateGraph<Plan> made;
  made.add_node("ask", [](NodeContext& context) -> Result<NodeResult> {
    CORVID_TRY(const Json answer, context.interrupt("spend?"));
    const int budget = context.view<Plan>()[&Plan::budget];
    return NodeResult(update(&Plan::log, {answer.get<std::string>() + " " + std::to_string(budget)}));
  }, NodeOptions{.destinations = {"review"}});
  made.add_node("review", [broken](const State&) -> Result<Update<Plan>> {
    if (*broken) return fail(Error::io("out of order"));
    return update(&Plan::log, {"reviewed"});
  });
  made.add_edge(START, "ask").add_edge("ask", END);
  CompileOptions options;
  options.checkpointer = std::move(saver);
  auto compiled = made.compile(std::move(options));
  REQUIRE(compiled);
  return *compiled;
}

using Log = std::vector<std::string>;

}  // namespace

TEST_CASE("a Command answers, writes and goes on, and is kept when the run fails", "[command]") {
  Runtime runtime;
  SqliteFiles files;
  for (const bool sqlite : {false, true}) {
    auto broken = std::make_shared<bool>(true);
    const auto saver = sqlite ? files.fresh().saver : make_memory_saver();
    const auto compiled = graph(saver, broken);
    REQUIRE(compiled->invoke_blocking(runtime, input(update(&Plan::budget, 10)), on("t"))->status == RunStatus::interrupted);
    Command command(update(&Plan::budget, 50).set(&Plan::log, {"raised"}), "review");
    command.resume = Answer("yes");
    const auto failed = compiled->invoke_blocking(runtime, Input(command), on("t"));
    REQUIRE_FALSE(failed);
    CHECK(failed.error().key() == "review");
    const auto stands = runtime.wait(compiled->get_state(runtime, on("t")));
    REQUIRE(stands);
    CHECK(stands->source == "input");
    CHECK(stands->next == Log{"review"});
    *broken = false;
    const auto done = compiled->invoke_blocking(runtime, Continue{}, on("t"));
    REQUIRE(done);
    CHECK(done->status == RunStatus::done);
    CHECK(done->get(&Plan::budget) == 50);
    CHECK(done->get(&Plan::log) == Log{"raised", "yes 50", "reviewed"});
    // Applied once: what it wrote is in the checkpoint that followed.
    const auto after = runtime.wait(compiled->get_state(runtime, on("t")));
    CHECK(*after->to_json() == *done->to_json());
  }
}

TEST_CASE("several Commands at one checkpoint add up, also through update_state and into a fork", "[command]") {
  Runtime runtime;
  auto broken = std::make_shared<bool>(false);
  const auto compiled = graph(make_memory_saver(), broken);
  REQUIRE(compiled->invoke_blocking(runtime, input(update(&Plan::budget, 1)), on("t"))->status == RunStatus::interrupted);
  for (int i = 2; i <= 3; ++i) {
    const auto result = compiled->invoke_blocking(runtime, Input(Command(Json{{"budget", i}, {"log", {std::to_string(i)}}})), on("t"));
    REQUIRE(result);
    CHECK(result->status == RunStatus::interrupted);
    CHECK(result->get(&Plan::budget) == i);
  }
  REQUIRE(runtime.wait(compiled->fork(runtime, on("t"), "u")));
  const auto forked = runtime.wait(compiled->get_state(runtime, on("u")));
  REQUIRE(forked);
  CHECK(*forked->to_json() == Json{{"budget", 3}, {"log", {"2", "3"}}});
  std::variant<std::vector<ChannelWrite>, Json> edit = Json{{"log", {"edited"}}};
  REQUIRE(runtime.wait(compiled->update_state(runtime, on("t"), edit, "review")));
  const auto state = runtime.wait(compiled->get_state(runtime, on("t")));
  CHECK(*state->to_json() == Json{{"budget", 3}, {"log", {"2", "3", "edited"}}});
}

TEST_CASE("a Command without a thread is the input; one that says nothing or leads nowhere is an error", "[command]") {
  Runtime runtime;
  StateGraph<Plan> made;
  for (const auto* name : {"a", "b"}) made.add_node(name, [name](const State&) { return update(&Plan::log, {name}); }, NodeOptions{.destinations = {"b"}});
  made.add_edge(START, "a");
  for (const auto& saver : {std::shared_ptr<Checkpointer>(), std::shared_ptr<Checkpointer>(make_memory_saver())}) {
    CompileOptions options;
    options.checkpointer = saver;
    const auto compiled = *made.compile(options);
    const auto config = saver ? on("t") : RunConfig();
    const auto both = compiled->invoke_blocking(runtime, Input(Command(update(&Plan::budget, 5), "b")), config);
    REQUIRE(both);
    CHECK(both->get(&Plan::log) == Log{"a", "b"});
    CHECK(both->get(&Plan::budget) == 5);
    CHECK(compiled->invoke_blocking(runtime, Input(Command()), config).error().code() == ErrorCode::invalid_argument);
    CHECK(compiled->invoke_blocking(runtime, Input(Command(Json::object(), "c")), config).error().code() == ErrorCode::invalid_argument);
    Command answer;
    answer.resume = Answer("x");
    CHECK(compiled->invoke_blocking(runtime, Input(answer), config).error().code() == (saver ? ErrorCode::not_found : ErrorCode::invalid_argument));
  }
}
