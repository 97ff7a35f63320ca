// Outcomes and Sends as JSON for the store. Channels and nodes go by name, so that an edited graph can still read them.
#include <algorithm>
#include <string>

#include "graphs/persist/codec.hpp"
#include "graphs/run/history.hpp"

namespace corvid {
namespace {

Error damaged(const char* what) { return Error::bad_input(std::string("a stored task is damaged: ") + what); }

Result<std::uint32_t> node_at(const CompiledGraph::Impl& graph, const Json& name) {
  if (!name.is_string()) return fail(damaged("a node without a name"));
  const auto node = graph.find(name.get<std::string>());
  if (node == CompiledGraph::Impl::npos) return fail(Error::conflict("the checkpoint names the node \"" + name.get<std::string>() + "\", which the graph no longer has"));
  return node;
}

Json route_json(const Route& route) {
  Json out = Json::array();
  for (const auto& target : route.targets) {
    if (const auto* name = std::get_if<std::string>(&target)) out.push_back(*name);
    else out.push_back({{"send", std::get<Send>(target).node}, {"with", std::get<Send>(target).extra}});
  }
  return out;
}

Result<Route> route_of(const Json& stored) {
  if (!stored.is_array()) return fail(damaged("no list of targets"));
  Route route;
  for (const auto& target : stored) {
    if (target.is_string()) route.targets.emplace_back(target.get<std::string>());
    else if (target.is_object() && target.contains("send") && target["send"].is_string() && target.contains("with")) {
      route.targets.emplace_back(Send(target["send"].get<std::string>(), target["with"]));
    } else return fail(damaged("a target of an unknown form"));
  }
  return route;
}

}  // namespace

Result<Json> encode_send_tasks(const CompiledGraph::Impl& graph, const std::vector<SendTask>& sends) {
  Json out = Json::array();
  for (const auto& send : sends) {
    Json values = Json::object();
    for (std::uint32_t c = 0; c < send.values.size(); ++c) {
      if (!send.values[c]) continue;
      CORVID_TRY(auto bytes, encode_value(send.values[c]));
      values[graph.schema->at(c).name] = binary(std::move(bytes));
    }
    Json entry = {{"node", graph.nodes[send.node].name}, {"values", std::move(values)}, {"extra", send.extra}};
    if (send.timeout) entry["timeout_ms"] = send.timeout->count();
    out.push_back(std::move(entry));
  }
  return out;
}

Result<std::vector<SendTask>> decode_send_tasks(const CompiledGraph::Impl& graph, const Json& stored, std::vector<std::string>& notes) {
  if (!stored.is_array()) return fail(damaged("no list of sends"));
  std::vector<SendTask> sends;
  for (const auto& entry : stored) {
    if (!entry.is_object() || !entry.contains("node") || !entry.contains("values") || !entry.contains("extra") || !entry["values"].is_object()) {
      return fail(damaged("a Send without its parts"));
    }
    SendTask send;
    CORVID_TRY(send.node, node_at(graph, entry["node"]));
    send.values.resize(graph.schema->size());
    for (const auto& [name, bytes] : entry["values"].items()) {
      const auto channel = graph.schema->find(name);
      if (channel == Schema::npos) return fail(Error::conflict("the checkpoint writes the channel \"" + name + "\", which the graph no longer has"));
      CORVID_TRY(const auto raw, binary_at(entry["values"], name.c_str()));
      CORVID_TRY(send.values[channel], decode_value(raw, *graph.schema->at(channel).type, graph.options.restorers, notes));
    }
    send.extra = entry["extra"];
    if (const auto timeout = entry.find("timeout_ms"); timeout != entry.end()) {
      if (!timeout->is_number_integer()) return fail(damaged("a timeout that is no number"));
      // Within what clocks can add to now.
      constexpr std::int64_t kMostMs = std::int64_t{100} * 365 * 24 * 3'600'000;
      send.timeout = std::chrono::milliseconds(std::clamp<std::int64_t>(timeout->get<std::int64_t>(), -1, kMostMs));
    }
    sends.push_back(std::move(send));
  }
  return sends;
}

Result<Json> encode_outcome(const CompiledGraph::Impl& graph, const TaskOutcome& outcome) {
  Json writes = Json::array(), go_to = Json::array();
  for (const auto& write : outcome.writes) {
    CORVID_TRY(auto bytes, encode_value(write.value));
    writes.push_back({graph.schema->at(write.channel).name, binary(std::move(bytes)), write.overwrite});
  }
  for (const auto node : outcome.go_to) go_to.push_back(graph.nodes[node].name);
  CORVID_TRY(auto sends, encode_send_tasks(graph, outcome.sends));
  Json out = {{"writes", std::move(writes)}, {"go_to", std::move(go_to)}, {"sends", std::move(sends)}};
  if (!outcome.edges) out["edges"] = false;
  if (outcome.to_parent) out["parent"] = {{"values", outcome.parent_values}, {"route", route_json(outcome.parent_route)}};
  return out;
}

Result<TaskOutcome> decode_outcome(const CompiledGraph::Impl& graph, const Json& stored, std::vector<std::string>& notes) {
  if (!stored.is_object() || !stored.contains("writes") || !stored.contains("go_to") || !stored.contains("sends")) return fail(damaged("parts are missing"));
  if (!stored["writes"].is_array() || !stored["go_to"].is_array()) return fail(damaged("parts of an unknown form"));
  TaskOutcome outcome;
  for (const auto& write : stored["writes"]) {
    if (!write.is_array() || write.size() != 3 || !write[0].is_string() || !write[1].is_binary() || !write[2].is_boolean()) return fail(damaged("a write of an unknown form"));
    const auto name = write[0].get<std::string>();
    const auto channel = graph.schema->find(name);
    if (channel == Schema::npos) return fail(Error::conflict("the checkpoint writes the channel \"" + name + "\", which the graph no longer has"));
    const auto& data = write[1].get_binary();
    CORVID_TRY(auto value, decode_value(std::as_bytes(std::span(data.data(), data.size())), *graph.schema->at(channel).type, graph.options.restorers, notes));
    outcome.writes.push_back({channel, std::move(value), write[2].get<bool>()});
  }
  for (const auto& name : stored["go_to"]) {
    CORVID_TRY(const auto node, node_at(graph, name));
    outcome.go_to.push_back(node);
  }
  CORVID_TRY(outcome.sends, decode_send_tasks(graph, stored["sends"], notes));
  outcome.edges = !stored.contains("edges") || stored["edges"] != false;
  if (const auto parent = stored.find("parent"); parent != stored.end()) {
    if (!parent->is_object() || !parent->contains("values") || !parent->contains("route")) return fail(damaged("a parent's command of an unknown form"));
    outcome.to_parent = true;
    outcome.parent_values = (*parent)["values"];
    CORVID_TRY(outcome.parent_route, route_of((*parent)["route"]));
  }
  return outcome;
}

}  // namespace corvid
