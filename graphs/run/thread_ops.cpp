// Reading and editing a thread outside a run: state, history, update_state, fork.
#include <algorithm>

#include "corvid/graphs/threads.hpp"
#include "corvid/runtime/offload.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/run/run.hpp"
#include "graphs/run/thread_state.hpp"

namespace corvid {
namespace {

// One checkpoint, read as this graph.
struct Opened {
  explicit Opened(const CompiledGraph::Impl& graph) : history(graph, {}), values(graph.schema->size()) { history.enable(); }
  History history;
  std::vector<Value> values;
  Frontier frontier;
};

Result<Checkpointer*> saver_of(const CompiledGraph& graph, const RunConfig& config) {
  if (!graph.options().checkpointer) return fail(Error::invalid_argument("this needs a checkpointer: set CompileOptions::checkpointer"));
  if (config.thread_id.empty()) return fail(Error::invalid_argument("this needs a thread_id in its RunConfig"));
  return graph.options().checkpointer.get();
}

Result<LoadedCheckpoint> get(Checkpointer& saver, const std::string& thread_id, const std::string& checkpoint_id) {
  CORVID_TRY(auto loaded, saver.get(thread_id, {}, checkpoint_id));
  if (loaded) return std::move(*loaded);
  if (checkpoint_id.empty()) return fail(Error::not_found("no thread \"" + thread_id + "\""));
  return fail(Error::not_found("the thread \"" + thread_id + "\" has no such checkpoint").at_key(checkpoint_id));
}

// `newest`: what finished siblings of a superstep that stopped have written is shown, and they no longer count as next.
Result<StateSnapshot> snapshot(const CompiledGraph::Impl& g, LoadedCheckpoint loaded, bool newest) {
  StateSnapshot out;
  out.schema = g.schema;
  out.checkpoint_id = loaded.record.id;
  out.parent_checkpoint_id = loaded.record.parent_id;
  out.step = loaded.record.step;
  out.source = loaded.record.source;
  out.created_ms = loaded.record.created_ms;
  Opened opened(g);
  CORVID_TRY_STATUS(opened.history.restore(std::move(loaded), opened.values, opened.frontier));
  out.metadata = opened.history.metadata();

  std::vector<TaskOutcome> kept;
  const auto add = [&](std::uint32_t node, const std::string& path) -> Status {
    TaskSnapshot task{make_task_id(out.checkpoint_id, {}, out.step + 1, path), g.nodes[node].name, "pending", std::nullopt, {}};
    if (const auto at = opened.history.tasks().find(task.id); at != opened.history.tasks().end()) {
      if (at->second.result) {
        task.state = "done";
        auto outcome = opened.history.read_outcome(*at->second.result);
        if (!outcome) return fail(std::move(outcome).error().at_key("task " + task.id));
        TaskOutcome writes;
        writes.writes = std::move(outcome->writes);
        kept.push_back(std::move(writes));
      } else if (at->second.starts > 0) {
        task.state = "unknown";
      } else if (at->second.error) {
        task.state = "failed";
      }
      task.error = at->second.error;
    }
    for (const auto& [id, record] : opened.history.questions().open) {
      if (record.task_id != task.id) continue;
      CORVID_TRY(auto interrupt, read_interrupt(record));
      task.interrupts.push_back(std::move(interrupt));
      if (task.state != "unknown") task.state = "interrupted";
    }
    if (!newest || task.state != "done") out.next.push_back(task.node);
    out.tasks.push_back(std::move(task));
    return {};
  };
  for (std::size_t i = 0; i < opened.frontier.sends.size(); ++i) {
    const auto node = opened.frontier.sends[i].node;
    CORVID_TRY_STATUS(add(node, "send:" + std::to_string(i) + ":" + g.nodes[node].name));
  }
  auto nodes = opened.frontier.nodes;
  std::sort(nodes.begin(), nodes.end());            // as they were added
  for (const auto node : nodes) CORVID_TRY_STATUS(add(node, "node:" + g.nodes[node].name));
  if (newest && !kept.empty()) {
    std::vector<Finished> finished;
    for (auto& outcome : kept) finished.push_back({g.start(), &outcome});
    Barrier barrier(g);
    Frontier unused = opened.frontier;
    std::vector<std::uint32_t> written;
    auto values = opened.values;
    // Writes that cannot be joined fail the superstep when it ends; until then the state is shown without them.
    if (barrier.apply(finished, values, unused, written, nullptr)) opened.values = std::move(values);
  }
  out.values = std::move(opened.values);
  return out;
}

// The interrupts of subgraphs are kept in their own namespaces, so all of the thread's open ones are the newest state's.
Status add_open_interrupts(Checkpointer& saver, const std::string& thread_id, StateSnapshot& state) {
  CORVID_TRY(const auto records, saver.open_interrupts(thread_id));
  for (const auto& record : records) {
    CORVID_TRY(auto interrupt, read_interrupt(record));
    state.interrupts.push_back(std::move(interrupt));
  }
  // In the order of the tasks that asked, or whose subgraphs did.
  const auto place = [&](const Interrupt& interrupt) {
    return std::find_if(state.tasks.begin(), state.tasks.end(), [&](const TaskSnapshot& task) {
      return interrupt.task_id == task.id || interrupt.checkpoint_ns.find(":" + task.id) != std::string::npos;
    });
  };
  std::stable_sort(state.interrupts.begin(), state.interrupts.end(), [&](const Interrupt& a, const Interrupt& b) { return place(a) < place(b); });
  for (auto& task : state.tasks) {
    if (task.state == "pending" && std::any_of(state.interrupts.begin(), state.interrupts.end(), [&](const auto& i) { return i.checkpoint_ns.find(":" + task.id) != std::string::npos; })) {
      task.state = "interrupted";
    }
  }
  return {};
}

}  // namespace

Status commit_outside_run(Checkpointer& saver, const std::string& thread, Commit commit) {
  commit.thread_id = thread;
  commit.lease = {LeaseChange::Kind::acquire, "edit-" + random_id(), 60'000};
  const std::string owner = commit.lease.owner;
  CORVID_TRY_STATUS(saver.commit(commit));
  return saver.lease(thread, {LeaseChange::Kind::release, owner, 0});
}

Result<StateSnapshot> read_state(const CompiledGraph::Impl& graph, Checkpointer& saver, LoadedCheckpoint loaded, const std::string& thread_id, bool newest) {
  CORVID_TRY(auto state, snapshot(graph, std::move(loaded), newest));
  if (newest) {
    CORVID_TRY_STATUS(add_open_interrupts(saver, thread_id, state));
  } else {
    for (const auto& task : state.tasks) state.interrupts.insert(state.interrupts.end(), task.interrupts.begin(), task.interrupts.end());
  }
  return state;
}

Task<StateSnapshot> CompiledGraph::get_state(Runtime& runtime, RunConfig config) const {
  auto job = [self = shared_from_this(), config]() -> Result<StateSnapshot> {
    CORVID_TRY(auto* saver, saver_of(*self, config));
    CORVID_TRY(auto loaded, get(*saver, config.thread_id, config.checkpoint_id));
    return read_state(self->impl(), *saver, std::move(loaded), config.thread_id, config.checkpoint_id.empty());
  };
  co_return co_await offload(runtime, std::move(job));
}

Task<std::vector<StateSnapshot>> CompiledGraph::get_state_history(Runtime& runtime, RunConfig config) const {
  ListOptions all;
  return get_state_history(runtime, std::move(config), all);
}

Task<std::vector<StateSnapshot>> CompiledGraph::get_state_history(Runtime& runtime, RunConfig config, ListOptions options) const {
  auto job = [self = shared_from_this(), config, options]() -> Result<std::vector<StateSnapshot>> {
    CORVID_TRY(auto* saver, saver_of(*self, config));
    CORVID_TRY(const auto records, saver->list(config.thread_id, {}, options));
    if (records.empty() && options.before.empty()) return fail(Error::not_found("no thread \"" + config.thread_id + "\""));
    std::vector<StateSnapshot> history;
    for (const auto& record : records) {
      CORVID_TRY(auto loaded, get(*saver, config.thread_id, record.id));
      CORVID_TRY(auto state, read_state(self->impl(), *saver, std::move(loaded), config.thread_id, false));
      history.push_back(std::move(state));
    }
    return history;
  };
  co_return co_await offload(runtime, std::move(job));
}

Task<std::string> CompiledGraph::update_state(Runtime& runtime, RunConfig config, std::variant<std::vector<ChannelWrite>, Json> update, std::string as_node) const {
  auto job = [self = shared_from_this(), config, update = std::move(update), as_node]() mutable -> Result<std::string> {
    const auto& g = self->impl();
    CORVID_TRY(auto* saver, saver_of(*self, config));
    Opened opened(self->impl());
    CORVID_TRY(auto loaded, saver->get(config.thread_id, {}, config.checkpoint_id));
    std::int64_t step = -1;                         // a new thread's update stands in for its input
    if (loaded) {
      CORVID_TRY_STATUS(opened.history.restore(std::move(*loaded), opened.values, opened.frontier));
      step = opened.history.step();
      if (!config.checkpoint_id.empty()) {
        CORVID_TRY(const auto newest, saver->list(config.thread_id, {}, {.limit = 1}));
        if (!newest.empty()) CORVID_TRY_STATUS(opened.history.not_newest(newest.front()));
      }
    } else {
      if (!config.checkpoint_id.empty()) return fail(Error::not_found("the thread \"" + config.thread_id + "\" has no such checkpoint").at_key(config.checkpoint_id));
      for (const auto& join : g.joins) opened.frontier.seen.emplace_back(join.from.size(), 0);
      for (std::uint32_t c = 0; c < g.schema->size(); ++c) {
        if (g.schema->at(c).initial) opened.values[c] = *g.schema->at(c).initial;
      }
    }
    std::uint32_t node = g.start();
    if (as_node.empty()) {
      const auto& last = opened.history.last();
      if (last.size() > 1) {
        std::string names;
        for (const auto& name : last) names += (names.empty() ? "" : ", ") + name;
        return fail(Error::invalid_argument("several nodes ran last (" + names + "); say as which of them to write (as_node)"));
      }
      as_node = last.empty() ? std::string(START) : last.front();
    }
    const bool end = as_node == END;
    if (as_node != START && !end) {
      node = g.find(as_node);
      if (node == CompiledGraph::Impl::npos) return fail(Error::invalid_argument("the graph has no node of this name").at_key(as_node));
    }
    std::vector<ChannelWrite> writes;
    if (auto* named = std::get_if<Json>(&update)) {
      CORVID_TRY(writes, writes_by_name(*g.schema, std::move(*named), nullptr));
    } else {
      writes = std::move(std::get<std::vector<ChannelWrite>>(update));
    }
    TaskOutcome outcome;
    if (end) {
      outcome.writes = std::move(writes);
    } else {
      CORVID_TRY_STATUS(make_outcome(g, node, opened.values, NodeResult(std::move(writes)), outcome));
    }
    std::vector<Finished> finished{{node, &outcome}};
    std::vector<std::uint32_t> written;
    Barrier barrier(g);
    CORVID_TRY_STATUS(barrier.apply(finished, opened.values, opened.frontier, written, opened.history.record()));
    if (end) {
      opened.frontier.nodes.clear();
      opened.frontier.sends.clear();
      opened.frontier.deferred.clear();
    }
    opened.history.changed(written);
    const History::Mark mark{"update", step + 1, {as_node}, false, random_id(), {}};
    CORVID_TRY(auto commit, opened.history.checkpoint(opened.values, opened.frontier, mark));
    CORVID_TRY_STATUS(commit_outside_run(*saver, config.thread_id, std::move(commit)));
    return opened.history.checkpoint_id();
  };
  co_return co_await offload(runtime, std::move(job));
}

Task<std::string> CompiledGraph::fork(Runtime& runtime, RunConfig config, std::string to_thread) const {
  auto job = [self = shared_from_this(), config, to_thread]() -> Result<std::string> {
    CORVID_TRY(auto* saver, saver_of(*self, config));
    return fork_thread(*saver, config.thread_id, config.checkpoint_id, to_thread);
  };
  co_return co_await offload(runtime, std::move(job));
}

}  // namespace corvid
