// GraphBuilder and CompiledGraph: a graph by names, as files and state_graph.hpp make it.
//
//   GraphBuilder graph({*json_channel("x", "integer", {})});
//   graph.add_node("inc", [](NodeContext& c) -> Result<NodeResult> { … }).add_edge(START, "inc");
//   CORVID_TRY(auto compiled, graph.compile());
//   CORVID_CO_TRY(auto result, co_await compiled->invoke(runtime, Json{{"x", 1}}));
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/node.hpp"
#include "corvid/graphs/run.hpp"

namespace corvid {

class CompiledGraph;
class Tracer;

enum class SubgraphCheckpoints : std::uint8_t {
  inherited,   ///< the parent's checkpointer; each task has a history of its own, from which it goes on
  own,         ///< the parent's checkpointer; one history for all calls, so that the subgraph remembers
  none,        ///< starts over when its task runs again; cannot wait for a person
};

struct SubgraphOptions {
  SubgraphCheckpoints checkpoints = SubgraphCheckpoints::inherited;
  bool defer = false;
  std::vector<std::string> destinations;   ///< where its Command(graph=PARENT) may go
  std::vector<std::string> outputs;        ///< channels that it hands back; empty: all that it shares with this graph
};

/// Brings a model's state back from what save_state() gave, possibly by computing it anew. Called on the blocking pool.
struct RestoredState {
  std::shared_ptr<ModelState> state;
  std::string note;                        ///< not empty: what was lost and made again, for the log and trace
};
using Restorer = std::function<Result<RestoredState>(std::span<const std::byte> saved)>;

struct CompileOptions {
  std::string name = "graph";
  std::shared_ptr<Checkpointer> checkpointer;          ///< null: nothing is stored
  std::vector<std::string> interrupt_before, interrupt_after;   ///< nodes; "*" is all
  std::map<std::string, Restorer> restorers;           ///< by ModelState::state_kind()
  std::shared_ptr<Tracer> tracer;                      ///< null: no spans
  int snapshot_every = 16;                             ///< delta channels: at least so many deltas between whole values, and no fewer bytes than one
};

/// One finding of compile(). `where` is "node NAME", "edge A -> B", "channel NAME" or "graph".
struct GraphProblem {
  std::string where, message;
};

/// Collects nodes and edges; nothing is checked before compile().
class GraphBuilder {
 public:
  struct Impl;
  explicit GraphBuilder(std::vector<ChannelSpec> channels);
  explicit GraphBuilder(std::shared_ptr<const Schema> schema);
  GraphBuilder(GraphBuilder&&) noexcept;
  GraphBuilder& operator=(GraphBuilder&&) noexcept;
  ~GraphBuilder();

  const std::shared_ptr<const Schema>& schema() const noexcept;

  GraphBuilder& add_node(std::string name, NodeFunction run, NodeOptions options = {});
  GraphBuilder& add_node(std::string name, NodeCoroutine run, NodeOptions options = {});
  /// A compiled graph as a node: channels of the same name are handed in and out; the rest stay its own.
  GraphBuilder& add_subgraph(std::string name, std::shared_ptr<const CompiledGraph> graph, SubgraphOptions options = {});
  GraphBuilder& add_edge(std::string_view from, std::string_view to);
  /// `to` runs once all of `from` have run since it last did.
  GraphBuilder& add_edge(std::vector<std::string> from, std::string_view to);
  GraphBuilder& add_edge(std::initializer_list<std::string_view> from, std::string_view to) { return add_edge(std::vector<std::string>(from.begin(), from.end()), to); }
  /// `route` may name only `targets` (and END, where listed or not).
  GraphBuilder& add_conditional_edges(std::string_view from, RouteFunction route, std::vector<std::string> targets);

  /// All that is wrong with the graph. Empty: compile() will succeed.
  std::vector<GraphProblem> check(const CompileOptions& options = {}) const;
  /// Errors: invalid_argument with every problem, a line each.
  Result<std::shared_ptr<const CompiledGraph>> compile(CompileOptions options = {}) const;

 private:
  std::unique_ptr<Impl> impl_;
};

/// Immutable; thread-safe: any number of runs at once.
class CompiledGraph : public std::enable_shared_from_this<CompiledGraph> {
 public:
  struct Impl;
  explicit CompiledGraph(std::unique_ptr<const Impl> impl);
  ~CompiledGraph();
  CompiledGraph(const CompiledGraph&) = delete;
  CompiledGraph& operator=(const CompiledGraph&) = delete;

  const std::string& name() const noexcept;
  const std::shared_ptr<const Schema>& schema() const noexcept;
  const CompileOptions& options() const noexcept;
  std::vector<std::string> nodes() const;                       ///< in the order added

  /// Runs to the end, the next question, or a drain. Errors: what a node failed with (key: the node's name), invalid_argument
  /// (input, thread id, a Command's target), limit_exceeded (recursion), conflict (thread leased; graph changed incompatibly; several questions open and
  /// one Answer), cancelled, deadline_exceeded, those of the checkpointer. After an error the thread stands at its last checkpoint,
  /// and what finished in the failed superstep is kept: Continue runs only the rest.
  Task<RunResult> invoke(Runtime& runtime, Input input, RunConfig config = {}) const;
  Result<RunResult> invoke_blocking(Runtime& runtime, Input input, RunConfig config = {}) const;
  /// The same with events. `buffer` is how many may wait for the reader.
  RunStream stream(Runtime& runtime, Input input, RunConfig config, std::vector<StreamMode> modes, std::size_t buffer = 64) const;

  /// A thread's state; its newest checkpoint unless config names one. Errors: not_found, invalid_argument (no checkpointer).
  Task<StateSnapshot> get_state(Runtime& runtime, RunConfig config) const;
  Task<std::vector<StateSnapshot>> get_state_history(Runtime& runtime, RunConfig config) const;   ///< newest first
  Task<std::vector<StateSnapshot>> get_state_history(Runtime& runtime, RunConfig config, ListOptions options) const;
  /// Writes as if `as_node` had run (empty: the node that ran last, where that is one), and follows its edges. Returns the checkpoint id.
  Task<std::string> update_state(Runtime& runtime, RunConfig config, std::variant<std::vector<ChannelWrite>, Json> update, std::string as_node = {}) const;
  /// A new thread that begins with the state of this one's checkpoint. Errors: not_found, conflict (`to` exists).
  Task<std::string> fork(Runtime& runtime, RunConfig config, std::string to_thread) const;

  /// Diagram source for Mermaid.
  std::string to_mermaid() const;
  /// Hash of channels, nodes and edges; what a checkpoint was written under.
  const std::string& graph_signature() const noexcept;
  /// The shape of which it is the hash.
  const Json& shape() const noexcept;

  const Impl& impl() const noexcept { return *impl_; }

 private:
  std::unique_ptr<const Impl> impl_;
};

/// What in `now` keeps a thread that was stored under `then` from going on; empty: nothing. Both are CompiledGraph::shape().
/// `next` are the nodes that wait to run. Added channels and nodes, changed edges, defer and policies are compatible.
std::vector<std::string> incompatibilities(const Json& then, const Json& now, std::span<const std::string> next);

}  // namespace corvid
