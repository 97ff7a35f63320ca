// The node types that the program adds to the library's: exec, prompt, llm, retrieve.
#include <mutex>
#include <optional>

#include "apps/cli/collection_access.hpp"
#include "apps/cli/graph_access.hpp"
#include "apps/cli/session.hpp"
#include "corvid/agents/model_state.hpp"
#include "corvid/graphs/process_node.hpp"
#include "corvid/runtime/offload.hpp"

namespace corvid::cli {
namespace {

Json schema(std::string_view text) {
  auto parsed = parse_json(text);
  return parsed ? std::move(*parsed) : Json();
}

// What nodes share: each model and collection is loaded once, by whichever node first needs it.
struct Shared {
  Shared(Session& s, ChatModelOptions m, const GraphStoreOptions& w) : session(s), model(std::move(m)) { where.workspace = w.workspace; }
  Session& session;
  ChatModelOptions model;
  WorkspaceOptionsCli where;
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<ChatModel>> models;
  std::map<std::string, std::shared_ptr<Collection>> collections;

  Result<std::shared_ptr<ChatModel>> chat_model(const std::string& name) {
    std::lock_guard lock(mutex);
    auto& slot = models[name];
    if (slot) return slot;
    ChatModelOptions options = model;
    if (!name.empty()) (options.endpoint.empty() ? options.model : options.remote_model) = name;
    CORVID_TRY(auto loaded, load_chat_model(session, options));
    slot = std::move(loaded.model);
    return slot;
  }
  Result<std::shared_ptr<Collection>> collection(const std::string& name) {
    std::lock_guard lock(mutex);
    auto& slot = collections[name];
    if (slot) return slot;
    WorkspaceOptionsCli options = where;
    options.collection = name;
    CORVID_TRY(slot, open_collection(session, options, model));
    return slot;
  }
};

Error at(Error error, std::string pointer) {
  Error placed(error.code(), error.message());
  if (error.offset()) placed = std::move(placed).at_offset(*error.offset());
  return std::move(placed).at_key(std::move(pointer) + error.key());
}

Result<TextTemplate> text_argument(const Json& with, const char* name, const NodeBuildContext& context) {
  auto text = TextTemplate::parse(with.value(name, ""), context.names);
  if (!text) return fail(at(std::move(text).error(), std::string("/") + name));
  return text;
}

Result<std::string> into_argument(const Json& with, const NodeBuildContext& context, NodeOptions& options) {
  auto into = with["into"].get<std::string>();
  CORVID_TRY_STATUS(context.check_channel(into, "/into"));
  options.writes.push_back(into);
  return into;
}

NodeType exec_type() {
  NodeType type;
  type.name = "exec";
  type.description = "Runs a program that reads JSON on standard input and writes JSON on standard output.";
  type.arguments = process_node_schema();
  type.make = [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    CORVID_TRY(auto options, process_node_options(with, context.folder));
    return NodeSpec(process_node(std::move(options)));
  };
  return type;
}

NodeType prompt_type() {
  NodeType type;
  type.name = "prompt";
  type.description = "Writes a text made from a template to a key.";
  type.arguments = schema(R"({"type":"object","properties":{
      "template":{"type":"string","description":"Text with {{ expressions }}"},
      "into":{"type":"string","minLength":1,"description":"The key for the text"}},
      "required":["template","into"],"additionalProperties":false})");
  type.make = [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    NodeOptions options;
    options.run_on = RunOn::executor;
    CORVID_TRY(auto text, text_argument(with, "template", context));
    CORVID_TRY(auto into, into_argument(with, context, options));
    NodeFunction run = [text = std::move(text), into](NodeContext& node) -> Result<NodeResult> {
      CORVID_TRY(auto rendered, text.render(StateScope(node.state())));
      return NodeResult().set(node, into, Json(std::move(rendered)));
    };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

// A list of {"role","content"} as messages.
Result<std::vector<Message>> messages_of(const Json& list) {
  if (!list.is_array()) return fail(Error::bad_input("messages must be a list of {\"role\", \"content\"}, not a " + std::string(list.type_name())));
  std::vector<Message> out;
  for (const auto& each : list) {
    CORVID_TRY(auto message, message_from_json(each));
    out.push_back(std::move(message));
  }
  return out;
}

struct LlmArguments {
  std::optional<TextTemplate> prompt, system;
  std::optional<Expression> messages;
  std::string model, into, append_to;
  int max_tokens = 512;
  SamplingParams sampling;
  std::vector<std::string> stop;
};

// A coroutine with everything it needs by value: the node object may be gone when it ends.
Task<NodeResult> ask_model(NodeContext& node, std::shared_ptr<Shared> shared, std::shared_ptr<const LlmArguments> with) {
  ChatRequest request;
  if (with->system) {
    CORVID_CO_TRY(auto text, with->system->render(StateScope(node.state())));
    request.messages.push_back(Message::system(std::move(text)));
  }
  if (with->messages) {
    CORVID_CO_TRY(const auto list, with->messages->evaluate(StateScope(node.state())));
    CORVID_CO_TRY(auto messages, messages_of(list));
    for (auto& message : messages) request.messages.push_back(std::move(message));
  }
  if (with->prompt) {
    CORVID_CO_TRY(auto text, with->prompt->render(StateScope(node.state())));
    request.messages.push_back(Message::user(std::move(text)));
  }
  request.sampling = with->sampling;
  request.max_tokens = with->max_tokens;
  request.stop = with->stop;
  auto load = [shared, with] { return shared->chat_model(with->model); };
  CORVID_CO_TRY(auto model, co_await offload(node.runtime(), std::move(load)));
  CORVID_CO_TRY(auto answer, co_await chat_in_node(node, *model, std::move(request)));
  NodeResult result;
  if (!with->into.empty()) result.set(node, with->into, answer.text);
  if (!with->append_to.empty()) result.set(node, with->append_to, Json::array({{{"role", "assistant"}, {"content", answer.text}}}));
  co_return result;
}

NodeType llm_type(std::shared_ptr<Shared> shared) {
  NodeType type;
  type.name = "llm";
  type.description = "Asks a language model and writes its answer to a key.";
  type.arguments = schema(R"({"type":"object","properties":{
      "prompt":{"type":"string","description":"The user's turn, with {{ expressions }}"},
      "messages":{"type":"string","description":"Expression: a list of {role, content}, before the prompt"},
      "system":{"type":"string","description":"The system's turn, with {{ expressions }}"},
      "model":{"type":"string","minLength":1,"description":"Path or name; the command's --model"},
      "into":{"type":"string","minLength":1,"description":"The key for the answer's text"},
      "append_to":{"type":"string","minLength":1,"description":"The key of a message list that the answer is added to"},
      "max_tokens":{"type":"integer","minimum":1,"maximum":1048576},
      "temperature":{"type":"number","minimum":0,"maximum":100},
      "top_p":{"type":"number","exclusiveMinimum":0,"maximum":1},
      "seed":{"type":"integer","minimum":0},
      "stop":{"type":"array","items":{"type":"string","minLength":1}}},
      "anyOf":[{"required":["prompt"]},{"required":["messages"]}],
      "additionalProperties":false})");
  type.make = [shared](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    NodeOptions options;
    auto arguments = std::make_shared<LlmArguments>();
    if (with.contains("prompt")) {
      CORVID_TRY(arguments->prompt, text_argument(with, "prompt", context));
    }
    if (with.contains("system")) {
      CORVID_TRY(arguments->system, text_argument(with, "system", context));
    }
    if (with.contains("messages")) {
      auto expression = Expression::parse(with["messages"].get_ref<const std::string&>(), context.names);
      if (!expression) return fail(std::move(expression).error().at_key("/messages"));
      arguments->messages = std::move(*expression);
    }
    if (!with.contains("into") && !with.contains("append_to")) {
      return fail(Error::bad_input("the answer goes nowhere: give \"into\" or \"append_to\"").at_key(""));
    }
    for (const char* name : {"into", "append_to"}) {
      if (!with.contains(name)) continue;
      auto channel = with[name].get<std::string>();
      CORVID_TRY_STATUS(context.check_channel(channel, std::string("/") + name));
      options.writes.push_back(channel);
      (std::string_view(name) == "into" ? arguments->into : arguments->append_to) = std::move(channel);
    }
    arguments->model = with.value("model", "");
    arguments->max_tokens = static_cast<int>(with.value("max_tokens", std::int64_t{512}));
    arguments->sampling.temperature = static_cast<float>(with.value("temperature", 0.0));
    arguments->sampling.top_p = static_cast<float>(with.value("top_p", 1.0));
    arguments->sampling.seed = static_cast<std::uint64_t>(with.value("seed", std::int64_t{0}));
    if (with.contains("stop")) arguments->stop = with["stop"].get<std::vector<std::string>>();
    std::shared_ptr<const LlmArguments> fixed = std::move(arguments);
    NodeCoroutine run = [shared, fixed](NodeContext& node) { return ask_model(node, shared, fixed); };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

NodeType retrieve_type(std::shared_ptr<Shared> shared) {
  NodeType type;
  type.name = "retrieve";
  type.description = "Searches a collection of the workspace and writes the passages found to a key.";
  type.arguments = schema(R"({"type":"object","properties":{
      "query":{"type":"string","description":"With {{ expressions }}"},
      "into":{"type":"string","minLength":1,"description":"The key for a list of {source, heading, lines, bytes, score, text}"},
      "k":{"type":"integer","minimum":1,"maximum":1000},
      "mode":{"enum":["dense","lexical","hybrid"]},
      "filter":{"type":"string","description":"As in corvid search, with {{ expressions }}"},
      "collection":{"type":"string","minLength":1}},
      "required":["query","into"],"additionalProperties":false})");
  type.make = [shared](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    NodeOptions options;
    CORVID_TRY(auto query, text_argument(with, "query", context));
    CORVID_TRY(auto filter, text_argument(with, "filter", context));
    CORVID_TRY(auto into, into_argument(with, context, options));
    SearchOptions search;
    search.k = static_cast<std::size_t>(with.value("k", std::int64_t{5}));
    const auto mode = with.value("mode", "hybrid");
    search.mode = mode == "dense" ? SearchMode::dense : mode == "lexical" ? SearchMode::lexical : SearchMode::hybrid;
    NodeFunction run = [=, collection = with.value("collection", "default")](NodeContext& node) -> Result<NodeResult> {
      CORVID_TRY(auto opened, shared->collection(collection));
      CORVID_TRY(const auto text, query.render(StateScope(node.state())));
      SearchOptions asked = search;
      CORVID_TRY(asked.filter, filter.render(StateScope(node.state())));
      CORVID_TRY(const auto hits, opened->search(text, asked, node.cancellation()));
      Json list = Json::array();
      for (const auto& hit : hits) list.push_back(hit_json(hit));
      return NodeResult().set(node, into, std::move(list));
    };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

}  // namespace

Result<NodeRegistry> graph_nodes(Session& session, const ChatModelOptions& model, const GraphStoreOptions& where) {
  NodeRegistry registry = NodeRegistry::library();
  auto shared = std::make_shared<Shared>(session, model, where);
  for (auto&& type : {exec_type(), prompt_type(), llm_type(shared), retrieve_type(shared)}) CORVID_TRY_STATUS(registry.add(type));
  return registry;
}

}  // namespace corvid::cli
