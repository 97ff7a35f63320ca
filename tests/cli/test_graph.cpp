// corvid graph and corvid approvals as a script meets them: names, keys and exit codes as documented in docs/commands.md.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "cli/run_program.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/json_schema.hpp"
#include "graphs/file/yaml_tree.hpp"
#include "support/catch.hpp"
#include "support/postgres_server.hpp"

using namespace corvid;
using namespace corvid::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

using Words = std::vector<std::string>;
using Keys = std::set<std::string>;

Keys keys(const Json& object) {
  Keys names;
  for (const auto& [key, value] : object.items()) names.insert(key);
  return names;
}

Json json_of(const Outcome& outcome, int code = 0) {
  INFO(outcome.out << outcome.err);
  REQUIRE(outcome.code == code);
  auto parsed = parse_json(outcome.out);
  REQUIRE(parsed);
  return *parsed;
}

std::vector<Json> lines_of(const Outcome& outcome) {
  std::vector<Json> out;
  for (std::size_t at = 0; at < outcome.out.size();) {
    const auto end = outcome.out.find('\n', at);
    REQUIRE(end != std::string::npos);
    auto parsed = parse_json(outcome.out.substr(at, end - at));
    REQUIRE(parsed);
    out.push_back(std::move(*parsed));
    at = end + 1;
  }
  return out;
}

std::string error_code(const Outcome& outcome) {
  const auto at = outcome.err.find("{\"error\"");
  REQUIRE(at != std::string::npos);
  const auto parsed = parse_json(outcome.err.substr(at));
  REQUIRE(parsed);
  return (*parsed)["error"]["code"];
}

// A folder with the graphs of these tests.
struct Folder {
  TempDir dir;
  Folder() {
    fs::copy(source_dir() / "examples" / "graphs", dir.path(), fs::copy_options::recursive);
    write_file(dir / "questions.yaml", R"(
state: {a: integer, b: string, log: {type: list, reducer: append, default: []}}
nodes:
  first: {type: set, with: {log: first}}
  count: {type: interrupt, with: {value: "how many?", into: a, response_schema: {type: integer, minimum: 1}}}
  name: {type: interrupt, with: {value: {question: "what name?"}, into: b, response_schema: {type: string}}}
  last: {type: set, with: {log: "{{ state.a }} {{ state.b }}"}}
edges: ["START -> first -> count, name", "count + name -> last -> END"]
)");
    // The program waits for the file "go", at most a minute, and notes each start.
    write_file(dir / "nap.sh", "cat > /dev/null\necho $$ >> starts\ni=0\nwhile [ ! -e go ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done\necho '{\"update\": {\"log\": [\"napped\"]}}'\n");
    write_file(dir / "nap.yaml", nap("pure"));
    write_file(dir / "once.yaml", nap("at_most_once"));
  }
  static std::string nap(const std::string& effect) {
    return "state: {log: {type: list, reducer: append, default: []}}\nnodes:\n  first: {type: set, with: {log: first}}\n"
           "  nap: {type: exec, effect: " + effect + ", with: {command: [sh, nap.sh], grace: 1}}\n  last: {type: set, with: {log: last}}\nedges: [START -> first -> nap -> last -> END]\n";
  }
  Outcome operator()(const Words& words, std::string_view input = {}) const { return run(dir, words, input); }
  Json json(Words words, int code = 0) const {
    words.push_back("--json");
    return json_of(run(dir, words), code);
  }
  // The pids that nap.sh has noted, once there are so many.
  std::vector<pid_t> starts(std::size_t wanted) const {
    for (int i = 0; i < 600; ++i) {
      std::vector<pid_t> pids;
      std::ifstream in(dir / "starts");
      for (pid_t pid = 0; in >> pid;) pids.push_back(pid);
      if (pids.size() >= wanted) return pids;
      std::this_thread::sleep_for(100ms);
    }
    FAIL("the program was not started");
    return {};
  }
};

bool alive(pid_t pid) { return ::kill(pid, 0) == 0; }

}  // namespace

