#include "graphs/file/format.hpp"

#include <array>
#include <map>

#include "corvid/graphs/graph_file.hpp"

namespace corvid::detail {
namespace {

#define CORVID_TEXT R"({"type":"string","minLength":1})"
#define CORVID_NAMES R"({"anyOf":[{"type":"string","minLength":1},{"type":"array","items":{"type":"string","minLength":1},"minItems":1}]})"
#define CORVID_DURATION R"({"anyOf":[{"type":"number","minimum":0},{"type":"string","minLength":2}]})"
#define CORVID_CODES \
  R"(["invalid_argument","bad_input","not_found","unsupported","out_of_memory","limit_exceeded","cancelled","deadline_exceeded","io","network","rejected","conflict","internal"])"

constexpr std::array kGraph{
    FormatKey{"name", CORVID_TEXT, "The graph's name, in diagrams and traces"},
    FormatKey{"version", R"({"const":1})", "Of this format: 1"},
    FormatKey{"description", R"({"type":"string"})", "For people"},
    FormatKey{"state", R"({"$ref":"#/$defs/state"})", "The state's keys: each a type, or an object", true},
    FormatKey{"nodes", R"({"$ref":"#/$defs/nodes"})", "The nodes by name", true},
    FormatKey{"edges", R"({"$ref":"#/$defs/edges"})", "The edges: texts such as \"START -> a -> b\", or objects", true},
    FormatKey{"graphs", R"({"$ref":"#/$defs/graphs"})", "Graphs that nodes of this file may run, by name"},
    FormatKey{"interrupt_before", CORVID_NAMES, "Nodes before which the run waits for a person; \"*\" is all"},
    FormatKey{"interrupt_after", CORVID_NAMES, "Nodes after which the run waits for a person; \"*\" is all"},
    FormatKey{"recursion_limit", R"({"type":"integer","minimum":1,"maximum":1000000000})", "Supersteps of one run"},
    FormatKey{"max_concurrency", R"({"type":"integer","minimum":0,"maximum":1000000})", "Tasks that run at once; 0: all of a superstep"},
    FormatKey{"durability", R"({"enum":["sync","async","exit"]})", "When a superstep is stored"},
    FormatKey{"snapshot_every", R"({"type":"integer","minimum":1,"maximum":1000000})",
              "Of append and add_messages keys: whole values after so many writes"}};

constexpr std::array kChannel{
    FormatKey{"type", R"({"enum":["integer","number","boolean","string","list","object","json"]})", "What it holds", true},
    FormatKey{"reducer", R"({"enum":["overwrite","append","add_messages","add","union"]})",
              "How writes of one superstep join what is there; overwrite is the default"},
    FormatKey{"default", "true", "Its value before the first write"},
    FormatKey{"life", R"({"enum":["kept","ephemeral","untracked"]})",
              "kept; ephemeral: gone after the next superstep; untracked: not in checkpoints"},
    FormatKey{"description", R"({"type":"string"})", "For people"}};

constexpr std::array kNode{FormatKey{"type", CORVID_TEXT, "The node's type"},
                           FormatKey{"with", R"({"type":"object"})", "The type's arguments"},
                           FormatKey{"graph", CORVID_TEXT, "In place of a type: a graph of `graphs`, or a file beneath this one's folder"},
                           FormatKey{"checkpoints", R"({"enum":["inherited","own","none"]})", "Of a graph: whose checkpoints it has"},
                           FormatKey{"effect", R"({"enum":["pure","idempotent","at_most_once"]})", "What it does to the world"},
                           FormatKey{"retry", R"({"$ref":"#/$defs/retry"})", "Attempts, or an object"},
                           FormatKey{"timeout", CORVID_DURATION, "Of one attempt: \"30s\""},
                           FormatKey{"idle_timeout", CORVID_DURATION, "Since it was last heard of"},
                           FormatKey{"cache", R"({"$ref":"#/$defs/cache"})", "true, how long, or an object"},
                           FormatKey{"defer", R"({"type":"boolean"})", "Runs once nothing else is left to run"},
                           FormatKey{"on_error", R"({"$ref":"#/$defs/on_error"})", "In place of a failure"},
                           FormatKey{"destinations", CORVID_NAMES, "Nodes that it may send the run to"},
                           FormatKey{"writes", CORVID_NAMES, "Keys that it writes"},
                           FormatKey{"description", R"({"type":"string"})", "For diagrams"}};

constexpr std::array kEdge{
    FormatKey{"from", CORVID_NAMES, "The node that has run; of a list without conditions, all must have", true},
    FormatKey{"to", CORVID_NAMES, "Where the run goes on"},
    FormatKey{"when", CORVID_TEXT, "An expression: only then"},
    FormatKey{"cases", R"({"$ref":"#/$defs/cases"})", "The first whose `when` is true"},
    FormatKey{"send", R"({"$ref":"#/$defs/send"})", "A task for each element of a list"},
    FormatKey{"route", CORVID_TEXT, "An expression that gives a node's name, or a list of them"},
    FormatKey{"targets", CORVID_NAMES, "What `route` may name"},
    FormatKey{"else", R"({"$ref":"#/$defs/else"})", "Where to go when no condition holds; without it this branch ends"},
    FormatKey{"description", R"({"type":"string"})", "For people"}};

constexpr std::array kArm{FormatKey{"when", CORVID_TEXT, "An expression"}, FormatKey{"to", CORVID_NAMES, "Where the run goes on"},
                          FormatKey{"send", R"({"$ref":"#/$defs/send"})", "A task for each element of a list"}};

constexpr std::array kSend{FormatKey{"to", CORVID_TEXT, "The node that each task runs", true},
                           FormatKey{"over", CORVID_TEXT, "An expression that gives a list", true},
                           FormatKey{"as", CORVID_TEXT, "The element's name in the task's state; item"},
                           FormatKey{"index", CORVID_TEXT, "The name of its place, from 0; none"},
                           FormatKey{"with", R"({"type":"object"})", "What else the task's state holds"},
                           FormatKey{"timeout", CORVID_DURATION, "Of each task, in place of the node's"}};

constexpr std::array kRetry{
    FormatKey{"attempts", R"({"type":"integer","minimum":1,"maximum":1000})", "The first one counts; 3"},
    FormatKey{"initial", CORVID_DURATION, "Before the second attempt; 500ms"},
    FormatKey{"factor", R"({"type":"number","minimum":1,"maximum":1000})", "From wait to wait; 2"},
    FormatKey{"max", CORVID_DURATION, "The longest wait; 128s"},
    FormatKey{"jitter", R"({"type":"boolean"})", "Waits vary by half; true"},
    FormatKey{"on", R"({"type":"array","minItems":1,"items":{"enum":)" CORVID_CODES R"(}})", "Errors worth another attempt"}};

constexpr std::array kCache{FormatKey{"ttl", CORVID_DURATION, "How long a result holds; for ever"},
                            FormatKey{"key", CORVID_TEXT, "A template: equal texts share a result; the node's whole input"}};

constexpr std::array kOnError{FormatKey{"set", R"({"type":"object"})", "Keys of the state to write; `error` has code, message and node"},
                              FormatKey{"goto", CORVID_NAMES, "Where the run goes on, beside the node's edges"}};

const std::array<FormatTable, kFormatObjects> kTables{{{"graph", "a graph", kGraph},
                                                       {"channel", "a key of the state", kChannel},
                                                       {"node", "a node", kNode},
                                                       {"edge", "an edge", kEdge},
                                                       {"case", "a case", kArm},
                                                       {"send", "send", kSend},
                                                       {"retry", "retry", kRetry},
                                                       {"cache", "cache", kCache},
                                                       {"on_error", "on_error", kOnError}}};

Json parsed(std::string_view text) {
  auto value = parse_json(text);
  return value ? std::move(*value) : Json(false);  // the tables are constants, and a test compiles every one
}

bool has_own_table(const FormatKey& key) { return key.schema.starts_with(R"({"$ref")"); }

Json object_schema(FormatObject object) {
  Json properties = Json::object(), required = Json::array();
  for (const auto& key : format_table(object).keys) {
    Json value = parsed(key.schema);
    if (value.is_boolean()) value = Json::object();
    value["description"] = key.description;
    properties[std::string(key.name)] = std::move(value);
    if (key.required) required.push_back(key.name);
  }
  Json schema = {{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

// What says which of the keys of an edge or a case belong together.
Json exactly_one_of(std::initializer_list<const char*> names) {
  Json forms = Json::array();
  for (const char* name : names) forms.push_back({{"required", {name}}});
  return forms;
}

Json node_schema(const NodeRegistry& registry) {
  Json node = object_schema(FormatObject::node);
  node["oneOf"] = exactly_one_of({"type", "graph"});
  Json forms = Json::array();
  for (const auto& name : registry.names()) {
    const NodeType& type = *registry.find(name);
    Json with = type.arguments;
    with["description"] = type.description;
    Json then = {{"properties", {{"with", std::move(with)}}}};
    if (type.arguments.contains("required") && !type.arguments["required"].empty()) then["required"] = {"with"};
    forms.push_back({{"if", {{"properties", {{"type", {{"const", name}}}}}, {"required", {"type"}}}}, {"then", std::move(then)}});
  }
  if (!forms.empty()) node["allOf"] = std::move(forms);
  node["properties"]["type"] = {{"enum", registry.names()}, {"description", format_key(FormatObject::node, "type")->description}};
  return node;
}

}  // namespace

const FormatTable& format_table(FormatObject object) { return kTables[static_cast<std::size_t>(object)]; }

const FormatKey* format_key(FormatObject object, std::string_view name) {
  for (const auto& key : format_table(object).keys)
    if (key.name == name) return &key;
  return nullptr;
}

std::vector<std::string> format_key_names(FormatObject object) {
  std::vector<std::string> names;
  for (const auto& key : format_table(object).keys) names.emplace_back(key.name);
  return names;
}

const JsonSchema* format_value_schema(FormatObject object, std::string_view name) {
  using Compiled = std::map<std::pair<std::size_t, std::string>, JsonSchema, std::less<>>;
  static const Compiled compiled = [] {
    Compiled out;
    for (std::size_t i = 0; i < kFormatObjects; ++i) {
      for (const auto& key : kTables[i].keys) {
        if (has_own_table(key)) continue;
        if (auto schema = JsonSchema::compile(parsed(key.schema))) out.emplace(std::pair(i, std::string(key.name)), std::move(*schema));
      }
    }
    return out;
  }();
  const auto at = compiled.find(std::pair(static_cast<std::size_t>(object), std::string(name)));
  return at == compiled.end() ? nullptr : &at->second;
}

}  // namespace corvid::detail

namespace corvid {

Json graph_file_schema(const NodeRegistry& registry) {
  using detail::FormatObject;
  const auto ref = [](const char* name) { return Json{{"$ref", std::string("#/$defs/") + name}}; };
  const Json names = detail::parsed(CORVID_NAMES), text = detail::parsed(CORVID_TEXT);
  Json channel = detail::object_schema(FormatObject::channel);
  Json edge = detail::object_schema(FormatObject::edge);
  edge["oneOf"] = detail::exactly_one_of({"to", "cases", "send", "route"});
  edge["dependentRequired"] = {{"route", {"targets"}}, {"targets", {"route"}}};
  edge["dependentSchemas"] = {{"else", {{"anyOf", detail::exactly_one_of({"when", "cases", "route"})}}},
                              {"when", {{"anyOf", detail::exactly_one_of({"to", "send"})}}}};
  Json arm = detail::object_schema(FormatObject::arm);
  arm["oneOf"] = detail::exactly_one_of({"to", "send"});
  arm["required"] = {"when"};
  Json otherwise = detail::object_schema(FormatObject::arm);
  otherwise["properties"].erase("when");
  otherwise["oneOf"] = detail::exactly_one_of({"to", "send"});

  Json defs = Json::object();
  defs["graph"] = detail::object_schema(FormatObject::graph);
  defs["channel"] = {{"anyOf", {detail::parsed(detail::format_key(FormatObject::channel, "type")->schema), std::move(channel)}}};
  defs["state"] = {{"type", "object"}, {"additionalProperties", ref("channel")}};
  defs["node"] = detail::node_schema(registry);
  defs["nodes"] = {{"type", "object"}, {"additionalProperties", ref("node")}, {"minProperties", 1}};
  defs["edge"] = {{"anyOf", {text, std::move(edge)}}};
  defs["edges"] = {{"type", "array"}, {"items", ref("edge")}};
  defs["graphs"] = {{"type", "object"}, {"additionalProperties", ref("graph")}};
  defs["case"] = std::move(arm);
  defs["cases"] = {{"type", "array"}, {"items", ref("case")}, {"minItems", 1}};
  defs["else"] = {{"anyOf", {names, std::move(otherwise)}}};
  defs["send"] = detail::object_schema(FormatObject::send);
  defs["retry"] = {
      {"anyOf", {detail::parsed(detail::format_key(FormatObject::retry, "attempts")->schema), detail::object_schema(FormatObject::retry)}}};
  defs["cache"] = {{"anyOf", {Json{{"type", "boolean"}}, detail::parsed(CORVID_DURATION), detail::object_schema(FormatObject::cache)}}};
  defs["on_error"] = detail::object_schema(FormatObject::on_error);
  defs["on_error"]["minProperties"] = 1;
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "A Corvid graph"},
          {"$ref", "#/$defs/graph"},
          {"$defs", std::move(defs)}};
}

}  // namespace corvid
