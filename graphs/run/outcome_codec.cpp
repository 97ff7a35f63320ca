// Outcomes and Sends as CBOR for the store. Channels and nodes go by name, so that an edited graph can still read them.
#include <algorithm>
#include <string>

#include "graphs/persist/cbor_writer.hpp"
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

void write_route(CborWriter& out, const Route& route) {
  out.list(route.targets.size());
  for (const auto& target : route.targets) {
    if (const auto* name = std::get_if<std::string>(&target)) {
      out.text(*name);
    } else {
      const auto& send = std::get<Send>(target);
      out.map(2).text("send").text(send.node).text("with").json(send.extra);
    }
  }
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

// A list of {"extra": json, "node": name, "timeout_ms"?: n, "values": {channel: bytes}}.
Status write_send_tasks(CborWriter& out, const CompiledGraph::Impl& graph, const std::vector<SendTask>& sends) {
  out.list(sends.size());
  std::vector<std::uint32_t> given;
  for (const auto& send : sends) {
    given.clear();
    for (std::uint32_t c = 0; c < send.values.size(); ++c) {
      if (send.values[c]) given.push_back(c);
    }
    std::sort(given.begin(), given.end(), [&](auto a, auto b) { return graph.schema->at(a).name < graph.schema->at(b).name; });
    out.map(send.timeout ? 4 : 3).text("extra").json(send.extra).text("node").text(graph.nodes[send.node].name);
    if (send.timeout) out.text("timeout_ms").number(std::int64_t{send.timeout->count()});
    out.text("values").map(given.size());
    for (const auto channel : given) {
      CORVID_TRY(const auto bytes, encode_value(send.values[channel]));
      out.text(graph.schema->at(channel).name).binary(bytes);
    }
  }
  return {};
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

// {"edges"?: false, "go_to": [node], "parent"?: {"route": [], "values": {}}, "sends": [], "writes": [[channel, bytes, overwrite]]}.
Result<Bytes> encode_outcome(const CompiledGraph::Impl& graph, const TaskOutcome& outcome) {
  CborWriter out;
  out.map(3u + (outcome.edges ? 0u : 1u) + (outcome.to_parent ? 1u : 0u));
  if (!outcome.edges) out.text("edges").boolean(false);
  out.text("go_to").list(outcome.go_to.size());
  for (const auto node : outcome.go_to) out.text(graph.nodes[node].name);
  if (outcome.to_parent) {
    out.text("parent").map(2).text("route");
    write_route(out, outcome.to_parent->route);
    out.text("values").json(outcome.to_parent->values);
  }
  out.text("sends");
  CORVID_TRY_STATUS(write_send_tasks(out, graph, outcome.sends));
  out.text("writes").list(outcome.writes.size());
  for (const auto& write : outcome.writes) {
    CORVID_TRY(const auto bytes, encode_value(write.value));
    out.list(3).text(graph.schema->at(write.channel).name).binary(bytes).boolean(write.overwrite);
  }
  return std::move(out).take();
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
    outcome.to_parent = std::make_unique<ParentCommand>();
    outcome.to_parent->values = (*parent)["values"];
    CORVID_TRY(outcome.to_parent->route, route_of((*parent)["route"]));
  }
  return outcome;
}

}  // namespace corvid
