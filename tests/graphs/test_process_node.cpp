#include "corvid/graphs/process_node.hpp"

#include <thread>

#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"
#include "tests/graphs/fake_node_context.hpp"

using namespace corvid;
using namespace corvid::test;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<const Schema> schema() {
  std::vector<ChannelSpec> channels;
  channels.push_back(*json_channel("text", "string", {}));
  channels.push_back(*json_channel("score", "integer", {}));
  return std::make_shared<const Schema>(std::move(channels));
}

Result<NodeResult> run(FakeNodeContext& context, const NodeCoroutine& node) { return context.runtime().wait(node(context)); }

}  // namespace

TEST_CASE("a node that is a program: what it reads and what becomes of its answer", "[process]") {
  TempDir folder;
  write_file(folder / "score.py", R"(
import json, os, sys
task = json.load(sys.stdin)
print(json.dumps({"emit": {"seen": task["state"]["text"]}}), flush=True)
print(json.dumps({"heartbeat": True}), flush=True)
with open("task.json", "w") as out:
    json.dump(dict(task, parent=os.environ.get("TRACEPARENT")), out)
print(json.dumps({"update": {"score": len(task["state"]["text"])}, "goto": ["next", "__end__"],
                  "send": [{"node": "grade", "argument": {"text": "x", "other": 1}}]}, indent=2))
)");
  Runtime runtime;
  FakeNodeContext context(runtime, schema(), {Value::of(Json("hello")), Value()});
  context.parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  ProcessNodeOptions options;
  options.command = {"python3", "score.py"};
  options.folder = folder.path();
  auto result = run(context, process_node(options));
  REQUIRE(result);
  REQUIRE(result->writes.size() == 1);
  CHECK(result->writes[0].channel == 1);
  CHECK(*result->writes[0].value.to_json() == 5);
  REQUIRE(result->go_to_targets.targets.size() == 3);
  CHECK(std::get<std::string>(result->go_to_targets.targets[0]) == "next");
  CHECK(std::get<std::string>(result->go_to_targets.targets[1]) == END);
  const auto& send = std::get<Send>(result->go_to_targets.targets[2]);
  CHECK(send.node == "grade");
  CHECK(send.extra == Json{{"text", "x"}, {"other", 1}});
  CHECK(context.emitted == std::vector<Json>{{{"seen", "hello"}}});
  CHECK(context.heartbeats == 2);
  CHECK(*parse_json(read_file(folder / "task.json")) == Json{{"state", {{"text", "hello"}}},
                                                             {"node", "score"},
                                                             {"task_id", "task-7"},
                                                             {"idempotency_key", "task-7"},
                                                             {"attempt", 2},
                                                             {"thread_id", "t1"},
                                                             {"parent", context.parent}});
}

TEST_CASE("answers that are none name what is wrong", "[process]") {
  const auto key = [](const char* answer) {
    const auto result = process_node_result(*parse_json(answer), *schema());
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::bad_input);
    return result.error().key();
  };
  CHECK(key("[]").empty());
  CHECK(key(R"({"updates": {}})") == "updates");
  CHECK(key(R"({"update": 1})") == "update");
  CHECK(key(R"({"update": {"none": 1}})") == "update.none");
  CHECK(key(R"({"update": {"score": "five"}})") == "update.score");
  CHECK(key(R"({"goto": 1})") == "goto");
  CHECK(key(R"({"goto": ["a", 1]})") == "goto");
  CHECK(key(R"({"send": {}})") == "send");
  CHECK(key(R"({"send": [{"argument": {}}]})") == "send");
  CHECK(key(R"({"send": [{"node": "a", "argument": 1}]})") == "send.argument");
  CHECK(key(R"({"send": [{"node": "a", "to": 1}]})") == "send.to");
  const auto empty = process_node_result(Json::object(), *schema());
  REQUIRE(empty);
  CHECK(empty->writes.empty());
  CHECK(std::get<std::string>(process_node_result(Json{{"goto", "a"}}, *schema())->go_to_targets.targets.at(0)) == "a");
}

TEST_CASE("a node that is a program ends with its task's cancellation", "[process]") {
  Runtime runtime;
  FakeNodeContext context(runtime, schema(), {Value(), Value()});
  ProcessNodeOptions options;
  options.command = {"sh", "-c", "echo '{\"emit\": 1}'; exec sleep 1000"};
  auto node = process_node(options);
  std::thread canceller([&] {
    while (context.heartbeats == 0) std::this_thread::sleep_for(5ms);
    context.source.cancel();
  });
  const auto result = run(context, node);
  canceller.join();
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::cancelled);
}

TEST_CASE("arguments of exec in graph files", "[process]") {
  const Json given{{"command", {"sh", "-c", "true"}}, {"cwd", "tools"}, {"env", {{"A", "b"}}}, {"timeout", "250ms"}, {"grace", 1.5},
                   {"max_output_bytes", 1000}};
  const auto options = process_node_options(given, "graphs");
  REQUIRE(options);
  CHECK(options->command == std::vector<std::string>{"sh", "-c", "true"});
  CHECK(options->folder == "graphs/tools");
  CHECK(options->environment == std::vector<std::pair<std::string, std::string>>{{"A", "b"}});
  CHECK(options->timeout == 250ms);
  CHECK(options->grace == 1500ms);
  CHECK(options->max_output_bytes == 1000);
  CHECK(process_node_options(Json{{"command", {"a"}}, {"cwd", "/tmp"}}, "graphs")->folder == "/tmp");
  for (const auto& [key, value] : given.items()) CHECK(process_node_schema()["properties"].contains(key));
  const auto wrong = [](Json change) {
    Json arguments{{"command", {"a"}}};
    arguments.update(change);
    const auto read = process_node_options(arguments);
    REQUIRE_FALSE(read);
    CHECK(read.error().code() == ErrorCode::bad_input);
    return read.error().key();
  };
  CHECK(wrong({{"command", Json::array()}}) == "/command");
  CHECK(wrong({{"command", "sh"}}) == "/command");
  CHECK(wrong({{"command", {1}}}) == "/command");
  CHECK(wrong({{"cwd", 1}}) == "/cwd");
  CHECK(wrong({{"env", {{"A", 1}}}}) == "/env/A");
  CHECK(wrong({{"timeout", "soon"}}) == "/timeout");
  CHECK(wrong({{"timeout", "5 s"}}) == "/timeout");
  CHECK(wrong({{"grace", -1}}) == "/grace");
  CHECK(wrong({{"max_output_bytes", 0}}) == "/max_output_bytes");
  CHECK(wrong({{"shell", true}}) == "/shell");
}
