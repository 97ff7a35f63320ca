// A run of a graph: how it is configured, what comes out of it, and what can be seen of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "corvid/base/task.hpp"
#include "corvid/graphs/key.hpp"
#include "corvid/graphs/node.hpp"
#include "corvid/graphs/schema.hpp"

namespace corvid {

enum class Durability : std::uint8_t {
  sync,    ///< a superstep is durable before the next one starts
  async,   ///< stored while the next ones run, at most RunConfig::async_commits behind; in order
  exit,    ///< stored when the run ends, is interrupted or fails; a crash loses it
};

enum class StreamMode : std::uint8_t { values, updates, messages, custom, checkpoints, tasks, debug };
std::string_view to_string(StreamMode mode) noexcept;
Result<StreamMode> stream_mode_from_string(std::string_view name);   ///< errors: not_found naming the seven

/// Asks a run to stop at the end of its superstep, its state stored. Any thread; copies share.
class DrainSwitch {
 public:
  DrainSwitch();
  void request_drain() noexcept;
  bool requested() const noexcept;

 private:
  std::shared_ptr<void> state_;
};

// RunConfig, Resume and Answer have constructors: g++ 12.2 destroys aggregates that are temporaries of a co_await expression twice.
struct RunConfig {
  RunConfig() = default;
  std::string thread_id;                              ///< required with a checkpointer
  std::string checkpoint_id;                          ///< go on from this one, as a fork of the thread's history; empty: the newest
  std::string run_id;                                 ///< empty: drawn
  int recursion_limit = 10'000;                       ///< supersteps of this run
  int max_concurrency = 0;                            ///< tasks at once; 0: all of a superstep
  Durability durability = Durability::sync;
  std::size_t async_commits = 16;                     ///< with async: how far storing may be behind
  bool subgraph_events = false;                       ///< streams carry those of subgraphs too
  std::string owner;                                  ///< of the thread's lease; empty: drawn. Two runs never share one
  std::chrono::milliseconds lease_ttl{30'000};        ///< renewed while the run lasts
  CancellationToken cancellation;                     ///< and deadline: reaches every node and what it awaits
  std::optional<DrainSwitch> drain;
  std::string trace_parent;                           ///< W3C traceparent under which the run's spans hang
};

/// An open question.
struct Interrupt {
  std::string id;
  std::string node, task_id, checkpoint_ns;
  Json value;
  Json response_schema;                               ///< null: anything
  std::string kind;                                   ///< "question", "approval", "unknown", "before", "after"
  std::int64_t asked_ms = 0, expires_ms = 0;          ///< Unix time; expires 0: never
};

/// What a run starts with: new input, answers to questions, or neither: go on where the thread stands.
struct Resume {                                       ///< interrupt id → value
  Resume() = default;
  explicit Resume(std::map<std::string, Json> to, std::string who = "resume") : answers(std::move(to)), by(std::move(who)) {}
  std::map<std::string, Json> answers;
  std::string by = "resume";
};
struct Answer {                                       ///< to the only open question
  explicit Answer(Json with, std::string who = "resume") : value(std::move(with)), by(std::move(who)) {}
  Json value;
  std::string by;
};
struct Continue {};
/// Several at once, in this order: answers, writes to the state, and goes to nodes beside what already waits to run; then the run goes on as
/// with Continue. The nodes that wait run with the new state. Of a new thread, and without a checkpointer, it is the input: START's edges
/// lead on beside `go_to`. Stored before anything acts on it; it stands with the thread's checkpoint, as if that had been so, and makes none.
///
///   Command command(update(&S::budget, 50), "review");        // Command(Json{{"budget", 50}}, "review") by name
///   command.resume = Answer("yes");
struct Command {
  Command() = default;
  template <class S>
  explicit Command(Update<S> with, Route to = {}) : update(std::move(with).take()), go_to(std::move(to)) {}
  explicit Command(Json with, Route to = {}) : update(std::move(with)), go_to(std::move(to)) {}
  std::variant<std::vector<ChannelWrite>, Json> update;   ///< as an input's
  Route go_to;                                            ///< any node, and Sends
  std::variant<std::monostate, Answer, Resume> resume;
};
using Input = std::variant<Continue, std::vector<ChannelWrite>, Json, Resume, Answer, Command>;   ///< Json: an object by channel names

enum class RunStatus : std::uint8_t {
  done,
  interrupted,   ///< waits for a person
  drained,       ///< stopped by request_drain
};
std::string_view to_string(RunStatus status) noexcept;

struct RunResult {
  RunStatus status = RunStatus::done;
  std::shared_ptr<const Schema> schema;
  std::vector<Value> values;                          ///< by channel index; absent where nothing was written
  std::int64_t steps = 0;                             ///< supersteps of this run
  std::vector<Interrupt> interrupts;                  ///< open ones, by task path
  std::string checkpoint_id;                          ///< empty without a checkpointer

  template <class S, class T>
  const T& get(Key<T> S::*key) const {
    const StateView view(*schema, values);
    if (const Value* value = view.find(Layout<S>::get().index(key))) return value->template as<T>();
    static const T nothing{};
    return nothing;
  }
  Result<Json> to_json() const { return StateView(*schema, values).to_json(); }
};

/// One thing that happened. `data` by mode: values: the state; updates: {node: {channel: value}}; messages and custom: what the node
/// emitted; tasks: {"id","name","triggers"|"result"|"error"|"interrupts"}; checkpoints: {"checkpoint_id","step","source","next","values"};
/// debug: {"type": "task"|"task_result"|"checkpoint", "step", "payload"}.
struct StreamEvent {
  StreamMode mode = StreamMode::updates;
  std::string ns;                                     ///< of the graph that it happened in; "" is the root
  std::int64_t step = 0;
  std::string node, task_id;                          ///< empty where it belongs to no task
  std::int64_t at_us = 0;                             ///< since the run's start
  Json data;
};

/// Events of one run as they happen, and its result at the end. A slow reader holds the run back. Move-only; dropping it cancels the run.
class RunStream {
 public:
  struct Impl;
  explicit RunStream(std::shared_ptr<Impl> impl);
  RunStream(RunStream&&) noexcept;
  RunStream& operator=(RunStream&&) noexcept;
  ~RunStream();

  boost::asio::awaitable<std::optional<StreamEvent>> next();   ///< nullopt after the last
  std::optional<StreamEvent> next_blocking();
  Task<RunResult> result();                                    ///< after the last event; call once
  Result<RunResult> result_blocking();
  void cancel();

 private:
  std::shared_ptr<Impl> impl_;
};

/// A task of the next superstep, or of the one that stopped.
struct TaskSnapshot {
  std::string id, node;
  std::string state;                                  ///< "pending", "done", "interrupted", "failed", "unknown"
  std::optional<std::string> error;
  std::vector<Interrupt> interrupts;
};

/// A thread's state at one checkpoint.
struct StateSnapshot {
  std::shared_ptr<const Schema> schema;
  std::vector<Value> values;
  std::vector<std::string> next;                      ///< a name for each task: those of Sends, then nodes in the order they were added
  std::string checkpoint_id, parent_checkpoint_id;
  std::int64_t step = -1;
  std::string source;
  std::int64_t created_ms = 0;
  Json metadata;                                      ///< {"run_id", …}
  std::vector<TaskSnapshot> tasks;
  std::vector<Interrupt> interrupts;                  ///< open ones, subgraphs' too
  Result<Json> to_json() const { return StateView(*schema, values).to_json(); }
};

}  // namespace corvid
