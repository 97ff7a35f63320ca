// The node types that wait for a person: interrupt and approval.
#include "corvid/base/json_schema.hpp"
#include "graphs/define/duration.hpp"
#include "graphs/file/format.hpp"
#include "graphs/file/library_nodes.hpp"
#include "graphs/file/prepare.hpp"

namespace corvid::detail {
namespace {

constexpr std::string_view kDecisions[] = {"approve", "edit", "reject", "respond"};

Json schema(std::string_view text) {
  auto parsed = parse_json(text);
  return parsed ? std::move(*parsed) : Json::object();
}

NodeOptions in_place() {
  NodeOptions options;
  options.run_on = RunOn::executor;
  return options;
}

struct Question {
  ValueTemplate value;
  InterruptOptions options;

  static Result<Question> read(const Json& with, const NodeBuildContext& context, std::string kind) {
    Question made;
    auto value = ValueTemplate::compile(with["value"], context.names);
    if (!value) {
      Error error(value.error().code(), value.error().message());
      if (value.error().offset()) error = std::move(error).at_offset(*value.error().offset());
      return fail(std::move(error).at_key("/value" + value.error().key()));
    }
    made.value = std::move(*value);
    made.options.kind = std::move(kind);
    if (with.contains("response_schema")) {
      if (auto compiled = JsonSchema::compile(with["response_schema"]); !compiled) {
        return fail(Error(compiled.error().code(), compiled.error().message()).at_key("/response_schema" + compiled.error().key()));
      }
      made.options.response_schema = with["response_schema"];
    }
    if (with.contains("expires_in")) {
      auto duration = read_duration(with["expires_in"]);
      if (!duration) return fail(std::move(duration).error().at_key("/expires_in"));
      made.options.expires_in = *duration;
    }
    return made;
  }
};

// Who is asked what, written where: {decision: verdict, value: draft, by: approver}.
Status write_answer(NodeResult& result, const Schema& state, const Json& into, const char* part, const Json& value) {
  if (!into.contains(part)) return {};
  CORVID_TRY(auto write, write_channel(state, into[part].get<std::string>(), value));
  result.writes.push_back(std::move(write));
  return {};
}

}  // namespace

NodeType interrupt_node() {
  NodeType type;
  type.name = "interrupt";
  type.description = "Asks a person and writes the answer to a key of the state.";
  type.arguments = schema(R"({"type":"object","properties":{
      "value":{"description":"What is asked: any value, with {{ expressions }} in its texts"},
      "into":{"type":"string","minLength":1,"description":"The key that the answer is written to"},
      "response_schema":{"type":["object","boolean"],"description":"JSON Schema of the answer"},
      "expires_in":{"type":["string","number"],"description":"How long the question stands: \"2d\""}},
      "required":["value"],"additionalProperties":false})");
  type.make = [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    CORVID_TRY(auto question, Question::read(with, context, "question"));
    NodeOptions options = in_place();
    const auto into = with.value("into", "");
    if (!into.empty()) {
      CORVID_TRY_STATUS(context.check_channel(into, "/into"));
      options.writes.push_back(into);
    }
    NodeFunction run = [question = std::move(question), into](NodeContext& node) -> Result<NodeResult> {
      CORVID_TRY(Json value, question.value.evaluate(StateScope(node.state())));
      CORVID_TRY(const Json answer, node.interrupt(std::move(value), question.options));
      NodeResult result;
      if (into.empty()) return result;
      CORVID_TRY(auto write, write_channel(node.state().schema(), into, answer));
      result.writes.push_back(std::move(write));
      return result;
    };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

NodeType approval_node() {
  NodeType type;
  type.name = "approval";
  type.description = "Asks a person to approve, edit, reject or respond, and goes on by the decision.";
  type.arguments = schema(R"({"type":"object","properties":{
      "value":{"description":"What is to be approved: any value, with {{ expressions }} in its texts"},
      "response_schema":{"type":["object","boolean"],"description":"JSON Schema of the answer's value"},
      "expires_in":{"type":["string","number"],"description":"How long the question stands: \"2d\""},
      "into":{"type":"object","description":"Keys of the state that the answer is written to","properties":{
        "decision":{"type":"string","minLength":1,"description":"approve, edit, reject, respond or expired"},
        "value":{"type":"string","minLength":1,"description":"What was approved or edited; of reject and respond the answer's value"},
        "by":{"type":"string","minLength":1,"description":"Who decided"}},"additionalProperties":false},
      "routes":{"type":"object","description":"Where to go, by decision, beside the node's edges","properties":{
        "approve":{"type":"string","minLength":1},"edit":{"type":"string","minLength":1},"reject":{"type":"string","minLength":1},
        "respond":{"type":"string","minLength":1},"expired":{"type":"string","minLength":1}},"additionalProperties":false}},
      "required":["value"],"additionalProperties":false})");
  type.make = [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
    CORVID_TRY(auto question, Question::read(with, context, "approval"));
    NodeOptions options = in_place();
    const Json into = with.value("into", Json::object()), routes = with.value("routes", Json::object());
    for (auto each = into.begin(); each != into.end(); ++each) {
      CORVID_TRY_STATUS(context.check_channel(each->get<std::string>(), "/into/" + each.key()));
      options.writes.push_back(each->get<std::string>());
    }
    for (auto each = routes.begin(); each != routes.end(); ++each) {
      CORVID_TRY_STATUS(context.check_node(each->get<std::string>(), "/routes/" + each.key()));
      options.destinations.push_back(graph_name(each->get<std::string>()));
    }
    NodeFunction run = [question = std::move(question), into, routes](NodeContext& node) -> Result<NodeResult> {
      CORVID_TRY(Json value, question.value.evaluate(StateScope(node.state())));
      auto answer = node.interrupt_decision(value, question.options);
      const bool expired = !answer && answer.error().code() == ErrorCode::deadline_exceeded && routes.contains("expired");
      if (!answer && !expired) return fail(std::move(answer).error());
      const Json reply = expired ? Json{{"decision", "expired"}} : std::move(*answer);
      const std::string decision = reply.value("decision", "respond");
      const Json given = reply.value("value", Json());
      NodeResult result;
      const auto& state = node.state().schema();
      CORVID_TRY_STATUS(write_answer(result, state, into, "decision", decision));
      if (!expired) {
        // An approval without a value of its own approves what was asked; a rejection often has none to write.
        const bool as_asked = decision == "approve" && given.is_null();
        if (as_asked || !given.is_null()) CORVID_TRY_STATUS(write_answer(result, state, into, "value", as_asked ? value : given));
        CORVID_TRY_STATUS(write_answer(result, state, into, "by", reply.value("by", "")));
      }
      if (routes.contains(decision)) result.go_to(Route(graph_name(routes[decision].get<std::string>())));
      return result;
    };
    return NodeSpec(std::move(run), std::move(options));
  };
  return type;
}

}  // namespace corvid::detail
