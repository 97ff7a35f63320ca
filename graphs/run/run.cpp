// The run's course: input, supersteps, barrier, and the ways it ends.
#include "graphs/run/run.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

#include "corvid/graphs/approvals.hpp"
#include "corvid/runtime/tracer_names.hpp"
#include "graphs/persist/codec.hpp"

namespace corvid {

using Clock = std::chrono::steady_clock;

// A run in place gives the executor back to others so often.
constexpr auto kYieldAfter = std::chrono::milliseconds(1);
constexpr int kLookAtClock = 16;                    // supersteps in place between two looks

Run::Run(std::shared_ptr<RunShared> shared, std::shared_ptr<const CompiledGraph> graph, std::string ns, std::shared_ptr<CommitLine> line)
    : shared_(std::move(shared)),
      graph_(std::move(graph)),
      g_(graph_->impl()),
      ns_(std::move(ns)),
      line_(std::move(line)),
      root_(ns_.empty()),
      barrier_(g_),
      values_(std::make_shared<std::vector<Value>>(g_.schema->size())) {
  for (const auto& join : g_.joins) frontier_.seen.emplace_back(join.from.size(), 0);
  for (std::uint32_t c = 0; c < g_.schema->size(); ++c) {
    if (g_.schema->at(c).initial) (*values_)[c] = *g_.schema->at(c).initial;
  }
}

namespace {

bool says_nothing(const Command& command) {
  const auto* writes = std::get_if<std::vector<ChannelWrite>>(&command.update);
  const auto* named = std::get_if<Json>(&command.update);
  return (writes ? writes->empty() : named->empty()) && command.go_to.targets.empty() && std::holds_alternative<std::monostate>(command.resume);
}

Error empty_command() { return Error::invalid_argument("an empty Command: it answers nothing, writes nothing and goes nowhere"); }

}  // namespace

Task<RunOutcome> Run::start(Input input) {
  if (const auto* command = std::get_if<Command>(&input); command && says_nothing(*command)) {
    co_return fail(empty_command());
  }
  if (stores()) {
    if (shared_->config.thread_id.empty()) co_return fail(Error::invalid_argument("a run with a checkpointer needs a thread_id in its RunConfig"));
    if (shared_->config.durability == Durability::exit) {
      for (const auto& node : g_.nodes) {
        if (node.options.effect == SideEffect::at_most_once) {
          co_return fail(Error::invalid_argument("\"" + node.name + "\" is at_most_once, which durability exit cannot promise; run with sync or async").at_key(node.name));
        }
      }
    }
    history_ = std::make_unique<History>(g_, ns_);
    history_->enable();
    owner_ = shared_->config.owner.empty() ? "run-" + random_id() : shared_->config.owner;
  }
  if (shared_->tracer) {
    span_ = shared_->tracer->start("invoke_workflow " + g_.options.name, shared_->config.trace_parent);
    span_->attribute(trace_names::kOperationName, trace_names::kInvokeWorkflow);
    span_->attribute(trace_names::kAgentName, g_.options.name);
    if (!shared_->config.thread_id.empty()) span_->attribute(trace_names::kConversationId, shared_->config.thread_id);
  }
  Status begun = co_await begin(input);
  Result<RunOutcome> ended = RunOutcome{};
  if (!begun) ended = fail(std::move(begun).error());
  else ended = co_await loop();
  if (line_) {
    auto stored = co_await line_->finish();
    if (!stored && ended) ended = fail(std::move(stored).error());
  }
  if (lease_held_) {
    auto released = co_await release_lease();
    // A lease that cannot be given back expires by itself; the run's own outcome is what counts.
    if (!released) shared_->runtime.log(LogLevel::warn, "graphs", "the lease of thread \"" + shared_->config.thread_id + "\" was not given back: " + released.error().describe());
  }
  co_await flush_events();
  if (span_ && !ended) {
    span_->attribute(trace_names::kErrorType, std::string(to_string(ended.error().code())));
    span_->fail(ended.error().message());
  }
  span_.reset();
  co_return ended;
}

std::optional<Result<RunOutcome>> Run::start_lightly(Input& input) {
  if (auto begun = begin_lightly(input); !begun) return fail(std::move(begun).error());
  auto stop = go_in_place();
  if (!stop) return fail(std::move(stop).error());
  if (!*stop) return std::nullopt;
  return outcome(**stop);
}

Status Run::begin_lightly(Input& input) {
  if (const auto* command = std::get_if<Command>(&input); command && says_nothing(*command)) return fail(empty_command());
  CORVID_TRY(auto first, first_input(input));
  CORVID_TRY_STATUS(input_outcome(std::move(first)));
  return barrier_lightly(2);
}

// What START gives.
Result<NodeResult> Run::first_input(Input& input) {
  std::variant<std::vector<ChannelWrite>, Json> update;
  NodeResult first;
  if (auto* named = std::get_if<Json>(&input)) {
    update = std::move(*named);
  } else if (auto* given = std::get_if<std::vector<ChannelWrite>>(&input)) {
    update = std::move(*given);
  } else if (auto* command = std::get_if<Command>(&input); command && command->resume.index() == 0) {
    update = std::move(command->update);
    first.go_to_targets = std::move(command->go_to);
  } else {
    return fail(Error::invalid_argument("a graph without a checkpointer has nothing to go on from; give the run an input"));
  }
  if (auto* named = std::get_if<Json>(&update)) {
    CORVID_TRY(first.writes, writes_by_name(*g_.schema, std::move(*named), nullptr));
  } else {
    first.writes = std::move(std::get<std::vector<ChannelWrite>>(update));
  }
  return first;
}

// START's outcome, as the only one that is finished.
Status Run::input_outcome(NodeResult first) {
  outcomes_.clear();
  CORVID_TRY_STATUS(make_outcome(g_, g_.start(), *values_, std::move(first), outcomes_.emplace_back()));
  finished_.assign(1, Finished{g_.start(), &outcomes_.front()});
  return {};
}

// The barrier of a light run.
Status Run::barrier_lightly(int steps) {
  tasks_.clear();
  active_.clear();
  if (values_.use_count() > 1) values_ = std::make_shared<std::vector<Value>>(*values_);
  CORVID_TRY_STATUS(barrier_.apply(finished_, *values_, frontier_, written_, nullptr));
  step_ += steps;
  return {};
}

// One coroutine alone in its superstep, which the loop awaits.
std::unique_ptr<TaskRun> Run::alone() {
  const bool sent = frontier_.nodes.empty();
  const std::uint32_t node = sent ? frontier_.sends.front().node : frontier_.nodes.front();
  auto task = std::make_unique<TaskRun>(*shared_, g_, ns_, step_ + 1, node, checkpoint_id(), nullptr);
  if (sent) task->send = &frontier_.sends.front();
  task->look_at(std::span<const Value>(*values_));
  return task;
}

Result<Run::Stop> Run::alone_ended(TaskRun& task, Result<NodeResult> result) {
  if (task.asked()) result = fail(Error::invalid_argument("a node can only wait for a person in a graph with a checkpointer"));
  outcomes_.clear();
  Status made = result ? make_outcome(g_, task.node_index(), *values_, std::move(*result), outcomes_.emplace_back()) : fail(std::move(result).error());
  if (!made) return fail(std::move(made).error().at_key(task.node()));
  finished_.assign(1, Finished{task.node_index(), &outcomes_.front()});
  return superstep_ended(true);
}

Task<void> Run::answer(Resume answers) {
  for (auto& [id, value] : answers.answers) {
    std::string interrupt_id = id;
    AnswerRequest request{Decision::respond, std::move(value), answers.by};
    std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) { return answer_interrupt(saver, interrupt_id, request); };
    CORVID_CO_TRY_STATUS(co_await call_saver(std::move(call)));
  }
  co_return Status{};
}

