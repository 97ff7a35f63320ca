#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <atomic>
#include <thread>

#include "corvid/graphs/approvals.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace std::chrono_literals;

namespace {

struct Counter {
  Key<int> x{"x"};
  Key<std::vector<std::string>> log{"log", append};
};
using State = StateOf<Counter>;

Input from(int x) { return input(update(&Counter::x, x)); }

NodeOptions in_place() { NodeOptions options; options.run_on = RunOn::executor; return options; }

// inc on the pool, in place, or as a coroutine.
void add_inc(StateGraph<Counter>& graph, const std::string& name, int kind) {
  const auto inc = [name](const State& s) { return update(&Counter::x, s[&Counter::x] + 1).set(&Counter::log, {name}); };
  if (kind == 0) graph.add_node(name, inc);
  else if (kind == 1) graph.add_node(name, inc, in_place());
  else graph.add_node(name, [inc](const State& s) -> Task<Update<Counter>> { co_return inc(s); });
}

std::shared_ptr<const CompiledGraph> chain(int kind, CompileOptions options = {}) {
  StateGraph<Counter> graph;
  for (const auto* name : {"a", "b", "c"}) add_inc(graph, name, kind);
  graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c").add_edge("c", END);
  auto compiled = graph.compile(std::move(options));
  REQUIRE(compiled);
  return *compiled;
}

RunConfig on(std::string thread) { RunConfig config; config.thread_id = std::move(thread); return config; }

}  // namespace

TEST_CASE("a chain runs its nodes in order, wherever they run") {
  Runtime runtime;
  for (const int kind : {0, 1, 2}) {
    const auto graph = chain(kind);
    const auto result = graph->invoke_blocking(runtime, from(1));
    REQUIRE(result);
    CHECK(result->status == RunStatus::done);
    CHECK(result->get(&Counter::x) == 4);
    CHECK(result->get(&Counter::log) == std::vector<std::string>{"a", "b", "c"});
    CHECK(result->steps == 3);
  }
}

TEST_CASE("compile reports everything at once") {
  StateGraph<Counter> graph;
  graph.add_node("a", [](const State&) { return Update<Counter>(); }).add_node("island", [](const State&) { return Update<Counter>(); });
  graph.add_edge(START, "a").add_edge("a", "nowhere");
  NodeOptions once;
  once.effect = SideEffect::at_most_once;
  once.retry = RetryPolicy{};
  graph.add_node("once", [](const State&) { return Update<Counter>(); }, once);
  const auto compiled = graph.compile();
  REQUIRE_FALSE(compiled);
  CHECK(compiled.error().code() == ErrorCode::invalid_argument);
  CHECK(compiled.error().message().find("\"nowhere\" is no node") != std::string::npos);
  CHECK(compiled.error().message().find("cannot be tried again") != std::string::npos);
}

TEST_CASE("a fan-out joins its writes in the order of the tasks, and two writes without a reducer are an error") {
  Runtime runtime;
  for (const int kind : {0, 1, 2}) {
    StateGraph<Counter> graph;
    graph.add_node("work", [](const State& s) { return update(&Counter::log, {std::to_string(s[&Counter::x])}); });
    graph.add_node("start", [](const State&) { return Update<Counter>(); });
    graph.add_edge(START, "start");
    graph.add_conditional_edges("start", [](const State&) {
      std::vector<Send> sends;
      for (int i = 0; i < 20; ++i) sends.emplace_back("work", update(&Counter::x, i));
      return sends;
    }, {"work"});
    const auto compiled = graph.compile();
    REQUIRE(compiled);
    const auto result = (*compiled)->invoke_blocking(runtime, from(0));
    REQUIRE(result);
    REQUIRE(result->get(&Counter::log).size() == 20);
    for (int i = 0; i < 20; ++i) CHECK(result->get(&Counter::log)[static_cast<std::size_t>(i)] == std::to_string(i));
    (void)kind;
  }
  StateGraph<Counter> twice;
  for (const auto* name : {"a", "b"}) add_inc(twice, name, 1);
  twice.add_edge(START, "a").add_edge(START, "b");
  const auto result = (*twice.compile())->invoke_blocking(runtime, from(0));
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::conflict);
  CHECK(result.error().key() == "x");
}