TEST_CASE("graph: validate, diagram and schema") {
  Folder here;
  CHECK(here.json({"graph", "validate", "chain.yaml"}) == Json{{"ok", true}, {"errors", Json::array()}});
  write_file(here.dir / "bad.yaml", "state: {x: integr}\nnodes:\n  a: {type: sett, with: {x: 1}}\nedges: [START -> b]\n");
  const auto bad = here({"graph", "validate", "bad.yaml", "--json"});
  CHECK(bad.code == 3);
  const auto found = *parse_json(bad.out);
  CHECK(keys(found) == Keys{"ok", "errors"});
  CHECK(found["ok"] == false);
  REQUIRE(found["errors"].size() >= 2);
  for (const auto& error : found["errors"]) CHECK(keys(error) == Keys{"line", "column", "message"});
  CHECK(found["errors"][0]["line"] == 1);
  CHECK(found["errors"][0]["column"] == 12);
  const auto text = here({"graph", "validate", "bad.yaml"});
  CHECK(contains(text.out, "bad.yaml:1:12: "));
  CHECK(here({"graph", "validate", "absent.yaml"}).code == 4);
  CHECK(here({"graph", "validate"}).code == 2);
  CHECK(here({"graph", "dance"}).code == 2);
  CHECK(here({"graph", "state"}).code == 2);
  const auto diagram = here({"graph", "diagram", "branch.yaml"});
  CHECK(diagram.code == 0);
  CHECK(diagram.out.rfind("flowchart", 0) == 0);
  CHECK(contains(diagram.out, "billing"));
}

TEST_CASE("graph: every graph file of the repository is valid, and fits the schema that the program prints") {
  TempDir dir;
  const auto schema = JsonSchema::compile(json_of(run(dir, {"graph", "schema", "--json"})));
  REQUIRE(schema);
  int seen = 0;
  const auto check = [&](const std::string& name, const std::string& text) {
    INFO(name);
    write_file(dir / "g.yaml", text);
    const auto outcome = run(dir, {"graph", "validate", "g.yaml"});
    CHECK(outcome.out == "g.yaml is fine\n");
    detail::SourceFile written(name, text);
    REQUIRE(written.parse());
    const auto fits = schema->check(written.root().to_json());
    INFO((fits ? "" : fits.error().describe()));
    CHECK(fits);
    ++seen;
  };
  for (const auto& entry : fs::recursive_directory_iterator(source_dir() / "examples")) {
    if (entry.path().extension() == ".yaml") check(entry.path().filename(), read_file(entry.path()));
  }
  for (const auto& entry : fs::directory_iterator(source_dir() / "docs")) {
    const auto text = read_file(entry.path());
    for (std::size_t at = 0; (at = text.find("```yaml\n", at)) != std::string::npos;) {
      at += 8;
      const auto block = text.substr(at, text.find("\n```", at) + 1 - at);
      if (contains(block, "nodes:") && contains(block, "edges:")) check(entry.path().filename().string(), block);   // others are parts of graphs
    }
  }
  CHECK(seen >= 6);
}

TEST_CASE("graph: run ends done, interrupted or failed; streams come before the result") {
  Folder here;
  const auto done = here.json({"graph", "run", "chain.yaml", "--thread", "t", "--input", R"({"topic": "boats"})"});
  CHECK(keys(done) == Keys{"status", "state", "steps", "interrupts"});
  CHECK(done["status"] == "done");
  CHECK(done["state"]["words"] == 8);
  CHECK(done["steps"] == 3);
  CHECK(done["interrupts"].empty());
  CHECK(json_of(here({"graph", "run", "chain.yaml", "--input", "-", "--json"}, R"({"topic": "boats"})"))["state"]["words"] == 8);   // keeps nothing
  const auto asks = here.json({"graph", "run", "questions.yaml", "--thread", "q"});
  CHECK(asks["status"] == "interrupted");
  REQUIRE(asks["interrupts"].size() == 2);
  CHECK(contains(here({"graph", "run", "questions.yaml"}).err, "without --thread"));
  for (const auto& each : asks["interrupts"]) CHECK(keys(each) == Keys{"id", "node", "value", "response_schema"});
  CHECK(contains(here({"graph", "run", "questions.yaml", "--thread", "r"}).err, "--answer"));
  CHECK(contains(here({"graph", "run", "approval.yaml", "--thread", "a", "--workspace", "a.db"}).err, "--by NAME --workspace a.db"));
  write_file(here.dir / "fails.yaml", "state: {x: integer}\nnodes:\n  a: {type: set, with: {x: 1}}\n  b: {type: fail, with: {message: no luck, code: network}}\nedges: [START -> a -> b]\n");
  const auto failed = here({"graph", "run", "fails.yaml", "--thread", "f", "--json"});
  CHECK(failed.code == 1);
  CHECK(error_code(failed) == "network");
  const auto said = *parse_json(failed.out);
  CHECK(said["status"] == "failed");
  CHECK(said["state"]["x"] == 1);
  CHECK(said["interrupts"].empty());
  CHECK(said["error"]["node"] == "b");
  CHECK(contains(here({"graph", "run", "fails.yaml"}).err, "no luck"));
  // Usage: no object, no JSON, an unknown key.
  CHECK(here({"graph", "run", "chain.yaml", "--input", "[1]"}).code == 3);
  CHECK(here({"graph", "run", "chain.yaml", "--input", "{"}).code == 3);
  CHECK(here({"graph", "run", "chain.yaml", "--input", R"({"topi": 1})"}).code == 2);
  CHECK(here({"graph", "run", "chain.yaml", "--stream", "all"}).code == 2);
  for (const std::string mode : {"values", "updates", "messages", "custom", "checkpoints", "tasks", "debug"}) {
    INFO(mode);
    const auto lines = lines_of(here({"graph", "run", "chain.yaml", "--thread", "s-" + mode, "--stream", mode, "--json", "--input", R"({"topic": "x"})"}));
    REQUIRE_FALSE(lines.empty());
    CHECK(lines.back()["status"] == "done");
    CHECK((lines.size() > 1) == (mode != "messages" && mode != "custom"));
    for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
      CHECK(keys(lines[i]) == Keys{"mode", "ns", "step", "node", "at_us", "data"});
      CHECK(lines[i]["mode"] == mode);
    }
  }
}

