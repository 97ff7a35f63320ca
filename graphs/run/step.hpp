// The barrier between two supersteps: results become outcomes, outcomes become the next state and the next tasks.
// After Pregel as LangGraph runs it: one snapshot for all tasks, writes applied in task-path order, then what they trigger.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graphs/define/compiled.hpp"
#include "graphs/run/task.hpp"

namespace corvid {

// What runs in the next superstep: nodes by name, then Sends in order.
struct Frontier {
  std::vector<std::uint32_t> nodes;                 // by rank
  std::vector<SendTask> sends;
  std::vector<std::vector<char>> seen;              // by join: which of its nodes have run since its target last did
  std::vector<std::uint32_t> deferred;              // triggered, waiting for everything else to end; by rank

  bool empty() const { return nodes.empty() && sends.empty(); }
  std::size_t size() const { return nodes.size() + sends.size(); }
};

/// `value` as the channel holds it. Errors: bad_input (wrong type).
Result<Value> convert(const Value& value, const ChannelSpec& channel);

/// The values of a Send or of an input given by names. Names that are no channels go to `extra` where there is one, else are an error.
Result<std::vector<ChannelWrite>> writes_by_name(const Schema& schema, Json object, Json* extra);

/// Whether the edges of the node lead on.
enum class Edges : std::uint8_t {
  lead,
  unless_commanded,   ///< an error handler's result: its targets stand in for them
  none,               ///< a Command that was given to the thread is no node's result
};
/// Checks a node's result, evaluates the conditional edges of `from` with its writes applied, and resolves where it goes: all in `outcome`, a new one.
/// Errors: bad_input, invalid_argument (unknown or undeclared target), what a route failed with.
Status make_outcome(const CompiledGraph::Impl& graph, std::uint32_t from, std::span<const Value> snapshot, NodeResult&& result, TaskOutcome& outcome,
                    Edges edges = Edges::lead);

/// One task's part in the barrier.
struct Finished {
  std::uint32_t node = 0;                           // CompiledGraph::Impl::start() for the input
  TaskOutcome* outcome = nullptr;                   // moved from
};

// Applies outcomes to `values` and `frontier`, reusing its buffers from step to step.
class Barrier {
 public:
  explicit Barrier(const CompiledGraph::Impl& graph);

  /// `finished` in task-path order. `written` gets the channels that changed, by index. With `record`, record[channel] gets the JSON of
  /// each delta channel's writes (null instead where the channel was replaced).
  /// Errors: conflict (two writes, no reducer), those of reducers. `values` and `frontier` are unusable after an error.
  Status apply(std::span<Finished> finished, std::vector<Value>& values, Frontier& frontier, std::vector<std::uint32_t>& written, std::vector<Json>* record);

 private:
  Status write_all(std::span<Finished> finished, std::vector<Value>& values, std::vector<std::uint32_t>& written, std::vector<Json>* record);
  void follow(std::span<Finished> finished, Frontier& frontier);
  Status write_channel(std::uint32_t channel, std::vector<Value>& values, Json* record);

  const CompiledGraph::Impl& graph_;
  struct Waiting {
    std::vector<Value> values;
    std::vector<std::uint32_t> from;                // nodes, for messages
    std::optional<Value> overwrite;
  };
  std::vector<Waiting> waiting_;                    // by channel, once two writes may meet
  std::vector<char> triggered_;                     // by node, once two may lead to one
};

}  // namespace corvid
