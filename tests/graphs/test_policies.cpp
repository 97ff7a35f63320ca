// What surrounds a node: cancellation, deadlines, heartbeats, concurrency, drains, caches, side effects, leases, durability, edits of a graph.
#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "corvid/graphs/approvals.hpp"
#include "corvid/graphs/process_node.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/graphs/threads.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

struct S {
  Key<int> x{"x"};
  Key<std::vector<std::string>> log{"log", append};
};
using State = StateOf<S>;

Input from(int x) { return input(update(&S::x, x)); }
RunConfig on(std::string thread) {
  RunConfig config;
  config.thread_id = std::move(thread);
  return config;
}
CompileOptions with(std::shared_ptr<Checkpointer> saver) {
  CompileOptions options;
  options.checkpointer = std::move(saver);
  return options;
}

}  // namespace

TEST_CASE("cancelling stops a sleeping function, a waiting coroutine and a program, and the thread goes on from before them") {
  Runtime runtime;
  for (const int kind : {0, 1, 2}) {
    std::atomic<bool> first{true};
    std::atomic<int> before{0};
    StateGraph<S> graph;
    graph.add_node("before", [&](const State& s) { ++before; return update(&S::x, s[&S::x] + 1); });
    if (kind == 0) {
      graph.add_node("slow", [&](const State& s) {
        if (first.exchange(false)) std::this_thread::sleep_for(3s);   // it cannot be killed, only left behind
        return update(&S::x, s[&S::x] * 10);
      });
    } else if (kind == 1) {
      graph.add_node("slow", [&](const State& s) -> Task<Update<S>> {
        if (first.exchange(false)) {
          boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, 1h);
          co_await timer.async_wait(boost::asio::use_awaitable);
        }
        co_return update(&S::x, s[&S::x] * 10);
      });
    } else {
      ProcessNodeOptions program;
      program.command = {"/bin/sh", "-c", "read line; case \"$line\" in *'\"thread_id\":\"again\"'*) ;; *) sleep 60;; esac; echo '{\"update\":{\"x\":20}}'"};
      graph.builder().add_node("slow", process_node(program));
    }
    graph.add_edge(START, "before").add_edge("before", "slow");
    const auto saver = make_memory_saver();
    const auto compiled = *graph.compile(with(saver));
    CancellationSource cancel;
    RunConfig config = on("t");
    config.cancellation = cancel.token();
    std::thread canceller([&] {
      while (before == 0) std::this_thread::sleep_for(1ms);
      std::this_thread::sleep_for(50ms);
      cancel.cancel();
    });
    const auto begun = Clock::now();
    const auto cancelled = compiled->invoke_blocking(runtime, from(1), config);
    canceller.join();
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().code() == ErrorCode::cancelled);
    CHECK(Clock::now() - begun < 2900ms);
    const auto state = runtime.wait(compiled->get_state(runtime, on("t")));
    REQUIRE(state);
    CHECK(state->next == std::vector<std::string>{"slow"});
    CHECK(*state->to_json() == Json{{"x", 2}});
    if (kind == 2) {
      REQUIRE(runtime.wait(compiled->fork(runtime, on("t"), "again")));
      const auto done = compiled->invoke_blocking(runtime, Continue{}, on("again"));
      REQUIRE(done);
      CHECK(done->get(&S::x) == 20);
    } else {
      const auto done = compiled->invoke_blocking(runtime, Continue{}, on("t"));
      REQUIRE(done);
      CHECK(done->get(&S::x) == 20);
    }
    CHECK(before == 1);
  }
}