TEST_CASE("graph: answers come in any order and from any process; one that does not fit leaves its question open") {
  Folder here;
  const auto asked = here.json({"graph", "run", "questions.yaml", "--thread", "t"})["interrupts"];
  std::map<std::string, std::string> id;
  for (const auto& each : asked) id[each["node"]] = each["id"];
  const auto wrong = here({"graph", "resume", "questions.yaml", "--thread", "t", "--answer", id["count"] + "=\"many\"", "--json"});
  CHECK(wrong.code == 3);
  CHECK(error_code(wrong) == "bad_input");
  CHECK((*parse_json(wrong.out))["interrupts"].size() == 2);
  CHECK(here({"graph", "resume", "questions.yaml", "--thread", "t", "--answer", id["count"] + "=many"}).code == 3);
  CHECK(here({"graph", "resume", "questions.yaml", "--thread", "t", "--answer", "many"}).code == 2);
  CHECK(here({"graph", "resume", "questions.yaml", "--thread", "t", "--answer", "nobody=1"}).code == 4);
  CHECK(here({"approvals", "approve", id["count"], "--by", "ana"}).code == 3);   // yes is no number
  CHECK(here.json({"approvals", "list"}).size() == 2);
  const auto none = here.json({"graph", "resume", "questions.yaml", "--thread", "t"});
  CHECK(none["status"] == "interrupted");
  // The later question first.
  const auto one = here.json({"graph", "resume", "questions.yaml", "--thread", "t", "--answer", id["name"] + "=\"Heron\"", "--by", "ana"});
  CHECK(one["status"] == "interrupted");
  REQUIRE(one["interrupts"].size() == 1);
  CHECK(one["interrupts"][0]["id"] == id["count"]);
  CHECK(here({"approvals", "respond", "--thread", "t", "--by", "ana"}).code == 2);   // to say what?
  const auto rest = here.json({"graph", "resume", "questions.yaml", "--thread", "t", "--answer", id["count"] + "=3"});
  CHECK(rest["status"] == "done");
  CHECK(rest["state"]["log"] == Json{"first", "3 Heron"});
  // Both at once, in the other order.
  const auto again = here.json({"graph", "run", "questions.yaml", "--thread", "u"})["interrupts"];
  for (const auto& each : again) id[each["node"]] = each["id"];
  const auto both = here.json({"graph", "resume", "questions.yaml", "--thread", "u", "--answer", id["name"] + "=\"a=b\"", "--answer", id["count"] + "=7"});
  CHECK(both["state"]["log"] == Json{"first", "7 a=b"});
}

