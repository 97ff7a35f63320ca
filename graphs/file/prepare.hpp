// A definition made ready for the builder: channels, node functions, routes. What is wrong on the way is noted.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "graphs/file/definition.hpp"

namespace corvid::detail {

struct PreparedGraph;

struct PreparedNode {
  const NodeDefinition* definition = nullptr;
  std::optional<NodeSpec> spec;                // of a type
  std::shared_ptr<const PreparedGraph> graph;  // or a graph
  SubgraphOptions graph_options;
};

struct PreparedEdge {
  std::vector<std::string> from, to;  // to: targets where there is a route
  bool join = false;
  RouteFunction route;
  const FileNode* at = nullptr;
};

struct PreparedGraph {
  const GraphDefinition* definition = nullptr;
  std::shared_ptr<const Schema> schema;
  std::vector<PreparedNode> nodes;
  std::vector<PreparedEdge> edges;
};

class Preparer {
 public:
  Preparer(const NodeRegistry& registry, Problems& problems) : registry_(registry), problems_(problems) {}
  std::shared_ptr<const PreparedGraph> prepare(const GraphDefinition& graph);

 private:
  NodeBuildContext context_of(const GraphDefinition& graph, const PreparedGraph& prepared) const;
  void node(const GraphDefinition& graph, const NodeDefinition& node, const NodeBuildContext& context, PreparedGraph& out);
  bool arguments(const GraphDefinition& graph, const NodeDefinition& node, const NodeType& type, const FileNode* with);
  void subgraph(const GraphDefinition& graph, const NodeDefinition& node, const NodeBuildContext& context, PreparedNode& out);
  void options(const GraphDefinition& graph, const NodeDefinition& node, const NodeBuildContext& context, NodeOptions& options);
  std::vector<std::string> node_names(const GraphDefinition& graph, const std::vector<NamedPlace>& names, const NodeBuildContext& context);

  const NodeRegistry& registry_;
  Problems& problems_;
  std::map<const GraphDefinition*, std::shared_ptr<const PreparedGraph>> done_;
  std::set<const GraphDefinition*> open_;
};

/// Adds the definition's edges, with routes that decide by the state.
void prepare_edges(const GraphDefinition& graph, const ExpressionNames& names, PreparedGraph& out, Problems& problems);

/// Sends `to` a task for each element of a list; shared by edges and the node type map.
class Fanout {
 public:
  static constexpr std::size_t kMostTasks = 100'000;
  Expression over;
  ValueTemplate with;
  std::string to, as, index;
  std::optional<std::chrono::milliseconds> timeout;

  /// Errors: bad_input (no list), limit_exceeded, those of the expressions.
  Result<std::vector<Send>> sends(const StateView& state) const;
  /// The names for `with`: those of the graph, and the bound ones.
  static ExpressionNames names(ExpressionNames graph, const std::string& as, const std::string& index);
};

/// By name, converted to the channel's type. Errors: invalid_argument, bad_input, with the channel (key).
Result<ChannelWrite> write_channel(const Schema& schema, const std::string& name, const Json& value);
/// A node's own name to the builder's: START and END.
std::string graph_name(const std::string& name);

}  // namespace corvid::detail
