#include "corvid/graphs/process_node.hpp"

#include "corvid/graphs/process.hpp"

namespace corvid {
namespace {

Error wrong(const std::string& key, const std::string& what) { return Error::bad_input("the program's answer: " + what).at_key(key); }

Status add_update(NodeResult& result, Json values, const Schema& schema) {
  if (!values.is_object()) return fail(wrong("update", "\"update\" must be an object of channels"));
  for (auto& [name, value] : values.items()) {
    const auto channel = schema.find(name);
    if (channel == Schema::npos) return fail(wrong("update." + name, "the graph has no channel '" + name + "'"));
    const ValueType& type = *schema.at(channel).type;
    if (!type.from_json) return fail(wrong("update." + name, "the channel '" + name + "' cannot be written as JSON"));
    auto converted = type.from_json(value);
    if (!converted) return fail(wrong("update." + name, converted.error().message()));
    result.writes.push_back({channel, std::move(*converted), false});
  }
  return {};
}

Status add_goto(NodeResult& result, const Json& targets) {
  const Json list = targets.is_array() ? targets : Json::array({targets});
  for (const auto& target : list) {
    if (!target.is_string()) return fail(wrong("goto", "\"goto\" must be a node's name or a list of them"));
    result.go_to_targets.targets.emplace_back(target.get<std::string>());
  }
  return {};
}

Status add_sends(NodeResult& result, Json sends) {
  if (!sends.is_array()) return fail(wrong("send", "\"send\" must be a list of {\"node\", \"argument\"}"));
  for (auto& send : sends) {
    if (!send.is_object() || !send.contains("node") || !send["node"].is_string())
      return fail(wrong("send", "each of \"send\" must be an object with a \"node\""));
    Json argument = Json::object();
    for (auto& [name, value] : send.items()) {
      if (name == "node") continue;
      if (name != "argument" || !value.is_object())
        return fail(wrong("send." + name, "each of \"send\" may hold \"node\" and \"argument\", an object"));
      argument = std::move(value);
    }
    result.go_to_targets.targets.emplace_back(Send(send["node"].get<std::string>(), std::move(argument)));
  }
  return {};
}

// A coroutine of arguments, not of captures: those would be the function object's, which a copy may outlive.
Task<NodeResult> run_node(std::shared_ptr<const ProcessNodeOptions> options, NodeContext& context) {
  ProcessRequest request;
  request.command = options->command;
  request.folder = options->folder;
  request.environment = options->environment;
  request.max_output_bytes = options->max_output_bytes;
  request.timeout = options->timeout;
  request.grace = options->grace;
  if (const auto& parent = context.trace_parent(); !parent.empty()) request.environment.emplace_back("TRACEPARENT", parent);
  CORVID_CO_TRY(Json state, context.state().to_json());
  const std::string task = context.task_id();
  request.input = Json{{"node", context.node()},
                       {"task_id", task},
                       {"idempotency_key", context.idempotency_key()},
                       {"attempt", context.attempt()},
                       {"thread_id", context.thread_id()}};
  request.input["state"] = std::move(state);
  request.on_emit = [&context](Json value) {
    context.heartbeat();
    context.emit(std::move(value));
  };
  request.on_heartbeat = [&context] { context.heartbeat(); };
  CancellationToken token = context.cancellation();
  auto running = run_process(context.runtime(), std::move(request), std::move(token));
  CORVID_CO_TRY(ProcessResult answer, co_await std::move(running));
  co_return process_node_result(std::move(answer.output), context.state().schema());
}

}  // namespace

NodeCoroutine process_node(ProcessNodeOptions options) {
  auto shared = std::make_shared<const ProcessNodeOptions>(std::move(options));
  return [shared](NodeContext& context) { return run_node(shared, context); };
}

Result<NodeResult> process_node_result(Json answer, const Schema& schema) {
  if (!answer.is_object()) return fail(wrong("", "it must be an object with \"update\", \"goto\" or \"send\""));
  NodeResult result;
  for (auto& [name, value] : answer.items()) {
    if (name == "update")
      CORVID_TRY_STATUS(add_update(result, std::move(value), schema));
    else if (name == "goto")
      CORVID_TRY_STATUS(add_goto(result, value));
    else if (name == "send")
      CORVID_TRY_STATUS(add_sends(result, std::move(value)));
    else
      return fail(wrong(name, "it has \"" + name + "\", which is none of \"update\", \"goto\" and \"send\""));
  }
  return result;
}

}  // namespace corvid
