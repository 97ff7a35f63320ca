#include <array>

#include "graphs/file/prepare.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid::detail {
namespace {

constexpr std::array<ErrorCode, 14> kCodes{
    ErrorCode::invalid_argument, ErrorCode::bad_input, ErrorCode::not_found,         ErrorCode::unsupported, ErrorCode::out_of_memory,
    ErrorCode::limit_exceeded,   ErrorCode::cancelled, ErrorCode::deadline_exceeded, ErrorCode::io,          ErrorCode::network,
    ErrorCode::rejected,         ErrorCode::conflict,  ErrorCode::interrupted,       ErrorCode::internal};

std::vector<std::string> names_of(const Json& object) {
  std::vector<std::string> names;
  for (auto at = object.begin(); at != object.end(); ++at) names.push_back(at.key());
  return names;
}

ChannelSpec channel_of(const ChannelDefinition& channel, const SourceFile& source, Problems& problems) {
  auto reducer = json_reducer(channel.reducer);
  if (!reducer) problems.add(source, channel.at, reducer.error().message());
  auto spec = json_channel(channel.name, channel.type, reducer ? std::move(*reducer) : Reducer{});
  if (!spec) {
    problems.add(source, channel.at, spec.error().message());
    spec = json_channel(channel.name, "json", {});
  }
  spec->life = channel.life == "ephemeral"   ? ChannelLife::ephemeral
               : channel.life == "untracked" ? ChannelLife::untracked
                                             : ChannelLife::kept;
  if (channel.initial) {
    if (auto value = spec->type->from_json(*channel.initial))
      spec->initial = std::move(*value);  // a default of the wrong type was noted when read
  }
  return std::move(*spec);
}

// What takes a failure's place: keys to write, and where to go.
struct ErrorHandler {
  std::vector<std::pair<std::string, ValueTemplate>> set;
  std::vector<std::string> go_to;

  Result<NodeResult> operator()(NodeContext& context, const Error& error) const {
    const Json variables = {{"error", {{"code", to_string(error.code())}, {"message", error.message()}, {"node", context.node()}}}};
    const StateScope scope(context.state(), &variables);
    NodeResult result;
    for (const auto& [name, value] : set) {
      auto made = value.evaluate(scope);
      if (!made) return fail(Error(made.error().code(), "on_error: " + made.error().message()).at_key(name).caused_by(error));
      CORVID_TRY(auto write, write_channel(context.state().schema(), name, *made));
      result.writes.push_back(std::move(write));
    }
    result.go_to(Route(go_to));
    return result;
  }
};

}  // namespace

std::string graph_name(const std::string& name) { return name == "START" ? std::string(START) : name == "END" ? std::string(END) : name; }

Result<ChannelWrite> write_channel(const Schema& schema, const std::string& name, const Json& value) {
  const auto index = schema.find(name);
  if (index == Schema::npos) return fail(Error::invalid_argument("the state has no key \"" + name + "\"").at_key(name));
  auto made = schema.at(index).type->from_json(value);
  if (!made) return fail(std::move(made).error().at_key(name));
  ChannelWrite write;
  write.channel = index;
  write.value = std::move(*made);
  return write;
}

NodeBuildContext Preparer::context_of(const GraphDefinition& graph, const PreparedGraph& prepared) const {
  NodeBuildContext context;
  context.schema = prepared.schema;
  context.folder = graph.folder;
  std::set<std::string> fields;
  for (const auto& channel : graph.channels) fields.insert(channel.name);
  for (const auto& node : graph.nodes) {
    context.nodes.push_back(node.name);
    const NodeType* type = registry_.find(node.type);
    if (!type || !type->binds) continue;
    if (const auto* schema = registry_.arguments_of(node.type); !schema || !schema->check(node.with)) continue;  // noted later
    for (auto& name : type->binds(node.with)) fields.insert(std::move(name));
  }
  const auto bind = [&](const ArmDefinition& arm) {
    if (!arm.send) return;
    fields.insert(arm.send->as);
    if (!arm.send->index.empty()) fields.insert(arm.send->index);
    for (auto& name : names_of(arm.send->with)) fields.insert(std::move(name));
  };
  for (const auto& edge : graph.edges) {
    for (const auto& arm : edge.arms) bind(arm);
    if (edge.otherwise) bind(*edge.otherwise);
  }
  context.names.fields = std::make_shared<const std::set<std::string>>(std::move(fields));
  return context;
}