Task<void> Run::answer(Answer answer) {
  AnswerRequest request{Decision::respond, std::move(answer.value), answer.by};
  std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) -> Status {
    CORVID_TRY(const auto open, saver.open_interrupts(shared_->config.thread_id));
    if (open.empty()) return fail(Error::not_found("the thread \"" + shared_->config.thread_id + "\" has no open question to answer"));
    if (open.size() > 1) {
      std::string ids;
      for (const auto& each : open) ids += (ids.empty() ? "" : ", ") + each.id;
      return fail(Error::conflict("several questions are open; answer them by id: " + ids));
    }
    return answer_interrupt(saver, open.front().id, request);
  };
  co_return co_await call_saver(std::move(call));
}

// A Command to a thread that is there: what it writes and where it goes, beside what the thread would do anyway. Null: neither.
Result<std::optional<PendingWrite>> Run::take_command(Command& command) {
  Input input(std::move(command));
  std::get<Command>(input).resume = std::monostate();
  CORVID_TRY(auto given, first_input(input));
  if (given.writes.empty() && given.go_to_targets.targets.empty()) return std::optional<PendingWrite>();
  TaskOutcome outcome;
  CORVID_TRY_STATUS(make_outcome(g_, g_.start(), *values_, std::move(given), outcome, Edges::none));
  CORVID_TRY(auto write, history_->command(std::move(outcome), *values_, frontier_));
  return std::optional<PendingWrite>(std::move(write));
}

