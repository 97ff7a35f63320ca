// What grows: memory while a store is slower than the run, and the store while a conversation grows.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <thread>

#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

// Takes its time and keeps nothing but the numbers.
class Slow final : public Checkpointer {
 public:
  std::string_view name() const noexcept override { return "slow"; }
  Status commit(const Commit& commit) override {
    std::lock_guard lock(mutex_);
    if (commit.checkpoint) {
      in_order = in_order && commit.checkpoint->id > last_;
      last_ = commit.checkpoint->id;
      if (++checkpoints == 10'000) early_bytes = test::resident_bytes();
      if (checkpoints % 10'000 == 0) most_bytes = std::max(most_bytes, test::resident_bytes());
      // Behind all the time, and now and then far behind.
      if (checkpoints % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(checkpoints % 4'096 == 0 ? 50'000 : 200));
    }
    return {};
  }
  Result<std::optional<LoadedCheckpoint>> get(std::string_view, std::string_view, std::string_view) override {
    return std::optional<LoadedCheckpoint>();
  }
  Result<std::vector<CheckpointRecord>> list(std::string_view, std::string_view, const ListOptions&) override {
    return std::vector<CheckpointRecord>();
  }
  Result<std::vector<std::string>> namespaces(std::string_view) override { return std::vector<std::string>(); }
  Result<std::vector<ThreadInfo>> threads() override { return std::vector<ThreadInfo>(); }
  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view, bool) override { return std::vector<InterruptRecord>(); }
  Status answer(const AnswerRecord&, const AuditRecord&, std::int64_t) override { return {}; }
  Status append_audit(const AuditRecord&) override { return {}; }
  Result<std::vector<AuditRecord>> audit() override { return std::vector<AuditRecord>(); }
  Status lease(std::string_view, const LeaseChange&) override { return {}; }
  Status delete_thread(std::string_view) override { return {}; }
  Status copy_thread(std::string_view, std::string_view) override { return {}; }
  Result<std::size_t> prune(std::string_view, const PruneOptions&) override { return std::size_t{0}; }
  Result<std::optional<Bytes>> cache_get(std::string_view, std::int64_t) override { return std::optional<Bytes>(); }
  Status cache_put(std::string_view, const Bytes&, std::int64_t) override { return {}; }

  std::int64_t checkpoints = 0, early_bytes = 0, most_bytes = 0;
  bool in_order = true;

 private:
  std::mutex mutex_;
  std::string last_;
};

struct Loop {
  Key<int> x{"x"};
  Key<std::string> text{"text"};
};

struct Talk {
  Key<std::vector<Json>> messages{"messages", add_messages};
  Key<int> turn{"turn"};
  Key<int> until{"until"};
};

}  // namespace

TEST_CASE("100,000 supersteps with a store that is slower need no more memory than a few", "[growth]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // A sanitizer keeps freed memory and shadows all of it: there only the order and the count mean something.
  constexpr int kSteps = 12'000;
  constexpr bool kMemoryMeans = false;
#else
  constexpr int kSteps = 100'000;
  constexpr bool kMemoryMeans = true;
#endif
  StateGraph<Loop> graph;
  NodeOptions in_place;
  in_place.run_on = RunOn::executor;
  graph.add_node(
      "step",
      [](const StateOf<Loop>& s) { return update(&Loop::x, s[&Loop::x] + 1).set(&Loop::text, std::string(1'000, 'a' + s[&Loop::x] % 26)); },
      in_place);
  graph.add_edge(START, "step");
  graph.add_conditional_edges("step", [](const StateOf<Loop>& s) { return Route(s[&Loop::x] < kSteps ? "step" : END); },
                              {"step", std::string(END)});
  auto saver = std::make_shared<Slow>();
  CompileOptions options;
  options.checkpointer = saver;
  const auto compiled = graph.compile(options);
  REQUIRE(compiled);
  Runtime runtime;
  RunConfig config;
  config.thread_id = "t";
  config.durability = Durability::async;
  config.recursion_limit = kSteps + 1;
  const auto begun = std::chrono::steady_clock::now();
  const auto result = (*compiled)->invoke_blocking(runtime, input(update(&Loop::x, 0)), config);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  REQUIRE(result);
  CHECK(result->get(&Loop::x) == kSteps);
  CHECK(saver->checkpoints == kSteps + 1);
  CHECK(saver->in_order);
  std::printf("slow store: %d supersteps, %.1f s, resident memory grew by %lld bytes after the first 10,000\n", kSteps, seconds,
              static_cast<long long>(saver->most_bytes - saver->early_bytes));
  if (kMemoryMeans) CHECK(saver->most_bytes - saver->early_bytes < 4 * 1024 * 1024);
}

TEST_CASE("a conversation of 2,000 turns grows its store linearly", "[growth]") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  auto store = open_sqlite_store(*workspace);
  REQUIRE(store);
  StateGraph<Talk> graph;
  // A turn a superstep: what is said and what is replied, some 400 bytes.
  graph.add_node("turn", [](const StateOf<Talk>& s) {
    const std::string number = std::to_string(s[&Talk::turn]) + std::string(150, '.');
    Json said = {{"role", "user"}, {"content", "turn " + number}};
    Json reply = {{"role", "assistant"}, {"content", "reply " + number}};
    return update(&Talk::messages, {std::move(said), std::move(reply)}).set(&Talk::turn, s[&Talk::turn] + 1);
  });
  graph.add_edge(START, "turn");
  graph.add_conditional_edges("turn", [](const StateOf<Talk>& s) { return Route(s[&Talk::turn] < s[&Talk::until] ? "turn" : END); },
                              {"turn", std::string(END)});
  CompileOptions options;
  options.checkpointer = store->saver;
  const auto compiled = graph.compile(options);
  REQUIRE(compiled);
  Runtime runtime;
  RunConfig config;
  config.thread_id = "t";
  std::int64_t bytes[3] = {};
  int at = 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kFewer = 4;
#else
  constexpr int kFewer = 1;
#endif
  for (const int until : {500 / kFewer, 1'000 / kFewer, 2'000 / kFewer}) {
    const auto result = (*compiled)->invoke_blocking(runtime, input(update(&Talk::until, until)), config);
    REQUIRE(result);
    CHECK(result->get(&Talk::messages).size() == static_cast<std::size_t>(2 * until));
    const auto count = [&](Database& db) -> Status {
      CORVID_TRY(Statement row, db.prepare("PRAGMA page_count"));
      CORVID_TRY(const bool any, row.step());
      bytes[at++] = any ? row.integer(0) * 4'096 : 0;
      return {};
    };
    REQUIRE((*workspace)->read(count));
  }
  std::printf("conversation: %lld bytes after 500 turns, %lld after 1,000, %lld after 2,000\n", static_cast<long long>(bytes[0]),
              static_cast<long long>(bytes[1]), static_cast<long long>(bytes[2]));
  // Twice as much for twice as long, give or take where the last whole value was written.
  CHECK(static_cast<double>(bytes[1]) < 2.4 * static_cast<double>(bytes[0]));
  CHECK(static_cast<double>(bytes[2]) < 2.4 * static_cast<double>(bytes[1]));
  CHECK(static_cast<double>(bytes[2]) < 4.5 * static_cast<double>(bytes[0]));
}
