#include "graphs/langgraph_case.hpp"

#include <algorithm>
#include <set>

#include "corvid/runtime/wait.hpp"

namespace corvid::test {
namespace {

RunConfig on_thread() {
  RunConfig config;
  config.thread_id = "t";
  return config;
}

// ---- expressions

bool truth(const Json& j) { return !(j.is_null() || j == false || j == 0 || j == "" || ((j.is_array() || j.is_object()) && j.empty())); }

Json ev(const Json& e, const Json& env) {
  if (e.is_string()) {
    const auto& text = e.get_ref<const std::string&>();
    return text.starts_with("$") ? env.value(text.substr(1), Json()) : e;
  }
  if (e.is_array()) {
    Json out = Json::array();
    for (const auto& item : e) out.push_back(ev(item, env));
    return out;
  }
  if (!e.is_object()) return e;
  if (e.size() != 1 || !e.begin().key().starts_with("$")) {
    Json out = Json::object();
    for (const auto& [key, value] : e.items()) out[key] = ev(value, env);
    return out;
  }
  const auto& op = e.begin().key();
  const Json& a = e.begin().value();
  if (op == "$if") return ev(truth(ev(a[0], env)) ? a[1] : a[2], env);
  if (op == "$each") {
    Json out = Json::array(), inner = env;
    for (const auto& item : ev(a[0], env)) {
      inner["item"] = item;
      out.push_back(ev(a[1], inner));
    }
    return out;
  }
  Json v = ev(a, env);
  if (op == "$lt") return v[0] < v[1];
  if (op == "$eq") return v[0] == v[1];
  if (op == "$len") return v.size();
  if (op == "$str") return v.is_null() ? Json("None") : Json(std::to_string(v.get<int>()));
  if (op == "$range") {
    Json out = Json::array();
    for (int i = 0; i < v.get<int>(); ++i) out.push_back(i);
    return out;
  }
  if (op == "$add") {
    if (v[0].is_number()) return v[0].get<int>() + v[1].get<int>();
    if (v[0].is_string()) return v[0].get<std::string>() + v[1].get<std::string>();
    Json out = v[0];
    out.insert(out.end(), v[1].begin(), v[1].end());
    return out;
  }
  return {{op, std::move(v)}};  // $send, $overwrite
}

Route route_to(const Json& targets) {
  Route route;
  for (const auto& target : targets.is_array() ? targets : Json::array({targets})) {
    if (target.is_string())
      route.targets.emplace_back(target.get<std::string>());
    else
      route.targets.emplace_back(Send(target["$send"][0].get<std::string>(), target["$send"][1]));
  }
  return route;
}

Json only(const Json& object, const Json& keys) {
  if (keys.is_null()) return object;
  Json out = Json::object();
  for (const auto& key : keys) {
    if (object.contains(key)) out[key.get<std::string>()] = object[key.get<std::string>()];
  }
  return out;
}

// ---- channels

ChannelSpec channel(const std::string& name, const Json& declared) {
  static const std::map<std::string, std::pair<std::string, Json>> types{{"int", {"integer", 0}},
                                                                         {"str", {"string", ""}},
                                                                         {"list", {"list", Json::array()}},
                                                                         {"object", {"object", Json::object()}},
                                                                         {"messages", {"list", Json::array()}}};
  const auto& [type, empty] = types.at(declared[0].get<std::string>());
  const auto reducer = declared[1].get<std::string>();
  Reducer reduce;
  if (reducer == "append" || reducer == "delta")
    reduce = append_json();
  else if (reducer == "merge")
    reduce = *json_reducer("union");
  else if (reducer == "add" || reducer == "union" || reducer == "add_messages")
    reduce = *json_reducer(reducer);
  else if (reducer == "any") {
    reduce.name = "any";
    reduce.reduce = [](Value, std::span<Value> writes) -> Result<Value> { return writes.back(); };
  }
  const bool starts_empty = reduce.reduce && reducer != "any";
  ChannelSpec spec = *json_channel(name, type, std::move(reduce));
  if (reducer == "ephemeral") spec.life = ChannelLife::ephemeral;
  if (reducer == "untracked") spec.life = ChannelLife::untracked;
  if (starts_empty) spec.initial = *spec.type->from_json(empty);
  return spec;
}

ChannelWrite write_of(const Schema& schema, const std::string& key, const Json& value) {
  const auto index = schema.find(key);
  const bool whole = value.is_object() && value.size() == 1 && value.contains("$overwrite");
  return {index, *schema.at(index).type->from_json(whole ? value["$overwrite"] : value), whole};
}

// Errors of the op "fail", and of the runtime, by the names that the file gives them.
std::string kind_of(const std::string& text) {
  for (const auto& [part, kind] :
       {std::pair{"node failure", "node_failure"}, {"value error", "value_error"}, {"recursion_limit", "recursion_limit"}}) {
    if (text.find(part) != std::string::npos) return kind;
  }
  return text;
}

std::string kind_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::io:
      return "node_failure";
    case ErrorCode::bad_input:
      return "value_error";
    case ErrorCode::limit_exceeded:
      return "recursion_limit";
    case ErrorCode::not_found:
      return "empty_input";
    case ErrorCode::conflict:
      return error.message().starts_with("several questions") ? "ambiguous_answer" : "invalid_update";
    case ErrorCode::invalid_argument:
      return error.message().starts_with("a command for the parent") ? "no_parent"
             : error.message().starts_with("several nodes ran last") ? "invalid_update"
                                                                     : error.describe();
    default:
      return error.describe();
  }
}