TEST_CASE("a deadline of the run ends a node, a heartbeat keeps an idle timeout away") {
  Runtime runtime;
  StateGraph<S> graph;
  NodeOptions idle;
  idle.timeout.idle = 200ms;
  graph.add_node("beats", [](const State&, NodeContext& context) {
    for (int i = 0; i < 12; ++i) {
      std::this_thread::sleep_for(40ms);
      context.heartbeat();
    }
    return update(&S::x, 7);
  }, idle);
  graph.add_node("silent", [](const State&, NodeContext& context) -> Result<Update<S>> {
    while (context.cancellation().check()) std::this_thread::sleep_for(5ms);
    return fail(Error::cancelled("told to stop"));
  }, idle);
  graph.add_edge(START, "beats").add_edge("beats", "silent");
  const auto result = (*graph.compile())->invoke_blocking(runtime, from(0));
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::deadline_exceeded);
  CHECK(result.error().key() == "silent");
  CHECK(result.error().message().find("idle timeout") != std::string::npos);

  StateGraph<S> endless;
  endless.add_node("loop", [](const State& s) { return update(&S::x, s[&S::x] + 1); });
  endless.add_edge(START, "loop").add_edge("loop", "loop");
  CancellationSource source;
  source.set_deadline(Clock::now() + 100ms);
  RunConfig config;
  config.recursion_limit = 1'000'000'000;
  config.cancellation = source.token();
  const auto ended = (*endless.compile())->invoke_blocking(runtime, from(0), config);
  REQUIRE_FALSE(ended);
  CHECK(ended.error().code() == ErrorCode::deadline_exceeded);
}

TEST_CASE("max_concurrency bounds the tasks of a superstep, a drain ends the run at its end") {
  Runtime runtime;
  std::atomic<int> running{0}, most{0};
  DrainSwitch drain;
  StateGraph<S> graph;
  graph.add_node("start", [](const State&) { return Update<S>(); });
  graph.add_node("work", [&](const State&) {
    const int now = ++running;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(10ms);
    --running;
    drain.request_drain();
    return update(&S::log, {"w"});
  });
  graph.add_node("after", [](const State&) { return update(&S::log, {"after"}); });
  graph.add_edge(START, "start").add_edge("work", "after");
  graph.add_conditional_edges("start", [](const State&) { return std::vector<Send>(9, Send("work", Update<S>())); }, {"work"});
  const auto compiled = *graph.compile(with(make_memory_saver()));
  RunConfig config = on("t");
  config.max_concurrency = 2;
  config.drain = drain;
  const auto drained = compiled->invoke_blocking(runtime, from(0), config);
  REQUIRE(drained);
  CHECK(drained->status == RunStatus::drained);
  CHECK(most == 2);
  CHECK(drained->get(&S::log).size() == 9);
  const auto done = compiled->invoke_blocking(runtime, Continue{}, on("t"));
  REQUIRE(done);
  CHECK(done->status == RunStatus::done);
  CHECK(done->get(&S::log).size() == 10);
}

TEST_CASE("a cached node runs once for an input, until its time is over") {
  Runtime runtime;
  for (const bool stored : {false, true}) {
    std::atomic<int> runs{0};
    StateGraph<S> graph;
    NodeOptions cached;
    cached.cache = CachePolicy{100ms, nullptr};
    graph.add_node("dear", [&](const State& s) { ++runs; return update(&S::x, s[&S::x] * 2); }, cached);
    graph.add_edge(START, "dear");
    const auto compiled = *graph.compile(stored ? with(make_memory_saver()) : CompileOptions{});
    for (const int thread : {1, 2, 3}) CHECK(compiled->invoke_blocking(runtime, from(4), on("t" + std::to_string(thread)))->get(&S::x) == 8);
    CHECK(runs == 1);
    CHECK(compiled->invoke_blocking(runtime, from(5), on("t4"))->get(&S::x) == 10);
    CHECK(runs == 2);
    std::this_thread::sleep_for(150ms);
    CHECK(compiled->invoke_blocking(runtime, from(4), on("t5"))->get(&S::x) == 8);
    CHECK(runs == 3);
  }
}