TEST_CASE("graph: state, history, and forks that go on") {
  Folder here;
  here.json({"graph", "run", "questions.yaml", "--thread", "t"});
  const auto state = here.json({"graph", "state", "--thread", "t"});
  CHECK(keys(state) == Keys{"values", "next", "checkpoint_id", "step", "interrupts"});
  CHECK(state["values"]["log"] == Json{"first"});
  CHECK(state["next"] == Json{"count", "name"});
  CHECK(state["step"] == 1);
  const auto history = here.json({"graph", "history", "--thread", "t"});
  REQUIRE(history.size() == 2);
  CHECK(history[0]["checkpoint_id"] == state["checkpoint_id"]);
  CHECK(history[1]["next"] == Json{"first"});
  for (const auto& each : history) CHECK(keys(each) == Keys{"values", "next", "checkpoint_id", "step", "source", "parent", "created_at"});
  CHECK(here.json({"graph", "history", "--thread", "t", "--limit", "1"}).size() == 1);
  const std::string first = history[1]["checkpoint_id"];
  CHECK(here.json({"graph", "state", "--thread", "t", "--checkpoint", first})["values"]["log"].empty());
  const auto fork = here.json({"graph", "fork", "--thread", "t", "--checkpoint", first, "--to", "t2"});
  CHECK(keys(fork) == Keys{"thread", "checkpoint_id"});
  CHECK(here({"graph", "fork", "--thread", "t", "--checkpoint", first, "--to", "t2", "--json"}).code == 1);   // it exists
  const auto on = here.json({"graph", "resume", "questions.yaml", "--thread", "t2"});
  CHECK(on["status"] == "interrupted");
  CHECK(on["state"]["log"] == Json{"first"});
  CHECK(here.json({"approvals", "list", "--thread", "t2"}).size() == 2);
  CHECK(here.json({"approvals", "list"}).size() == 4);
  CHECK(here({"graph", "state", "--thread", "nobody"}).code == 4);
  CHECK(here({"graph", "state", "--thread", "t", "--workspace", "absent.db"}).code == 4);
}

TEST_CASE("approvals: approve, edit, reject and respond, by whom, and the audit log") {
  Folder here;
  const auto id_of = [&](const std::string& thread) { return here.json({"approvals", "list", "--thread", thread})[0]["id"].get<std::string>(); };
  for (const std::string thread : {"yes", "no", "edit", "ask"}) here.json({"graph", "run", "approval.yaml", "--thread", thread, "--input", R"({"to": "Ana"})"});
  const auto list = here.json({"approvals", "list"});
  REQUIRE(list.size() == 4);
  for (const auto& each : list) CHECK(keys(each) == Keys{"id", "thread", "node", "value", "response_schema", "asked_at", "expires_at"});
  CHECK(list[0]["expires_at"].is_string());
  CHECK(here({"approvals", "approve", id_of("yes"), "--json"}).code == 2);   // by whom?
  CHECK(here({"approvals", "edit", id_of("edit"), "--by", "bo"}).code == 2);   // to what?
  CHECK(here({"approvals", "approve", "nobody", "--by", "bo"}).code == 4);
  const auto yes = id_of("yes");
  CHECK(here.json({"approvals", "approve", yes, "--by", "bo"}) == Json{{"id", yes}, {"decision", "approve"}, {"by", "bo"}});
  CHECK(here({"approvals", "approve", yes, "--by", "cy"}).code != 0);   // once
  CHECK(here({"approvals", "approve", "--thread", "nobody", "--by", "bo"}).code == 4);
  CHECK(here.json({"approvals", "reject", "--thread", "no", "--by", "bo"})["decision"] == "reject");   // its only question
  here.json({"approvals", "edit", id_of("edit"), R"({"text": "Dear Ana"})", "--by", "bo"});
  here.json({"approvals", "respond", id_of("ask"), "\"who is Ana?\"", "--by", "bo"});
  const auto go = [&](const std::string& thread) { return here.json({"graph", "resume", "approval.yaml", "--thread", thread}); };
  const auto sent = go("yes");
  CHECK(sent["status"] == "done");
  CHECK(sent["state"]["verdict"] == "approve");
  CHECK(sent["state"]["approver"] == "bo");
  CHECK(sent["state"]["sent"].size() == 1);
  CHECK(go("edit")["state"]["sent"].size() == 1);
  CHECK(go("no")["state"]["sent"].empty());
  CHECK(go("ask")["status"] == "interrupted");   // written anew, asked anew
  const auto audit = here.json({"approvals", "audit"});
  REQUIRE(audit.size() == 4);
  CHECK(keys(audit[0]) == Keys{"seq", "at", "by", "action", "id", "hash"});
  CHECK(audit[0]["id"] == yes);
  CHECK(audit[3]["action"] == "respond");
}

