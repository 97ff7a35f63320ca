#include <utility>

#include "corvid/graphs/process_node.hpp"
#include "graphs/define/duration.hpp"

namespace corvid {
namespace {

Error wrong(const std::string& key, const std::string& what) { return Error::bad_input(what).at_key("/" + key); }

Result<std::chrono::milliseconds> duration(const Json& value, const std::string& key) {
  auto read = read_duration(value);
  if (!read) return fail(std::move(read).error().at_key("/" + key));
  return read;
}

Status read_argument(ProcessNodeOptions& options, const std::string& key, const Json& value) {
  if (key == "command") {
    if (!value.is_array()) return fail(wrong(key, "\"command\" is a list: the program and its arguments"));
    for (const auto& part : value) {
      if (!part.is_string()) return fail(wrong(key, "\"command\" is a list of texts"));
      options.command.push_back(part.get<std::string>());
    }
  } else if (key == "cwd") {
    if (!value.is_string()) return fail(wrong(key, "\"cwd\" is a folder's path"));
    options.folder /= value.get<std::string>();
  } else if (key == "env") {
    if (!value.is_object()) return fail(wrong(key, "\"env\" is an object of variables"));
    for (const auto& [name, text] : value.items()) {
      if (!text.is_string()) return fail(wrong(key + "/" + name, "a variable's value is a text"));
      options.environment.emplace_back(name, text.get<std::string>());
    }
  } else if (key == "timeout") {
    CORVID_TRY(options.timeout, duration(value, key));
  } else if (key == "grace") {
    CORVID_TRY(options.grace, duration(value, key));
  } else if (key == "max_output_bytes") {
    if (!value.is_number_integer() || value < 1) return fail(wrong(key, "\"max_output_bytes\" is a whole number above 0"));
    options.max_output_bytes = value.get<std::size_t>();
  } else {
    return fail(wrong(key, "exec has no argument \"" + key + "\"; it has command, cwd, env, timeout, grace and max_output_bytes"));
  }
  return {};
}

}  // namespace

Json process_node_schema() {
  const Json text{{"type", "string"}}, duration{{"anyOf", {{{"type", "number"}, {"minimum", 0}}, {{"type", "string"}, {"minLength", 2}}}}};
  const auto described = [](Json schema, const char* words) {
    schema["description"] = words;
    return schema;
  };
  Json properties = Json::object();
  properties["command"] = described({{"type", "array"}, {"items", text}, {"minItems", 1}}, "The program and its arguments, no shell");
  properties["cwd"] = described(text, "Where it runs, from the graph file's folder; that folder");
  properties["env"] = described({{"type", "object"}, {"additionalProperties", text}}, "Variables beside PATH, HOME, LANG, TZ and TMPDIR");
  properties["timeout"] = described(duration, "Of one run of the program: \"30s\"");
  properties["grace"] = described(duration, "Between TERM and KILL; 2s");
  properties["max_output_bytes"] = described({{"type", "integer"}, {"minimum", 1}}, "Of its answer; 16 MiB");
  return {
      {"type", "object"}, {"properties", std::move(properties)}, {"required", Json::array({"command"})}, {"additionalProperties", false}};
}

Result<ProcessNodeOptions> process_node_options(const Json& arguments, const std::filesystem::path& folder) {
  ProcessNodeOptions options;
  options.folder = folder;
  if (!arguments.is_object()) return fail(wrong("", "the arguments of exec are an object"));
  for (const auto& [key, value] : arguments.items()) CORVID_TRY_STATUS(read_argument(options, key, value));
  if (options.command.empty() || options.command.front().empty())
    return fail(wrong("command", "exec needs a \"command\": a list of the program and its arguments"));
  return options;
}

}  // namespace corvid