Task<void> Run::begin(Input& input) {
  auto* command = std::get_if<Command>(&input);
  if (stores()) {
    if (auto* resume = std::get_if<Resume>(&input)) CORVID_CO_TRY_STATUS(co_await answer(std::move(*resume)));
    if (auto* one = std::get_if<Answer>(&input)) CORVID_CO_TRY_STATUS(co_await answer(std::move(*one)));
    if (command) {
      if (auto* resume = std::get_if<Resume>(&command->resume)) CORVID_CO_TRY_STATUS(co_await answer(std::move(*resume)));
      else if (auto* one = std::get_if<Answer>(&command->resume)) CORVID_CO_TRY_STATUS(co_await answer(std::move(*one)));
    }
    std::string wanted = shared_->config.checkpoint_id;
    CORVID_CO_TRY(auto loaded, co_await load(wanted));
    if (!loaded && !wanted.empty()) {
      co_return fail(Error::not_found("the thread \"" + shared_->config.thread_id + "\" has no such checkpoint").at_key(wanted));
    }
    const bool has_input = std::holds_alternative<std::vector<ChannelWrite>>(input) || std::holds_alternative<Json>(input) || (command && !loaded);
    if (!loaded && !has_input) {
      co_return fail(Error::not_found("the thread \"" + shared_->config.thread_id + "\" has nothing to go on from; give it an input"));
    }
    if (loaded) {
      CORVID_CO_TRY_STATUS(history_->restore(std::move(*loaded), *values_, frontier_));
      step_ = history_->step();
      skip_pause_ = history_->paused();
      for (const auto& note : history_->notes()) shared_->runtime.log(LogLevel::warn, "graphs", note);
      for (const auto& note : history_->notes()) {
        if (span_) span_->event("restored", {{"note", note}});
      }
    }
    if (!wanted.empty()) {
      std::vector<CheckpointRecord> newest;
      std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) -> Status {
        CORVID_TRY(newest, saver.list(shared_->config.thread_id, ns_, {.limit = 1}));
        return {};
      };
      CORVID_CO_TRY_STATUS(co_await call_saver(std::move(call)));
      if (!newest.empty()) CORVID_CO_TRY_STATUS(history_->not_newest(newest.front()));
      history_->forget_tasks();
      if (!has_input) {
        if (command) CORVID_CO_TRY_STATUS(take_command(*command));   // the fork's own checkpoint holds it
        ++step_;
        History::Mark mark{"fork", step_, history_->last(), false, shared_->config.run_id, {}};
        CORVID_CO_TRY(auto commit, history_->checkpoint(*values_, frontier_, mark));
        CORVID_CO_TRY_STATUS(co_await store(std::move(commit), frontier_.empty()));
        skip_pause_ = true;
        go_on_events("fork");
        co_return Status{};
      }
    }
    if (!has_input) {
      Commit lease = history_->commit();
      if (command) {
        CORVID_CO_TRY(auto write, take_command(*command));
        if (write) {
          lease.writes.push_back(std::move(*write));
          history_->has_tasks();
        }
      }
      CORVID_CO_TRY_STATUS(co_await store_now(std::move(lease)));
      go_on_events(history_->source());
      co_return Status{};
    }
  }
  if (command && stores()) command->resume = std::monostate();   // given by now
  CORVID_CO_TRY(auto first, first_input(input));
  co_return co_await take_input(std::move(first));
}