std::shared_ptr<const PreparedGraph> Preparer::prepare(const GraphDefinition& graph) {
  if (const auto at = done_.find(&graph); at != done_.end()) return at->second;
  open_.insert(&graph);
  auto out = std::make_shared<PreparedGraph>();
  out->definition = &graph;
  std::vector<ChannelSpec> channels;
  for (const auto& channel : graph.channels) channels.push_back(channel_of(channel, *graph.source, problems_));
  out->schema = std::make_shared<const Schema>(std::move(channels));
  auto context = context_of(graph, *out);
  for (const auto& each : graph.nodes) {
    context.node = each.name;
    node(graph, each, context, *out);
  }
  prepare_edges(graph, context.names, *out, problems_);
  for (const auto& [name, inner] : graph.graphs) prepare(*inner);  // those that no node runs are checked too
  open_.erase(&graph);
  done_.emplace(&graph, out);
  return out;
}

std::vector<std::string> Preparer::node_names(const GraphDefinition& graph, const std::vector<NamedPlace>& names,
                                              const NodeBuildContext& context) {
  std::vector<std::string> out;
  for (const auto& each : names) {
    if (const auto status = context.check_node(each.name, ""); !status)
      problems_.add(*graph.source, each.at, status.error().message());
    else
      out.push_back(graph_name(each.name));
  }
  return out;
}

// What is unknown comes first: a mistyped name is missing under its right one as well.
bool Preparer::arguments(const GraphDefinition& graph, const NodeDefinition& node, const NodeType& type, const FileNode* with) {
  const Json known = type.arguments.value("properties", Json::object());
  const auto before = problems_.size();
  if (with && type.arguments.value("additionalProperties", Json(true)) == Json(false)) {
    for (const auto& [key, value] : with->members) {
      if (!known.contains(key.text)) {
        problems_.add(*graph.source, &key, "\"" + key.text + "\" is no argument of " + node.type + suggestion(key.text, names_of(known)));
      }
    }
  }
  if (problems_.size() != before) return false;
  auto status = registry_.arguments_of(node.type)->check(node.with);
  if (status) return true;
  if (with)
    problems_.add(*graph.source, *with, status.error());
  else
    problems_.add(*graph.source, node.key,
                  node.type + " needs arguments (with): " +
                      status.error().key().substr(std::min<std::size_t>(1, status.error().key().size())) + " " + status.error().message());
  return false;
}

void Preparer::node(const GraphDefinition& graph, const NodeDefinition& node, const NodeBuildContext& context, PreparedGraph& out) {
  PreparedNode made;
  made.definition = &node;
  if (!node.graph.empty()) {
    subgraph(graph, node, context, made);
    out.nodes.push_back(std::move(made));
    return;
  }
  if (node.type.empty()) return;  // noted when read
  const NodeType* type = registry_.find(node.type);
  if (!type) {
    problems_.add(*graph.source, node.at->find("type"),
                  "there is no node type \"" + node.type + "\"" + suggestion(node.type, registry_.names()));
    return;
  }
  const FileNode* with = node.at->find("with");
  const FileNode& where = with ? *with : *node.at;
  if (!arguments(graph, node, *type, with)) return;
  auto spec = type->make(node.with, context);
  if (!spec) {
    problems_.add(*graph.source, where, spec.error());
    return;
  }
  options(graph, node, context, spec->options);
  for (const auto& name : spec->options.destinations) {
    if (const auto status = context.check_node(name == END ? "END" : name, ""); !status)
      problems_.add(*graph.source, node.key, status.error().message());
  }
  made.spec = std::move(*spec);
  out.nodes.push_back(std::move(made));
}