// "sub:TASK|in:TASK" -> "sub/in"
std::string path_of(const std::string& ns) {
  std::string path;
  bool task = false;
  for (const char c : ns) {
    if (c == '|')
      path += '/';
    else if (c != ':' && !task)
      path += c;
    task = c == ':' || (task && c != '|');
  }
  return path;
}

Json values_of(const Json& interrupts) {
  Json out = Json::array();
  for (const auto& interrupt : interrupts) out.push_back(interrupt["value"]);
  return out;
}

}  // namespace

// ---- graphs

int LangGraphCase::count(const std::string& path) {
  std::lock_guard lock(mutex_);
  return ++counts_[path];
}

Result<NodeResult> LangGraphCase::body(NodeContext& context, const Json& ops, const std::string& path, const Json& inputs,
                                       const Error* error) {
  CORVID_TRY(Json state, context.state().to_json());
  Json env = only(state, inputs);
  env["run"] = count(path);
  if (error) env["error"] = {{"node", context.node()}, {"kind", kind_of(*error)}};
  NodeResult result;
  Json update = Json::object(), go_to;
  bool parent = false;
  for (const auto& op : ops) {
    if (op.contains("set")) {
      for (const auto& [key, value] : op["set"].items()) update[key] = ev(value, env);
    } else if (op.contains("overwrite")) {
      for (const auto& [key, value] : op["overwrite"].items()) update[key] = {{"$overwrite", ev(value, env)}};
    } else if (op.contains("goto")) {
      go_to = ev(op["goto"], env);
      parent = op.value("parent", false);
    } else if (op.contains("interrupt")) {
      CORVID_TRY(env[op["as"].get<std::string>()], context.interrupt(ev(op["interrupt"], env)));
    } else if (op.contains("fail")) {
      if (truth(ev(op["fail"], env)))
        return fail(op.value("kind", "") == "value" ? Error::bad_input("value error") : Error::io("node failure"));
    } else if (op.contains("custom")) {
      context.emit(ev(op["custom"], env));
    }
  }
  if (!go_to.is_null()) result.go_to(route_to(go_to));
  if (parent) {
    result.parent_update(std::move(update));
    return result;
  }
  for (const auto& [key, value] : update.items()) {
    if (value.is_object() && value.contains("$overwrite"))
      result.writes.push_back(write_of(context.state().schema(), key, value));
    else
      result.set(context, key, value);
  }
  return result;
}

