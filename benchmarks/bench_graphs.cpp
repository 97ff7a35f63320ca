// What the graph runtime itself costs: nodes that do next to nothing. One line a figure: name, median, unit, note.
//
//   bench_graphs [FOLDER [PART]...]    FOLDER holds the SQLite files (default: the current one); it should be on the disk that matters
//                                      PART: chain, memory, wide, event, durable; default all
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"

using namespace corvid;
using Clock = std::chrono::steady_clock;

namespace {

struct S { Key<int> x{"x"}; };
struct F { Key<int> n{"n"}, i{"i"}; Key<std::vector<int>> out{"out", append}; };
enum class Kind { in_place, coroutine, pool };
const char* name(Kind kind) { return kind == Kind::in_place ? "in place" : kind == Kind::coroutine ? "coroutines" : "on the pool"; }

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().describe().c_str());
    std::exit(1);
  }
  return std::move(*result);
}
void must(Status status) {
  if (!status) {
    std::fprintf(stderr, "%s\n", status.error().describe().c_str());
    std::exit(1);
  }
}

template <class State, class Body>
void node(StateGraph<State>& graph, const char* id, Kind kind, Body body) {
  NodeOptions options;
  options.run_on = kind == Kind::in_place ? RunOn::executor : RunOn::pool;
  if (kind == Kind::coroutine) graph.add_node(id, [body](const StateOf<State>& s) -> Task<Update<State>> { co_return body(s); });
  else graph.add_node(id, body, options);
}

std::shared_ptr<const CompiledGraph> chain(Kind kind, std::shared_ptr<Checkpointer> saver = {}) {
  StateGraph<S> graph;
  for (const auto* id : {"n0", "n1", "n2"}) node(graph, id, kind, [](const StateOf<S>& s) { return update(&S::x, s[&S::x] + 1); });
  graph.add_edge(START, "n0").add_edge("n0", "n1").add_edge("n1", "n2").add_edge("n2", END);
  CompileOptions options;
  options.checkpointer = std::move(saver);
  return must(graph.compile(options));
}

std::shared_ptr<const CompiledGraph> loop(Kind kind, std::shared_ptr<Checkpointer> saver = {}) {
  StateGraph<S> graph;
  node(graph, "step", kind, [](const StateOf<S>& s) { return update(&S::x, s[&S::x] + 1); });
  graph.add_edge(START, "step");
  graph.add_conditional_edges("step", [](const StateOf<S>& s) { return std::string(s[&S::x] < 1000 ? std::string_view("step") : END); }, {"step", std::string(END)});
  CompileOptions options;
  options.checkpointer = std::move(saver);
  return must(graph.compile(options));
}

std::shared_ptr<const CompiledGraph> fan(Kind kind, std::shared_ptr<Checkpointer> saver = {}) {
  StateGraph<F> graph;
  node(graph, "start", kind, [](const StateOf<F>&) { return Update<F>(); });
  node(graph, "work", kind, [](const StateOf<F>& s) { return update(&F::out, std::vector<int>{s[&F::i]}); });
  node(graph, "join", kind, [](const StateOf<F>& s) { return update(&F::n, static_cast<int>(s[&F::out].size())); });
  graph.add_edge(START, "start").add_edge("work", "join").add_edge("join", END);
  graph.add_conditional_edges("start", [](const StateOf<F>&) {
    std::vector<Send> sends;
    sends.reserve(100);
    for (int i = 0; i < 100; ++i) sends.emplace_back("work", update(&F::i, i));
    return sends;
  }, {"work"});
  CompileOptions options;
  options.checkpointer = std::move(saver);
  return must(graph.compile(options));
}

// Microseconds a call, the median of `repeats` rounds of `n` calls each on the runtime's executor.
double on_executor(Runtime& runtime, int repeats, int n, std::function<Task<void>(int)> call) {
  std::vector<double> rounds;
  for (int r = 0; r < repeats; ++r) {
    auto body = [](std::function<Task<void>(int)> each, int count) -> Task<void> {
      for (int i = 0; i < count; ++i) CORVID_CO_TRY_STATUS(co_await each(i));
      co_return Status{};
    };
    const auto begin = Clock::now();
    must(runtime.wait(body(call, n)));
    rounds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / n);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[rounds.size() / 2];
}