// The input is a superstep of its own: START's writes and edges.
Task<void> Run::take_input(NodeResult first) {
  frontier_.nodes.clear();
  frontier_.sends.clear();
  frontier_.deferred.clear();
  skip_pause_ = false;                              // joins remember who has arrived
  CORVID_CO_TRY_STATUS(input_outcome(std::move(first)));
  auto stop = co_await barrier("input");
  if (!stop) co_return fail(std::move(stop).error());
  co_return Status{};
}

Task<RunOutcome> Run::start_child(std::vector<ChannelWrite> values, std::string caller, const NodeDef& as) {
  root_ = false;
  caller_ = std::move(caller);
  persistent_ = as.subgraph_checkpoints != SubgraphCheckpoints::none;
  if (!as.subgraph_outputs.empty()) outputs_.assign(g_.schema->size(), 0);
  for (const auto& name : as.subgraph_outputs) outputs_[g_.schema->find(name)] = 1;
  bool go_on = false;
  if (stores()) {
    history_ = std::make_unique<History>(g_, ns_);
    history_->enable();
    std::string newest;
    CORVID_CO_TRY(auto loaded, co_await load(newest));
    if (loaded) {
      CORVID_CO_TRY_STATUS(history_->restore(std::move(*loaded), *values_, frontier_));
      step_ = history_->step();
      skip_pause_ = history_->paused();
      const auto& metadata = history_->metadata();
      go_on = metadata.is_object() && metadata.contains("caller") && metadata["caller"] == caller_;
    }
  }
  if (go_on) {
    go_on_events(history_->source());
  } else {
    NodeResult first(std::move(values));
    CORVID_CO_TRY_STATUS(co_await take_input(std::move(first)));
  }
  co_return co_await loop();
}

// Whether the run ends before its next superstep.
std::optional<Run::End> Run::end() const {
  if (frontier_.empty()) return End{};
  if (history_ && history_->paused() && !skip_pause_) return End{Stop::paused, {}};
  if (shared_->drain_requested() && steps_ > 0) return End{Stop::drained, {}};
  if (shared_->cancellable) {
    if (auto alive = shared_->config.cancellation.check(); !alive) return End{Stop::done, std::move(alive).error()};
  }
  if (!shared_->runtime.memory_reserve_whole()) {
    return End{Stop::done, Error::out_of_memory("memory ran out during the run; it lived on the runtime's reserve until here, where its state is stored")};
  }
  if (steps_ >= shared_->config.recursion_limit) {
    return End{Stop::done, Error::limit_exceeded("the run took " + std::to_string(steps_) + " supersteps, its recursion_limit, and would go on; raise the limit or check that its loop ends")};
  }
  return std::nullopt;
}

// Of a light run, whose tasks are in outcomes_, or not `clean` in tasks_.
Result<Run::Stop> Run::superstep_ended(bool clean) {
  if (!clean) return settled(true, false, false);
  if (commands_parent()) return Stop::to_parent;
  CORVID_TRY_STATUS(barrier_lightly(1));
  ++steps_;
  return Stop::done;
}

