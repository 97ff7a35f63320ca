#include <filesystem>
#include <string>
#include <vector>

#include "corvid/base/json_schema.hpp"
#include "corvid/graphs/graph_file.hpp"
#include "graphs/file/yaml_tree.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

// "LINE:COLUMN MESSAGE" of each problem, a line each.
std::string problems(const std::vector<FileProblem>& all) {
  std::string out;
  for (const auto& each : all) out += std::to_string(each.line) + ":" + std::to_string(each.column) + " " + each.message + "\n";
  return out;
}
std::string parts(std::string text) { return problems(GraphFile::parse(std::move(text)).validate_parts(NodeRegistry::library())); }
bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

const char* kSmall = "state: {x: integer}\nnodes:\n  a: {type: set, with: {x: 1}}\nedges: [START -> a -> END]\n";

const JsonSchema& file_schema() {
  static const JsonSchema schema = *JsonSchema::compile(graph_file_schema());
  return schema;
}

// The ```yaml blocks of a document that are whole graphs.
std::vector<std::string> graphs_of(const std::string& document) {
  std::vector<std::string> out;
  for (std::size_t at = 0; (at = document.find("```yaml\n", at)) != std::string::npos;) {
    at += 8;
    const auto end = document.find("```", at);
    const auto block = document.substr(at, end - at);
    if (block.find("\nnodes:") != std::string::npos && block.find("\nedges:") != std::string::npos) out.push_back(block);
    at = end;
  }
  return out;
}

}  // namespace

TEST_CASE("graph files: short forms are written out, and mean the same", "[graphs]") {
  CHECK(parts(kSmall) == "");
  const auto file = GraphFile::parse(kSmall);
  const Json json = file.to_json();
  CHECK(json["state"]["x"] == Json{{"type", "integer"}, {"reducer", "overwrite"}, {"life", "kept"}});
  CHECK(json["edges"] == Json{{{"from", "START"}, {"to", {"a"}}}, {{"from", "a"}, {"to", {"END"}}}});
  CHECK(GraphFile::parse(dump_json(json, 1)).to_json() == json);
  const auto chain = GraphFile::parse(
      "state: {x: integer}\nnodes:\n  a: {type: set, with: {x: 1}, retry: 4, cache: 1h, timeout: 1.5, interrupt: no}\n  b: {type: set, "
      "with: {x: 1}, cache: true}\n  c: {type: set, with: {x: 1}}\n"
      "edges:\n  - START -> a, b\n  - a + b -> c -> END\n  - {from: [a, b], to: c}\n  - {from: c, when: state.x > 1, to: [a, b], else: "
      "END}\n  - {from: a, route: \"'b'\", targets: [b, c]}\n"
      "  - {from: b, send: {to: c, over: \"[1, 2]\", as: n, index: i, with: {x: \"{{ n + i }}\"}}}\n");
  const Json edges = chain.to_json()["edges"];
  CHECK(edges[1] == Json{{"from", {"a", "b"}}, {"to", {"c"}}});
  CHECK(edges[4] == Json{{"from", "c"}, {"cases", {{{"when", "state.x > 1"}, {"to", {"a", "b"}}}}}, {"else", {{"to", {"END"}}}}});
  CHECK(GraphFile::parse(dump_json(chain.to_json())).to_json() == chain.to_json());
  CHECK(file_schema().check(chain.to_json()));
  CHECK(chain.to_json()["nodes"]["a"]["timeout"] == "1500ms");
  CHECK(chain.to_json()["nodes"]["a"]["retry"]["attempts"] == 4);
}

TEST_CASE("graph files: JSON is read the same, with places", "[graphs]") {
  const std::string json =
      "{\n\t\"state\": {\"x\": \"integer\", \"s\": {\"type\": \"string\", \"default\": \"\\ud83d\\ude00 \\u00e9\\/\"}},\n\t\"nodes\": "
      "{\"a\": {\"type\": \"set\", \"with\": {\"x\": \"{{ 1 + }}\"}}},\n\t\"edges\": [\"START -> a\"]\n}\n";
  CHECK(parts(json) == "3:55 \"}\" stands where a value should\n");
  CHECK(GraphFile::parse(json).to_json()["state"]["s"]["default"] == "\U0001F600 é/");
}