double from_thread(int repeats, int n, const std::function<void(int)>& call) {
  std::vector<double> rounds;
  for (int r = 0; r < repeats; ++r) {
    const auto begin = Clock::now();
    for (int i = 0; i < n; ++i) call(i);
    rounds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / n);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[rounds.size() / 2];
}

void line(const std::string& what, double us, const std::string& note = {}) { std::printf("%-58s %12.2f us  %s\n", what.c_str(), us, note.c_str()); }

int next_thread = 0;
RunConfig fresh() {
  RunConfig config;
  config.thread_id = "t" + std::to_string(++next_thread);
  return config;
}

void chains(Runtime& runtime) {
  for (const Kind kind : {Kind::in_place, Kind::coroutine, Kind::pool}) {
    const std::string k = name(kind);
    const auto c = chain(kind);
    const auto run_chain = [&](int) -> Task<void> {
      std::vector<ChannelWrite> writes = std::move(update(&S::x, 0)).take();
      Input in(std::move(writes));
      CORVID_CO_TRY(const auto result, co_await c->invoke(runtime, std::move(in)));
      co_return result.get(&S::x) == 3 ? Status{} : fail(Error::internal("wrong"));
    };
    line("chain of 3, " + k + ", awaited", on_executor(runtime, 7, kind == Kind::pool ? 2000 : 20000, run_chain));
    line("chain of 3, " + k + ", invoke_blocking", from_thread(5, 2000, [&](int) { must(c->invoke_blocking(runtime, input(update(&S::x, 0)))); }));
  }
}

void without_store(Runtime& runtime) {
  for (const Kind kind : {Kind::in_place, Kind::coroutine, Kind::pool}) {
    const std::string k = name(kind);
    const auto f = fan(kind);
    const auto run_fan = [&](int) -> Task<void> {
      std::vector<ChannelWrite> writes = std::move(update(&F::n, 0)).take();
      Input in(std::move(writes));
      CORVID_CO_TRY(const auto result, co_await f->invoke(runtime, std::move(in)));
      co_return result.get(&F::n) == 100 ? Status{} : fail(Error::internal("wrong"));
    };
    line("fan-out of 100 Sends and a join, " + k, on_executor(runtime, 7, 300, run_fan));
    const auto l = loop(kind);
    const auto run_loop = [&](int) -> Task<void> {
      std::vector<ChannelWrite> writes = std::move(update(&S::x, 0)).take();
      Input in(std::move(writes));
      CORVID_CO_TRY(const auto result, co_await l->invoke(runtime, std::move(in)));
      co_return result.get(&S::x) == 1000 ? Status{} : fail(Error::internal("wrong"));
    };
    line("1,000 supersteps of one node, " + k, on_executor(runtime, 5, kind == Kind::pool ? 5 : 30, run_loop));
  }
}

// 400 channels written by 800 tasks of one superstep.
void wide(Runtime& runtime) {
  std::vector<ChannelSpec> channels;
  for (int i = 0; i < 400; ++i) channels.push_back(must(json_channel("c" + std::to_string(i), "list", must(json_reducer("append")))));
  GraphBuilder graph(std::move(channels));
  NodeOptions options;
  options.run_on = RunOn::executor;
  for (int i = 0; i < 800; ++i) {
    const std::string channel = "c" + std::to_string(i % 400);
    NodeFunction body = [channel](NodeContext& context) -> Result<NodeResult> { return NodeResult().set(context, channel, Json::array({1})); };
    graph.add_node("n" + std::to_string(i), std::move(body), options);
    graph.add_edge(START, "n" + std::to_string(i));
  }
  const auto compiled = must(graph.compile());
  line("400 channels written by 800 tasks in one superstep", from_thread(7, 20, [&](int) { must(compiled->invoke_blocking(runtime, Json::object())); }));
}

void first_event(Runtime& runtime) {
  const auto c = chain(Kind::in_place);
  line("first stream event (updates) of a chain of 3", from_thread(7, 500, [&](int) {
         auto stream = c->stream(runtime, input(update(&S::x, 0)), {}, {StreamMode::updates});
         if (!stream.next_blocking()) std::exit(1);
         must(stream.result_blocking());
       }), "whole run included");
}