void LangGraphCase::add_node(GraphBuilder& builder, const Json& graph, const Json& node, const std::string& path) {
  const auto name = node["name"].get<std::string>();
  // Commands go anywhere here, and so no node is out of reach but where that is what is shown.
  std::vector<std::string> anywhere;
  if (case_["name"] != "unreachable_node") {
    for (const auto& other : graph["nodes"]) anywhere.push_back(other["name"]);
  }
  if (node.contains("subgraph")) {
    SubgraphOptions options;
    options.defer = node.value("defer", false);
    options.destinations = anywhere;
    if (node.contains("checkpointer") && node["checkpointer"] == true) options.checkpoints = SubgraphCheckpoints::own;
    for (const auto& key : node["subgraph"].value("output", Json::array())) options.outputs.push_back(key);
    auto inner = build(node["subgraph"], path + name + "/", {});
    builder.add_subgraph(name, *inner, std::move(options));
    return;
  }
  NodeOptions options;
  options.run_on = kind_ == NodeKind::pool ? RunOn::pool : RunOn::executor;
  options.destinations = anywhere;
  options.defer = node.value("defer", false);
  const Json inputs = node.value("input", Json());
  if (node.contains("attempts")) {
    options.retry = RetryPolicy{};
    options.retry->max_attempts = node["attempts"];
    options.retry->initial_interval = std::chrono::milliseconds(1);
    options.retry->jitter = false;
  }
  if (node.value("cache", false)) {
    options.cache = CachePolicy{};
    options.cache->key = [inputs](const StateView& view) -> Result<std::string> {
      CORVID_TRY(const Json state, view.to_json());
      return only(state, inputs).dump();
    };
  }
  if (node.contains("on_error")) {
    options.error_handler = [this, ops = node["on_error"], where = path + name + "!"](NodeContext& context, const Error& error) {
      return body(context, ops, where, Json(), &error);
    };
  }
  NodeFunction function = [this, ops = node["do"], where = path + name, inputs](NodeContext& context) {
    return body(context, ops, where, inputs, nullptr);
  };
  if (kind_ != NodeKind::coroutine) {
    builder.add_node(name, std::move(function), std::move(options));
    return;
  }
  NodeCoroutine coroutine = [function = std::move(function)](NodeContext& context) -> Task<NodeResult> { co_return function(context); };
  builder.add_node(name, std::move(coroutine), std::move(options));
}

Result<std::shared_ptr<const CompiledGraph>> LangGraphCase::build(const Json& graph, const std::string& path, CompileOptions options) {
  std::vector<ChannelSpec> channels;
  for (const auto& [name, declared] : graph["state"].items()) channels.push_back(channel(name, declared));
  GraphBuilder builder(std::move(channels));
  std::vector<std::string> all{std::string(END)};
  for (const auto& node : graph["nodes"]) {
    add_node(builder, graph, node, path);
    all.push_back(node["name"]);
  }
  for (const auto& edge : graph["edges"]) {
    if (edge[0].is_array())
      builder.add_edge(edge[0].get<std::vector<std::string>>(), edge[1].get<std::string>());
    else
      builder.add_edge(edge[0].get<std::string>(), edge[1].get<std::string>());
  }
  for (const auto& each : graph.value("routes", Json::array())) {
    const Json to = each.value("to", Json(all));
    std::vector<std::string> targets;
    for (const auto& target : to) targets.push_back(target);
    auto route = [expression = each["route"], to](const StateView& view) -> Result<Route> {
      CORVID_TRY(const Json state, view.to_json());
      const Json value = ev(expression, state);
      return route_to(to.is_object() ? to[value.get<std::string>()] : value);
    };
    builder.add_conditional_edges(each["from"].get<std::string>(), std::move(route), std::move(targets));
  }
  return builder.compile(std::move(options));
}

// ---- actions

Result<Input> LangGraphCase::input_of(const Json& action) {
  if (action.contains("input")) {
    if (action["input"].is_null()) return Input(Continue{});
    return Input(only(action["input"], case_["graph"].value("input", Json())));
  }
  if (action.contains("resume")) return Input(Answer{action["resume"]});
  if (action.contains("command")) {
    const Json& given = action["command"];
    Command command;
    std::vector<ChannelWrite> writes;
    const Json update = ev(given.value("update", Json::object()), Json::object());
    for (const auto& [key, value] : update.items()) writes.push_back(write_of(*graph_->schema(), key, value));
    command.update = std::move(writes);
    if (given.contains("goto")) command.go_to = route_to(ev(given["goto"], Json::object()));
    if (given.contains("resume")) command.resume = Answer(given["resume"]);
    return Input(std::move(command));
  }
  Resume resume;
  CORVID_TRY(const auto state, runtime_.wait(graph_->get_state(runtime_, on_thread())));
  for (const auto& answer : action["answers"]) {
    const auto at = std::find_if(state.interrupts.begin(), state.interrupts.end(), [&](const auto& i) { return i.value == answer[0]; });
    if (at != state.interrupts.end()) resume.answers[at->id] = answer[1];
  }
  return Input(std::move(resume));
}