TEST_CASE("graph files: every mistake is found, with line and column", "[graphs]") {
  const std::string said = parts(R"(name: broken
verson: 1
state:
  draft: strng
  notes: {type: list, reducer: appendd, default: 3}
  count: {type: integer, default: x, life: forever}
nodes:
  write:
    type: sett
    with: {draft: "x"}
  grade:
    type: set
    with: {drft: "{{ state.cuont }}"}
    timeout: soon
    retry: {attempts: 0, on: [nope]}
    defer: yes
  ask:
    type: approval
    with: {value: "ok {{ 1 + }}", routes: {approve: nowhere}}
  loop:
    type: map
    with: {over: state.notes, too: grade}
edges:
  - START -> write -> grdae
  - grade
  - from: grade
    when: state.count = 3
    to: END
  - {from: ask, cases: [{when: "state.count >", to: END}, {to: END}], else: nirvana}
  - {from: ask, to: END, route: x}
interrupt_before: [aks]
)");
  const std::vector<std::string> wanted{"2:1 unknown key \"verson\" of a graph; did you mean \"version\"?",
                                        "4:10 the type must be one of",
                                        "did you mean \"string\"?",
                                        "5:32 reducer must be one of",
                                        "did you mean \"append\"?",
                                        "5:50 default must be a list here",
                                        "6:35 default: expected a value of type integer",
                                        "6:44 life must be one of",
                                        "9:11 there is no node type \"sett\"; did you mean \"set\"?",
                                        "13:18 the state has no key \"drft\"; did you mean \"draft\"?",
                                        "14:14 timeout: a duration is",
                                        "15:23 attempts must be at least 1, not 0",
                                        "15:31 on must be one of",
                                        "16:12 defer must be boolean, not \"yes\"; write true or false",
                                        "19:30 \"}\" stands where a value should",
                                        "22:31 \"too\" is no argument of map; did you mean \"to\"?",
                                        "24:23 there is no node \"grdae\"; did you mean \"grade\"?",
                                        "25:5 an edge leads somewhere",
                                        "27:23 write == to compare",
                                        "29:46 the expression ends where a value should follow",
                                        "29:59 a case needs when",
                                        "29:77 there is no node \"nirvana\"",
                                        "30:5 an edge has only one of",
                                        "31:20 there is no node \"aks\"; did you mean \"ask\"?"};
  for (const auto& each : wanted) {
    INFO(said);
    CHECK(has(said, each));
  }
  CHECK(has(parts("state: {}\nnodes: {a: {}}\nedges: []"), "2:9 a node needs a type, or a graph to run"));
  CHECK(has(parts("[]"), "1:1 a graph must be an object"));
  CHECK(has(parts(""), "1:1 the file is empty"));
  CHECK(has(parts("nodes: {}"), "a graph needs state"));
  CHECK(has(parts("state: {x: integer}\nnodes: {a: {type: set, with: {x: \"{{ state.y }}\"}}}\nedges: [START -> a]"),
            "2:44 the state has no \"y\"; did you mean \"x\"?"));
  CHECK(has(parts("state: {x: integer}\nnodes: {a: {type: set, with: {x: 1}}}\nedges: [{from: START, when: \"{{ state.x }}\", to: a}]"),
            "write it without {{ }}"));
  CHECK(has(parts("state: {x: integer}\nnodes: {\"a b\": {type: set, with: {x: 1}}}\nedges: []"), "2:9 a name holds no blanks"));
  CHECK(has(parts("state: {x: integer}\nnodes: {START: {type: set, with: {x: 1}}}\nedges: []"), "is taken"));
}

TEST_CASE("graph files: places within texts", "[graphs]") {
  const auto at = [](const std::string& value) {
    return parts("state: {s: string}\nnodes:\n  a:\n    type: set\n    with:\n      s: " + value + "\nedges: [START -> a]\n");
  };
  CHECK(has(at("'it''s {{ 1 + }}'"), "6:24 "));
  CHECK(has(at("\"a\\tb {{ 1 + }}\""), "6:23 "));
  CHECK(has(at("|\n        line one\n        ä {{ 1 + }}\n"), "8:18 "));
  CHECK(has(at("x {{ 1 + }}"), "6:19 "));
  CHECK(has(at("\"\\u00e4 {{ 1 + }}\""), "6:10 "));  // written with \u: the text's start
}

