#include <string>

#include "corvid/graphs/approvals.hpp"
#include "corvid/graphs/graph_file.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/runtime/runtime.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

std::shared_ptr<const CompiledGraph> built(const std::string& text, CompileOptions options = {}) {
  auto graph = GraphFile::parse(text).build(NodeRegistry::library(), std::move(options));
  INFO((graph ? std::string() : graph.error().message()));
  REQUIRE(graph);
  return *graph;
}
std::shared_ptr<const CompiledGraph> example(const std::string& name, CompileOptions options = {}) {
  return built(test::read_file(test::source_dir() / "examples" / "graphs" / name), std::move(options));
}

Json run(const CompiledGraph& graph, Json input) {
  Runtime runtime;
  auto result = graph.invoke_blocking(runtime, std::move(input));
  INFO((result ? std::string() : result.error().describe()));
  REQUIRE(result);
  CHECK(result->status == RunStatus::done);
  return *result->to_json();
}

std::string problems(const std::string& text) {
  std::string out;
  for (const auto& each : GraphFile::parse(text).validate(NodeRegistry::library()))
    out += std::to_string(each.line) + ":" + std::to_string(each.column) + " " + each.message + "\n";
  return out;
}

}  // namespace

TEST_CASE("graph files: a loop with a condition runs", "[graphs]") {
  const auto graph = built(
      "state: {x: {type: integer, default: 0}}\nnodes:\n  a: {type: set, with: {x: '{{ state.x + 1 }}'}}\nedges:\n  - START -> a\n  - "
      "{from: a, when: state.x < 5, to: a, else: END}\n");
  CHECK(run(*graph, Json{{"x", 1}})["x"] == 5);
  CHECK(run(*graph, Json::object())["x"] == 5);
}

TEST_CASE("graph files: routes, joins, sends from edges, replace", "[graphs]") {
  const auto graph = built(R"yaml(
state: {log: {type: list, reducer: append, default: []}, next: string}
nodes:
  a: {type: set, with: {next: b, log: a}}
  b: {type: set, with: {log: b}}
  c: {type: set, with: {log: c}}
  d: {type: set, with: {log: d}}
  e: {type: set, with: {log: "{{ state.n * 10 + state.i }}"}}
  f: {type: replace, with: {log: "{{ [len(state.log)] + slice(state.log, -2) }}"}}
edges:
  - START -> a
  - {from: a, route: "[state.next, 'c']", targets: [b, c]}
  - b + c -> d
  - {from: d, send: {to: e, over: "range(3)", as: n, index: i}}
  - e -> f -> END
)yaml");
  CHECK(run(*graph, Json::object())["log"] == Json{7, 11, 22});
}

  TEST_CASE("graph files: the examples run", "[graphs]") {
    const Json lengths = run(*example("map_reduce.yaml"), Json{{"documents", {"one two", "a b c d", "x"}}});
    CHECK(lengths["summary"] == Json{{"documents", 3}, {"words", 7}, {"longest", 1}});
    CHECK(run(*example("map_reduce.yaml"), Json{{"documents", Json::array()}})["summary"]["documents"] == 0);
    const Json ticket = run(*example("branch.yaml"), Json{{"ticket", "Invoice 7 is wrong"}});
    CHECK(ticket["log"] == Json{"read: Invoice 7 is wrong", "billing failed: no billing service for Invoice 7 is wrong", "answered"});
  }

  TEST_CASE("graph files: an approval waits for a person and goes on by the decision", "[graphs]") {
    for (const auto* decision : {"approve", "reject"}) {
      CompileOptions options;
      auto saver = make_memory_saver();
      options.checkpointer = saver;
      const auto graph = example("approval.yaml", options);
      Runtime runtime;
      RunConfig config;
      config.thread_id = "t";
      auto first = graph->invoke_blocking(runtime, Json{{"to", "Ana"}}, config);
      REQUIRE(first);
      CHECK(first->status == RunStatus::interrupted);
      REQUIRE(first->interrupts.size() == 1);
      CHECK(first->interrupts[0].kind == "approval");
      CHECK(first->interrupts[0].value == Json{{"to", "Ana"}, {"text", "Dear Ana, the harbour closes at six."}});
      AnswerRequest answer;
      answer.decision = *decision_from_string(decision);
      answer.by = "bo";
      REQUIRE(answer_interrupt(*saver, first->interrupts[0].id, answer));
      auto second = graph->invoke_blocking(runtime, Continue{}, config);
      REQUIRE(second);
      CHECK(second->status == RunStatus::done);
      const Json state = *second->to_json();
      CHECK(state["verdict"] == decision);
      CHECK(state["approver"] == "bo");
      CHECK(state["sent"].size() == (std::string(decision) == "approve" ? 1u : 0u));
    }
  }

  TEST_CASE("graph files: graphs within graphs run, retries and errors too", "[graphs]") {
    const auto graph = built(R"yaml(
state: {x: {type: integer, default: 0}, said: string}
nodes:
  twice: {graph: add, description: adds}
  flaky: {type: fail, with: {attempts: 2, code: network}, retry: {attempts: 3, initial: 1ms, on: [network]}}
  broken: {type: fail, with: {message: "x is {{ state.x }}", code: rejected}, on_error: {set: {said: "{{ error.code }} at {{ error.node }}: {{ error.message }}"}}}
edges: [START -> twice -> flaky -> broken -> END]
graphs:
  add:
    state: {x: integer}
    nodes: {one: {type: set, with: {x: "{{ state.x + 1 }}"}}, two: {type: set, with: {x: "{{ state.x + 1 }}"}}}
    edges: [START -> one -> two -> END]
)yaml");
    const Json state = run(*graph, Json{{"x", 5}});
    CHECK(state["x"] == 7);
    CHECK(state["said"] == "rejected at broken: x is 7");
    Runtime runtime;
    const auto failing = built("state: {x: integer}\nnodes: {a: {type: set, with: {x: '{{ 1 / 0 }}'}}}\nedges: [START -> a]\n")
                             ->invoke_blocking(runtime, Json::object());
    REQUIRE_FALSE(failing);
    CHECK(failing.error().code() == ErrorCode::bad_input);
    CHECK(failing.error().describe().find("division by zero") != std::string::npos);
  }

  TEST_CASE("graph files: what only the whole graph shows is mapped to lines", "[graphs]") {
    CHECK(problems("state: {x: integer}\nnodes:\n  a: {type: set, with: {x: 1}}\n  lost: {type: set, with: {x: 1}}\nedges: [START -> a]\n")
              .find("4:3 ") == 0);
    CHECK(problems(
              "state:\n  x: integer\nnodes:\n  a: {type: set, with: {x: 1}}\n  b: {type: set, with: {x: 1}}\nedges: [\"START -> a, b\"]\n")
              .find("2:3 ") == 0);
    CHECK(problems("state: {x: integer}\nnodes:\n  a: {type: set, with: {x: 1}, effect: at_most_once, retry: 3}\nedges: [START -> a]\n")
              .find("3:3 ") == 0);
    CHECK(problems("state: {x: integer}\nnodes:\n  a: {type: set, with: {x: 1}}\nedges: [a -> END]\n").find("START") != std::string::npos);
    const auto wrong = GraphFile::parse("state: {x: integr}\nnodes: {}\nedges: []\n", "g.yaml").build(NodeRegistry::library());
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().code() == ErrorCode::bad_input);
    CHECK(wrong.error().message().find("g.yaml:1:12: the type must be one of") != std::string::npos);
  }