// Supersteps of a light run whose nodes run in place, at most kLookAtClock. How the run ended, if it did.
Result<std::optional<Run::Stop>> Run::go_in_place() {
  for (int i = 0; i < kLookAtClock; ++i) {
    if (auto ends = end()) {
      if (ends->error) return fail(std::move(*ends->error));
      return ends->stop;
    }
    if (!all_in_place()) return std::nullopt;
    CORVID_TRY(const bool clean, run_in_place());
    CORVID_TRY(const Stop stop, superstep_ended(clean));
    if (stop != Stop::done) return stop;
  }
  return std::nullopt;
}

Task<RunOutcome> Run::loop() {
  Clock::time_point last_yield{};
  int since_look = 0;
  const bool is_light = light(*shared_);
  while (true) {
    if (is_light) {
      CORVID_CO_TRY(const auto stop, go_in_place());
      if (stop) co_return outcome(*stop);
    } else if (auto ends = end()) {
      if (ends->error || ends->stop != Stop::done) CORVID_CO_TRY_STATUS(co_await settle());
      if (ends->error) co_return fail(std::move(*ends->error));
      if (ends->stop == Stop::paused && events()) event(StreamMode::updates, {{"__interrupt__", Json::array()}});
      co_return outcome(ends->stop);
    }
    skip_pause_ = false;
    Stop stop = Stop::done;
    if (is_light && all_in_place()) {
      since_look = kLookAtClock;                    // so many supersteps went by
    } else if (!is_light || shared_->cancellable || !all_plain()) {
      CORVID_CO_TRY(stop, co_await superstep());
    } else if (frontier_.size() > 1) {
      CORVID_CO_TRY(stop, co_await run_in_lanes());
    } else {
      const auto task = alone();
      CORVID_CO_TRY_STATUS(task->open_view());
      Result<NodeResult> result = fail(Error::internal("not run"));
      try {
        result = co_await task->def().coroutine(*task);
      } catch (...) {
        result = fail(error_of(std::current_exception()));
      }
      CORVID_CO_TRY(stop, alone_ended(*task, std::move(result)));
    }
    if (stop != Stop::done) co_return outcome(stop);
    if (++since_look < kLookAtClock && is_light) continue;
    since_look = 0;
    if (const auto now = Clock::now(); now - last_yield > kYieldAfter) {
      if (lease_held_ && now - lease_renewed_ > shared_->config.lease_ttl / 3) CORVID_CO_TRY_STATUS(co_await renew_lease());
      if (last_yield != Clock::time_point{}) {
        const auto executor = co_await boost::asio::this_coro::executor;
        co_await boost::asio::post(executor, boost::asio::use_awaitable);
      }
      last_yield = Clock::now();
    }
  }
}

// The tasks of the frontier, in task-path order.
Status Run::plan() {
  tasks_.clear();
  const std::int64_t step = step_ + 1;
  const std::shared_ptr<const Questions> questions = stores() ? history_->shared_questions() : nullptr;
  const auto add = [&](std::uint32_t node) -> TaskRun& {
    tasks_.push_back(std::make_shared<TaskRun>(*shared_, g_, ns_, step, node, checkpoint_id(), questions));
    return *tasks_.back();
  };
  for (const auto node : frontier_.nodes) add(node);
  for (std::size_t i = 0; i < frontier_.sends.size(); ++i) {
    TaskRun& task = add(frontier_.sends[i].node);
    task.send = &frontier_.sends[i];
    task.send_index = i;
  }
  for (auto& task : tasks_) {
    task->look_at(std::shared_ptr<const std::vector<Value>>(values_));
    task->own();
    if (stores()) CORVID_TRY_STATUS(take_stored(*task));
  }
  return {};
}