TEST_CASE("a durable chain goes on after a failure without running what finished") {
  Runtime runtime;
  std::atomic<int> runs{0}, broken{1};
  StateGraph<Counter> graph;
  graph.add_node("a", [&](const State& s) { ++runs; return update(&Counter::x, s[&Counter::x] + 1); });
  graph.add_node("b", [&](const State&) -> Result<Update<Counter>> {
    if (broken) return fail(Error::io("the disk is away"));
    return update(&Counter::log, {"b"});
  });
  graph.add_node("b2", [&](const State&) { ++runs; return update(&Counter::log, {"b2"}); });
  graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "b2");
  CompileOptions options;
  options.checkpointer = make_memory_saver();
  const auto compiled = graph.compile(options);
  REQUIRE(compiled);
  const auto failed = (*compiled)->invoke_blocking(runtime, from(1), on("t"));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == ErrorCode::io);
  CHECK(failed.error().key() == "b");
  CHECK(runs == 2);
  const auto state = runtime.wait((*compiled)->get_state(runtime, on("t")));
  REQUIRE(state);
  CHECK(state->next == std::vector<std::string>{"b"});
  REQUIRE(state->tasks.size() == 2);
  CHECK(state->tasks[0].state == "failed");
  CHECK(state->tasks[1].state == "done");
  broken = 0;
  const auto again = (*compiled)->invoke_blocking(runtime, Continue{}, on("t"));
  REQUIRE(again);
  CHECK(runs == 2);
  CHECK(again->get(&Counter::x) == 2);
  CHECK(again->get(&Counter::log) == std::vector<std::string>{"b", "b2"});
}

TEST_CASE("a node waits for a person, in any number of questions, and refuses an answer of the wrong form") {
  Runtime runtime;
  StateGraph<Counter> graph;
  graph.add_node("ask", [](const State&, NodeContext& context) -> Result<Update<Counter>> {
    InterruptOptions number;
    number.response_schema = {{"type", "integer"}};
    auto first = context.interrupt({{"q", "first"}}, number);
    auto second = context.interrupt({{"q", "second"}}, number);
    if (!first) return fail(std::move(first).error());
    if (!second) return fail(std::move(second).error());
    return update(&Counter::x, first->get<int>() * 10 + second->get<int>());
  });
  graph.add_edge(START, "ask");
  CompileOptions options;
  options.checkpointer = make_memory_saver();
  const auto compiled = *graph.compile(options);
  const auto waiting = compiled->invoke_blocking(runtime, from(0), on("t"));
  REQUIRE(waiting);
  REQUIRE(waiting->status == RunStatus::interrupted);
  REQUIRE(waiting->interrupts.size() == 2);
  CHECK(compiled->invoke_blocking(runtime, Answer(Json(1)), on("t")).error().code() == ErrorCode::conflict);
  Resume wrong;
  wrong.answers[waiting->interrupts[0].id] = "many";
  CHECK(compiled->invoke_blocking(runtime, wrong, on("t")).error().code() == ErrorCode::bad_input);
  Resume second;
  second.answers[waiting->interrupts[1].id] = 2;
  const auto still = compiled->invoke_blocking(runtime, second, on("t"));
  REQUIRE(still);
  CHECK(still->status == RunStatus::interrupted);
  REQUIRE(still->interrupts.size() == 1);
  CHECK(still->interrupts[0].id == waiting->interrupts[0].id);
  const auto done = compiled->invoke_blocking(runtime, Answer(Json(1)), on("t"));
  REQUIRE(done);
  CHECK(done->status == RunStatus::done);
  CHECK(done->get(&Counter::x) == 12);
  const auto audit = options.checkpointer->audit();
  REQUIRE(audit);
  CHECK(audit->size() == 2);
  CHECK(verify_audit(*audit));
}

