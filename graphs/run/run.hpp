// Run: one run of one graph, root or subgraph: supersteps until nothing is left, someone must answer, or something fails.
//
// All members run on one coroutine; tasks report back through Completions.
#pragma once

#include <functional>
#include <memory>
#include <new>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graphs/define/compiled.hpp"
#include "graphs/run/history.hpp"
#include "graphs/run/shared.hpp"
#include "graphs/run/step.hpp"
#include "graphs/run/task.hpp"

namespace corvid {

// How a run ended, a subgraph's included.
struct RunOutcome {
  RunResult result;
  std::unique_ptr<ParentCommand> to_parent;         // a Command for the parent graph ended it
};

struct Completion {
  std::shared_ptr<TaskRun> task;
  Result<NodeResult> result;
  std::optional<RunOutcome> child;                  // of a subgraph
};

// A node's function, with what it throws as an error.
template <class F>
Result<NodeResult> call_guarded(F&& call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return fail(Error::out_of_memory("no memory left in the node"));
  } catch (const std::exception& thrown) {
    return fail(Error::internal(std::string("the node threw an exception: ") + thrown.what()));
  }
}

/// What a node's coroutine threw.
Error error_of(const std::exception_ptr& thrown);

// Where tasks leave their results, from any thread. Outlives the run when a plain function does.
struct Completions {
  std::mutex mutex;
  std::vector<Completion> done;
  Notifier notifier;
  void push(Completion completion) {
    {
      std::lock_guard lock(mutex);
      done.push_back(std::move(completion));
    }
    notifier.notify();
  }
};