TEST_CASE("graph: with a key nothing is stored in plain text, and another key is refused") {
  Folder here;
  const auto key = [&](const char* name, char digit) {
    write_file(here.dir / name, std::string(64, digit));
    fs::permissions(here.dir / name, fs::perms::owner_read | fs::perms::owner_write);
  };
  key("key", 'a');
  key("other", 'b');
  here.json({"graph", "run", "approval.yaml", "--thread", "t", "--input", R"({"to": "Persephone"})", "--encryption-key", "key"});
  for (const auto& entry : fs::directory_iterator(here.dir.path())) {
    if (entry.path().filename().string().rfind("corvid.db", 0) != 0) continue;
    const auto bytes = read_file(entry.path());
    CHECK_FALSE(contains(bytes, "Persephone"));
    CHECK_FALSE(contains(bytes, "harbour closes"));
  }
  const auto wrong = here({"graph", "state", "--thread", "t", "--encryption-key", "other", "--json"});
  CHECK(wrong.code == 3);
  CHECK(error_code(wrong) == "bad_input");
  const auto none = here({"graph", "state", "--thread", "t", "--json"});
  CHECK(none.code == 3);
  CHECK(contains(none.err, "encrypted"));
  CHECK(here({"graph", "state", "--thread", "t", "--encryption-key", "absent"}).code == 4);
  const auto list = here.json({"approvals", "list", "--encryption-key", "key"});
  REQUIRE(list.size() == 1);
  CHECK(list[0]["value"]["to"] == "Persephone");
  here.json({"approvals", "approve", list[0]["id"], "--by", "bo", "--encryption-key", "key"});
  CHECK(here.json({"graph", "resume", "approval.yaml", "--thread", "t", "--encryption-key", "key"})["status"] == "done");
  CHECK(here.json({"approvals", "audit", "--encryption-key", "key"}).size() == 1);
}

TEST_CASE("graph: a thread is exported, imported elsewhere and deleted") {
  Folder here;
  here.json({"graph", "run", "chain.yaml", "--thread", "t", "--input", R"({"topic": "boats"})"});
  const auto exported = here({"graph", "export", "--thread", "t"});
  REQUIRE(exported.code == 0);
  write_file(here.dir / "t.thread", exported.out);
  here.json({"graph", "import", "t.thread", "--thread", "u", "--workspace", "other.db"});
  CHECK(here.json({"graph", "state", "--thread", "u", "--workspace", "other.db"})["values"] == here.json({"graph", "state", "--thread", "t"})["values"]);
  CHECK(here.json({"graph", "history", "--thread", "u", "--workspace", "other.db"}).size() == 4);
  CHECK(here({"graph", "import", "t.thread", "--thread", "u", "--workspace", "other.db"}).code == 1);
  CHECK(here({"graph", "import", "chain.yaml", "--thread", "v"}).code == 3);
  here.json({"graph", "delete", "--thread", "t"});
  CHECK(here({"graph", "state", "--thread", "t"}).code == 4);
  CHECK(here({"graph", "delete", "--thread", "t"}).code == 4);
}

TEST_CASE("graph: two workers empty a queue together") {
  Folder here;
  constexpr int kRuns = 12;
  for (int i = 0; i < kRuns; ++i) {
    const auto queued = here.json({"graph", "enqueue", "chain.yaml", "--thread", "w" + std::to_string(i), "--input", R"({"topic": "boats"})"});
    CHECK(keys(queued) == Keys{"run_id", "thread"});
  }
  auto one = start(here.dir, {"graph", "work", ".", "--until-empty", "--json"}, {}, {}, "1");
  auto two = start(here.dir, {"graph", "work", ".", "--until-empty", "--json"}, {}, {}, "2");
  const auto a = json_of(one.wait()), b = json_of(two.wait());
  CHECK(keys(a) == Keys{"done", "interrupted", "failed", "taken_over"});
  CHECK(a["done"].get<int>() + b["done"].get<int>() == kRuns);
  for (int i = 0; i < kRuns; ++i) CHECK(here.json({"graph", "state", "--thread", "w" + std::to_string(i)})["values"]["words"] == 8);
}