// What an earlier run of this superstep left.
Status Run::take_stored(TaskRun& task) {
  const auto& stored = history_->tasks();
  if (stored.empty()) return {};
  const auto at = stored.find(task.task_id());
  if (at == stored.end()) return {};
  task.starts = at->second.starts;
  if (!at->second.result) return {};
  auto outcome = history_->read_outcome(*at->second.result);
  if (!outcome) return fail(std::move(outcome).error().at_key("task " + task.task_id()));
  task.outcome = std::move(*outcome);
  task.status = TaskState::done;
  task.stored = task.restored = true;
  return {};
}

const std::string& Run::checkpoint_id() const {
  static const std::string none;
  return history_ ? history_->checkpoint_id() : none;
}

bool Run::all_in_place() const {
  if (shared_->streams() || shared_->tracer) return false;
  for (const auto node : frontier_.nodes) {
    if (!g_.in_place[node]) return false;
  }
  for (const auto& send : frontier_.sends) {
    if (!g_.in_place[send.node]) return false;
  }
  return !stores() || history_->tasks().empty();
}

// Coroutines of which only the end is waited for.
bool Run::all_plain() const {
  const auto plain = [&](const SendTask& send) { return g_.plain[send.node] && !send.timeout; };
  return std::all_of(frontier_.nodes.begin(), frontier_.nodes.end(), [&](auto node) { return g_.plain[node] != 0; }) &&
         std::all_of(frontier_.sends.begin(), frontier_.sends.end(), plain);
}

// Nodes that neither wait nor fail over: one after another, without a coroutine in between. False: one failed or asked a question;
// tasks_ then hold what came of each.
Result<bool> Run::run_in_place() {
  const std::int64_t step = step_ + 1;
  const std::shared_ptr<const Questions> questions = stores() ? history_->shared_questions() : nullptr;
  std::vector<Problem> problems;
  const std::size_t count = frontier_.nodes.size() + frontier_.sends.size();
  outcomes_.clear();
  outcomes_.resize(count);
  finished_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const bool pulled = i < frontier_.nodes.size();
    const std::uint32_t node = pulled ? frontier_.nodes[i] : frontier_.sends[i - frontier_.nodes.size()].node;
    TaskRun task(*shared_, g_, ns_, step, node, checkpoint_id(), questions);
    if (!pulled) {
      task.send_index = i - frontier_.nodes.size();
      task.send = &frontier_.sends[task.send_index];
    }
    task.look_at(std::span<const Value>(*values_));
    CORVID_TRY_STATUS(task.open_view());
    auto result = call_guarded([&] { return g_.nodes[node].function(task); });
    finished_[i] = {node, &outcomes_[i]};
    if (task.asked()) {
      problems.push_back({i, std::nullopt, std::move(task.questions_asked())});
      continue;
    }
    std::optional<Error> failure;
    if (!result) failure = std::move(result).error();
    else if (auto made = make_outcome(g_, node, *values_, std::move(*result), outcomes_[i]); !made) failure = std::move(made).error();
    if (failure) problems.push_back({i, std::move(failure), {}});
  }
  if (problems.empty()) return true;
  CORVID_TRY_STATUS(show_problems(std::move(problems)));
  return false;
}

// Makes tasks of what was run without them.
Status Run::show_problems(std::vector<Problem> problems) {
  CORVID_TRY_STATUS(plan());
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    tasks_[i]->status = TaskState::done;
    tasks_[i]->outcome = std::move(outcomes_[i]);
  }
  for (auto& problem : problems) {
    TaskRun& task = *tasks_[problem.index];
    task.status = problem.error ? TaskState::failed : TaskState::interrupted;
    if (problem.error) task.error = std::move(*problem.error).at_key(task.node());
    for (auto& record : problem.asked) {
      CORVID_TRY(auto interrupt, read_interrupt(record));
      task.interrupts.push_back(std::move(interrupt));
      task.ask(std::move(record));
    }
  }
  return {};
}

