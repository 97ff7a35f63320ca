#include <atomic>
#include <thread>

#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/graphs/worker.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace std::chrono_literals;

namespace {

struct Work { Key<int> x{"x"}; };

std::shared_ptr<const CompiledGraph> graph_on(std::shared_ptr<Checkpointer> saver, std::atomic<int>* stop_at_two = nullptr) {
  StateGraph<Work> graph;
  graph.add_node("one", [](const StateOf<Work>& s) { return update(&Work::x, s[&Work::x] + 1); });
  graph.add_node("two", [stop_at_two](const StateOf<Work>& s, NodeContext& context) -> Result<Update<Work>> {
    if (stop_at_two && stop_at_two->exchange(0) == 1) {
      while (context.cancellation().check()) std::this_thread::sleep_for(5ms);
      return fail(Error::cancelled("stopped"));
    }
    return update(&Work::x, s[&Work::x] * 10);
  });
  graph.add_edge(START, "one").add_edge("one", "two");
  CompileOptions options;
  options.checkpointer = std::move(saver);
  return *graph.compile(options);
}

}  // namespace

TEST_CASE("workers share a queue and end each run once, those of a worker that stopped too") {
  test::TempDir dir;
  auto workspace = *Workspace::open(dir / "w.db");
  auto store = *open_sqlite_store(workspace);
  std::atomic<int> stop{1};
  const auto graph = graph_on(store.saver, &stop);
  constexpr int kRuns = 40;
  for (int i = 0; i < kRuns; ++i) {
    const auto id = std::to_string(i);
    REQUIRE(store.queue->enqueue({"run-" + id, "thread-" + id, "work", queued_input({{"x", i}})}));
  }
  REQUIRE(store.queue->enqueue({"run-lost", "thread-lost", "unknown", queued_input(Json::object())}));
  WorkerOptions options;
  options.graphs = [&](const std::string& name) -> Result<std::shared_ptr<const CompiledGraph>> {
    if (name != "work") return fail(Error::not_found("no graph \"" + name + "\""));
    return graph;
  };
  options.ttl = 300ms;
  options.pause = 20ms;
  options.until_empty = true;

  Runtime runtime;
  std::atomic<int> broken{0};   // Catch's assertions are for one thread
  // The first worker hangs in its first run and is stopped there: its claim and its lease run out, and others take the run over.
  CancellationSource first;
  WorkerOptions stopped = options;
  stopped.cancellation = first.token();
  std::thread hanging([&] {
    Runtime own;
    if (!own.wait(work(own, *store.queue, stopped))) ++broken;
  });
  while (stop != 0) std::this_thread::sleep_for(5ms);
  first.cancel();
  hanging.join();

  std::atomic<std::size_t> done{0}, failed{0}, taken_over{0};
  std::vector<std::thread> workers;
  for (int w = 0; w < 3; ++w) {
    workers.emplace_back([&] {
      Runtime own;
      const auto report = own.wait(work(own, *store.queue, options));
      if (!report) {
        ++broken;
        return;
      }
      done += report->done;
      failed += report->failed;
      taken_over += report->taken_over;
    });
  }
  for (auto& worker : workers) worker.join();
  CHECK(broken == 0);
  CHECK(done == kRuns);
  CHECK(failed == 1);
  CHECK(taken_over >= 1);
  const auto counts = store.queue->counts();
  REQUIRE(counts);
  CHECK(counts->waiting == 0);
  CHECK(counts->running == 0);
  CHECK(counts->finished == kRuns + 1);
  for (int i = 0; i < kRuns; ++i) {
    RunConfig config;
    config.thread_id = "thread-" + std::to_string(i);
    const auto state = runtime.wait(graph->get_state(runtime, config));
    REQUIRE(state);
    CHECK(state->next.empty());
    CHECK(*state->to_json() == Json{{"x", (i + 1) * 10}});
  }
}
