#include "graphs/run/step.hpp"

#include <algorithm>
#include <string>

namespace corvid {
namespace {

std::string node_name(const CompiledGraph::Impl& graph, std::uint32_t node) { return node == graph.start() ? std::string(START) : graph.nodes[node].name; }

}  // namespace

Result<Value> convert(const Value& value, const ChannelSpec& channel) {
  if (!value) return fail(Error::invalid_argument("an absent value cannot be written").at_key(channel.name));
  if (value.type() == channel.type) return value;
  if (value.type()->handle) {
    if (!channel.type->handle) return fail(Error::bad_input("a model's state cannot be written to a channel of data").at_key(channel.name));
    CORVID_TRY(auto state, value.type()->handle(value.data()));
    return channel.type->wrap(std::move(state));
  }
  auto json = value.to_json();
  if (!json) return fail(std::move(json).error().at_key(channel.name));
  auto converted = channel.type->from_json(*json);
  if (!converted) return fail(std::move(converted).error().at_key(channel.name));
  return converted;
}

Result<std::vector<ChannelWrite>> writes_by_name(const Schema& schema, Json object, Json* extra) {
  if (!object.is_object()) return fail(Error::bad_input("state must be an object of channels, not a " + std::string(object.type_name())));
  std::vector<ChannelWrite> writes;
  for (auto& [name, value] : object.items()) {
    const auto index = schema.find(name);
    if (index == Schema::npos) {
      if (!extra) return fail(Error::invalid_argument("the graph's state has no channel of this name").at_key(name));
      (*extra)[name] = std::move(value);
      continue;
    }
    auto converted = schema.at(index).type->from_json(value);
    if (!converted) return fail(std::move(converted).error().at_key(name));
    writes.push_back({index, std::move(*converted), false});
  }
  return writes;
}

namespace {

// The snapshot with one task's own writes applied, for its routes.
Result<std::vector<Value>> with_own_writes(const CompiledGraph::Impl& graph, std::span<const Value> snapshot, const std::vector<ChannelWrite>& writes) {
  std::vector<Value> values(snapshot.begin(), snapshot.end());
  values.resize(graph.schema->size());
  for (const auto& write : writes) {
    const auto& channel = graph.schema->at(write.channel);
    if (write.overwrite || !channel.reducer.reduce) {
      values[write.channel] = write.value;
      continue;
    }
    Value own = write.value;
    CORVID_TRY(values[write.channel], channel.reducer.reduce(values[write.channel], std::span(&own, 1)));
  }
  return values;
}

class Targets {
 public:
  Targets(const CompiledGraph::Impl& graph, TaskOutcome& outcome) : graph_(graph), outcome_(outcome) {}

  // `allowed` empty: any node. `who` names the edge or node for messages.
  Status add(std::variant<std::string, Send>& target, const std::vector<std::string>* allowed, const std::string& who) {
    if (auto* name = std::get_if<std::string>(&target)) {
      if (*name == END) return {};
      CORVID_TRY(const auto node, resolve(*name, allowed, who));
      if (std::find(outcome_.go_to.begin(), outcome_.go_to.end(), node) == outcome_.go_to.end()) outcome_.go_to.push_back(node);
      return {};
    }
    Send& send = std::get<Send>(target);
    SendTask task;
    CORVID_TRY(task.node, resolve(send.node, allowed, who));
    task.values.resize(graph_.schema->size());
    if (!send.extra.is_null()) {
      CORVID_TRY(auto by_name, writes_by_name(*graph_.schema, std::move(send.extra), &task.extra));
      for (auto& write : by_name) task.values[write.channel] = std::move(write.value);
    }
    for (auto& write : send.argument) {
      if (write.channel >= graph_.schema->size()) return fail(Error::invalid_argument("a Send to \"" + send.node + "\" writes a channel of another graph"));
      CORVID_TRY(task.values[write.channel], convert(write.value, graph_.schema->at(write.channel)));
    }
    task.timeout = send.timeout;
    outcome_.sends.push_back(std::move(task));
    return {};
  }