// Whether one of the outcomes ends the run with a command for the parent graph.
bool Run::commands_parent() {
  for (auto& each : outcomes_) {
    if (each.to_parent) parent_command_ = std::move(each.to_parent);
  }
  return parent_command_ != nullptr;
}

Task<Run::Stop> Run::superstep() {
  if (all_in_place()) {
    CORVID_CO_TRY(const bool clean, run_in_place());
    if (!clean) co_return co_await settle();
    if (commands_parent()) co_return Stop::to_parent;
    co_return co_await barrier("loop");
  }
  CORVID_CO_TRY_STATUS(plan());
  CORVID_CO_TRY_STATUS(co_await run_tasks());
  bool finished = true;
  for (auto& task : tasks_) finished &= task->status == TaskState::done;
  if (!finished) co_return co_await settle();
  for (auto& task : tasks_) {
    if (!task->outcome.to_parent) continue;
    parent_command_ = std::move(task->outcome.to_parent);
    co_return Stop::to_parent;
  }
  finished_.clear();
  for (auto& task : tasks_) finished_.push_back({task->node_index(), nullptr});
  outcomes_.clear();
  for (auto& task : tasks_) outcomes_.push_back(std::move(task->outcome));
  for (std::size_t i = 0; i < finished_.size(); ++i) finished_[i].outcome = &outcomes_[i];
  co_return co_await barrier("loop");
}

bool Run::pauses_before() const {
  if (!g_.pauses) return false;
  for (const auto node : frontier_.nodes) {
    if (g_.pause_before[node]) return true;
  }
  for (const auto& send : frontier_.sends) {
    if (g_.pause_before[send.node]) return true;
  }
  return false;
}

Task<Run::Stop> Run::barrier(const std::string& source) {
  std::vector<std::string> last;
  bool paused = false;
  if (stores()) {
    for (const auto& task : finished_) last.push_back(task.node == g_.start() ? std::string(START) : g_.nodes[task.node].name);
    std::sort(last.begin(), last.end());
    last.erase(std::unique(last.begin(), last.end()), last.end());
  }
  if (g_.pauses && source == "loop") {
    for (const auto& task : finished_) paused |= g_.pause_after[task.node] != 0;
  }
  const auto tells = [&](const ChannelWrite& write) { return shown(write.channel); };
  bool wrote = false;
  if (events()) {
    for (const auto& task : finished_) wrote |= std::any_of(task.outcome->writes.begin(), task.outcome->writes.end(), tells);
  }
  // Tasks that were given up may still read the snapshot.
  tasks_.clear();
  active_.clear();
  if (values_.use_count() > 1) values_ = std::make_shared<std::vector<Value>>(*values_);
  CORVID_CO_TRY_STATUS(barrier_.apply(finished_, *values_, frontier_, written_, stores() ? history_->record() : nullptr));
  // The input takes two numbers, its own and that of START's superstep, so that steps are numbered as elsewhere.
  step_ += source == "input" ? 2 : 1;
  if (source == "loop") ++steps_;
  if (stores()) {
    history_->changed(written_);
    paused = (paused && !frontier_.empty()) || pauses_before();
    const History::Mark mark{source, step_, std::move(last), paused, shared_->config.run_id, caller_};
    if (shared_->config.durability == Durability::exit && !(root_ && frontier_.empty())) {
      history_->advance(mark);
    } else {
      CORVID_CO_TRY(auto commit, history_->checkpoint(*values_, frontier_, mark));
      const bool final = root_ && (frontier_.empty() || paused);
      CORVID_CO_TRY_STATUS(co_await store(std::move(commit), final));
    }
  }
  if (events()) {
    if (wrote) values_event(*values_);
    checkpoint_event(source);
    co_await flush_events();
  }
  co_return Stop::done;
}