TEST_CASE("graph: a deadline kills a program that sleeps, and the thread goes on") {
  Folder here;
  const auto late = here({"graph", "run", "nap.yaml", "--thread", "t", "--deadline", "3", "--json"});
  CHECK(late.code == 1);
  CHECK(error_code(late) == "deadline_exceeded");
  CHECK((*parse_json(late.out))["state"]["log"] == Json{"first"});
  for (const pid_t pid : here.starts(0)) CHECK_FALSE(alive(pid));
  CHECK(here.json({"graph", "state", "--thread", "t"})["next"] == Json{"nap"});
  write_file(here.dir / "go", "");
  CHECK(here.json({"graph", "resume", "nap.yaml", "--thread", "t"})["state"]["log"] == Json{"first", "napped", "last"});
}

TEST_CASE("graph: Ctrl-C ends a run with 130, and the thread goes on") {
  Folder here;
  auto running = start(here.dir, {"graph", "run", "nap.yaml", "--thread", "t"});
  const auto pids = here.starts(1);
  running.signal(SIGINT);
  const auto outcome = running.wait();
  INFO(outcome.err);
  CHECK(outcome.code == 130);
  CHECK_FALSE(alive(pids[0]));
  write_file(here.dir / "go", "");
  CHECK(here.json({"graph", "resume", "nap.yaml", "--thread", "t"})["state"]["log"] == Json{"first", "napped", "last"});
}

TEST_CASE("graph: what may happen once does not happen again after a kill; a person says what became of it") {
  Folder here;
  auto running = start(here.dir, {"graph", "run", "once.yaml", "--thread", "t", "--ttl", "1"});
  here.starts(1);
  running.signal(SIGKILL);
  running.wait();
  write_file(here.dir / "go", "");
  std::this_thread::sleep_for(1500ms);   // its lease
  const auto unknown = here.json({"graph", "resume", "once.yaml", "--thread", "t"});
  CHECK(unknown["status"] == "interrupted");
  REQUIRE(unknown["interrupts"].size() == 1);
  CHECK(unknown["interrupts"][0]["node"] == "nap");
  const std::string id = unknown["interrupts"][0]["id"];
  CHECK(here({"approvals", "respond", id, "\"it was sent\"", "--by", "ana"}).code == 3);
  here.json({"approvals", "respond", id, R"({"action": "result", "update": {"log": ["sent"]}})", "--by", "ana"});
  CHECK(here.json({"graph", "resume", "once.yaml", "--thread", "t"})["state"]["log"] == Json{"first", "sent", "last"});
  CHECK(here.starts(1).size() == 1);
}

TEST_CASE("graph: a node that is a Python program") {
  Folder here;
  write_file(here.dir / "score.py", "import json, sys\ntask = json.load(sys.stdin)\nprint(json.dumps({'emit': {'reading': task['node']}}), flush=True)\n"
                                    "n = len(task['state']['text'])\nprint(json.dumps({'update': {'score': n}, 'goto': 'long' if n > 3 else 'short'}))\n");
  write_file(here.dir / "score.yaml", R"(
state: {text: string, score: integer, said: string}
nodes:
  score: {type: exec, with: {command: [python3, score.py], timeout: 30s}, destinations: [long, short]}
  long: {type: set, with: {said: long}}
  short: {type: set, with: {said: short}}
edges: [START -> score, long -> END, short -> END]
)");
  const auto lines = lines_of(here({"graph", "run", "score.yaml", "--input", R"({"text": "a storm"})", "--stream", "custom", "--json"}));
  REQUIRE(lines.size() == 2);
  CHECK(lines[0]["data"] == Json{{"reading", "score"}});
  CHECK(lines[1]["state"]["said"] == "long");
  CHECK(lines[1]["state"]["score"] == 7);
  write_file(here.dir / "score.py", "import sys\nsys.exit('no scale here')\n");
  const auto failed = here({"graph", "run", "score.yaml", "--input", R"({"text": "a"})", "--json"});
  CHECK(failed.code == 1);
  CHECK(error_code(failed) == "rejected");
  CHECK(contains(failed.err, "no scale here"));
}

