// The program that the crash matrix kills: one fixed graph over a workspace, goes on where its thread stands.
//
//   graph_crash_worker MODE DIR [ARGUMENT]…
//     run      until done or a question that a person must answer
//     finish   the same, answering: approvals with yes, UNKNOWN by what effects.log says
//     ask N    a graph of N parallel questions; prints them
//     reply ID VALUE   answers one of them
//     collect N  goes on with that graph and prints its state
//     serve OWNER  takes short runs from a queue until all are finished (PostgreSQL only)
//     check N  whether N such runs ended well
//
// CRASH_WORKER_POSTGRES is a server's address, to be used in place of DIR/w.db; CRASH_WORKER_THREAD the thread.
//
// It says on stdout what the store or the API has promised, a line each, before it goes on:
//   ck NS STEP ID   a checkpoint is stored      w NS TASK   a task's result is stored
//   ev NS STEP ID   a stream said so too        asked ID    question stored
//   history NS ID   found at start              final JSON, status NAME, error CODE TEXT, integrity TEXT
#include <fcntl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "corvid/graphs/approvals.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"

using namespace corvid;

// Of the preloaded fault layer, where it is there.
extern "C" {
__attribute__((weak)) void fault_arm(void);
__attribute__((weak)) void fault_disarm(void);
__attribute__((weak)) std::int64_t fault_allocations(void);
__attribute__((weak)) std::int64_t fault_calls(void);
}

namespace {

const char* kThread = "t";
constexpr int kRounds = 14;

// Without allocation: it is called where memory is out.
__attribute__((format(printf, 1, 2))) void say(const char* format, ...) {
  char line[8192];
  va_list arguments;
  va_start(arguments, format);
  int n = std::vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (n > static_cast<int>(sizeof line) - 2) n = static_cast<int>(sizeof line) - 2;
  line[n] = '\n';
  if (::write(1, line, static_cast<std::size_t>(n) + 1) < 0) std::_Exit(9);
}

void say_whole(const char* word, const std::string& text) {
  const std::string line = std::string(word) + " " + text + "\n";
  for (std::size_t at = 0; at < line.size();) {
    const auto n = ::write(1, line.data() + at, line.size() - at);
    if (n <= 0) std::_Exit(9);
    at += static_cast<std::size_t>(n);
  }
}

const char* shown(const std::string& ns) { return ns.empty() ? "-" : ns.c_str(); }

// The world outside: a line a visit, on the disk before the node goes on.
int effects_fd = -1;
const char* process_number = "0";
void visit(NodeContext& context, const char* mark = "") {
  char line[1024];
  const int n = std::snprintf(line, sizeof line, "%s %s%s %s %lld %s\n", process_number, context.node().c_str(), mark,
                              shown(context.checkpoint_ns()), static_cast<long long>(context.step()), context.task_id().c_str());
  if (::write(effects_fd, line, static_cast<std::size_t>(n)) != n || ::fsync(effects_fd) != 0) std::_Exit(8);
}

// Passes everything on, and says what has become durable.
class Telling final : public Checkpointer {
 public:
  explicit Telling(std::shared_ptr<Checkpointer> inner) : inner_(std::move(inner)) {}
  std::string_view name() const noexcept override { return inner_->name(); }
  bool blocks() const noexcept override { return inner_->blocks(); }
  Status commit(const Commit& commit) override {
    auto done = inner_->commit(commit);
    if (!done) return done;
    for (const auto& write : commit.writes) {
      if (write.index == 0) say("w %s %s", shown(commit.ns), write.task_id.c_str());
    }
    for (const auto& asked : commit.interrupts) say("asked %s", asked.id.c_str());
    if (commit.checkpoint)
      say("ck %s %lld %s", shown(commit.ns), static_cast<long long>(commit.checkpoint->step), commit.checkpoint->id.c_str());
    return done;
  }
  Result<std::optional<LoadedCheckpoint>> get(std::string_view thread, std::string_view ns, std::string_view id) override {
    return inner_->get(thread, ns, id);
  }
  Result<std::vector<CheckpointRecord>> list(std::string_view thread, std::string_view ns, const ListOptions& options) override {
    return inner_->list(thread, ns, options);
  }
  Result<std::vector<std::string>> namespaces(std::string_view thread) override { return inner_->namespaces(thread); }
  Result<std::vector<ThreadInfo>> threads() override { return inner_->threads(); }
  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread, bool expired) override {
    return inner_->open_interrupts(thread, expired);
  }
  Status answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now) override {
    auto done = inner_->answer(answer, audit, now);
    if (done) say("answered %s", answer.interrupt_id.c_str());
    return done;
  }
  Status append_audit(const AuditRecord& entry) override { return inner_->append_audit(entry); }
  Result<std::vector<AuditRecord>> audit() override { return inner_->audit(); }
  Status lease(std::string_view thread, const LeaseChange& change) override { return inner_->lease(thread, change); }
  Status delete_thread(std::string_view thread) override { return inner_->delete_thread(thread); }
  Status copy_thread(std::string_view from, std::string_view to) override { return inner_->copy_thread(from, to); }
  Result<std::size_t> prune(std::string_view thread, const PruneOptions& options) override { return inner_->prune(thread, options); }
  Result<std::optional<Bytes>> cache_get(std::string_view key, std::int64_t now) override { return inner_->cache_get(key, now); }
  Status cache_put(std::string_view key, const Bytes& value, std::int64_t expires) override {
    return inner_->cache_put(key, value, expires);
  }

 private:
  std::shared_ptr<Checkpointer> inner_;
};