RunOutcome Run::outcome(Stop stop) {
  RunOutcome out;
  out.result.status = stop == Stop::interrupted || stop == Stop::paused ? RunStatus::interrupted : stop == Stop::drained ? RunStatus::drained : RunStatus::done;
  out.result.schema = g_.schema;
  out.result.values = root_ && values_.use_count() == 1 ? std::move(*values_) : *values_;
  out.result.steps = steps_;
  out.result.interrupts = std::move(interrupts_);
  if (history_) out.result.checkpoint_id = history_->checkpoint_id();
  if (stop == Stop::to_parent) out.to_parent = std::move(parent_command_);
  return out;
}

Error Run::first_failure() {
  for (auto& task : tasks_) {
    if (task->status == TaskState::failed && task->error) return *task->error;
  }
  return Error::internal("a superstep ended without a result");
}

// What a reader of an interrupted run sees: the state with what finished tasks wrote. False: nothing was written.
Result<bool> Run::keep_writes() {
  std::vector<TaskOutcome> outcomes;
  for (auto& task : tasks_) {
    if (task->status != TaskState::done || task->outcome.writes.empty()) continue;
    TaskOutcome writes;
    writes.writes = task->outcome.writes;
    outcomes.push_back(std::move(writes));
  }
  if (outcomes.empty()) return false;
  std::vector<Finished> finished;
  for (auto& outcome : outcomes) finished.push_back({g_.start(), &outcome});
  auto values = std::make_shared<std::vector<Value>>(*values_);
  Frontier unused = frontier_;
  std::vector<std::uint32_t> written;
  Barrier barrier(g_);
  CORVID_TRY_STATUS(barrier.apply(finished, *values, unused, written, nullptr));
  values_ = std::move(values);
  return true;
}

// The superstep, or the run, stops here: what is not stored yet is, then the lease may go.
Task<Run::Stop> Run::settle() {
  bool failed = false, asked = false, stopped = false;
  Commit commit = new_commit();
  for (auto& task : tasks_) {
    failed |= task->status == TaskState::failed;
    stopped |= task->status == TaskState::stopped || task->status == TaskState::planned;
    if (task->status == TaskState::interrupted) {
      asked = true;
      for (auto& interrupt : task->interrupts) interrupts_.push_back(interrupt);
    }
    if (!stores()) continue;
    if (task->status == TaskState::done && !task->stored) {
      CORVID_CO_TRY(auto write, history_->result_write(*task));
      commit.writes.push_back(std::move(write));
    } else if (task->status == TaskState::failed) {
      commit.writes.push_back(history_->error_write(*task));
    }
    for (auto& question : task->questions_asked()) {
      if (!history_->questions().open.count(question.id)) commit.interrupts.push_back(question);
    }
  }
  if (stores()) {
    CORVID_CO_TRY(auto unstored, history_->store_latest(*values_, frontier_));
    if (unstored) {
      unstored->writes = std::move(commit.writes);
      unstored->interrupts = std::move(commit.interrupts);
      commit = std::move(*unstored);
    }
    if (!commit.writes.empty()) history_->has_tasks();
    if (commit.checkpoint || !commit.writes.empty() || !commit.interrupts.empty() || (root_ && lease_held_)) {
      if (line_) CORVID_CO_TRY_STATUS(co_await line_->drain());
      if (root_) commit.lease.kind = LeaseChange::Kind::release;
      CORVID_CO_TRY_STATUS(co_await store_now(std::move(commit)));
    }
  }
  if (asked) {
    CORVID_CO_TRY(const bool kept, keep_writes());
    if (kept && events()) values_event(*values_);
    co_await flush_events();
  }
  co_return settled(failed, asked, stopped);
}

// What a superstep comes to whose tasks did not all finish.
Result<Run::Stop> Run::settled(bool failed, bool asked, bool stopped) {
  if (shared_->cancellable) {
    if (auto alive = shared_->config.cancellation.check(); !alive && !tasks_.empty()) return fail(std::move(alive).error());
  }
  if (failed) return fail(first_failure());
  return asked ? Stop::interrupted : stopped ? Stop::drained : Stop::done;
}

}  // namespace corvid