Json LangGraphCase::event_json(const StreamEvent& event) const {
  Json data = event.data;
  const auto path = path_of(event.ns);
  if (data.is_object() && data.contains("__interrupt__")) {
    for (auto& interrupt : data["__interrupt__"]) interrupt.erase("id");
  }
  if (event.mode == StreamMode::tasks) {
    Json made = {{"name", data["name"]}};
    if (data.contains("input")) {
      // A node's input schema is the harness's: see add_node.
      const Json* graph = &case_["graph"];
      for (std::size_t at = 0; at < path.size();) {
        const auto end = std::min(path.find('/', at), path.size());
        for (const auto& node : (*graph)["nodes"]) {
          if (node["name"] == path.substr(at, end - at)) graph = &node["subgraph"];
        }
        at = end + 1;
      }
      for (const auto& node : (*graph)["nodes"]) {
        if (node["name"] == data["name"]) made["input"] = only(data["input"], node.value("input", Json()));
      }
    } else {
      made["result"] = data["result"];
      if (!data["error"].is_null()) made["error"] = kind_of(data["error"].get<std::string>());
      if (!data["interrupts"].empty()) made["interrupts"] = values_of(data["interrupts"]);
    }
    data = std::move(made);
  } else if (event.mode == StreamMode::checkpoints) {
    data.erase("checkpoint_id");
  } else if (event.mode == StreamMode::debug) {
    Json made = {{"step", data["step"]}, {"type", data["type"]}};
    if (data["payload"].contains("name")) made["name"] = data["payload"]["name"];
    data = std::move(made);
  }
  Json out = {std::string(to_string(event.mode)), std::move(data)};
  if (!path.empty()) out.push_back(path);
  return out;
}

// The thread as it is after an action.
void LangGraphCase::look(Json& out, const std::optional<RunResult>& result) {
  const RunConfig config = on_thread();
  const auto state = runtime_.wait(graph_->get_state(runtime_, config));
  out["values"] = Json::object();
  out["next"] = Json::array();
  out["step"] = nullptr;
  out["supersteps"] = 0;
  if (!state) return;
  out["values"] = *state->to_json();
  out["next"] = state->next;
  out["step"] = state->step;
  for (const auto& interrupt : state->interrupts) out["interrupts"].push_back(interrupt.value);
  if (!out.contains("error")) out["status"] = !state->interrupts.empty() || !state->next.empty() ? "interrupted" : "done";
  if (result && to_string(result->status) != out["status"])
    out["status"] = out["status"].get<std::string>() + ", its run " + std::string(to_string(result->status));
  int supersteps = 0;
  const auto history = runtime_.wait(graph_->get_state_history(runtime_, config));
  for (const auto& each : *history) {
    if (std::find(seen_.begin(), seen_.end(), each.checkpoint_id) != seen_.end()) continue;
    seen_.push_back(each.checkpoint_id);
    supersteps += each.source == "loop";
  }
  out["supersteps"] = supersteps;
}

Json LangGraphCase::act(const Json& action, bool streamed) {
  Json out = {{"status", "failed"}, {"events", Json::array()}};
  RunConfig config;
  config.subgraph_events = true;
  if (saver_) config.thread_id = "t";
  if (kind_ != NodeKind::pool) config.max_concurrency = 1;
  // LangGraph counts what it looks at, not what it runs: a new input may do as many supersteps, a run that goes on two more.
  const bool goes_on = !action.contains("input") || action["input"].is_null();
  config.recursion_limit = action.value("limit", 25) + (goes_on ? 2 : 0);
  if (action.contains("at")) {
    int at = action["at"];
    const auto history = runtime_.wait(graph_->get_state_history(runtime_, config));
    for (const auto& each : *history) {
      config.checkpoint_id = each.checkpoint_id;
      at -= each.source == "input" ? 2 : 1;  // see as_corvid_records
      if (at < 0) break;
    }
  }
  std::optional<Error> error;
  std::optional<RunResult> result;
  if (action.contains("update")) {
    std::vector<ChannelWrite> writes;
    const Json update = ev(action["update"], Json::object());
    for (const auto& [key, value] : update.items()) writes.push_back(write_of(*graph_->schema(), key, value));
    auto updated = runtime_.wait(graph_->update_state(runtime_, config, std::move(writes), action.value("as", "")));
    if (!updated) error = std::move(updated).error();
  } else if (auto input = input_of(action); !input) {
    error = std::move(input).error();
  } else {
    std::vector<StreamMode> modes{StreamMode::values};
    const auto recorded = case_.value("modes", Json{"values", "updates", "tasks", "custom"});
    for (const auto& mode : recorded) modes.push_back(*stream_mode_from_string(mode.get<std::string>()));
    Result<RunResult> ended = fail(Error::internal("not run"));
    if (streamed) {
      auto stream = graph_->stream(runtime_, std::move(*input), config, std::move(modes));
      while (auto event = stream.next_blocking()) out["events"].push_back(event_json(*event));
      ended = stream.result_blocking();
    } else {
      ended = graph_->invoke_blocking(runtime_, std::move(*input), config);
    }
    if (ended)
      result = std::move(*ended);
    else
      error = std::move(ended).error();
  }
  if (error) {
    if (!first_error_) first_error_ = error->code();
    out["error"] = kind_of(*error);
  }
  if (saver_) {
    look(out, result);
  } else {
    if (result) out["status"] = std::string(to_string(result->status));
    out["values"] = Json::object();
    for (const auto& event : out["events"]) {
      if (event[0] == "values" && event.size() == 2) out["values"] = event[1];
    }
  }
  return out;
}

