// TaskRun: one node running once in one superstep, and what came of it.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/strand.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graphs/define/compiled.hpp"
#include "graphs/run/shared.hpp"

namespace corvid {

// A Send on its way to becoming a task.
struct SendTask {
  std::uint32_t node = 0;
  std::vector<Value> values;                        // by channel
  Json extra;                                       // names that are no channels
  std::optional<std::chrono::milliseconds> timeout;
};

// A Command for the parent graph: names that this graph may not know.
struct ParentCommand {
  Json values;
  Route route;
};

// What a finished task leaves for the barrier. Its static edges are the graph's business.
struct TaskOutcome {
  std::vector<ChannelWrite> writes;
  std::vector<std::uint32_t> go_to;                 // nodes, from commands and conditional edges
  std::vector<SendTask> sends;
  bool edges = true;                                // false: an error handler's command went elsewhere
  std::unique_ptr<ParentCommand> to_parent;         // null but for a command that ends this graph's run
};

enum class TaskState : std::uint8_t { planned, running, done, interrupted, failed, stopped };

struct AnsweredInterrupt { std::string decision, by; Json value; };

// The questions and answers of one checkpoint, for all its tasks. Not changed while they run.
struct Questions {
  std::map<std::string, AnsweredInterrupt> answers; // by interrupt id
  std::map<std::string, InterruptRecord> open;
};

class TaskRun final : public NodeContext, public std::enable_shared_from_this<TaskRun> {
 public:
  /// Borrows all of it, until own().
  TaskRun(RunShared& shared, const CompiledGraph::Impl& graph, const std::string& ns, std::int64_t step, std::uint32_t node,
          const std::string& checkpoint_id, std::shared_ptr<const Questions> questions);

  /// Copies what it borrows of the run: a function that is given up outlives it.
  void own();

  // Where the task stands among its superstep's; which makes its id.
  const SendTask* send = nullptr;
  std::size_t send_index = 0;
  std::string path() const;

  // The snapshot that it reads: borrowed (in place), or shared with the run.
  void look_at(std::span<const Value> values) { values_ = values; }
  void look_at(std::shared_ptr<const std::vector<Value>> values) {
    kept_ = std::move(values);
    values_ = *kept_;
  }
  /// Builds the view, once the snapshot is set. Model states are forked here. Errors: out_of_memory.
  Status open_view();

  // The attempt that runs now.
  void begin_attempt(int number);
  void stop_attempt();                              // cancels its token
  std::chrono::steady_clock::time_point last_beat() const;

  const NodeDef& def() const { return graph_.nodes[node_]; }
  std::uint32_t node_index() const { return node_; }
  bool asked() const { return !asked_.empty(); }
  std::vector<InterruptRecord>& questions_asked() { return asked_; }
  void ask(InterruptRecord record) { asked_.push_back(std::move(record)); }
  std::string interrupt_id(std::string_view what);
  const std::shared_ptr<const Questions>& questions() const { return questions_; }

  TaskState status = TaskState::planned;
  TaskOutcome outcome;
  std::optional<Error> error;
  std::vector<Interrupt> interrupts;                // open ones, a subgraph's too
  bool on_pool = false;
  bool stored = false;                              // its writes are durable
  bool restored = false;                            // finished before this process
  bool from_cache = false;
  std::string cache_key;                            // where the result goes
  int starts = 0;                                   // at_most_once: how often it was started
  boost::asio::cancellation_signal signal;          // used on strand only
  std::optional<boost::asio::strand<boost::asio::any_io_executor>> strand;
  std::unique_ptr<Span> span;

  // NodeContext
  const StateView& state() const noexcept override { return *view_; }
  Runtime& runtime() noexcept override { return shared_->runtime; }
  const std::string& node() const noexcept override { return graph_.nodes[node_].name; }
  const std::string& thread_id() const noexcept override { return shared_->config.thread_id; }
  const std::string& run_id() const noexcept override { return shared_->config.run_id; }
  const std::string& checkpoint_ns() const noexcept override { return *ns_; }
  const std::string& task_id() override;
  std::int64_t step() const noexcept override { return step_; }
  int attempt() const noexcept override { return attempt_; }
  CancellationToken cancellation() const override;
  void heartbeat() noexcept override;
  void emit(Json value) override { push(StreamMode::custom, std::move(value)); }
  void emit_message(Json token) override { push(StreamMode::messages, std::move(token)); }
  Result<Json> interrupt(Json value, const InterruptOptions& options) override;
  Result<Json> interrupt_decision(Json value, const InterruptOptions& options) override;
  Tracer* tracer() const noexcept override { return shared_->tracer.get(); }
  const std::string& trace_parent() const noexcept override;

 private:
  void push(StreamMode mode, Json data);
  Result<AnsweredInterrupt> question(Json value, const InterruptOptions& options);

  RunShared* shared_;
  std::shared_ptr<RunShared> own_shared_;
  const CompiledGraph::Impl& graph_;
  const std::string* ns_;
  std::int64_t step_;
  std::uint32_t node_;
  const std::string* checkpoint_id_;
  std::shared_ptr<const Questions> questions_;
  std::string own_ns_, own_checkpoint_id_;
  std::optional<SendTask> own_send_;
  std::shared_ptr<const std::vector<Value>> kept_;
  std::span<const Value> values_;
  std::vector<Value> own_;                          // where model states are this task's forks
  std::optional<StateView> view_;
  int attempt_ = 1;
  std::optional<CancellationSource> source_;
  std::atomic<std::chrono::steady_clock::rep> last_beat_{0};
  std::string task_id_;
  int next_question_ = 0;
  std::vector<InterruptRecord> asked_;
};

/// "h" + 32 hexadecimal digits: the same for the same checkpoint, namespace, step and place.
std::string make_task_id(std::string_view checkpoint_id, std::string_view ns, std::int64_t step, std::string_view path);

/// The stored form of an interrupt, read. Errors: bad_input.
Result<Interrupt> read_interrupt(const InterruptRecord& record);

}  // namespace corvid