TEST_CASE("an at_most_once node that may have run is UNKNOWN, and a person says what became of it") {
  // What a crash leaves: the start is stored, the result is not.
  for (const char* action : {"retry", "skip", "result"}) {
    Runtime runtime;
    std::atomic<int> effects{0};
    const auto saver = make_memory_saver();
    NodeOptions once;
    once.effect = SideEffect::at_most_once;
    const auto build = [&](bool crashes) {
      StateGraph<S> graph;
      graph.add_node("pay", [&effects, crashes](const State&, NodeContext& context) -> Result<Update<S>> {
        ++effects;
        if (crashes) {
          while (context.cancellation().check()) std::this_thread::sleep_for(1ms);
          return fail(Error::cancelled("gone"));
        }
        return update(&S::x, 100);
      }, once);
      graph.add_edge(START, "pay");
      return *graph.compile(with(saver));
    };
    CancellationSource cancel;
    RunConfig config = on("t");
    config.cancellation = cancel.token();
    std::thread killer([&] {
      while (effects == 0) std::this_thread::sleep_for(1ms);
      cancel.cancel();
    });
    CHECK_FALSE(build(true)->invoke_blocking(runtime, from(1), config));
    killer.join();
    const auto graph = build(false);
    const auto state = runtime.wait(graph->get_state(runtime, on("t")));
    REQUIRE(state);
    REQUIRE(state->tasks.size() == 1);
    CHECK(state->tasks[0].state == "unknown");
    const auto waiting = graph->invoke_blocking(runtime, Continue{}, on("t"));
    REQUIRE(waiting);
    REQUIRE(waiting->status == RunStatus::interrupted);
    REQUIRE(waiting->interrupts.size() == 1);
    CHECK(waiting->interrupts[0].kind == "unknown");
    CHECK(effects == 1);
    CHECK(graph->invoke_blocking(runtime, Answer(Json("perhaps")), on("t")).error().code() == ErrorCode::bad_input);
    Json answer = {{"action", action}};
    if (std::string_view(action) == "result") answer["update"] = {{"x", 55}};
    const auto done = graph->invoke_blocking(runtime, Answer(answer), on("t"));
    REQUIRE(done);
    CHECK(done->status == RunStatus::done);
    CHECK(effects == (std::string_view(action) == "retry" ? 2 : 1));
    CHECK(done->get(&S::x) == (std::string_view(action) == "retry" ? 100 : std::string_view(action) == "skip" ? 1 : 55));
  }
}