TEST_CASE("timeouts reach every kind of node, retries follow their policy, handlers stand in") {
  Runtime runtime;
  NodeOptions quick;
  quick.timeout.run = 30ms;
  StateGraph<Counter> sleeper;
  sleeper.add_node("sleep", [](const State&) { std::this_thread::sleep_for(400ms); return Update<Counter>(); }, quick);
  sleeper.add_edge(START, "sleep");
  const auto function = (*sleeper.compile())->invoke_blocking(runtime, from(0));
  REQUIRE_FALSE(function);
  CHECK(function.error().code() == ErrorCode::deadline_exceeded);
  CHECK(function.error().key() == "sleep");

  StateGraph<Counter> waiter;
  waiter.add_node("wait", [](const State&) -> Task<Update<Counter>> {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, std::chrono::hours(1));
    co_await timer.async_wait(boost::asio::use_awaitable);
    co_return Update<Counter>();
  }, quick);
  waiter.add_edge(START, "wait");
  const auto coroutine = (*waiter.compile())->invoke_blocking(runtime, from(0));
  REQUIRE_FALSE(coroutine);
  CHECK(coroutine.error().code() == ErrorCode::deadline_exceeded);

  std::atomic<int> attempts{0};
  NodeOptions retried;
  retried.retry = RetryPolicy{.max_attempts = 3, .initial_interval = 1ms};
  StateGraph<Counter> flaky;
  flaky.add_node("flaky", [&](const State&) -> Result<Update<Counter>> {
    if (++attempts < 3) return fail(Error::network("gone"));
    return update(&Counter::x, 7);
  }, retried);
  flaky.add_edge(START, "flaky");
  const auto third = (*flaky.compile())->invoke_blocking(runtime, from(0));
  REQUIRE(third);
  CHECK(third->get(&Counter::x) == 7);
  CHECK(attempts == 3);

  NodeOptions handled;
  handled.error_handler = [](NodeContext&, const Error& error) -> Result<NodeResult> { return NodeResult(update(&Counter::log, {error.message()})); };
  StateGraph<Counter> fallback;
  fallback.add_node("bad", [](const State&) -> Result<Update<Counter>> { return fail(Error::bad_input("no good")); }, handled);
  fallback.add_edge(START, "bad");
  const auto stood_in = (*fallback.compile())->invoke_blocking(runtime, from(0));
  REQUIRE(stood_in);
  CHECK(stood_in->get(&Counter::log) == std::vector<std::string>{"no good"});
}

TEST_CASE("a subgraph asks, and goes on where it asked") {
  Runtime runtime;
  std::atomic<int> before{0};
  StateGraph<Counter> inner;
  inner.add_node("prepare", [&](const State& s) { ++before; return update(&Counter::x, s[&Counter::x] + 1); });
  inner.add_node("ask", [](const State& s, NodeContext& context) -> Result<Update<Counter>> {
    CORVID_TRY(const Json answer, context.interrupt("how many?"));
    return update(&Counter::x, s[&Counter::x] + answer.get<int>());
  });
  inner.add_edge(START, "prepare").add_edge("prepare", "ask");
  StateGraph<Counter> outer;
  outer.add_subgraph("inner", *inner.compile());
  add_inc(outer, "after", 0);
  outer.add_edge(START, "inner").add_edge("inner", "after");
  CompileOptions options;
  options.checkpointer = make_memory_saver();
  const auto graph = *outer.compile(options);
  const auto waiting = graph->invoke_blocking(runtime, from(1), on("t"));
  REQUIRE(waiting);
  REQUIRE(waiting->interrupts.size() == 1);
  const auto done = graph->invoke_blocking(runtime, Answer(Json(10)), on("t"));
  REQUIRE(done);
  CHECK(done->status == RunStatus::done);
  CHECK(done->get(&Counter::x) == 13);
  CHECK(before == 1);
}

TEST_CASE("streams carry what was asked for, in order") {
  Runtime runtime;
  const auto graph = chain(0);
  auto stream = graph->stream(runtime, from(1), {}, {StreamMode::updates, StreamMode::values}, 1);
  std::vector<std::string> seen;
  while (auto event = stream.next_blocking()) seen.push_back(std::string(to_string(event->mode)) + " " + event->data.dump());
  const auto result = stream.result_blocking();
  REQUIRE(result);
  CHECK(seen == std::vector<std::string>{R"(values {"x":1})", R"(updates {"a":{"log":["a"],"x":2}})", R"(values {"log":["a"],"x":2})",
                                         R"(updates {"b":{"log":["b"],"x":3}})", R"(values {"log":["a","b"],"x":3})",
                                         R"(updates {"c":{"log":["c"],"x":4}})", R"(values {"log":["a","b","c"],"x":4})"});
}