struct Plan {
  Key<int> round{"round"};
  Key<int> item{"item"};
  Key<int> depth{"depth"};
  Key<long> sum{"sum", [](long a, long b) { return a + b; }};
  Key<std::vector<std::string>> trail{"trail", append};
  Key<std::vector<Json>> messages{"messages", add_messages};
  Key<std::string> approved{"approved"};
  Key<std::string> sent{"sent"};
};
using State = StateOf<Plan>;

std::string tag(const State& s, const char* name) { return std::string(name) + std::to_string(s[&Plan::round]); }

template <class G>
void add_step(G& graph, const char* name) {
  graph.add_node(name, [name](const State& s, NodeContext& context) {
    visit(context);
    return update(&Plan::trail, {tag(s, name)});
  });
}

std::shared_ptr<const CompiledGraph> plan(std::shared_ptr<Checkpointer> saver) {
  StateGraph<Plan> inner;
  const char* const steps[] = {"i1", "i2", "i3", "i4", "i5"};
  for (int i = 0; i < 5; ++i) {
    inner.add_node(steps[i], [](const State& s, NodeContext& context) {
      visit(context);
      return update(&Plan::depth, s[&Plan::depth] + 1);
    });
    inner.add_edge(i == 0 ? START : std::string_view(steps[i - 1]), steps[i]);
  }
  StateGraph<Plan> graph;
  add_step(graph, "begin");
  for (const auto* name : {"fan_a", "fan_b", "fan_c"}) {
    graph.add_node(name, [name](const State& s, NodeContext& context) {
      visit(context);
      return update(&Plan::sum, 1).set(&Plan::trail, {tag(s, name)});
    });
  }
  add_step(graph, "gather");
  graph.add_node("work", [](const State& s, NodeContext& context) {
    visit(context);
    return update(&Plan::sum, s[&Plan::item]).set(&Plan::trail, {"work" + std::to_string(s[&Plan::item])});
  });
  add_step(graph, "collect");
  graph.add_subgraph("inner", *inner.compile());
  graph.add_node("turn", [](const State& s, NodeContext& context) {
    visit(context);
    Json message = {{"role", "user"}, {"content", "turn " + std::to_string(s[&Plan::round])}};
    return update(&Plan::round, s[&Plan::round] + 1).set(&Plan::messages, {std::move(message)});
  });
  graph.add_node("approve", [](const State&, NodeContext& context) -> Result<Update<Plan>> {
    InterruptOptions options;
    options.kind = "approval";
    options.response_schema = {{"type", "string"}};
    CORVID_TRY(const Json answer, context.interrupt("go on?", options));
    return update(&Plan::approved, answer.get<std::string>());
  });
  NodeOptions once;
  once.effect = SideEffect::at_most_once;
  graph.add_node(
      "notify",
      [](const State&, NodeContext& context) {
        visit(context, "!");
        return update(&Plan::sent, "yes");
      },
      once);
  add_step(graph, "end");
  graph.add_edge(START, "begin");
  graph.add_conditional_edges("begin",
                              [](const State& s) -> Route {
                                switch (s[&Plan::round] % 3) {
                                  case 0:
                                    return std::vector<std::string>{"fan_a", "fan_b", "fan_c"};
                                  case 1: {
                                    std::vector<Send> sends;
                                    for (int i = 0; i < 8; ++i) sends.emplace_back("work", update(&Plan::item, i + s[&Plan::round]));
                                    return sends;
                                  }
                                  default:
                                    return "inner";
                                }
                              },
                              {"fan_a", "fan_b", "fan_c", "work", "inner"});
  graph.add_edge({"fan_a", "fan_b", "fan_c"}, "gather").add_edge("gather", "turn");
  graph.add_edge("work", "collect").add_edge("collect", "turn").add_edge("inner", "turn");
  graph.add_conditional_edges(
      "turn",
      [](const State& s) -> Route {
        const int round = s[&Plan::round];
        return round >= kRounds ? "end" : round == kRounds / 2 ? "approve" : round == kRounds / 2 + 2 ? "notify" : "begin";
      },
      {"end", "approve", "notify", "begin"});
  graph.add_edge("approve", "begin").add_edge("notify", "begin").add_edge("end", END);
  CompileOptions options;
  options.name = "plan";
  options.checkpointer = std::move(saver);
  options.snapshot_every = 4;
  auto compiled = graph.compile(std::move(options));
  if (!compiled) {
    say_whole("error", compiled.error().describe());
    std::_Exit(7);
  }
  return *compiled;
}