TEST_CASE("a thread is run by one at a time, and a dead owner's lease runs out") {
  Runtime runtime;
  const auto saver = make_memory_saver();
  StateGraph<S> graph;
  graph.add_node("a", [](const State& s) { return update(&S::x, s[&S::x] + 1); });
  graph.add_edge(START, "a");
  const auto compiled = *graph.compile(with(saver));
  REQUIRE(saver->lease("t", {LeaseChange::Kind::acquire, "somebody", 150}));
  const auto refused = compiled->invoke_blocking(runtime, from(1), on("t"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::conflict);
  CHECK(refused.error().message().find("somebody") != std::string::npos);
  std::this_thread::sleep_for(200ms);
  const auto taken = compiled->invoke_blocking(runtime, from(1), on("t"));
  REQUIRE(taken);
  CHECK(taken->get(&S::x) == 2);
  CHECK(saver->threads()->at(0).lease_owner.empty());
}

TEST_CASE("every durability ends in the same state; sync and async keep the same history") {
  Runtime runtime;
  test::TempDir dir;
  auto store = *open_sqlite_store(*Workspace::open(dir / "w.db"));
  StateGraph<S> graph;
  for (const auto* name : {"a", "b"}) graph.add_node(name, [name](const State& s) { return update(&S::log, {name + std::to_string(s[&S::x])}); });
  graph.add_node("count", [](const State& s) { return update(&S::x, s[&S::x] + 1); });
  graph.add_edge(START, "count").add_edge("count", "a").add_edge("count", "b").add_edge({"a", "b"}, "end");
  graph.add_node("end", [](const State&) { return Update<S>(); });
  graph.add_conditional_edges("end", [](const State& s) { return Route(s[&S::x] < 6 ? "count" : END); }, {"count"});
  const auto compiled = *graph.compile(with(store.saver));
  Json expected;
  std::vector<std::int64_t> steps;
  for (const auto durability : {Durability::sync, Durability::async, Durability::exit}) {
    const std::string thread = "t" + std::to_string(static_cast<int>(durability));
    RunConfig config = on(thread);
    config.durability = durability;
    config.async_commits = 2;
    const auto result = compiled->invoke_blocking(runtime, from(0), config);
    REQUIRE(result);
    if (expected.is_null()) expected = *result->to_json();
    CHECK(*result->to_json() == expected);
    const auto stored = read_thread(*store.saver, thread);
    REQUIRE(stored);
    CHECK(*stored->to_json() == expected);
    const auto history = read_thread_history(*store.saver, thread);
    REQUIRE(history);
    if (durability == Durability::sync) {
      for (const auto& each : *history) steps.push_back(each.step);
    } else if (durability == Durability::async) {
      std::vector<std::int64_t> same;
      for (const auto& each : *history) same.push_back(each.step);
      CHECK(same == steps);
    } else {
      CHECK(history->size() == 1);
    }
  }
  CHECK(steps.size() == 19);
}

TEST_CASE("a compatible edit of the graph resumes, an incompatible one says what changed") {
  Runtime runtime;
  const auto saver = make_memory_saver();
  const auto build = [&](int version) {
    std::vector<ChannelSpec> channels{*json_channel("x", version == 2 ? "string" : "integer", {})};
    if (version == 1) channels.push_back(*json_channel("y", "integer", {}));
    GraphBuilder graph(std::move(channels));
    NodeFunction ask = [](NodeContext& context) -> Result<NodeResult> {
      CORVID_TRY(auto answer, context.interrupt("go on?"));
      return NodeResult().set(context, "x", answer);
    };
    NodeFunction nothing = [](NodeContext&) -> Result<NodeResult> { return NodeResult(); };
    graph.add_node(version == 3 ? "asks" : "ask", ask).add_edge(START, version == 3 ? "asks" : "ask");
    if (version == 1) graph.add_node("more", nothing).add_edge("ask", "more");
    return *graph.compile(with(saver));
  };
  REQUIRE(build(0)->invoke_blocking(runtime, Json{{"x", 1}}, on("t"))->status == RunStatus::interrupted);
  const auto other_type = build(2)->invoke_blocking(runtime, Continue{}, on("t"));
  REQUIRE_FALSE(other_type);
  CHECK(other_type.error().code() == ErrorCode::conflict);
  CHECK(other_type.error().message().find("\"x\" had the type \"integer\", now \"string\"") != std::string::npos);
  const auto renamed = build(3)->invoke_blocking(runtime, Continue{}, on("t"));
  REQUIRE_FALSE(renamed);
  CHECK(renamed.error().message().find("\"ask\", which is to run next, is gone") != std::string::npos);
  const auto done = build(1)->invoke_blocking(runtime, Answer(Json(5)), on("t"));
  REQUIRE(done);
  CHECK(*done->to_json() == Json{{"x", 5}});
  CHECK(done->steps == 2);
}

TEST_CASE("a run of a thread that went on elsewhere is refused, not joined") {
  Runtime runtime;
  const auto saver = make_memory_saver();
  StateGraph<S> graph;
  graph.add_node("a", [&](const State& s) -> Update<S> { return update(&S::x, s[&S::x] + 1); });
  graph.add_edge(START, "a");
  const auto compiled = *graph.compile(with(saver));
  std::atomic<int> won{0}, refused{0};
  std::vector<std::thread> racers;
  for (int i = 0; i < 8; ++i) {
    racers.emplace_back([&] {
      const auto result = compiled->invoke_blocking(runtime, from(0), on("t"));
      if (result) ++won;
      else if (result.error().code() == ErrorCode::conflict) ++refused;
    });
  }
  for (auto& racer : racers) racer.join();
  CHECK(won + refused == 8);
  CHECK(won >= 1);
  const auto history = runtime.wait(compiled->get_state_history(runtime, on("t")));
  REQUIRE(history);
  CHECK(history->size() == static_cast<std::size_t>(2 * won));
}