void Preparer::subgraph(const GraphDefinition& graph, const NodeDefinition& node, const NodeBuildContext& context, PreparedNode& out) {
  out.graph_options.defer = node.defer;
  out.graph_options.checkpoints = node.checkpoints.value_or(SubgraphCheckpoints::inherited);
  out.graph_options.destinations = node_names(graph, node.destinations, context);
  const FileNode* at = node.at->find("graph");
  const GraphDefinition* found = node.file.get();
  std::vector<std::string> known;
  for (const auto* level = &graph; level && !found; level = level->outer) {
    for (const auto& [name, inner] : level->graphs) {
      known.push_back(name);
      if (name == node.graph && !found) found = inner.get();
    }
  }
  if (!found) {
    const auto dot = node.graph.rfind('.');
    const bool file = dot != std::string::npos &&
                      (node.graph.substr(dot) == ".yaml" || node.graph.substr(dot) == ".yml" || node.graph.substr(dot) == ".json");
    if (!file)
      problems_.add(*graph.source, at,
                    "there is no graph \"" + node.graph + "\"" + suggestion(node.graph, known) +
                        (known.empty() ? "; name one of `graphs`, or a file ending in .yaml or .json" : ""));
    return;  // a file that could not be read was noted then
  }
  if (open_.contains(found)) return problems_.add(*graph.source, at, "the graph \"" + node.graph + "\" would run itself without end");
  out.graph = prepare(*found);
}

void Preparer::options(const GraphDefinition& graph, const NodeDefinition& node, const NodeBuildContext& context, NodeOptions& options) {
  if (node.effect) options.effect = *node.effect;
  if (node.timeout) options.timeout.run = *node.timeout;
  if (node.idle_timeout) options.timeout.idle = *node.idle_timeout;
  if (node.defer) options.defer = true;
  if (!node.description.empty()) options.description = node.description;
  if (node.retry) {
    options.retry = node.retry->policy;
    if (!node.retry->on.empty()) {
      std::set<ErrorCode> codes;
      for (const auto code : kCodes) {
        for (const auto& name : node.retry->on)
          if (to_string(code) == name) codes.insert(code);
      }
      options.retry->retry_on = [codes](const Error& error) { return codes.contains(error.code()); };
    }
  }
  for (auto& name : node_names(graph, node.destinations, context)) options.destinations.push_back(std::move(name));
  for (const auto& each : node.writes) {
    if (const auto status = context.check_channel(each.name, ""); !status)
      problems_.add(*graph.source, each.at, status.error().message());
    else
      options.writes.push_back(each.name);
  }
  if (node.cached) {
    CachePolicy cache;
    cache.ttl = node.cache_ttl;
    if (!node.cache_key.empty()) {
      const FileNode& at = node.at->at_pointer("/cache/key");
      if (auto key = TextTemplate::parse(node.cache_key, context.names))
        cache.key = [key = std::move(*key)](const StateView& state) { return key.render(StateScope(state)); };
      else
        problems_.add(*graph.source, at, key.error());
    }
    options.cache = std::move(cache);
  }
  if (node.error_set || !node.error_goto.empty()) {
    ErrorHandler handler;
    handler.go_to = node_names(graph, node.error_goto, context);
    for (const auto& name : handler.go_to) options.destinations.push_back(name);
    ExpressionNames names = context.names;
    names.variables.emplace_back("error");
    const FileNode& at = node.at->at_pointer("/on_error/set");
    const Json set = node.error_set.value_or(Json::object());
    for (auto each = set.begin(); each != set.end(); ++each) {
      const FileNode* value = at.find(each.key());
      if (const auto status = context.check_channel(each.key(), ""); !status) problems_.add(*graph.source, value, status.error().message());
      if (auto made = ValueTemplate::compile(*each, names))
        handler.set.emplace_back(each.key(), std::move(*made));
      else
        problems_.add(*graph.source, value ? *value : at, made.error());
    }
    options.error_handler = std::move(handler);
  }
}

}  // namespace corvid::detail

namespace corvid {

Status NodeBuildContext::check_channel(std::string_view channel, std::string pointer) const {
  if (schema->find(channel) != Schema::npos) return {};
  std::vector<std::string> known;
  for (const auto& each : schema->channels()) known.push_back(each.name);
  return fail(Error::bad_input("the state has no key \"" + std::string(channel) + "\"" + detail::suggestion(channel, known))
                  .at_key(std::move(pointer)));
}

Status NodeBuildContext::check_node(std::string_view name, std::string pointer) const {
  if (name == "END" || std::find(nodes.begin(), nodes.end(), name) != nodes.end()) return {};
  return fail(
      Error::bad_input("there is no node \"" + std::string(name) + "\"" + detail::suggestion(name, nodes)).at_key(std::move(pointer)));
}

}  // namespace corvid