TEST_CASE("graph files: YAML's traps", "[graphs]") {
  CHECK(has(parts("a: 1\na: 2\n"), "2:1 the key \"a\" stands twice"));
  CHECK(has(parts("state: {x: !!binary aaa}\n"), "1:12 tags such as"));
  CHECK(has(parts("a: 1\n---\nb: 2\n"), "one document"));
  CHECK(has(parts("a: b: c\n"), "put the text in quotes"));
  CHECK(has(parts("a: \xff\n"), "1:4 the file is not UTF-8"));
  CHECK(has(parts("? [a]\n: b\n"), "a key is a text"));
  CHECK(has(parts(std::string("a: \0b", 5)), "zero byte"));
  CHECK(has(parts("\xEF\xBB\xBFnope: 1"), "1:1 unknown key"));
  CHECK(has(parts(std::string(200, '[') + std::string(200, ']')), "nested deeper than 64"));
  CHECK(has(parts(std::string(100000, '[')), "nested deeper than 64"));
  CHECK(has(parts(std::string(5 << 20, ' ')), "at most 4194304"));
  // Billions of laughs, in 10 lines.
  std::string laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 10; ++i) {
    const auto below = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) laughs += (k ? ", " : "") + below;
    laughs += "]\n";
  }
  CHECK(has(parts(laughs), "more than 200000 values"));
  CHECK(has(parts("a: &a [*a]\n"), "within what it names"));
  // Short aliases are fine, and words of YAML 1.1 are texts.
  const auto file = GraphFile::parse(
      "state: {x: integer, s: {type: string, default: yes}, t: {type: string, default: 0x10}, u: {type: string, default: 1_000}}\nnodes:\n "
      " a: {type: set, with: {x: 1}, retry: &r {attempts: 5}}\n  b: {type: set, with: {x: 1}, retry: *r}\nedges: [START -> a -> b]\n");
  CHECK(problems(file.validate_parts(NodeRegistry::library())) == "");
  CHECK(file.to_json()["nodes"]["b"]["retry"]["attempts"] == 5);
  CHECK(file.to_json()["state"]["s"]["default"] == "yes");
  CHECK(file.to_json()["state"]["u"]["default"] == "1_000");
}

TEST_CASE("graph files: graphs within graphs, inline and beneath the folder", "[graphs]") {
  const std::string inner = "{state: {x: integer}, nodes: {i: {type: set, with: {x: \"{{ state.x + 1 }}\"}}}, edges: [START -> i]}";
  CHECK(parts("state: {x: integer}\nnodes: {a: {graph: inner}}\nedges: [START -> a]\ngraphs: {inner: " + inner + "}\n") == "");
  CHECK(has(parts("state: {x: integer}\nnodes: {a: {graph: iner}}\nedges: [START -> a]\ngraphs: {inner: " + inner + "}\n"),
            "2:20 there is no graph \"iner\"; did you mean \"inner\"?"));
  CHECK(has(parts("state: {x: integer}\nnodes: {a: {graph: one}}\nedges: [START -> a]\ngraphs:\n  one: {state: {}, nodes: {b: {graph: "
                  "two}}, edges: [START -> b]}\n  two: {state: {}, nodes: {c: {graph: one}}, edges: [START -> c]}\n"),
            "would run itself without end"));
  CHECK(has(parts("state: {x: integer}\nnodes: {a: {graph: inner, timeout: 3s}}\nedges: [START -> a]\ngraphs: {inner: " + inner + "}\n"),
            "timeout does not apply to a graph"));
  CHECK(has(parts("state: {}\nnodes: {a: {graph: other.yaml}}\nedges: [START -> a]\n"), "came as text"));
  test::TempDir dir;
  std::filesystem::create_directories(dir.path() / "sub");
  test::write_file(dir / "secret.yaml", kSmall);
  test::write_file(dir.path() / "sub" / "inner.yaml", inner);
  test::write_file(dir.path() / "sub" / "bad.yaml", "state: {x: integer}\nnodes: {i: {type: sett}}\nedges: [START -> i]\n");
  test::write_file(dir.path() / "sub" / "self.yaml", "state: {}\nnodes: {a: {graph: self.yaml}}\nedges: [START -> a]\n");
  std::filesystem::create_symlink(dir / "secret.yaml", dir.path() / "sub" / "link.yaml");
  const auto with = [&](const std::string& name) {
    test::write_file(dir.path() / "sub" / "main.yaml", "state: {x: integer}\nnodes: {a: {graph: " + name + "}}\nedges: [START -> a]\n");
    return GraphFile::load(dir.path() / "sub" / "main.yaml")->validate_parts(NodeRegistry::library());
  };
  CHECK(problems(with("inner.yaml")) == "");
  CHECK(has(problems(with("../secret.yaml")), "not beneath"));
  CHECK(has(problems(with("link.yaml")), "not beneath"));
  CHECK(has(problems(with((dir / "secret.yaml").string())), "not beneath"));
  CHECK(has(problems(with("gone.yaml")), "2:20 cannot read"));
  CHECK(has(problems(with("self.yaml")), "includes itself"));
  CHECK(has(problems(with("main.yaml")), "includes itself"));
  const auto bad = with("bad.yaml");
  REQUIRE(bad.size() == 1);
  CHECK(std::filesystem::path(bad[0].file).filename() == "bad.yaml");
  CHECK(bad[0].line == 2);
  CHECK(GraphFile::load(dir / "none.yaml").error().code() == ErrorCode::not_found);
}

