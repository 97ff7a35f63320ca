#include <algorithm>
#include <numeric>
#include <string>

#include "corvid/base/hash.hpp"
#include "graphs/define/compiled.hpp"

namespace corvid {

GraphBuilder::GraphBuilder(std::vector<ChannelSpec> channels) : GraphBuilder(std::make_shared<const Schema>(std::move(channels))) {}
GraphBuilder::GraphBuilder(std::shared_ptr<const Schema> schema) : impl_(std::make_unique<Impl>()) { impl_->schema = std::move(schema); }
GraphBuilder::GraphBuilder(GraphBuilder&&) noexcept = default;
GraphBuilder& GraphBuilder::operator=(GraphBuilder&&) noexcept = default;
GraphBuilder::~GraphBuilder() = default;

const std::shared_ptr<const Schema>& GraphBuilder::schema() const noexcept { return impl_->schema; }

GraphBuilder& GraphBuilder::add_node(std::string name, NodeFunction run, NodeOptions options) {
  NodeDef node;
  node.name = std::move(name);
  node.function = std::move(run);
  node.options = std::move(options);
  impl_->nodes.push_back(std::move(node));
  return *this;
}

GraphBuilder& GraphBuilder::add_node(std::string name, NodeCoroutine run, NodeOptions options) {
  NodeDef node;
  node.name = std::move(name);
  node.coroutine = std::move(run);
  node.options = std::move(options);
  impl_->nodes.push_back(std::move(node));
  return *this;
}

GraphBuilder& GraphBuilder::add_subgraph(std::string name, std::shared_ptr<const CompiledGraph> graph, SubgraphOptions options) {
  NodeDef node;
  node.name = std::move(name);
  node.subgraph = std::move(graph);
  node.subgraph_checkpoints = options.checkpoints;
  node.subgraph_outputs = std::move(options.outputs);
  node.options.defer = options.defer;
  node.options.destinations = std::move(options.destinations);
  impl_->nodes.push_back(std::move(node));
  return *this;
}

GraphBuilder& GraphBuilder::add_edge(std::string_view from, std::string_view to) {
  impl_->edges.push_back({{std::string(from)}, std::string(to)});
  return *this;
}

GraphBuilder& GraphBuilder::add_edge(std::vector<std::string> from, std::string_view to) {
  impl_->edges.push_back({std::move(from), std::string(to)});
  return *this;
}

GraphBuilder& GraphBuilder::add_conditional_edges(std::string_view from, RouteFunction route, std::vector<std::string> targets) {
  impl_->conditionals.push_back({std::string(from), std::move(route), std::move(targets)});
  return *this;
}

Result<std::shared_ptr<const CompiledGraph>> GraphBuilder::compile(CompileOptions options) const {
  const auto problems = check(options);
  if (!problems.empty()) {
    std::string text = problems.size() == 1 ? "the graph has a problem:" : "the graph has " + std::to_string(problems.size()) + " problems:";
    for (const auto& problem : problems) text += "\n  " + problem.where + ": " + problem.message;
    return fail(Error::invalid_argument(std::move(text)).at_key(problems.front().where));
  }
  auto graph = std::make_unique<CompiledGraph::Impl>();
  graph->schema = impl_->schema;
  graph->nodes = impl_->nodes;
  const auto count = static_cast<std::uint32_t>(graph->nodes.size());
  for (std::uint32_t i = 0; i < count; ++i) graph->index.emplace(graph->nodes[i].name, i);
  graph->outgoing.resize(count + 1);
  const auto from_index = [&](const std::string& name) { return name == START ? count : graph->index.at(name); };
  for (const auto& edge : impl_->edges) {
    if (edge.from.size() == 1) {
      auto& out = graph->outgoing[from_index(edge.from.front())];
      if (edge.to == END) out.ends = true;
      else if (const auto to = graph->index.at(edge.to); std::find(out.to.begin(), out.to.end(), to) == out.to.end()) out.to.push_back(to);
      continue;
    }
    if (edge.to == END) {
      for (const auto& from : edge.from) graph->outgoing[from_index(from)].ends = true;
      continue;
    }
    Join join;
    join.to = graph->index.at(edge.to);
    for (const auto& from : edge.from) {
      join.name += (join.name.empty() ? "" : "+") + from;
      graph->outgoing[from_index(from)].joins.emplace_back(static_cast<std::uint32_t>(graph->joins.size()), static_cast<std::uint32_t>(join.from.size()));
      join.from.push_back(from_index(from));
    }
    join.name += ">" + edge.to;
    graph->joins.push_back(std::move(join));
  }
  for (const auto& conditional : impl_->conditionals) {
    ConditionalEdge edge{conditional.route, {}, conditional.targets};
    for (const auto& target : conditional.targets) {
      if (target != END) edge.targets.push_back(graph->index.at(target));
    }
    std::sort(edge.targets.begin(), edge.targets.end());
    graph->outgoing[from_index(conditional.from)].conditional.push_back(std::move(edge));
  }
  graph->by_rank.resize(count);
  std::iota(graph->by_rank.begin(), graph->by_rank.end(), 0u);
  std::sort(graph->by_rank.begin(), graph->by_rank.end(), [&](auto a, auto b) { return graph->nodes[a].name < graph->nodes[b].name; });
  graph->rank.resize(count);
  for (std::uint32_t r = 0; r < count; ++r) graph->rank[graph->by_rank[r]] = r;
  for (const auto& node : graph->nodes) {
    graph->in_place.push_back(node.in_place());
    graph->plain.push_back(plain_coroutine(node));
    graph->any_defer |= node.options.defer;
  }
  const auto named = [&](const std::vector<std::string>& names, const std::string& node) {
    return std::find(names.begin(), names.end(), node) != names.end() || std::find(names.begin(), names.end(), "*") != names.end();
  };
  for (const auto& node : graph->nodes) {
    graph->pause_before.push_back(named(options.interrupt_before, node.name));
    graph->pause_after.push_back(named(options.interrupt_after, node.name));
    graph->pauses |= graph->pause_before.back() || graph->pause_after.back();
  }
  for (std::uint32_t i = 0; i < graph->schema->size(); ++i) {
    const auto& channel = graph->schema->at(i);
    if (channel.life == ChannelLife::ephemeral) graph->ephemeral.push_back(i);
    graph->any_model_state |= channel.type->handle != nullptr;
  }
  graph->any_ephemeral = !graph->ephemeral.empty();
  graph->options = std::move(options);
  graph->shape = graph_shape(*graph);
  graph->signature = to_hex(sha256(graph->shape.dump()));
  return std::make_shared<const CompiledGraph>(std::move(graph));
}

}  // namespace corvid