TEST_CASE("graph: the same in PostgreSQL") {
  auto server = PostgresServer::start();
  if (!server) return;
  Folder here;
  const Words where{"--postgres", server->url()};
  const auto with = [&](Words words) {
    words.insert(words.end(), where.begin(), where.end());
    return here.json(words);
  };
  CHECK(with({"graph", "run", "approval.yaml", "--thread", "t", "--input", R"({"to": "Ana"})"})["status"] == "interrupted");
  CHECK_FALSE(fs::exists(here.dir / "corvid.db"));
  const auto list = with({"approvals", "list"});
  REQUIRE(list.size() == 1);
  with({"approvals", "approve", list[0]["id"], "--by", "bo"});
  CHECK(with({"graph", "resume", "approval.yaml", "--thread", "t"})["state"]["sent"].size() == 1);
  CHECK(with({"graph", "history", "--thread", "t"}).size() >= 3);
  CHECK(with({"approvals", "audit"}).size() == 1);
  for (int i = 0; i < 6; ++i) with({"graph", "enqueue", "chain.yaml", "--thread", "w" + std::to_string(i), "--input", R"({"topic": "boats"})"});
  Words work{"graph", "work", ".", "--until-empty", "--json"};
  work.insert(work.end(), where.begin(), where.end());
  auto one = start(here.dir, work, {}, {}, "1"), two = start(here.dir, work, {}, {}, "2");
  CHECK(json_of(one.wait())["done"].get<int>() + json_of(two.wait())["done"].get<int>() == 6);
  const auto bad = here({"graph", "state", "--thread", "t", "--postgres", "no address", "--json"});
  CHECK(bad.code == 2);
}

TEST_CASE("graph: the self-correcting graph answers from the documents, streams its tokens, and stops within one") {
  if (!model("SmolLM2-135M-Instruct-Q4_1.gguf") || !model("all-MiniLM-L6-v2")) return;
  Folder here;
  fs::copy(source_dir() / "examples" / "documents", here.dir / "documents", fs::copy_options::recursive);
  here.json({"ingest", "documents"});
  const auto ask = [&](const char* question, Words more = {}) {
    Words words{"graph", "run", "self_correcting_rag.yaml", "--json", "--input", dump_json(Json{{"question", question}})};
    words.insert(words.end(), more.begin(), more.end());
    return lines_of(here(words));
  };
  const auto lines = ask("What does a mooring cost?", {"--stream", "messages", "--thread", "t"});
  REQUIRE(lines.size() > 5);
  const auto& state = lines.back()["state"];
  CHECK(contains(state["answer"].get<std::string>(), "nine euros"));
  CHECK(state["tries"] == 1);
  std::string streamed;
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) streamed += lines[i]["data"].value("text", "");
  CHECK(streamed == state["answer"]);
  const auto again = ask("Where do I pay?").back()["state"];
  CHECK(again["tries"] == 2);   // the question alone finds nothing
  CHECK(contains(again["context"].get<std::string>(), "Fees are paid at the harbour office"));
  const auto nothing = ask("Who composed the ninth symphony?").back();
  CHECK(nothing["status"] == "done");
  CHECK(nothing["state"]["tries"] == 3);
  CHECK(contains(nothing["state"]["answer"].get<std::string>(), "found nothing"));

  // A deadline in the middle of more answers than any machine gives in its time.
  Json numbers = Json::array();
  for (int i = 0; i < 500; ++i) numbers.push_back(i);
  write_file(here.dir / "long.yaml", R"(
state:
  said: {type: list, reducer: append, default: []}
  log: {type: list, reducer: append, default: []}
  numbers: {type: list, default: )" + dump_json(numbers) + R"(}
nodes:
  first: {type: set, with: {log: [first]}}
  each: {type: map, with: {over: state.numbers, to: talk}}
  talk: {type: llm, with: {prompt: "Count from {{ state.item }} to ten thousand, in words.", max_tokens: 6000, append_to: said}}
edges: [START -> first -> each, talk -> END]
)");
  const auto late = here({"graph", "run", "long.yaml", "--thread", "long", "--deadline", "4", "--stream", "messages", "--json"});
  CHECK(late.code == 1);
  CHECK(error_code(late) == "deadline_exceeded");
  const auto left = here.json({"graph", "state", "--thread", "long"});
  CHECK(left["values"]["log"] == Json{"first"});
  // Who had finished is kept, who had not has said nothing: no half answer.
  REQUIRE_FALSE(left["next"].empty());
  CHECK(left["next"][0] == "talk");
  CHECK(left["next"].size() + left["values"]["said"].size() == numbers.size());
}
