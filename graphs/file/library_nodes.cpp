// The node types that need nothing but the state: set, replace, map, fail.
#include "graphs/file/library_nodes.hpp"

#include <array>

#include "graphs/file/prepare.hpp"

namespace corvid::detail {
namespace {

NodeOptions in_place() {
  NodeOptions options;
  options.run_on = RunOn::executor;  // an expression is bounded, and usually takes a microsecond
  return options;
}

Json schema(std::string_view text) {
  auto parsed = parse_json(text);
  return parsed ? std::move(*parsed) : Json::object();
}

std::string pointer(const std::string& name) {
  std::string out = "/";
  for (const char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

NodeType writer(std::string name, std::string description, bool whole) {
  NodeType type;
  type.name = std::move(name);
  type.description = std::move(description);
  type.arguments = schema(R"({"type":"object","minProperties":1})");
  type.make = [whole](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    std::vector<std::pair<std::string, ValueTemplate>> values;
    NodeOptions options = in_place();
    for (auto each = with.begin(); each != with.end(); ++each) {
      CORVID_TRY_STATUS(context.check_channel(each.key(), pointer(each.key())));
      auto value = ValueTemplate::compile(*each, context.names);
      if (!value) {
        Error error(value.error().code(), value.error().message());
        if (value.error().offset()) error = std::move(error).at_offset(*value.error().offset());
        return fail(std::move(error).at_key(pointer(each.key()) + value.error().key()));
      }
      values.emplace_back(each.key(), std::move(*value));
      options.writes.push_back(each.key());
    }
    NodeFunction run = [values = std::move(values), whole](NodeContext& node) -> Result<NodeResult> {
      const StateScope scope(node.state());  // all see the state as it was, in whatever order they stand
      NodeResult result;
      for (const auto& [key, value] : values) {
        auto made = value.evaluate(scope);
        if (!made) return fail(Error(made.error().code(), made.error().message()).at_key(key + made.error().key()));
        CORVID_TRY(auto write, write_channel(node.state().schema(), key, *made));
        write.overwrite = whole;
        result.writes.push_back(std::move(write));
      }
      return result;
    };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

}  // namespace

NodeType set_node() { return writer("set", "Writes keys of the state; each value may hold {{ expressions }}.", false); }
NodeType replace_node() {
  return writer("replace", "As set, but what it writes takes the place of the old value whatever the key's reducer.", true);
}

NodeType map_node() {
  NodeType type;
  type.name = "map";
  type.description = "Starts a task of another node for each element of a list.";
  type.arguments = schema(R"({"type":"object","properties":{
      "over":{"type":"string","minLength":1,"description":"An expression that gives a list"},
      "to":{"type":"string","minLength":1,"description":"The node that each task runs"},
      "as":{"type":"string","minLength":1,"description":"The element's name in the task's state; item"},
      "index":{"type":"string","minLength":1,"description":"The name of its place, from 0; none"},
      "with":{"type":"object","description":"What else the task's state holds"},
      "empty":{"type":"string","minLength":1,"description":"Where to go when the list is empty"}},
      "required":["over","to"],"additionalProperties":false})");
  type.binds = [](const Json& with) {
    std::vector<std::string> names{with.value("as", "item")};
    if (with.contains("index")) names.push_back(with["index"].get<std::string>());
    if (with.contains("with"))
      for (auto each = with["with"].begin(); each != with["with"].end(); ++each) names.push_back(each.key());
    return names;
  };
  type.make = [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    const auto as = with.value("as", "item"), index = with.value("index", ""), to = with["to"].get<std::string>(),
               empty = with.value("empty", "");
    CORVID_TRY_STATUS(context.check_node(to, "/to"));
    if (to == "END") return fail(Error::bad_input("a task runs a node; END is none").at_key("/to"));
    if (!empty.empty()) CORVID_TRY_STATUS(context.check_node(empty, "/empty"));
    auto over = Expression::parse(with["over"].get_ref<const std::string&>(), context.names);
    if (!over) return fail(std::move(over).error().at_key("/over"));
    auto argument = ValueTemplate::compile(with.value("with", Json::object()), Fanout::names(context.names, as, index));
    if (!argument) {
      Error error(argument.error().code(), argument.error().message());
      if (argument.error().offset()) error = std::move(error).at_offset(*argument.error().offset());
      return fail(std::move(error).at_key("/with" + argument.error().key()));
    }
    NodeOptions options = in_place();
    options.destinations.push_back(to);
    if (!empty.empty()) options.destinations.push_back(graph_name(empty));
    Fanout fanout{std::move(*over), std::move(*argument), to, as, index, {}};
    NodeFunction run = [fanout = std::move(fanout), empty = graph_name(empty)](NodeContext& node) -> Result<NodeResult> {
      CORVID_TRY(auto sends, fanout.sends(node.state()));
      NodeResult result;
      if (sends.empty() && !empty.empty())
        result.go_to(Route(empty));
      else
        result.go_to(Route(std::move(sends)));
      return result;
    };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

NodeType fail_node() {
  static constexpr std::array kKinds{
      ErrorCode::invalid_argument, ErrorCode::bad_input, ErrorCode::not_found,         ErrorCode::unsupported, ErrorCode::out_of_memory,
      ErrorCode::limit_exceeded,   ErrorCode::cancelled, ErrorCode::deadline_exceeded, ErrorCode::io,          ErrorCode::network,
      ErrorCode::rejected,         ErrorCode::conflict,  ErrorCode::internal};
  NodeType type;
  type.name = "fail";
  type.description = "Fails, for tests of what follows a failure.";
  Json codes = Json::array();
  for (const auto code : kKinds) codes.push_back(to_string(code));
  type.arguments = schema(R"({"type":"object","properties":{
      "message":{"type":"string","description":"A template"},
      "attempts":{"type":"integer","minimum":1,"description":"Only the first so many attempts fail; all"}},"additionalProperties":false})");
  type.arguments["properties"]["code"] = {{"enum", std::move(codes)}, {"description", "The error's code; internal"}};
  type.make = [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    auto message = TextTemplate::parse(with.value("message", "the node fails, as it was told to"), context.names);
    if (!message) return fail(std::move(message).error().at_key("/message"));
    ErrorCode code = ErrorCode::internal;
    for (const auto each : kKinds)
      if (to_string(each) == with.value("code", "internal")) code = each;
    NodeFunction run = [message = std::move(*message), code,
                        attempts = with.value("attempts", std::int64_t{0})](NodeContext& node) -> Result<NodeResult> {
      if (attempts > 0 && node.attempt() > attempts) return NodeResult();
      CORVID_TRY(auto text, message.render(StateScope(node.state())));
      return fail(Error(code, std::move(text)));
    };
    return NodeSpec(std::move(run), in_place());
  };
  return type;
}

}  // namespace corvid::detail

namespace corvid {

NodeRegistry NodeRegistry::library() {
  NodeRegistry registry;
  for (auto make :
       {detail::set_node, detail::replace_node, detail::map_node, detail::interrupt_node, detail::approval_node, detail::fail_node}) {
    (void)registry.add(make());  // constants: a test registers each by itself
  }
  return registry;
}

Status NodeRegistry::add(NodeType type) {
  if (type.name.empty() || !type.make) return fail(Error::invalid_argument("a node type needs a name and a factory"));
  if (find(type.name)) return fail(Error::conflict("there is a node type \"" + type.name + "\" already"));
  if (type.arguments.is_null()) type.arguments = {{"type", "object"}};
  auto arguments = JsonSchema::compile(type.arguments);
  if (!arguments) return fail(std::move(arguments).error());
  types_.push_back(std::make_shared<const Entry>(Entry{std::move(type), std::move(*arguments)}));
  return {};
}

const NodeType* NodeRegistry::find(std::string_view name) const noexcept {
  for (const auto& each : types_)
    if (each->type.name == name) return &each->type;
  return nullptr;
}
const JsonSchema* NodeRegistry::arguments_of(std::string_view name) const noexcept {
  for (const auto& each : types_)
    if (each->type.name == name) return &each->arguments;
  return nullptr;
}
std::vector<std::string> NodeRegistry::names() const {
  std::vector<std::string> out;
  for (const auto& each : types_) out.push_back(each->type.name);
  return out;
}

}  // namespace corvid
