#include <string>

#include "graphs/define/compiled.hpp"

namespace corvid {
namespace {

// A node's name as Mermaid's text: quotes and angle brackets would end it.
std::string label(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"') out += "#quot;";
    else if (c == '<') out += "#lt;";
    else if (c == '>') out += "#gt;";
    else if (c == '#') out += "#35;";
    else if (static_cast<unsigned char>(c) < 0x20) out += ' ';
    else out += c;
  }
  return out;
}

void draw(const CompiledGraph::Impl& graph, const std::string& prefix, const std::string& indent, std::string& out) {
  const auto id = [&](std::uint32_t node) { return node == graph.start() ? prefix + "start" : prefix + "n" + std::to_string(node); };
  out += indent + prefix + "start([start])\n";
  bool ends = false;
  for (std::uint32_t i = 0; i < graph.start(); ++i) {
    const auto& node = graph.nodes[i];
    if (node.subgraph) {
      out += indent + "subgraph " + id(i) + " [\"" + label(node.name) + "\"]\n";
      draw(node.subgraph->impl(), id(i) + "_", indent + "  ", out);
      out += indent + "end\n";
      continue;
    }
    const char* open = node.options.effect == SideEffect::at_most_once ? "[[\"" : node.options.defer ? "[/\"" : "[\"";
    const char* close = node.options.effect == SideEffect::at_most_once ? "\"]]" : node.options.defer ? "\"/]" : "\"]";
    out += indent + id(i) + open + label(node.name) + close + "\n";
  }
  const auto arrow = [&](std::uint32_t from, const char* line, const std::string& to) {
    if (to == END) ends = true;
    out += indent + id(from) + line + (to == END ? prefix + "end_" : id(graph.find(to))) + "\n";
  };
  for (std::uint32_t from = 0; from <= graph.start(); ++from) {
    const auto& edges = graph.outgoing[from];
    for (const auto to : edges.to) arrow(from, " --> ", graph.nodes[to].name);
    if (edges.ends) arrow(from, " --> ", std::string(END));
    for (const auto& conditional : edges.conditional) {
      for (const auto& to : conditional.target_names) arrow(from, " -.-> ", to);
    }
    for (const auto& [join, place] : edges.joins) arrow(from, " -- all --> ", graph.nodes[graph.joins[join].to].name);
    if (from != graph.start()) {
      for (const auto& to : graph.nodes[from].options.destinations) arrow(from, " -. command .-> ", to);
    }
  }
  if (ends) out += indent + prefix + "end_([end])\n";
}

}  // namespace

std::string CompiledGraph::to_mermaid() const {
  std::string out = "flowchart TD\n";
  draw(*impl_, "", "  ", out);
  return out;
}

}  // namespace corvid