 private:
  Result<std::uint32_t> resolve(const std::string& name, const std::vector<std::string>* allowed, const std::string& who) {
    const auto node = graph_.find(name);
    if (node == CompiledGraph::Impl::npos) return fail(Error::invalid_argument(who + " leads to \"" + name + "\", which is no node").at_key(name));
    if (allowed && std::find(allowed->begin(), allowed->end(), name) == allowed->end()) {
      return fail(Error::invalid_argument(who + " leads to \"" + name + "\", which it does not declare among its targets").at_key(name));
    }
    return node;
  }
  const CompiledGraph::Impl& graph_;
  TaskOutcome& outcome_;
};

}  // namespace

Status make_outcome(const CompiledGraph::Impl& graph, std::uint32_t from, std::span<const Value> snapshot, NodeResult&& result, TaskOutcome& outcome, Edges leading) {
  if (result.error) return fail(std::move(*result.error));
  if (result.to_parent) {
    outcome.to_parent = std::make_unique<ParentCommand>(ParentCommand{std::move(result.parent_values), std::move(result.go_to_targets)});
    return {};
  }
  const Schema& schema = *graph.schema;
  // A channel without a reducer takes the last of one task's writes; two tasks' are the error.
  for (auto& write : result.writes) {
    if (write.channel >= schema.size()) return fail(Error::invalid_argument("\"" + node_name(graph, from) + "\" writes a channel that is not this graph's"));
    const auto& channel = schema.at(write.channel);
    if (write.value.type() != channel.type) {
      CORVID_TRY(write.value, convert(write.value, channel));
    }
    if (!channel.reducer.reduce && result.writes.size() > 1) {
      const auto same = [&](const ChannelWrite& other) { return other.channel == write.channel; };
      if (const auto earlier = std::find_if(outcome.writes.begin(), outcome.writes.end(), same); earlier != outcome.writes.end()) {
        *earlier = std::move(write);
        continue;
      }
    }
    if (result.writes.size() > 1) outcome.writes.push_back(std::move(write));
  }
  if (result.writes.size() == 1) outcome.writes = std::move(result.writes);
  const auto& edges = graph.outgoing[from];
  outcome.edges = leading != Edges::none;
  if (edges.conditional.empty() && result.go_to_targets.targets.empty()) return {};

  Targets targets(graph, outcome);
  if (!result.go_to_targets.targets.empty()) {
    const std::string who = from == graph.start() ? "the Command" : "the command of \"" + node_name(graph, from) + "\"";
    const auto* allowed = from == graph.start() ? nullptr : &graph.nodes[from].options.destinations;
    for (auto& target : result.go_to_targets.targets) CORVID_TRY_STATUS(targets.add(target, allowed, who));
    if (leading == Edges::unless_commanded) outcome.edges = false;
  }
  if (!outcome.edges) return {};
  if (!edges.conditional.empty()) {
    std::vector<Value> fresh;
    std::span<const Value> seen = snapshot;
    if (!outcome.writes.empty()) {
      CORVID_TRY(fresh, with_own_writes(graph, snapshot, outcome.writes));
      seen = fresh;
    }
    const StateView view(schema, seen);
    for (const auto& conditional : edges.conditional) {
      CORVID_TRY(auto route, conditional.route(view));
      const std::string who = "the conditional edge from \"" + node_name(graph, from) + "\"";
      for (auto& target : route.targets) CORVID_TRY_STATUS(targets.add(target, &conditional.target_names, who));
    }
  }
  return {};
}

Barrier::Barrier(const CompiledGraph::Impl& graph) : graph_(graph) {}

Status Barrier::write_channel(std::uint32_t index, std::vector<Value>& values, Json* record) {
  const auto& channel = graph_.schema->at(index);
  Waiting& waiting = waiting_[index];
  if (waiting.overwrite) {
    if (record) *record = nullptr;
    values[index] = std::move(*waiting.overwrite);
  } else if (!channel.reducer.reduce) {
    if (waiting.values.size() > 1) {
      std::string who;
      for (const auto node : waiting.from) who += (who.empty() ? "\"" : ", \"") + node_name(graph_, node) + "\"";
      return fail(Error::conflict("the channel \"" + channel.name + "\" was written by several tasks of one superstep (" + who +
                                  ") and has no reducer to join their writes; give it one (append, add, …)")
                      .at_key(channel.name));
    }
    if (record) *record = nullptr;
    values[index] = std::move(waiting.values.front());
  } else {
    if (record && !record->is_null() && channel.reducer.delta) {
      for (const auto& value : waiting.values) {
        CORVID_TRY(Json json, value.to_json());
        record->push_back(std::move(json));
      }
    }
    auto reduced = channel.reducer.reduce(std::move(values[index]), waiting.values);
    if (!reduced) return fail(std::move(reduced).error().at_key(channel.name));
    CORVID_TRY(values[index], convert(*reduced, channel));
  }
  waiting.values.clear();
  waiting.from.clear();
  waiting.overwrite.reset();
  return {};
}

Status Barrier::apply(std::span<Finished> finished, std::vector<Value>& values, Frontier& frontier, std::vector<std::uint32_t>& written, std::vector<Json>* record) {
  written.clear();
  CORVID_TRY_STATUS(write_all(finished, values, written, record));
  for (const auto channel : graph_.ephemeral) {
    if (values[channel] && !std::binary_search(written.begin(), written.end(), channel)) {
      values[channel] = Value();
      written.insert(std::lower_bound(written.begin(), written.end(), channel), channel);
    }
  }
  follow(finished, frontier);
  return {};
}

Status Barrier::write_all(std::span<Finished> finished, std::vector<Value>& values, std::vector<std::uint32_t>& written, std::vector<Json>* record) {
  if (finished.size() == 1 && finished.front().outcome->writes.size() == 1) {
    auto& write = finished.front().outcome->writes.front();
    if (write.overwrite || !graph_.schema->at(write.channel).reducer.reduce) {
      if (record) (*record)[write.channel] = nullptr;
      values[write.channel] = std::move(write.value);
      written.push_back(write.channel);
      return {};
    }
  }
  if (waiting_.empty()) waiting_.resize(graph_.schema->size());
  for (auto& task : finished) {
    for (auto& write : task.outcome->writes) {
      Waiting& waiting = waiting_[write.channel];
      if (waiting.values.empty() && !waiting.overwrite) written.push_back(write.channel);
      if (write.overwrite) {
        if (waiting.overwrite) {
          return fail(Error::conflict("the channel \"" + graph_.schema->at(write.channel).name + "\" was replaced by two tasks of one superstep").at_key(graph_.schema->at(write.channel).name));
        }
        waiting.overwrite = std::move(write.value);
      } else {
        waiting.values.push_back(std::move(write.value));
        waiting.from.push_back(task.node);
      }
    }
  }
  if (written.size() > 1) std::sort(written.begin(), written.end());
  for (const auto channel : written) CORVID_TRY_STATUS(write_channel(channel, values, record ? &(*record)[channel] : nullptr));
  return {};
}

// What comes next.
void Barrier::follow(std::span<Finished> finished, Frontier& frontier) {
  frontier.nodes.clear();
  frontier.sends.clear();
  const auto by_rank = [&](std::uint32_t a, std::uint32_t b) { return graph_.rank[a] < graph_.rank[b]; };
  if (finished.size() == 1 && graph_.joins.empty() && frontier.deferred.empty() && !graph_.any_defer && finished.front().outcome->go_to.empty()) {
    auto& outcome = *finished.front().outcome;
    if (outcome.edges) frontier.nodes = graph_.outgoing[finished.front().node].to;   // each once
    if (frontier.nodes.size() > 1) std::sort(frontier.nodes.begin(), frontier.nodes.end(), by_rank);
    frontier.sends.swap(outcome.sends);
    return;
  }
  if (triggered_.empty()) triggered_.resize(graph_.nodes.size(), 0);
  const auto trigger = [&](std::uint32_t node) {
    if (triggered_[node]) return;
    triggered_[node] = 1;
    (graph_.any_defer && graph_.nodes[node].options.defer ? frontier.deferred : frontier.nodes).push_back(node);
  };
  for (const auto node : frontier.deferred) triggered_[node] = 1;
  // A join is spent when its target has run, not when it fires: a target that an input or an edit put off is still due.
  const auto complete = [](const std::vector<char>& seen) { return std::find(seen.begin(), seen.end(), 0) == seen.end(); };
  for (std::size_t j = 0; j < graph_.joins.size(); ++j) {
    auto& seen = frontier.seen[j];
    const auto ran = [&](const Finished& task) { return task.node == graph_.joins[j].to; };
    if (complete(seen) && std::any_of(finished.begin(), finished.end(), ran)) std::fill(seen.begin(), seen.end(), 0);
  }
  for (auto& task : finished) {
    if (task.outcome->edges) {
      const auto& edges = graph_.outgoing[task.node];
      for (const auto to : edges.to) trigger(to);
      for (const auto& [join, place] : edges.joins) frontier.seen[join][place] = 1;
    }
    for (const auto to : task.outcome->go_to) trigger(to);
    for (auto& send : task.outcome->sends) frontier.sends.push_back(std::move(send));
  }
  for (std::size_t j = 0; j < graph_.joins.size(); ++j) {
    if (complete(frontier.seen[j])) trigger(graph_.joins[j].to);
  }
  for (const auto node : frontier.nodes) triggered_[node] = 0;
  for (const auto node : frontier.deferred) triggered_[node] = 0;
  if (frontier.nodes.size() > 1) std::sort(frontier.nodes.begin(), frontier.nodes.end(), by_rank);
  if (frontier.empty() && !frontier.deferred.empty()) {
    std::sort(frontier.deferred.begin(), frontier.deferred.end(), by_rank);
    frontier.nodes.swap(frontier.deferred);
  }
}

}  // namespace corvid