struct Asking {
  Key<int> item{"item"};
  Key<std::vector<std::string>> got{"got", append};
};

// `count` tasks, each with a question of its own; each notes which call got which reply.
std::shared_ptr<const CompiledGraph> asking(std::shared_ptr<Checkpointer> saver, int count) {
  StateGraph<Asking> graph;
  graph.add_node("spread", [](const StateOf<Asking>&) { return Update<Asking>(); });
  graph.add_node("ask", [](const StateOf<Asking>& s, NodeContext& context) -> Result<Update<Asking>> {
    const int item = s[&Asking::item];
    InterruptOptions options;
    options.response_schema = {{"type", "string"}};
    CORVID_TRY(const Json answer, context.interrupt({{"item", item}}, options));
    return update(&Asking::got, {std::to_string(item) + "=" + answer.get<std::string>()});
  });
  graph.add_edge(START, "spread");
  graph.add_conditional_edges("spread",
                              [count](const StateOf<Asking>&) {
                                std::vector<Send> sends;
                                for (int i = 0; i < count; ++i) sends.emplace_back("ask", update(&Asking::item, i));
                                return sends;
                              },
                              {"ask"});
  CompileOptions options;
  options.name = "asking";
  options.checkpointer = std::move(saver);
  return *graph.compile(std::move(options));
}

struct Short {
  Key<int> x{"x"};
};

std::shared_ptr<const CompiledGraph> short_plan(std::shared_ptr<Checkpointer> saver) {
  StateGraph<Short> graph;
  for (const auto* name : {"a", "b", "c"}) {
    graph.add_node(name, [](const StateOf<Short>& s) { return update(&Short::x, s[&Short::x] + 1); });
  }
  graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c").add_edge("c", END);
  CompileOptions options;
  options.name = "short";
  options.checkpointer = std::move(saver);
  return *graph.compile(std::move(options));
}

int failed(const Error& error) {
  say("error %s %.2000s", std::string(to_string(error.code())).c_str(), error.describe().c_str());
  return 3;
}

bool effect_happened(const std::string& dir) {
  std::ifstream log(dir + "/effects.log");
  for (std::string line; std::getline(log, line);) {
    if (line.find(" notify! ") != std::string::npos) return true;
  }
  return false;
}

Result<RunResult> once(const CompiledGraph& graph, Runtime& runtime, Input input, RunConfig config, bool stream) {
  if (!stream) {
    if (fault_arm) fault_arm();
    auto result = graph.invoke_blocking(runtime, std::move(input), std::move(config));
    if (fault_disarm) fault_disarm();
    return result;
  }
  config.subgraph_events = true;
  auto events = graph.stream(runtime, std::move(input), std::move(config), {StreamMode::checkpoints});
  while (auto event = events.next_blocking()) {
    say("ev %s %lld %s", shown(event->ns), static_cast<long long>(event->step), event->data["checkpoint_id"].get<std::string>().c_str());
  }
  return events.result_blocking();
}

