// The shape of a graph, its signature, and which changes a stored thread survives.
#include <string>

#include "graphs/define/compiled.hpp"

namespace corvid {

Json graph_shape(const CompiledGraph::Impl& graph) {
  Json channels = Json::object(), nodes = Json::object(), edges = Json::array();
  for (const auto& channel : graph.schema->channels()) {
    channels[channel.name] = {{"type", channel.type->name},
                              {"reducer", channel.reducer.name},
                              {"delta", channel.reducer.delta},
                              {"life", channel.life == ChannelLife::kept ? "kept" : channel.life == ChannelLife::ephemeral ? "ephemeral" : "untracked"}};
  }
  const auto name = [&](std::uint32_t node) { return node == graph.start() ? std::string(START) : graph.nodes[node].name; };
  for (const auto& node : graph.nodes) {
    Json entry = {{"kind", node.subgraph ? "subgraph" : "node"}};
    if (node.options.effect != SideEffect::pure) entry["effect"] = node.options.effect == SideEffect::idempotent ? "idempotent" : "at_most_once";
    if (node.subgraph) entry["graph"] = node.subgraph->graph_signature();
    nodes[node.name] = std::move(entry);
  }
  for (std::uint32_t from = 0; from <= graph.start(); ++from) {
    const auto& out = graph.outgoing[from];
    for (const auto to : out.to) edges.push_back({name(from), name(to)});
    if (out.ends) edges.push_back({name(from), std::string(END)});
    for (const auto& conditional : out.conditional) edges.push_back({name(from), {{"one_of", conditional.target_names}}});
  }
  Json joins = Json::array();
  for (const auto& join : graph.joins) joins.push_back(join.name);
  return {{"channels", std::move(channels)}, {"nodes", std::move(nodes)}, {"edges", std::move(edges)}, {"joins", std::move(joins)}};
}

std::vector<std::string> incompatibilities(const Json& then, const Json& now, std::span<const std::string> next) {
  std::vector<std::string> found;
  const Json nothing = Json::object();
  const auto part = [&](const Json& shape, const char* key) -> const Json& {
    const auto at = shape.find(key);
    return at != shape.end() && at->is_object() ? *at : nothing;
  };
  // `then` comes from a store: any part of it may be anything.
  const auto value = [](const Json& of, const char* key) { return of.is_object() ? of.value(key, Json()) : Json(); };
  const auto kind = [&](const Json& of) {
    const Json said = value(of, "kind");
    return said.is_string() ? said.get<std::string>() : std::string("node");
  };
  const Json &old_channels = part(then, "channels"), &channels = part(now, "channels");
  for (const auto& [name, was] : old_channels.items()) {
    const auto at = channels.find(name);
    if (at == channels.end()) {
      found.push_back("the channel \"" + name + "\" is gone");
      continue;
    }
    for (const char* key : {"type", "reducer", "delta"}) {
      if (value(was, key) != value(*at, key)) {
        found.push_back("the channel \"" + name + "\" had the " + key + " " + dump_json(value(was, key)) + ", now " + dump_json(value(*at, key)));
      }
    }
  }
  const Json &old_nodes = part(then, "nodes"), &nodes = part(now, "nodes");
  for (const auto& name : next) {
    const auto at = nodes.find(name);
    if (at == nodes.end()) {
      found.push_back("the node \"" + name + "\", which is to run next, is gone");
      continue;
    }
    const auto was = old_nodes.find(name);
    if (was != old_nodes.end() && kind(*was) != kind(*at)) {
      found.push_back("\"" + name + "\", which is to run next, was a " + kind(*was) + " and is now a " + kind(*at));
    }
  }
  return found;
}

}  // namespace corvid