TEST_CASE("graph files: each node type of the library has a schema that compiles", "[graphs]") {
  const auto registry = NodeRegistry::library();
  CHECK(registry.names() == std::vector<std::string>{"set", "replace", "map", "interrupt", "approval", "fail"});
  NodeRegistry mine = NodeRegistry::library();
  CHECK(mine.add({"set", "", Json(), registry.find("set")->make, nullptr}).error().code() == ErrorCode::conflict);
  CHECK(mine.add({"bad", "", Json{{"pattern", "x"}}, registry.find("set")->make, nullptr}).error().code() == ErrorCode::unsupported);
  CHECK(mine.add({"mine", "of my own",
                  *parse_json(R"({"type":"object","required":["to"],"properties":{"to":{"type":"string"}},"additionalProperties":false})"),
                  registry.find("set")->make, nullptr}));
  const auto schema = JsonSchema::compile(graph_file_schema(mine));
  REQUIRE(schema);
  const auto graph = [](const char* node) { return *parse_json(std::string(R"({"state":{},"nodes":{"a":)") + node + R"(},"edges":[]})"); };
  CHECK(schema->check(graph(R"({"type":"mine","with":{"to":"x"}})")));
  CHECK(schema->check(graph(R"({"type":"mine","with":{"t":"x"}})")).error().key() == "/nodes/a/with/to");
  CHECK_FALSE(schema->check(graph(R"({"type":"mine"})")));
  CHECK_FALSE(schema->check(graph(R"({"type":"yours"})")));
  CHECK_FALSE(schema->check(graph(R"({"type":"set","graph":"x","with":{"x":1}})")));
}

TEST_CASE("graph files: those of the repository fit the schema and are right", "[graphs]") {
  const auto registry = NodeRegistry::library();
  int seen = 0;
  const auto check = [&](const std::string& text, const std::string& name) {
    INFO(name << "\n" << text);
    const auto file = GraphFile::parse(text, name);
    const Json written_out = file.to_json();
    for (const auto& node : written_out["nodes"]) {
      if (node.contains("type") && !registry.find(node["type"].get<std::string>())) return;   // the program's: tests/cli has them
    }
    detail::SourceFile written(name, text);
    REQUIRE(written.parse());
    const auto fits = file_schema().check(written.root().to_json());  // as written: with its short forms
    CHECK(file_schema().check(file.to_json()));
    INFO((fits ? "" : fits.error().describe()));
    CHECK(fits);
    CHECK(problems(file.validate_parts(registry)) == "");
    ++seen;
  };
  for (const auto& entry : std::filesystem::recursive_directory_iterator(test::source_dir() / "examples")) {
    if (entry.path().extension() == ".yaml" || entry.path().extension() == ".yml")
      check(test::read_file(entry.path()), entry.path().string());
  }
  for (const auto& graph : graphs_of(test::read_file(test::source_dir() / "docs" / "graph-format.md"))) check(graph, "graph-format.md");
  CHECK(seen >= 4);
}
