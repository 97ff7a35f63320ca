// Nodes: what runs in a graph, what it may return, and the policies around it.
//
//   Result<NodeResult> grade(NodeContext& context) {
//     CORVID_TRY(Json verdict, context.interrupt({{"question", "publish?"}}));     // waits for a person; runs again from the start
//     return NodeResult().set(context, "verdict", verdict).go_to("publish");
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/task.hpp"
#include "corvid/graphs/key.hpp"
#include "corvid/graphs/schema.hpp"

namespace corvid {

class Runtime;
class Tracer;
class NodeContext;

inline constexpr std::string_view START = "__start__";
inline constexpr std::string_view END = "__end__";

/// Runs `node` in the next superstep with `argument` in place of the state. Several Sends to one node are several tasks.
struct Send {
  std::string node;
  std::vector<ChannelWrite> argument;
  Json extra;                                         ///< null, or an object: names that are no channels are read with StateView::extra
  std::optional<std::chrono::milliseconds> timeout;   ///< in place of the node's own run timeout

  Send() = default;
  Send(std::string to, std::vector<ChannelWrite> with) : node(std::move(to)), argument(std::move(with)) {}
  template <class S>
  Send(std::string to, Update<S> with) : node(std::move(to)), argument(std::move(with).take()) {}
  /// By name; values of channels are converted to their type when the Send is made a task (bad_input there).
  Send(std::string to, Json with) : node(std::move(to)), extra(std::move(with)) {}
};

/// Where to go: nodes by name (END: nowhere), and Sends. An empty one ends this branch.
struct Route {
  std::vector<std::variant<std::string, Send>> targets;
  Route() = default;
  Route(const char* node) : targets{std::string(node)} {}             // NOLINT: implicit by design
  Route(std::string_view node) : targets{std::string(node)} {}        // NOLINT
  Route(std::string node) : targets{std::move(node)} {}               // NOLINT
  Route(std::vector<std::string> nodes) { for (auto& n : nodes) targets.emplace_back(std::move(n)); }   // NOLINT
  Route(std::vector<Send> sends) { for (auto& s : sends) targets.emplace_back(std::move(s)); }          // NOLINT
};

/// What a node returns: writes, and, as a Command, where to go beside the node's edges.
struct NodeResult {
  std::vector<ChannelWrite> writes;
  Route go_to_targets;
  bool to_parent = false;               ///< Command(graph=PARENT): writes and targets are the parent graph's, by name

  NodeResult() = default;
  NodeResult(std::vector<ChannelWrite> w) : writes(std::move(w)) {}   // NOLINT: implicit by design
  template <class S>
  NodeResult(Update<S> update) : writes(std::move(update).take()) {}  // NOLINT

  /// By name, for state known at run time only. An unknown channel or a wrong type makes the whole result that error.
  NodeResult& set(const NodeContext& context, std::string_view channel, Json value) &;
  NodeResult&& set(const NodeContext& context, std::string_view channel, Json value) && { return std::move(set(context, channel, std::move(value))); }
  /// Every key of an object.
  NodeResult& set_all(const NodeContext& context, Json values) &;
  NodeResult& go_to(Route route) & { for (auto& t : route.targets) go_to_targets.targets.push_back(std::move(t)); return *this; }
  NodeResult&& go_to(Route route) && { return std::move(go_to(std::move(route))); }
  /// The state update is the parent graph's: names that this graph may not know.
  NodeResult& parent_update(Json values) & { to_parent = true; parent_values = std::move(values); return *this; }

