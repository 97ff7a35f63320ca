// What compile() makes: nodes and edges by index.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "corvid/graphs/graph.hpp"

namespace corvid {

struct NodeDef {
  std::string name;
  NodeFunction function;                         // one of the three
  NodeCoroutine coroutine;
  std::shared_ptr<const CompiledGraph> subgraph;
  SubgraphCheckpoints subgraph_checkpoints = SubgraphCheckpoints::inherited;
  std::vector<std::string> subgraph_outputs;     // empty: all
  NodeOptions options;
  bool writes_declared = false;

  // Runs in place, between two steps of the run: nothing about it can wait, repeat or be cut short.
  bool in_place() const {
    return function && options.run_on == RunOn::executor && !options.retry && !options.cache && !options.error_handler &&
           options.effect != SideEffect::at_most_once && options.timeout.run.count() == 0 && options.timeout.idle.count() == 0;
  }
};

// A coroutine that nothing but its own end is waited for.
inline bool plain_coroutine(const NodeDef& node) {
  return node.coroutine && !node.options.retry && !node.options.cache && !node.options.error_handler && node.options.effect != SideEffect::at_most_once &&
         node.options.timeout.run.count() == 0 && node.options.timeout.idle.count() == 0;
}

struct ConditionalEdge {
  RouteFunction route;
  std::vector<std::uint32_t> targets;            // sorted
  std::vector<std::string> target_names;         // as declared, END too
};

struct Join {
  std::vector<std::uint32_t> from;
  std::uint32_t to = 0;
  std::string name;                              // "a+b>c"
};

// Edges out of a node, or of START.
struct Outgoing {
  std::vector<std::uint32_t> to;
  std::vector<ConditionalEdge> conditional;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> joins;   // (join, its place in `from`)
  bool ends = false;                             // an edge to END
};

struct CompiledGraph::Impl {
  CompileOptions options;
  std::shared_ptr<const Schema> schema;
  std::vector<NodeDef> nodes;
  std::vector<Outgoing> outgoing;                // by node; the last one is START's
  std::vector<Join> joins;
  std::unordered_map<std::string, std::uint32_t> index;
  std::vector<std::uint32_t> rank;               // node -> its place by name: the order of tasks
  std::vector<std::uint32_t> by_rank;
  std::vector<char> in_place;                    // NodeDef::in_place() by node
  std::vector<char> plain;                       // plain_coroutine() by node
  bool pauses = false;                           // interrupt_before or interrupt_after is set
  std::vector<char> pause_before, pause_after;   // by node
  bool any_ephemeral = false, any_model_state = false, any_defer = false;
  std::vector<std::uint32_t> ephemeral;          // channels
  Json shape;
  std::string signature;

  // Results of nodes with a cache policy, where no checkpointer keeps them.
  struct MemoryCache {
    std::mutex mutex;
    std::unordered_map<std::string, std::pair<Bytes, std::int64_t>> entries;   // value, expires at (Unix ms; 0 never)
  };
  std::shared_ptr<MemoryCache> cache = std::make_shared<MemoryCache>();

  std::uint32_t start() const { return static_cast<std::uint32_t>(nodes.size()); }
  static constexpr std::uint32_t npos = 0xffffffff;
  std::uint32_t find(std::string_view name) const {
    const auto at = index.find(std::string(name));
    return at == index.end() ? npos : at->second;
  }
};

// What a graph is made of, for signatures and for telling what changed.
Json graph_shape(const CompiledGraph::Impl& graph);

struct GraphBuilder::Impl {
  std::shared_ptr<const Schema> schema;
  std::vector<NodeDef> nodes;
  struct Edge { std::vector<std::string> from; std::string to; };
  struct Conditional { std::string from; RouteFunction route; std::vector<std::string> targets; };
  std::vector<Edge> edges;
  std::vector<Conditional> conditionals;
};

}  // namespace corvid
