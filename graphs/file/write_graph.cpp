// A definition in its long form.
#include "graphs/define/duration.hpp"
#include "graphs/file/definition.hpp"

namespace corvid::detail {
namespace {

std::string shown(const std::string& name) { return name == START ? "START" : name == END ? "END" : name; }

Json names_of(const std::vector<NamedPlace>& names) {
  Json out = Json::array();
  for (const auto& each : names) out.push_back(shown(each.name));
  return out;
}

Json write_send(const SendDefinition& send) {
  Json out = {{"to", shown(send.to.name)}, {"over", send.over}, {"as", send.as}};
  if (!send.index.empty()) out["index"] = send.index;
  if (!send.with.empty()) out["with"] = send.with;
  if (send.timeout) out["timeout"] = write_duration(*send.timeout);
  return out;
}

Json write_arm(const ArmDefinition& arm) {
  Json out = Json::object();
  if (!arm.when.empty()) out["when"] = arm.when;
  if (arm.send)
    out["send"] = write_send(*arm.send);
  else
    out["to"] = names_of(arm.to);
  return out;
}

Json write_edge(const EdgeDefinition& edge) {
  Json out = {{"from", edge.from.size() == 1 ? Json(shown(edge.from[0].name)) : names_of(edge.from)}};
  if (edge.kind == EdgeDefinition::routed) {
    out["route"] = edge.route;
    out["targets"] = names_of(edge.to);
  } else if (edge.kind == EdgeDefinition::conditional) {
    if (edge.arms.size() == 1 && edge.arms[0].when.empty()) {
      out.update(write_arm(edge.arms[0]));
    } else {
      out["cases"] = Json::array();
      for (const auto& arm : edge.arms) out["cases"].push_back(write_arm(arm));
    }
  } else {
    out["to"] = names_of(edge.to);
  }
  if (edge.otherwise) out["else"] = write_arm(*edge.otherwise);
  return out;
}

Json write_retry(const RetryDefinition& retry) {
  Json out = {{"attempts", retry.policy.max_attempts},
              {"initial", write_duration(retry.policy.initial_interval)},
              {"factor", retry.policy.backoff_factor},
              {"max", write_duration(retry.policy.max_interval)},
              {"jitter", retry.policy.jitter}};
  if (!retry.on.empty()) out["on"] = retry.on;
  return out;
}

Json write_node(const NodeDefinition& node) {
  Json out = Json::object();
  if (!node.description.empty()) out["description"] = node.description;
  if (!node.destinations.empty()) out["destinations"] = names_of(node.destinations);
  if (node.defer) out["defer"] = true;
  if (!node.graph.empty()) {
    out["graph"] = node.graph;
    if (node.checkpoints)
      out["checkpoints"] = *node.checkpoints == SubgraphCheckpoints::own    ? "own"
                           : *node.checkpoints == SubgraphCheckpoints::none ? "none"
                                                                            : "inherited";
    return out;
  }
  out["type"] = node.type;
  out["with"] = node.with;
  if (node.effect)
    out["effect"] = *node.effect == SideEffect::pure ? "pure" : *node.effect == SideEffect::idempotent ? "idempotent" : "at_most_once";
  if (node.retry) out["retry"] = write_retry(*node.retry);
  if (node.timeout) out["timeout"] = write_duration(*node.timeout);
  if (node.idle_timeout) out["idle_timeout"] = write_duration(*node.idle_timeout);
  if (node.cached) {
    out["cache"] = Json::object();
    if (node.cache_ttl.count() > 0) out["cache"]["ttl"] = write_duration(node.cache_ttl);
    if (!node.cache_key.empty()) out["cache"]["key"] = node.cache_key;
  }
  if (node.error_set) out["on_error"]["set"] = *node.error_set;
  if (!node.error_goto.empty()) out["on_error"]["goto"] = names_of(node.error_goto);
  if (!node.writes.empty()) out["writes"] = names_of(node.writes);
  return out;
}

}  // namespace

Json write_graph(const GraphDefinition& graph) {
  Json out = {{"version", 1}, {"state", Json::object()}, {"nodes", Json::object()}, {"edges", Json::array()}};
  if (!graph.name.empty()) out["name"] = graph.name;
  if (!graph.description.empty()) out["description"] = graph.description;
  for (const auto& channel : graph.channels) {
    Json made = {{"type", channel.type}, {"reducer", channel.reducer}, {"life", channel.life}};
    if (channel.initial) made["default"] = *channel.initial;
    if (!channel.description.empty()) made["description"] = channel.description;
    out["state"][channel.name] = std::move(made);
  }
  for (const auto& node : graph.nodes) out["nodes"][node.name] = write_node(node);
  for (const auto& edge : graph.edges) out["edges"].push_back(write_edge(edge));
  for (const auto& [name, inner] : graph.graphs) out["graphs"][name] = write_graph(*inner);
  if (!graph.interrupt_before.empty()) out["interrupt_before"] = names_of(graph.interrupt_before);
  if (!graph.interrupt_after.empty()) out["interrupt_after"] = names_of(graph.interrupt_after);
  if (graph.recursion_limit) out["recursion_limit"] = *graph.recursion_limit;
  if (graph.max_concurrency) out["max_concurrency"] = *graph.max_concurrency;
  if (graph.snapshot_every) out["snapshot_every"] = *graph.snapshot_every;
  if (graph.durability)
    out["durability"] = *graph.durability == Durability::sync ? "sync" : *graph.durability == Durability::async ? "async" : "exit";
  return out;
}

}  // namespace corvid::detail