  Json parent_values;                   ///< null, or an object
  std::optional<Error> error;           ///< of set(): reported when the node returns
};

/// A command for typed graphs: `return command(update(&S::x, 1), {"next"})`.
template <class S>
NodeResult command(Update<S> update, Route go_to = {}) {
  NodeResult result(std::move(update));
  result.go_to_targets = std::move(go_to);
  return result;
}

/// A plain function, and a coroutine on the runtime's executor. The context outlives the call and nothing more.
using NodeFunction = std::function<Result<NodeResult>(NodeContext&)>;
using NodeCoroutine = std::function<Task<NodeResult>(NodeContext&)>;
/// Decides where to go, after the node's own writes; on the executor; must not block.
using RouteFunction = std::function<Result<Route>(const StateView&)>;

/// How a plain function runs. A coroutine always runs on the executor.
enum class RunOn : std::uint8_t {
  pool,       ///< on a thread of the runtime's blocking pool
  executor,   ///< in place, between two steps of the run: for functions that take microseconds and never block
};

/// What a node does to the world, which decides what a crash in the middle of it means.
enum class SideEffect : std::uint8_t {
  pure,          ///< runs again
  idempotent,    ///< runs again with the same idempotency_key()
  at_most_once,  ///< never runs again: its task is UNKNOWN and waits for a person to say what became of it
};

struct RetryPolicy {
  int max_attempts = 3;                                        ///< the first one counts
  std::chrono::milliseconds initial_interval{500};
  double backoff_factor = 2.0;
  std::chrono::milliseconds max_interval{128'000};
  bool jitter = true;                                          ///< a factor in [0.5, 1.5), drawn from the task's id and attempt
  /// True: worth another try. Null: io, network, deadline_exceeded (of the node's own timeout), rejected, out_of_memory.
  std::function<bool(const Error&)> retry_on;
};

struct TimeoutPolicy {
  std::chrono::milliseconds run{0};                            ///< of one attempt; 0: none
  std::chrono::milliseconds idle{0};                           ///< since the last heartbeat(), emit or start; 0: none
};

struct CachePolicy {
  std::chrono::milliseconds ttl{0};                            ///< 0: for ever
  /// The key within the node; null: SHA-256 of the node's input as CBOR. Errors fail the task.
  std::function<Result<std::string>(const StateView&)> key;
};

struct NodeOptions {
  RunOn run_on = RunOn::pool;
  SideEffect effect = SideEffect::pure;
  std::optional<RetryPolicy> retry;                            ///< none: one attempt
  TimeoutPolicy timeout;
  std::optional<CachePolicy> cache;
  bool defer = false;                                          ///< waits until nothing else is left to run
  std::vector<std::string> destinations;                       ///< where its commands may go; END need not be named
  std::vector<std::string> writes;                             ///< channels it writes, where known: lets compile() check parallel writes
  /// In place of a failure that is left after the retries: a result, or the error to report. Runs like the node.
  std::function<Result<NodeResult>(NodeContext&, const Error&)> error_handler;
  std::string description;                                     ///< for diagrams and traces
};

struct InterruptOptions {
  Json response_schema;                                        ///< JSON Schema of the answer's value; null: anything
  std::optional<std::chrono::milliseconds> expires_in;         ///< from the first time it is asked
  std::string kind = "question";                               ///< "question", "approval", "unknown"
};

/// The node's end of a running task. Valid during the call; the members may be called from the node's own thread or coroutine only,
/// but for cancellation(), heartbeat() and emit(), which any thread may use.
class NodeContext {
 public:
  virtual ~NodeContext() = default;

  virtual const StateView& state() const noexcept = 0;
  template <class S>
  StateOf<S> view() const { return StateOf<S>(state()); }
  virtual Runtime& runtime() noexcept = 0;

  virtual const std::string& node() const noexcept = 0;
  virtual const std::string& thread_id() const noexcept = 0;   ///< empty without a checkpointer
  virtual const std::string& run_id() const noexcept = 0;
  virtual const std::string& checkpoint_ns() const noexcept = 0;
  virtual const std::string& task_id() = 0;                    ///< the same when the task runs again, in another process too
  virtual std::int64_t step() const noexcept = 0;
  virtual int attempt() const noexcept = 0;                    ///< from 1
  /// For services that recognise a repeated request: the same for every attempt at this task, also after a crash.
  std::string idempotency_key() { return task_id(); }

  /// Cancelled when the run is, when the task times out, or when the deadline passes. Hand it to whatever the node awaits.
  virtual CancellationToken cancellation() const = 0;
  virtual void heartbeat() noexcept = 0;                       ///< restarts the idle timeout

  /// An event of mode `custom`. From a pool thread it waits while the reader is behind; on the executor it queues.
  virtual void emit(Json value) = 0;
  /// A model's token or message, mode `messages`: {"text", …}. As emit().
  virtual void emit_message(Json token) = 0;

  /// Asks a person. The answer's value, once there is one; until then Error::interrupted, which the node returns as it is (having asked
  /// further questions first, if it likes: all are then open at once). The node runs again from its start when there are answers;
  /// calls are told apart by their order. Needs a checkpointer. Errors: interrupted, invalid_argument (no checkpointer),
  /// deadline_exceeded (expired unanswered).
  virtual Result<Json> interrupt(Json value, const InterruptOptions& options = {}) = 0;
  /// The same, with how it was answered: {"decision": approve|edit|reject|respond, "value": …, "by": …}.
  virtual Result<Json> interrupt_decision(Json value, const InterruptOptions& options = {}) = 0;

  /// For spans below this task's; null where nothing is traced.
  virtual Tracer* tracer() const noexcept { return nullptr; }
  /// What a subgraph's run or a tool needs to trace below this task; empty without a tracer.
  virtual const std::string& trace_parent() const noexcept = 0;
};

}  // namespace corvid
