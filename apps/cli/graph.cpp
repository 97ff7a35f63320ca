// corvid graph: graph files checked, drawn and run; threads continued, shown and forked.
#include <algorithm>
#include <filesystem>
#include <map>

#include "apps/cli/graph_access.hpp"
#include "apps/cli/graph_view.hpp"
#include "apps/cli/session.hpp"
#include "corvid/base/hash.hpp"
#include "corvid/graphs/graph_file.hpp"
#include "corvid/graphs/threads.hpp"
#include "corvid/graphs/worker.hpp"
#include "corvid/runtime/tracer.hpp"
#include "corvid/runtime/wait.hpp"

namespace corvid::cli {
namespace {

Json snapshot_json(const StateSnapshot& state, const Json& values) {
  return {{"values", values}, {"next", state.next}, {"checkpoint_id", state.checkpoint_id}, {"step", state.step}};
}

class Graph final : public Command {
 public:
  CommandInfo info() const override {
    return {"graph", "run graphs from files, and see their threads",
            "  corvid graph validate review.yaml\n"
            "  corvid graph run review.yaml --thread r1 --input '{\"topic\": \"boats\"}'\n"
            "  corvid graph resume review.yaml --thread r1 --answer ID='{\"approved\": true}'\n"
            "  corvid graph state --thread r1 --json\n"
            "  corvid graph history --thread r1\n"
            "  corvid graph fork --thread r1 --checkpoint ID --to r2\n"
            "  corvid graph enqueue review.yaml --thread r3 --input '{}' && corvid graph work .\n"
            "  corvid graph diagram review.yaml\n"
            "  corvid graph schema > graph.schema.json"};
  }
  void options(OptionSet& set) override {
    set.argument("ACTION", action_, true, "validate, run, resume, enqueue, work, state, history, fork, delete, export, import, diagram or schema");
    set.argument("FILE", file_, false, "the graph file (validate, run, resume, enqueue, diagram), the folder of graph files that a worker may run (work), or the exported thread (import)");
    store_.declare(set);
    model_.declare(set);
    set.text("thread", thread_, "the thread's name; run without one keeps nothing");
    set.text("checkpoint", checkpoint_, "of the thread: run and resume go on from it, state shows it, fork begins with it; empty is the newest");
    set.text("to", to_, "fork: the new thread's name");
    set.text("input", input_, "run: the state to begin with, a JSON object; - reads it from standard input, @FILE from a file");
    set.texts("answer", answers_, "resume: ID=JSON, an answer to an open question; may be repeated");
    set.text("by", by_, "resume: who answers");
    set.choice("stream", stream_, {"values", "updates", "messages", "custom", "checkpoints", "tasks", "debug"}, "events as JSON lines on standard output, before the result");
    set.choice("durability", durability_, {"", "sync", "async", "exit"}, "when a step is stored; the file's, else sync");
    set.integer("recursion-limit", recursion_limit_, 0, 1'000'000'000, "supersteps of the run; 0 is the file's, else 10000");
    set.real("deadline", deadline_, 0, 1e9, "seconds after which the run is stopped; 0 is never");
    set.flag("trace", trace_, "what ran when, as text on standard error");
    set.flag("until-empty", until_empty_, "work: return when nothing waits and nothing runs");
    set.real("ttl", ttl_, 0.1, 1e6, "run, resume, work: seconds after which the thread of a process that fell silent may be taken over");
    set.integer("limit", limit_, 0, 1'000'000'000, "history: at most so many; 0 is all");
  }
  Status run(Session& session) override {
    if (action_ == "schema") return schema(session);
    if (action_ == "validate" || action_ == "diagram" || action_ == "run" || action_ == "resume") {
      if (file_.empty()) return fail(Error::invalid_argument("graph " + action_ + " needs the graph's FILE"));
      CORVID_TRY(const auto registry, graph_nodes(session, model_, store_));
      CORVID_TRY(const auto graph, GraphFile::load(file_));
      if (action_ == "validate") return validate(session, graph, registry);
      if (action_ == "diagram") {
        CORVID_TRY(const auto compiled, graph.build(registry, compile_options(graph, nullptr)));
        return session.write(compiled->to_mermaid());
      }
      return run_graph(session, graph, registry);
    }
    if (action_ == "enqueue") return enqueue(session);
    if (action_ == "work") return work_queue(session);
    if (action_ == "state" || action_ == "history" || action_ == "fork" || action_ == "delete" || action_ == "export") {
      if (thread_.empty()) return fail(Error::invalid_argument("graph " + action_ + " needs --thread").at_key("thread"));
    }
    if (action_ == "state") return state(session);
    if (action_ == "history") return history(session);
    if (action_ == "fork") return fork(session);
    if (action_ == "delete" || action_ == "export" || action_ == "import") return move_thread(session);
    return fail(Error::invalid_argument("no action \"" + action_ + "\"; validate, run, resume, enqueue, work, state, history, fork, delete, export, import, diagram and schema are known"));
  }

 private:
  Status schema(Session& session) {
    CORVID_TRY(const auto registry, graph_nodes(session, model_, store_));
    return session.write_line(dump_json(graph_file_schema(registry), session.json ? -1 : 2));
  }

  Status validate(Session& session, const GraphFile& graph, const NodeRegistry& registry) {
    const auto problems = graph.validate(registry);
    if (session.json) {
      Json errors = Json::array();
      for (const auto& problem : problems) {
        Json error = {{"line", problem.line}, {"column", problem.column}, {"message", problem.message}};
        if (problem.file != file_) error["file"] = problem.file;
        errors.push_back(std::move(error));
      }
      CORVID_TRY_STATUS(session.write_json({{"ok", problems.empty()}, {"errors", std::move(errors)}}));
    } else {
      for (const auto& p : problems) CORVID_TRY_STATUS(session.write_line(p.file + ":" + std::to_string(p.line) + ":" + std::to_string(p.column) + ": " + p.message));
      if (problems.empty()) CORVID_TRY_STATUS(session.write_line(file_ + " is fine"));
    }
    if (problems.empty()) return {};
    return fail(Error::bad_input(problems.size() == 1 ? "the graph has a problem" : "the graph has " + std::to_string(problems.size()) + " problems").at_file(file_));
  }

  // What the file says of interrupts and names is taken by build().
  static CompileOptions compile_options(const GraphFile& graph, std::shared_ptr<Checkpointer> saver) {
    CompileOptions options;
    options.name = graph.name();
    // Diagrams and checks of graphs that wait for people need a place to come back from too.
    options.checkpointer = saver ? std::move(saver) : make_memory_saver();
    return options;
  }

  Result<Input> read_input(Session&) const {
    std::string text = input_;
    if (input_ == "-") {
      CORVID_TRY(text, read_stdin());
    } else if (input_.starts_with("@")) {
      CORVID_TRY(text, read_bytes(input_.substr(1)));
    }
    auto json = parse_json(text);
    if (!json) return fail(std::move(json).error().at_key("input"));
    if (!json->is_object()) return fail(Error::bad_input("the input must be a JSON object of state keys").at_key("input"));
    return Input(std::move(*json));
  }

  Result<Input> read_answers() const {
    if (answers_.empty()) return Input(Continue{});
    Resume resume;
    resume.by = by_;
    for (const auto& answer : answers_) {
      const auto equals = answer.find('=');
      if (equals == std::string::npos || equals == 0) return fail(Error::invalid_argument("an answer is ID=JSON, not \"" + answer + "\"").at_key("answer"));
      auto value = parse_json(answer.substr(equals + 1));
      if (!value) return fail(Error::bad_input("the answer to " + answer.substr(0, equals) + " is no JSON (a text needs quotes: '\"yes\"'): " + value.error().message()).at_key("answer"));
      resume.answers[answer.substr(0, equals)] = std::move(*value);
    }
    return Input(std::move(resume));
  }

  Status run_graph(Session& session, const GraphFile& graph, const NodeRegistry& registry) {
    if (action_ == "resume" && thread_.empty()) return fail(Error::invalid_argument("graph resume needs --thread").at_key("thread"));
    Input input{Continue{}};
    if (action_ == "run") {
      CORVID_TRY(input, read_input(session));
    } else {
      CORVID_TRY(input, read_answers());
    }
    std::shared_ptr<Checkpointer> saver;
    if (!thread_.empty()) {
      CORVID_TRY(saver, store_.open(action_ == "run"));
    }
    auto& runtime = session.runtime(model_.threads);
    CompileOptions options = compile_options(graph, saver);
    std::shared_ptr<MemoryTracer> memory;
    if (trace_) {
      memory = MemoryTracer::make();
      options.tracer = memory;
    } else {
      CORVID_TRY(options.tracer, tracer_from_environment(runtime));
    }
    const auto tracer = options.tracer;
    CORVID_TRY(const auto compiled, graph.build(registry, std::move(options)));
    RunConfig config = graph.run_config();
    config.thread_id = thread_.empty() ? "run" : thread_;
    config.checkpoint_id = checkpoint_;
    if (recursion_limit_ > 0) config.recursion_limit = static_cast<int>(recursion_limit_);
    if (!durability_.empty()) config.durability = durability_ == "sync" ? Durability::sync : durability_ == "async" ? Durability::async : Durability::exit;
    CancellationSource cancel(session.cancellation());
    if (deadline_ > 0) cancel.set_deadline(std::chrono::steady_clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(deadline_ * 1000)));
    config.cancellation = cancel.token();
    config.subgraph_events = true;
    config.lease_ttl = std::chrono::milliseconds(static_cast<std::int64_t>(ttl_ * 1000));

    GraphView view;
    std::vector<StreamMode> modes = view.modes();
    std::optional<StreamMode> shown;
    if (!stream_.empty()) {
      CORVID_TRY(shown, stream_mode_from_string(stream_));
      if (std::find(modes.begin(), modes.end(), *shown) == modes.end()) modes.push_back(*shown);
    }
    auto stream = compiled->stream(runtime, std::move(input), config, modes);
    Status written;
    while (auto event = stream.next_blocking()) {
      view.event(*event);
      if (!written || !shown || event->mode != *shown) continue;
      view.clear();
      written = session.write_json({{"mode", std::string(to_string(event->mode))}, {"ns", event->ns}, {"step", event->step}, {"node", event->node}, {"at_us", event->at_us}, {"data", std::move(event->data)}});
      if (!written) stream.cancel();
    }
    view.finish();
    auto result = stream.result_blocking();
    if (memory) session.note(trace_text(memory->spans()));
    if (tracer && !memory) {
      if (auto sent = tracer->flush(std::chrono::seconds(5)); !sent) session.note("the trace was not delivered: " + sent.error().describe());
    }
    CORVID_TRY_STATUS(written);
    return result ? report(session, *result) : report_failure(session, *compiled, std::move(result).error());
  }

  Status report(Session& session, const RunResult& result) {
    CORVID_TRY(Json state, result.to_json());
    if (session.json) {
      return session.write_json({{"status", std::string(to_string(result.status))}, {"state", std::move(state)}, {"steps", result.steps}, {"interrupts", interrupts_json(result.interrupts)}});
    }
    CORVID_TRY_STATUS(session.write_line(dump_json(state, 2)));
    const std::string resume = "corvid graph resume " + file_ + " --thread " + thread_ + store_.flags();
    for (const auto& question : result.interrupts) {
      const std::string asked = "waits at " + question.node + ": " + dump_json(question.value) + "\n  ";
      if (thread_.empty()) {
        session.note(asked + "nothing is kept without --thread: run it with one to answer");
      } else if (question.kind == "approval") {
        session.note(asked + "corvid approvals approve " + question.id + " --by NAME" + store_.flags() + "   (or edit, reject, respond), then\n  " + resume);
      } else {
        session.note(asked + resume + " --answer " + question.id + "=JSON" + (question.response_schema.is_null() ? "" : "   where JSON fits " + dump_json(question.response_schema)));
      }
    }
    if (result.status == RunStatus::interrupted && result.interrupts.empty()) session.note("stopped before or after a node, as the file says; corvid graph resume goes on");
    return {};
  }

  // The state is what was stored last; the error says what failed.
  Status report_failure(Session& session, const CompiledGraph& compiled, Error error) {
    if (session.json) {
      Json state = Json::object(), step = nullptr, interrupts = Json::array();
      if (!thread_.empty()) {
        if (auto stored = read_thread(*compiled.options().checkpointer, thread_)) {
          CORVID_TRY(state, stored->to_json());
          step = stored->step;
          interrupts = interrupts_json(stored->interrupts);   // an answer that did not fit leaves its question open
        }
      }
      CORVID_TRY_STATUS(session.write_json({{"status", "failed"}, {"state", std::move(state)}, {"steps", std::move(step)}, {"interrupts", std::move(interrupts)},
                                            {"error", {{"code", std::string(to_string(error.code()))}, {"message", error.message()}, {"node", error.key()}}}}));
    }
    return fail(std::move(error));
  }

  // A run for whichever worker takes it. Its graph goes by the file's name.
  Status enqueue(Session& session) {
    if (file_.empty() || thread_.empty()) return fail(Error::invalid_argument("graph enqueue needs the graph's FILE and --thread"));
    CORVID_TRY(const auto registry, graph_nodes(session, model_, store_));
    CORVID_TRY(const auto graph, GraphFile::load(file_));
    CORVID_TRY_STATUS(graph.build(registry, compile_options(graph, nullptr)));
    CORVID_TRY(auto input, read_input(session));
    CORVID_TRY(const auto store, store_.open_with_queue(true));
    const Json& state = std::get<Json>(input);
    QueuedRun run;
    run.run_id = thread_ + "/" + to_hex(sha256(thread_ + file_ + dump_json(state) + std::to_string(std::chrono::system_clock::now().time_since_epoch().count()))).substr(0, 16);
    run.thread_id = thread_;
    run.graph = std::filesystem::path(file_).filename().string();
    run.input = queued_input(state);
    CORVID_TRY_STATUS(store.queue->enqueue(run));
    return session.json ? session.write_json({{"run_id", run.run_id}, {"thread", thread_}}) : session.write_line("queued " + run.run_id);
  }

  Status work_queue(Session& session) {
    CORVID_TRY(const auto registry, graph_nodes(session, model_, store_));
    const std::filesystem::path folder = file_.empty() ? "." : file_;
    std::error_code failure;
    if (!std::filesystem::is_directory(folder, failure)) return fail(Error::not_found("graph work needs the folder where the graph files are").at_file(folder.string()));
    CORVID_TRY(const auto store, store_.open_with_queue(true));
    auto& runtime = session.runtime(model_.threads);
    std::map<std::string, std::shared_ptr<const CompiledGraph>> graphs;
    WorkerOptions options;
    options.graphs = [&](const std::string& name) -> Result<std::shared_ptr<const CompiledGraph>> {
      if (name != std::filesystem::path(name).filename().string()) return fail(Error::invalid_argument("a queued run names its graph by the file's name alone").at_key(name));
      auto& slot = graphs[name];
      if (slot) return slot;
      CORVID_TRY(const auto graph, GraphFile::load(folder / name));
      CompileOptions compile = compile_options(graph, store.saver);
      CORVID_TRY(compile.tracer, tracer_from_environment(runtime));
      CORVID_TRY(slot, graph.build(registry, std::move(compile)));
      return slot;
    };
    options.ttl = std::chrono::milliseconds(static_cast<std::int64_t>(ttl_ * 1000));
    options.until_empty = until_empty_;
    options.cancellation = session.cancellation();
    options.on_finished = [&](const QueuedRun& run, const Result<RunResult>& result) {
      session.note(run.run_id + ": " + (result ? std::string(to_string(result->status)) : "failed: " + result.error().describe()));
    };
    CORVID_TRY(const auto report, runtime.wait(work(runtime, *store.queue, std::move(options))));
    if (session.json) return session.write_json({{"done", report.done}, {"interrupted", report.interrupted}, {"failed", report.failed}, {"taken_over", report.taken_over}});
    return session.write_line(std::to_string(report.done) + " done, " + std::to_string(report.interrupted) + " interrupted, " + std::to_string(report.failed) + " failed, " + std::to_string(report.taken_over) + " taken over");
  }

  Status state(Session& session) {
    CORVID_TRY(const auto saver, store_.open(false));
    CORVID_TRY(const auto state, read_thread(*saver, thread_, checkpoint_));
    CORVID_TRY(const Json values, state.to_json());
    if (session.json) {
      Json out = snapshot_json(state, values);
      out["interrupts"] = interrupts_json(state.interrupts);
      return session.write_json(out);
    }
    CORVID_TRY_STATUS(session.write_line(dump_json(values, 2)));
    std::string next;
    for (const auto& node : state.next) next += (next.empty() ? "" : ", ") + node;
    CORVID_TRY_STATUS(session.write_line("step " + std::to_string(state.step) + ", checkpoint " + state.checkpoint_id + ", next: " + (next.empty() ? "nothing" : next)));
    for (const auto& question : state.interrupts) CORVID_TRY_STATUS(session.write_line("waits at " + question.node + ": " + question.id + " " + dump_json(question.value)));
    return {};
  }

  Status history(Session& session) {
    CORVID_TRY(const auto saver, store_.open(false));
    CORVID_TRY(const auto all, read_thread_history(*saver, thread_, {.limit = static_cast<std::size_t>(limit_)}));
    Json list = Json::array();
    for (const auto& state : all) {
      CORVID_TRY(const Json values, state.to_json());
      if (session.json) {
        Json entry = snapshot_json(state, values);
        entry["source"] = state.source;
        entry["parent"] = state.parent_checkpoint_id;
        entry["created_at"] = time_json(state.created_ms);
        list.push_back(std::move(entry));
        continue;
      }
      std::string next;
      for (const auto& node : state.next) next += (next.empty() ? "" : ", ") + node;
      CORVID_TRY_STATUS(session.write_line(session.bold(state.checkpoint_id) + "  step " + std::to_string(state.step) + "  " + state.source + "  next: " + (next.empty() ? "nothing" : next)));
    }
    return session.json ? session.write_json(list) : Status{};
  }

  Status fork(Session& session) {
    if (to_.empty()) return fail(Error::invalid_argument("graph fork needs --to, the new thread's name").at_key("to"));
    CORVID_TRY(const auto saver, store_.open(false));
    CORVID_TRY(const auto id, fork_thread(*saver, thread_, checkpoint_, to_));
    if (session.json) return session.write_json({{"thread", to_}, {"checkpoint_id", id}});
    return session.write_line(to_ + " begins with checkpoint " + id);
  }

  Status move_thread(Session& session) {
    if (action_ == "import") {
      if (file_.empty() || thread_.empty()) return fail(Error::invalid_argument("graph import needs the exported FILE and --thread, the name to give it"));
      CORVID_TRY(const auto text, read_bytes(file_));
      const auto* first = reinterpret_cast<const std::byte*>(text.data());
      CORVID_TRY(const auto saver, store_.open(true));
      if (auto done = import_thread(*saver, Bytes(first, first + text.size()), thread_); !done) return fail(std::move(done).error().at_file(file_));
      return session.json ? session.write_json({{"imported", thread_}}) : session.write_line("imported " + thread_);
    }
    CORVID_TRY(const auto saver, store_.open(false));
    CORVID_TRY(const auto newest, saver->list(thread_, {}, {.limit = 1}));
    if (newest.empty()) return fail(Error::not_found("there is no thread \"" + thread_ + "\""));
    if (action_ == "export") {
      CORVID_TRY(const auto bytes, export_thread(*saver, thread_));
      return session.write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
    CORVID_TRY_STATUS(saver->delete_thread(thread_));
    return session.json ? session.write_json({{"deleted", thread_}}) : session.write_line("deleted " + thread_);
  }

  std::string action_, file_, thread_, checkpoint_, to_, input_ = "{}", by_ = "cli", stream_, durability_;
  std::vector<std::string> answers_;
  std::int64_t recursion_limit_ = 0, limit_ = 0;
  double deadline_ = 0, ttl_ = 30;
  bool trace_ = false, until_empty_ = false;
  GraphStoreOptions store_;
  ChatModelOptions model_;
};

}  // namespace

std::unique_ptr<Command> make_graph() { return std::make_unique<Graph>(); }

}  // namespace corvid::cli