// Commits of async durability, in order, off the run's path.
class CommitLine {
 public:
  CommitLine(Runtime& runtime, std::shared_ptr<Checkpointer> saver, std::size_t capacity);
  ~CommitLine();
  boost::asio::awaitable<Status> push(Commit commit);   // waits while the line is full; an earlier commit's error comes back here
  boost::asio::awaitable<Status> finish();              // waits for all; the line is then closed
  boost::asio::awaitable<Status> drain();               // waits for all; the line goes on

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class Run {
 public:
  Run(std::shared_ptr<RunShared> shared, std::shared_ptr<const CompiledGraph> graph, std::string ns, std::shared_ptr<CommitLine> line);

  Task<RunOutcome> start(Input input);
  /// Of a light() run, in place of start(): goes on while nodes run in place, at most kLookAtClock supersteps. Null: the rest is for go_on().
  std::optional<Result<RunOutcome>> start_lightly(Input& input);
  Task<RunOutcome> go_on() { return loop(); }
  /// Nothing stored, nobody watching: such a run needs no coroutine but for nodes that are some.
  static bool light(const RunShared& shared) { return !shared.saver && !shared.streams() && !shared.tracer; }
  /// A subgraph's: `values` by its own channels; `caller` is the parent's task.
  Task<RunOutcome> start_child(std::vector<ChannelWrite> values, std::string caller, const NodeDef& as);

 private:
  enum class Stop : std::uint8_t { done, paused, interrupted, drained, to_parent };

  struct End { Stop stop = Stop::done; std::optional<Error> error; };

  // run.cpp
  std::optional<End> end() const;
  Result<std::optional<Stop>> go_in_place();
  Result<Stop> settled(bool failed, bool asked, bool stopped);
  Status begin_lightly(Input& input);
  Result<NodeResult> first_input(Input& input);
  Status input_outcome(NodeResult first);
  Status barrier_lightly(int steps);
  std::unique_ptr<TaskRun> alone();
  Result<Stop> superstep_ended(bool clean);
  Result<Stop> alone_ended(TaskRun& task, Result<NodeResult> result);
  bool commands_parent();
  Task<RunOutcome> loop();
  Task<Stop> superstep();
  Status plan();
  Status take_stored(TaskRun& task);
  bool all_in_place() const;
  bool all_plain() const;
  Result<bool> run_in_place();
  struct Problem { std::size_t index; std::optional<Error> error; std::vector<InterruptRecord> asked; };   // of a task that was run without a TaskRun kept
  Status show_problems(std::vector<Problem> problems);
  Task<Stop> barrier(const std::string& source);
  bool pauses_before() const;
  RunOutcome outcome(Stop stop);
  Result<bool> keep_writes();
  Task<Stop> settle();                              // tasks that did not all finish: stores what did
  Task<void> begin(Input& input);
  Task<void> answer(Resume answers);
  Task<void> answer(Answer answer);
  Result<std::optional<PendingWrite>> take_command(Command& command);
  Task<void> take_input(NodeResult first);
  Error first_failure();

  // lanes.cpp
  struct Lanes;
  Task<Stop> run_in_lanes();
  boost::asio::awaitable<void> lane(Lanes& lanes, std::size_t number);
  boost::asio::awaitable<std::optional<Error>> run_plain(std::size_t index);

  // tasks.cpp
  struct Active {
    std::shared_ptr<TaskRun> task;                    // of the attempt that runs, or ran last
    int attempt = 0;
    bool handling = false;                            // the error handler runs
    std::optional<Error> failure;                     // what the handler was called for
    std::chrono::steady_clock::time_point started{};
    std::optional<std::chrono::steady_clock::time_point> retry_at;
    std::optional<Error> stop_reason;                 // it was told to stop, and why
    std::chrono::steady_clock::time_point give_up_at{};
  };
  Task<void> run_tasks();
  Task<void> run_active();
  boost::asio::awaitable<void> stop_active(Error reason);
  void give_up(Active& active);
  Task<void> prepare_tasks();
  Status start_task(Active& active);
  Status launch(Active& active);
  void start_handler(Active& active, Error error);
  boost::asio::awaitable<RunOutcome> child_run(std::shared_ptr<TaskRun> task);
  void complete(Active& active, Completion completion);
  void attempt_failed(Active& active, Error error);
  void stop_task(Active& active, Error reason, std::chrono::steady_clock::time_point now);
  void finish_task(Active& active);
  Task<void> store_finished(bool last);
  Task<std::optional<Json>> cached(TaskRun& task);
  Task<void> keep_in_cache(TaskRun& task);

  // store.cpp
  bool stores() const { return shared_->saver != nullptr && persistent_; }
  const std::string& checkpoint_id() const;
  Commit new_commit() const { return history_ ? history_->commit() : Commit(); }
  Task<void> store(Commit commit, bool final);
  Task<void> store_now(Commit commit);
  Task<void> call_saver(std::function<Status(Checkpointer&)> call);
  Task<std::optional<LoadedCheckpoint>> load(std::string id);
  Task<void> renew_lease();
  Task<void> release_lease();

  // events.cpp
  bool events() const { return shared_->streams() && (ns_.empty() || shared_->config.subgraph_events); }
  void event(StreamMode mode, Json data, TaskRun* task = nullptr);
  void values_event(std::span<const Value> values, Json interrupts = nullptr);
  bool shown(std::uint32_t channel) const { return outputs_.empty() || outputs_[channel]; }
  void task_started_event(TaskRun& task);
  void task_finished_event(TaskRun& task);
  void checkpoint_event(const std::string& source);
  void go_on_events(const std::string& source);
  boost::asio::awaitable<void> flush_events();
  Json update_json(const TaskOutcome& outcome, bool all) const;

  std::shared_ptr<RunShared> shared_;
  std::shared_ptr<const CompiledGraph> graph_;
  const CompiledGraph::Impl& g_;
  std::string ns_;
  std::shared_ptr<CommitLine> line_;
  bool persistent_ = true;
  bool root_ = true;
  std::string caller_;
  std::vector<char> outputs_;                       // of a subgraph: channels that its caller sees; empty: all
  std::unique_ptr<History> history_;                // where it stores()
  Barrier barrier_;
  std::shared_ptr<std::vector<Value>> values_;
  Frontier frontier_;
  std::vector<std::uint32_t> written_;              // channels of the last barrier
  std::int64_t step_ = -2;                          // of the last barrier
  std::int64_t steps_ = 0;                          // of this run
  bool skip_pause_ = false;                         // the thread stood at a pause that is now over
  bool lease_held_ = false;
  std::string owner_;
  std::chrono::steady_clock::time_point lease_renewed_{};

  std::vector<std::shared_ptr<TaskRun>> tasks_;     // of this superstep, in task-path order
  std::vector<Finished> finished_;
  std::vector<TaskOutcome> outcomes_;               // of tasks in place
  std::shared_ptr<Completions> completions_;
  std::vector<Active> active_;
  std::unique_ptr<Span> span_;
  std::unique_ptr<ParentCommand> parent_command_;
  std::vector<Interrupt> interrupts_;
  friend class ThreadOps;
};

}  // namespace corvid
