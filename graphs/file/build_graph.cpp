// From a prepared file to the builder, and from the builder's findings back to lines. Apart from the rest: it alone needs the graph
// runtime.
#include <algorithm>
#include <map>

#include "graphs/file/graph_file_impl.hpp"
#include "graphs/file/prepare.hpp"

namespace corvid {
namespace {

using detail::PreparedGraph;

// Subgraphs are compiled once, however many nodes run them.
class GraphMaker {
 public:
  explicit GraphMaker(detail::Problems& problems) : problems_(problems) {}

  std::shared_ptr<const CompiledGraph> make(const PreparedGraph& graph, CompileOptions options) {
    const auto& definition = *graph.definition;
    GraphBuilder builder(graph.schema);
    for (const auto& node : graph.nodes) {
      const auto& name = node.definition->name;
      if (node.graph) {
        auto& compiled = compiled_[node.graph.get()];
        if (!compiled) {
          CompileOptions inner;
          inner.name = node.graph->definition->name.empty() ? node.definition->graph : node.graph->definition->name;
          compiled = make(*node.graph, std::move(inner));
        }
        if (!compiled) return nullptr;
        builder.add_subgraph(name, compiled, node.graph_options);
      } else if (node.spec) {
        std::visit([&](const auto& run) { builder.add_node(name, run, node.spec->options); }, node.spec->run);
      }
    }
    for (const auto& edge : graph.edges) {
      if (edge.route) {
        for (const auto& from : edge.from) builder.add_conditional_edges(from, edge.route, edge.to);
      } else if (edge.join) {
        for (const auto& to : edge.to) builder.add_edge(edge.from, to);
      } else {
        for (const auto& from : edge.from)
          for (const auto& to : edge.to) builder.add_edge(from, to);
      }
    }
    lay_over(definition, options);
    const auto findings = builder.check(options);
    for (const auto& finding : findings) problems_.add(*definition.source, place_of(finding, graph), finding.message);
    if (!findings.empty()) return nullptr;
    auto compiled = builder.compile(std::move(options));
    if (compiled) return std::move(*compiled);
    problems_.add(*definition.source, definition.at, compiled.error().message());
    return nullptr;
  }

 private:
  static void lay_over(const detail::GraphDefinition& definition, CompileOptions& options) {
    if (options.name == CompileOptions().name && !definition.name.empty()) options.name = definition.name;
    for (const auto& each : definition.interrupt_before) options.interrupt_before.push_back(each.name);
    for (const auto& each : definition.interrupt_after) options.interrupt_after.push_back(each.name);
    if (definition.snapshot_every) options.snapshot_every = static_cast<int>(*definition.snapshot_every);
  }

  // "node NAME", "edge A -> B", "channel NAME", "graph".
  static const detail::FileNode* place_of(const GraphProblem& problem, const PreparedGraph& graph) {
    const std::string_view where = problem.where;
    const auto& definition = *graph.definition;
    if (where.starts_with("node ")) {
      if (const auto* node = definition.find_node(where.substr(5))) return node->key;
    } else if (where.starts_with("channel ")) {
      for (const auto& channel : definition.channels)
        if (channel.name == where.substr(8)) return channel.key;
    } else if (where.starts_with("edge ")) {
      const auto arrow = where.find(" -> ");
      const auto from = where.substr(5, arrow == std::string_view::npos ? arrow : arrow - 5);
      const auto to = arrow == std::string_view::npos ? std::string_view() : where.substr(arrow + 4);
      const auto has = [](const std::vector<std::string>& names, std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
      };
      for (const auto& edge : graph.edges)
        if (has(edge.from, from) && has(edge.to, to)) return edge.at;
      for (const auto& edge : graph.edges)
        if (has(edge.from, from)) return edge.at;
    }
    return definition.at;
  }

  detail::Problems& problems_;
  std::map<const PreparedGraph*, std::shared_ptr<const CompiledGraph>> compiled_;
};

struct Made {
  std::shared_ptr<const CompiledGraph> graph;
  std::vector<FileProblem> problems;
};

Made make(const GraphFile::Impl& file, const NodeRegistry& registry, CompileOptions options) {
  Made out;
  out.problems = file.problems;
  if (!file.graph) return out;
  detail::Problems problems;
  detail::Preparer preparer(registry, problems);
  const auto prepared = preparer.prepare(*file.graph);
  // The builder would only repeat, in other words, what is known to be wrong.
  if (out.problems.empty() && problems.empty()) out.graph = GraphMaker(problems).make(*prepared, std::move(options));
  detail::add_all(out.problems, problems.take());
  return out;
}

}  // namespace

std::vector<FileProblem> GraphFile::validate(const NodeRegistry& registry) const { return make(*impl_, registry, {}).problems; }

Result<std::shared_ptr<const CompiledGraph>> GraphFile::build(const NodeRegistry& registry, CompileOptions options) const {
  auto made = make(*impl_, registry, std::move(options));
  if (made.graph) return std::move(made.graph);
  std::string all;
  for (const auto& each : made.problems) {
    all +=
        (all.empty() ? "" : "\n") + each.file + ":" + std::to_string(each.line) + ":" + std::to_string(each.column) + ": " + each.message;
  }
  return fail(Error::bad_input(all).at_file(impl_->source->name()));
}

}  // namespace corvid
