// What compile() refuses. All of it is reported at once.
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "graphs/define/compiled.hpp"

namespace corvid {
namespace {

bool reserved(const std::string& name) { return name.starts_with("__"); }

std::string in_quotes(const std::string& name) { return "\"" + name + "\""; }

class Checker {
 public:
  Checker(const GraphBuilder::Impl& graph, const CompileOptions& options) : graph_(graph), options_(options) {}

  std::vector<GraphProblem> run() {
    channels();
    nodes();
    edges();
    pauses();
    if (problems_.empty()) reachability();   // with dangling names it would only repeat them
    parallel_writes();
    return std::move(problems_);
  }

 private:
  void add(std::string where, std::string message) { problems_.push_back({std::move(where), std::move(message)}); }

  void channels() {
    std::set<std::string> seen;
    for (const auto& channel : graph_.schema->channels()) {
      const std::string where = "channel " + channel.name;
      if (channel.name.empty()) add("channel", "a channel needs a name");
      if (reserved(channel.name)) add(where, "names that start with \"__\" are the runtime's own");
      if (!seen.insert(channel.name).second) add(where, "there are two channels of this name");
      if (!channel.type) add(where, "the channel has no type");
      else if (channel.type->handle && channel.reducer.delta) add(where, "a model's state cannot be kept as deltas; use overwrite or a reducer of your own");
      if (channel.reducer.delta && !channel.reducer.reduce) add(where, "a delta channel needs a reducer");
      if (channel.type && channel.type->handle && options_.checkpointer && options_.restorers.empty() && channel.life == ChannelLife::kept) {
        add(where, "holds a model's state, and no restorer says how to bring it back from a checkpoint; set CompileOptions::restorers or make the key untracked");
      }
    }
  }

  void nodes() {
    if (graph_.nodes.empty()) add("graph", "there are no nodes");
    for (const auto& node : graph_.nodes) {
      const std::string where = "node " + node.name;
      if (node.name.empty()) add("node", "a node needs a name");
      if (reserved(node.name)) add(where, "names that start with \"__\" are the runtime's own");
      if (node.name.find_first_of("|:>+") != std::string::npos) add(where, "a node's name cannot contain | : > or +");
      if (!names_.insert(node.name).second) add(where, "there are two nodes of this name");
      if (!node.function && !node.coroutine && !node.subgraph) add(where, "the node has nothing to run");
      const auto& o = node.options;
      if (o.effect == SideEffect::at_most_once && o.retry && o.retry->max_attempts > 1) {
        add(where, "an at_most_once node cannot be tried again; drop the retry policy or declare the node idempotent");
      }
      if (o.effect == SideEffect::at_most_once && o.cache) add(where, "an at_most_once node's result cannot be cached");
      if (o.retry && (o.retry->max_attempts < 1 || o.retry->backoff_factor < 1 || o.retry->initial_interval.count() < 0)) {
        add(where, "a retry policy needs at least 1 attempt, a factor of at least 1 and no negative interval");
      }
      if (o.timeout.run.count() < 0 || o.timeout.idle.count() < 0) add(where, "a timeout cannot be negative");
      for (const auto& name : o.writes) {
        if (graph_.schema->find(name) == Schema::npos) add(where, "declares that it writes " + in_quotes(name) + ", which is no channel");
      }
      if (node.subgraph) subgraph(node, where);
    }
    for (const auto& node : graph_.nodes) {
      for (const auto& to : node.options.destinations) {
        if (to != END && !names_.count(to)) add("node " + node.name, "declares the destination " + in_quotes(to) + ", which is no node");
      }
    }
  }

  void subgraph(const NodeDef& node, const std::string& where) {
    bool common = false;
    for (const auto& channel : node.subgraph->schema()->channels()) {
      const auto at = graph_.schema->find(channel.name);
      if (at == Schema::npos) continue;
      common = true;
      if (graph_.schema->at(at).type != channel.type && graph_.schema->at(at).type->name != channel.type->name) {
        add(where, "the channel " + in_quotes(channel.name) + " has another type in the subgraph (" + std::string(channel.type->name) + ") than here (" +
                       std::string(graph_.schema->at(at).type->name) + ")");
      }
    }
    for (const auto& name : node.subgraph_outputs) {
      if (graph_.schema->find(name) == Schema::npos || node.subgraph->schema()->find(name) == Schema::npos) {
        add(where, "hands back " + in_quotes(name) + ", which is no channel of both this graph and the subgraph");
      }
    }
    if (!common) add(where, "the subgraph shares no channel with this graph: nothing would go in or come out");
  }