void durable(Runtime& runtime, const std::filesystem::path& folder) {
  const auto file = folder / "bench_graphs.db";
  const auto remove = [&] {
    for (const char* end : {"", "-wal", "-shm", ".lock"}) std::filesystem::remove(file.string() + end);
  };
  remove();
  {
    auto workspace = must(Workspace::open(file));
    must(workspace->write([](Database& db) { return db.execute("CREATE TABLE bare(id INTEGER PRIMARY KEY, body BLOB)"); }));
    const std::string body(200, 'x');
    const auto commit_once = [&](int) {
      must(workspace->write([&](Database& db) -> Status {
        CORVID_TRY(auto row, db.prepare("INSERT INTO bare(body) VALUES(?1)"));
        row.bind(1, std::string_view(body));
        return row.run();
      }));
    };
    auto store = must(open_sqlite_store(workspace));
    const auto c = chain(Kind::in_place, store.saver);
    const auto run_chain = [&](int) -> Task<void> {
      std::vector<ChannelWrite> writes = std::move(update(&S::x, 0)).take();
      Input in(std::move(writes));
      RunConfig config = fresh();
      CORVID_CO_TRY(const auto result, co_await c->invoke(runtime, std::move(in), std::move(config)));
      co_return result.get(&S::x) == 3 ? Status{} : fail(Error::internal("wrong"));
    };
    // Interleaved, since what a commit costs changes from second to second. What is awaited after a pause first wakes its threads: shown with
    // that and, after three that are not timed, without it.
    const char* const ways[] = {"invoke_blocking", "awaited after a pause", "awaited in a row"};
    std::vector<double> bares, ratios[3], chains[3];
    for (int round = 0; round < 45; ++round) {
      const int way = round % 3;
      const double bare = from_thread(1, 40, commit_once);
      if (way == 2) (void)on_executor(runtime, 1, 3, run_chain);
      const double chain_us = way != 0 ? on_executor(runtime, 1, 10, run_chain)
                                       : from_thread(1, 10, [&](int) { must(c->invoke_blocking(runtime, input(update(&S::x, 0)), fresh())); });
      bares.push_back(bare);
      chains[way].push_back(chain_us);
      ratios[way].push_back(chain_us / (4 * bare));
    }
    std::sort(bares.begin(), bares.end());
    line("a bare commit of one row of 200 bytes", bares[bares.size() / 2]);
    for (int way = 0; way < 3; ++way) {
      std::sort(chains[way].begin(), chains[way].end());
      std::sort(ratios[way].begin(), ratios[way].end());
      char ratio[64];
      std::snprintf(ratio, sizeof ratio, "%.2f times four bare commits (median of paired rounds)", ratios[way][ratios[way].size() / 2]);
      line(std::string("durable chain of 3 on SQLite, sync, ") + ways[way], chains[way][chains[way].size() / 2], ratio);
    }
    const auto l = loop(Kind::in_place, store.saver);
    for (const auto durability : {Durability::sync, Durability::async, Durability::exit}) {
      const char* label = durability == Durability::sync ? "sync" : durability == Durability::async ? "async" : "exit";
      line(std::string("1,000 durable supersteps on SQLite, ") + label, from_thread(1, 1, [&](int) {
             RunConfig config = fresh();
             config.durability = durability;
             must(l->invoke_blocking(runtime, input(update(&S::x, 0)), config));
           }));
    }
    const auto f = fan(Kind::in_place, store.saver);
    line("durable fan-out of 100 on SQLite, sync", from_thread(3, 5, [&](int) { must(f->invoke_blocking(runtime, input(update(&F::n, 0)), fresh())); }));
  }
  remove();
  auto memory = make_memory_saver();
  const auto c = chain(Kind::in_place, memory);
  line("chain of 3 with the memory saver", from_thread(5, 300, [&](int) { must(c->invoke_blocking(runtime, input(update(&S::x, 0)), fresh())); }));
}

}  // namespace

int main(int argc, char** argv) {
  Runtime runtime;
  const std::vector<std::string_view> parts(argv + std::min(argc, 2), argv + argc);
  const auto wanted = [&](std::string_view part) { return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end(); };
  if (wanted("chain")) chains(runtime);
  if (wanted("memory")) without_store(runtime);
  if (wanted("wide")) wide(runtime);
  if (wanted("event")) first_event(runtime);
  if (wanted("durable")) durable(runtime, argc > 1 ? argv[1] : ".");
}