Result<Json> LangGraphCase::run(bool streamed) {
  Json recorded = {{"actions", Json::array()}, {"runs", Json::object()}};
  for (const auto& action : case_["run"]) {
    // Stops given with a run are the graph's here; they are no part of what a thread remembers.
    CompileOptions options;
    options.checkpointer = saver_;
    for (const auto& [key, list] : {std::pair{"before", &options.interrupt_before}, {"after", &options.interrupt_after}}) {
      const Json& from = action.contains(key) ? action : case_["graph"];
      for (const auto& name : from.value(key, Json::array())) list->push_back(name);
    }
    CORVID_TRY(graph_, build(case_["graph"], "", std::move(options)));
    recorded["actions"].push_back(act(action, streamed));
  }
  for (const auto& [path, runs] : counts_) recorded["runs"][path] = runs;
  if (!saver_) return recorded;
  recorded["history"] = Json::array();
  if (const auto history = runtime_.wait(graph_->get_state_history(runtime_, on_thread()))) {
    for (const auto& each : *history) recorded["history"].push_back({each.step, each.source, each.next});
  }
  return recorded;
}

// ---- what is expected

Json with_roles(Json given) {
  if (given.is_object() && given.contains("type") && given.contains("id")) {
    given["role"] = given["type"];
    given.erase("type");
  }
  if (given.is_structured()) {
    for (auto& part : given) part = with_roles(std::move(part));
  }
  return given;
}

namespace {

Json overwrites_named(Json given) {
  if (given.is_object() && given.contains("$overwrite")) return {{"__overwrite__", given["$overwrite"]}};
  if (given.is_structured()) {
    for (auto& part : given) part = overwrites_named(std::move(part));
  }
  return given;
}

bool is_checkpoint(const Json& event) { return event[0] == "checkpoints" || (event[0] == "debug" && event[1]["type"] == "checkpoint"); }

}  // namespace

Json as_corvid_records(const Json& given) {
  Json recorded = overwrites_named(given["recorded"]);
  std::map<Json, Json> stands;  // by place: its newest checkpoint, which a run that goes on shows again
  for (auto& action : recorded["actions"]) {
    Json events = Json::array();
    std::set<Json> inputs;  // whose first checkpoint was left out
    for (std::size_t i = 0; i < action["events"].size(); ++i) {
      Json event = action["events"][i];
      if (is_checkpoint(event)) {
        const Json place{event[0], event.size() > 2 ? event[2] : Json()};
        bool first = event[1].value("source", "") == "input";
        if (event[0] == "debug") {  // shows no source, but another checkpoint follows before any task
          for (std::size_t j = i + 1; j < action["events"].size(); ++j) {
            const Json& later = action["events"][j];
            if (later[0] != "debug" || later.size() != event.size()) continue;
            first = is_checkpoint(later);
            break;
          }
        }
        if (first) {
          inputs.insert(place);
          continue;
        }
        if (inputs.erase(place) && event[0] == "checkpoints") event[1]["source"] = "input";
        Json& before = stands[place];
        if (!before.is_null() && before["step"] == event[1]["step"] && before.contains("source")) event[1]["source"] = before["source"];
        before = event[1];
      }
      events.push_back(std::move(event));
    }
    action["events"] = std::move(events);
  }
  if (recorded.contains("history")) {
    Json history = Json::array();
    for (const auto& row : recorded["history"]) {
      if (row[1] == "input")
        history.back()[1] = "input";
      else
        history.push_back(row);
    }
    recorded["history"] = std::move(history);
  }
  return recorded;
}

}  // namespace corvid::test