  void edges() {
    const auto source = [&](const std::string& name, const std::string& where) {
      if (name == END) add(where, "nothing comes after END");
      else if (name != START && !names_.count(name)) add(where, in_quotes(name) + " is no node");
    };
    const auto target = [&](const std::string& name, const std::string& where) {
      if (name == START) add(where, "nothing leads to START");
      else if (name != END && !names_.count(name)) add(where, in_quotes(name) + " is no node");
    };
    bool entry = false;
    for (const auto& edge : graph_.edges) {
      std::string where = "edge ";
      for (std::size_t i = 0; i < edge.from.size(); ++i) where += (i ? "+" : "") + edge.from[i];
      where += " -> " + edge.to;
      if (edge.from.empty()) add(where, "an edge needs a node to come from");
      for (const auto& from : edge.from) source(from, where);
      target(edge.to, where);
      if (std::set<std::string>(edge.from.begin(), edge.from.end()).size() != edge.from.size()) add(where, "waits twice for the same node");
      entry |= std::find(edge.from.begin(), edge.from.end(), START) != edge.from.end();
    }
    for (const auto& conditional : graph_.conditionals) {
      const std::string where = "edge " + conditional.from + " -> ?";
      source(conditional.from, where);
      if (!conditional.route) add(where, "a conditional edge needs a function that decides");
      if (conditional.targets.empty()) add(where, "a conditional edge must name where it may lead");
      for (const auto& to : conditional.targets) target(to, where);
      entry |= conditional.from == START;
    }
    if (!entry && !graph_.nodes.empty()) add("graph", "no edge leads from START: the graph would do nothing");
  }

  void pauses() {
    for (const auto* list : {&options_.interrupt_before, &options_.interrupt_after}) {
      for (const auto& name : *list) {
        if (name != "*" && !names_.count(name)) add("graph", "interrupt_before or interrupt_after names " + in_quotes(name) + ", which is no node");
      }
      if (!list->empty() && !options_.checkpointer) add("graph", "interrupt_before and interrupt_after need a checkpointer to come back from");
    }
  }

  void reachability() {
    std::map<std::string, std::set<std::string>> next;
    for (const auto& edge : graph_.edges) {
      for (const auto& from : edge.from) next[from].insert(edge.to);
    }
    for (const auto& conditional : graph_.conditionals) next[conditional.from].insert(conditional.targets.begin(), conditional.targets.end());
    for (const auto& node : graph_.nodes) next[node.name].insert(node.options.destinations.begin(), node.options.destinations.end());
    std::set<std::string> reached{std::string(START)};
    std::vector<std::string> open{std::string(START)};
    while (!open.empty()) {
      const auto here = std::move(open.back());
      open.pop_back();
      for (const auto& to : next[here]) {
        if (reached.insert(to).second) open.push_back(to);
      }
    }
    for (const auto& node : graph_.nodes) {
      if (!reached.count(node.name)) {
        add("node " + node.name, "no way leads here from START; add an edge, or name it among the destinations of the node whose command goes to it");
      }
    }
  }

  // Two nodes with a common unconditional predecessor run in one superstep.
  void parallel_writes() {
    std::map<std::string, std::set<std::string>> siblings;   // predecessor -> unconditional successors
    for (const auto& edge : graph_.edges) {
      if (edge.from.size() == 1) siblings[edge.from.front()].insert(edge.to);
    }
    std::set<std::pair<std::string, std::string>> reported;
    for (const auto& [from, to] : siblings) {
      std::map<std::string, std::vector<std::string>> writers;
      for (const auto& node : graph_.nodes) {
        if (!to.count(node.name)) continue;
        for (const auto& channel : std::set<std::string>(node.options.writes.begin(), node.options.writes.end())) writers[channel].push_back(node.name);
      }
      for (const auto& [channel, names] : writers) {
        const auto at = graph_.schema->find(channel);
        if (names.size() < 2 || at == Schema::npos || graph_.schema->at(at).reducer.reduce) continue;
        if (!reported.emplace(channel, names[0] + names[1]).second) continue;
        add("channel " + channel, "is written in parallel by " + in_quotes(names[0]) + " and " + in_quotes(names[1]) + " and has no reducer to join their writes; give it one (append, add, …)");
      }
    }
  }

  const GraphBuilder::Impl& graph_;
  const CompileOptions& options_;
  std::set<std::string> names_;
  std::vector<GraphProblem> problems_;
};

}  // namespace

std::vector<GraphProblem> GraphBuilder::check(const CompileOptions& options) const { return Checker(*impl_, options).run(); }

}  // namespace corvid