// Run after run until the queue is empty. Each worker has its own name; a dead one's lease must run out before its run goes on.
int serve(Runtime& runtime, const std::shared_ptr<Checkpointer>& saver, WorkQueue& queue, const std::string& owner) {
  constexpr int kLease = 300;
  const auto graph = short_plan(saver);
  const auto pause = [] { ::usleep(2'000); };
  while (true) {
    auto claimed = queue.claim(owner, kLease);
    if (!claimed) return failed(claimed.error());
    if (!*claimed) {
      const auto counts = queue.counts();
      if (!counts) return failed(counts.error());
      if (counts->waiting + counts->running == 0) return 0;
      pause();
      continue;
    }
    const auto& run = (*claimed)->run;
    RunConfig config;
    config.thread_id = run.thread_id;
    config.owner = owner + "/" + run.run_id;
    config.lease_ttl = std::chrono::milliseconds(kLease);
    while (true) {
      const auto stored = saver->list(run.thread_id, "", {.limit = 1});
      if (!stored) return failed(stored.error());
      Input input = Continue{};
      if (stored->empty()) input = Json{{"x", 0}};
      const auto result = graph->invoke_blocking(runtime, std::move(input), config);
      if (result) break;
      // The worker before may have left its lease.
      if (result.error().code() != ErrorCode::conflict) return failed(result.error());
      pause();
      if (auto renewed = queue.renew(run.run_id, owner, kLease); !renewed) break;
    }
    const auto finished = queue.finish(run.run_id, owner, "done");
    if (finished)
      say("finished %s", run.run_id.c_str());
    else if (finished.error().code() != ErrorCode::conflict)
      return failed(finished.error());
  }
}

int check(Checkpointer& saver, const std::shared_ptr<Checkpointer>& shared, Runtime& runtime, int count) {
  const auto graph = short_plan(shared);
  const auto threads = saver.threads();
  if (!threads) return failed(threads.error());
  int right = 0;
  for (const auto& thread : *threads) {
    RunConfig config;
    config.thread_id = thread.thread_id;
    const auto state = runtime.wait(graph->get_state(runtime, config));
    if (!state) return failed(state.error());
    const auto json = state->to_json();
    const auto history = saver.list(thread.thread_id, "", {});
    // The input and three steps, each stored once.
    if (json && (*json)["x"] == 3 && state->next.empty() && history && history->size() == 4)
      ++right;
    else
      say("wrong %s %s, %zu checkpoints", thread.thread_id.c_str(), json ? json->dump().c_str() : "?", history ? history->size() : 0);
  }
  say("right %d", right);
  return right == count ? 0 : 4;
}

int open_workspace(const std::string& mode, const std::string& dir, std::shared_ptr<Checkpointer>& saver) {
  auto workspace = Workspace::open(dir + "/w.db");
  if (!workspace) return failed(workspace.error());
  if (mode == "finish") {
    const auto check = [](Database& db) -> Status {
      CORVID_TRY(Statement row, db.prepare("PRAGMA integrity_check"));
      CORVID_TRY(const bool any, row.step());
      say("integrity %s", any ? std::string(row.text(0)).c_str() : "nothing");
      return {};
    };
    if (auto checked = (*workspace)->read(check); !checked) return failed(checked.error());
  }
  if (std::getenv("CRASH_WORKER_NORMAL")) {
    // The setting that the workspace refuses to have: what it would lose is what the power matrix must notice.
    const auto weaken = [](Database& db) { return db.execute("COMMIT; PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE"); };
    if (auto done = (*workspace)->write(weaken); !done) return failed(done.error());
  }
  auto store = open_sqlite_store(*workspace);
  if (!store) return failed(store.error());
  saver = std::make_shared<Telling>(store->saver);
  return 0;
}

int work(const std::string& mode, const std::string& dir, char** more, int more_count) {
  RuntimeOptions options;
  options.threads = 1;
  if (std::getenv("CRASH_WORKER_NO_RESERVE")) options.memory_reserve_bytes = 0;
  Runtime runtime(options);
  std::shared_ptr<Checkpointer> saver;
  if (const char* thread = std::getenv("CRASH_WORKER_THREAD")) kThread = thread;
  if (const char* url = std::getenv("CRASH_WORKER_POSTGRES")) {
    auto store = open_postgres_store(url);
    if (!store) return failed(store.error());
    saver = std::make_shared<Telling>(store->saver);
    if (mode == "serve") return serve(runtime, store->saver, *store->queue, more[0]);
    if (mode == "check") return check(*store->saver, store->saver, runtime, std::atoi(more[0]));
    if (mode == "finish") say("integrity ok");
  } else if (const int code = open_workspace(mode, dir, saver); code != 0) {
    return code;
  }
  if (mode == "finish") {
    const auto spaces = saver->namespaces(kThread);
    if (!spaces) return failed(spaces.error());
    for (const auto& ns : *spaces) {
      const auto history = saver->list(kThread, ns, {});
      if (!history) return failed(history.error());
      for (const auto& record : *history) say("history %s %s", shown(ns), record.id.c_str());
    }
    // Every state of the history can be read, not only listed.
    if (std::getenv("CRASH_WORKER_READ_ALL")) {
      for (const auto& ns : *spaces) {
        const auto history = saver->list(kThread, ns, {});
        for (const auto& record : *history) {
          if (auto loaded = saver->get(kThread, ns, record.id); !loaded) return failed(loaded.error());
        }
      }
    }
  }
  RunConfig config;
  config.thread_id = kThread;
  config.owner = "worker";  // the same after a restart: it need not wait for its own lease to expire
  config.run_id = "run";
  if (const char* durability = std::getenv("CRASH_WORKER_ASYNC"))
    config.durability = *durability == '1' ? Durability::async : Durability::exit;
  if (mode == "reply") {
    AnswerRequest answer{Decision::respond, Json(std::string(more[1])), "driver"};
    if (auto done = answer_interrupt(*saver, more[0], answer); !done) return failed(done.error());
    say("status answered");
    return 0;
  }
  const bool stream = std::getenv("CRASH_WORKER_INVOKE") == nullptr;
  if (mode == "ask" || mode == "collect") {
    const auto graph = asking(saver, more_count > 0 ? std::atoi(more[0]) : 64);
    auto result = once(*graph, runtime, mode == "ask" ? Input(Json::object()) : Input(Continue{}), config, stream);
    if (!result) return failed(result.error());
    for (const auto& interrupt : result->interrupts) say("question %s %d", interrupt.id.c_str(), interrupt.value["item"].get<int>());
    if (auto json = result->to_json()) say_whole("final", json->dump());
    say("status %s", std::string(to_string(result->status)).c_str());
    return 0;
  }
  const auto graph = plan(saver);
  const auto stored = saver->list(kThread, "", {.limit = 1});
  if (!stored) return failed(stored.error());
  Input input = Continue{};
  if (stored->empty()) input = Json{{"round", 0}};
  while (true) {
    auto result = once(*graph, runtime, std::move(input), config, stream);
    if (fault_allocations) say("allocations %lld", static_cast<long long>(fault_allocations()));
    if (!result) return failed(result.error());
    if (result->status != RunStatus::interrupted) {
      auto json = result->to_json();
      if (!json) return failed(json.error());
      say_whole("final", json->dump());
      say("status %s", std::string(to_string(result->status)).c_str());
      return 0;
    }
    if (mode == "run") {
      say("status interrupted");
      return 0;
    }
    Resume resume;
    resume.by = "driver";
    for (const auto& interrupt : result->interrupts) {
      say("answering %s", interrupt.kind.c_str());
      if (interrupt.kind == "approval")
        resume.answers[interrupt.id] = "yes";
      else if (effect_happened(dir))
        resume.answers[interrupt.id] = {{"action", "result"}, {"update", {{"sent", "yes"}}}};
      else
        resume.answers[interrupt.id] = {{"action", "retry"}};
    }
    input = std::move(resume);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  const std::string mode = argv[1], dir = argv[2];
  if (const char* number = std::getenv("CRASH_WORKER_PROCESS")) process_number = number;
  effects_fd = ::open((dir + "/effects.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (effects_fd < 0) return 65;
  const int code = work(mode, dir, argv + 3, argc - 3);
  if (fault_calls) say("calls %lld", static_cast<long long>(fault_calls()));
  return code;
}
