// Every graph of golden/langgraph_graphs.json does what it did in LangGraph, or is named below with the reason why not.
#include <fstream>
#include <functional>
#include <iostream>

#include "corvid/base/json.hpp"
#include "graphs/langgraph_case.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

struct Difference {
  std::string name, reason;
  std::optional<ErrorCode> refused;  // an action, or compile(), ends with it; the rest is not compared
  std::function<void(Json&)> patch;  // what LangGraph recorded, made what Corvid does
};

const std::string unknown_name = "names that are no channel or node are a typed error here, LangGraph ignores them";
const std::string limit = "the recursion limit is the number of supersteps here: as many as it end well";
const std::string unreadable = "get_state shows the state without writes that cannot be joined; in LangGraph it raises";
const std::string handler = "the streams name the node, not its handler, and show no failure of a task that was handled";

void nothing(Json&) {}

void ends_well(Json& action) {
  action["status"] = "done";
  action.erase("error");
}

// The handler's events as the node's own.
void handled(Json& recorded) {
  for (auto& action : recorded["actions"]) {
    Json events = Json::array();
    for (Json event : action["events"]) {
      Json& data = event[1];
      if (event[0] == "tasks" && data.contains("error")) continue;
      if (event[0] == "tasks" && data["name"] == "__error_handler__a") data["name"] = "a";
      if (event[0] == "updates" && data.contains("__error_handler__a")) data = {{"a", data["__error_handler__a"]}};
      events.push_back(std::move(event));
    }
    action["events"] = std::move(events);
  }
}

const std::vector<Difference>& differences() {
  static const std::vector<Difference> table{
      {"unknown_input_key", unknown_name, ErrorCode::invalid_argument, {}},
      {"unknown_update_key", unknown_name, ErrorCode::invalid_argument, {}},
      {"no_known_input", unknown_name, ErrorCode::invalid_argument, {}},
      {"send_unknown_node", unknown_name, ErrorCode::invalid_argument, {}},
      {"route_unknown_node", unknown_name, ErrorCode::invalid_argument, {}},
      {"command_goto_unknown", unknown_name, ErrorCode::invalid_argument, {}},
      {"resume_nothing_pending", "an answer to no question is a typed error here, LangGraph ignores it", ErrorCode::not_found, {}},
      {"unreachable_node", "compile() refuses a node that nothing leads to, LangGraph accepts it", ErrorCode::invalid_argument, {}},
      {"interrupt_without_checkpointer",
       "a node cannot ask without a checkpointer: nothing could be answered",
       ErrorCode::invalid_argument,
       {}},
      {"two_writes_last_value", unreadable, {}, nothing},
      {"overwrite_twice", unreadable, {}, nothing},
      {"messages_remove_unknown", unreadable, {}, nothing},
      {"interrupt_goto_command",
       "get_state shows what a finished task of a superstep that stopped has written, one that a Command started too",
       {},
       [](Json& recorded) { recorded["actions"][1]["values"] = {{"log", {"b"}}}; }},
      {"error_handler", handler, {}, handled},
      {"error_handler_after_retry", handler, {}, handled},
      {"error_handler_no_goto",
       handler + "; and a handler without targets stands in for the node: its edges fire",
       {},
       [](Json& recorded) {
         handled(recorded);
         Json& action = recorded["actions"][0];
         const Json then = {{"log", {"handled"}}}, end = {{"log", {"handled", "c"}}}, update = {{"log", {"c"}}};
         action["events"].back()[1]["next"] = {"c"};
         for (Json event : {Json{"tasks", {{"name", "c"}, {"input", then}}}, Json{"updates", {{"c", update}}},
                            Json{"tasks", {{"name", "c"}, {"result", update}}}, Json{"values", end},
                            Json{"checkpoints", {{"step", 2}, {"source", "loop"}, {"next", Json::array()}, {"values", end}}}}) {
           action["events"].push_back(std::move(event));
         }
         action.update({{"values", end}, {"step", 2}, {"supersteps", 2}});
         recorded["runs"]["c"] = 1;
         recorded["history"][0][2] = {"c"};
         recorded["history"].insert(recorded["history"].begin(), Json{2, "loop", Json::array()});
       }},
      {"loop_at_limit", limit, {}, [](Json& recorded) { ends_well(recorded["actions"][0]); }},
      {"loop_limit_second_input", limit, {}, [](Json& recorded) { ends_well(recorded["actions"][2]); }},
      {"subgraph_recursion_limit",
       limit,
       {},
       [](Json& recorded) {
         Json& action = recorded["actions"][0];
         const Json end = {{"x", 6}};
         action["events"].back() = {"updates", {{"sub", end}}};
         action["events"].push_back({"tasks", {{"name", "sub"}, {"result", end}}});
         action["events"].push_back({"values", end});
         ends_well(action);
         action.update({{"values", end}, {"next", Json::array()}, {"step", 2}, {"supersteps", 2}});
         recorded["actions"][1]["step"] = 5;
         recorded["history"] = {
             {5, "loop", {"sub"}}, {4, "input", {"a"}}, {2, "loop", Json::array()}, {1, "loop", {"sub"}}, {0, "input", {"a"}}};
       }},
  };
  return table;
}

const Difference* difference(const std::string& name) {
  for (const auto& each : differences()) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

Json goldens() {
  std::ifstream file(source_dir() / "tests/golden/langgraph_graphs.json");
  return Json::parse(file)["cases"];
}

Json sorted(Json events) {
  std::sort(events.begin(), events.end(), [](const Json& a, const Json& b) { return a.dump() < b.dump(); });
  return events;
}

// Empty where they are equal.
std::string compare(const Json& expected, const Json& got, bool events, bool ordered) {
  std::string text;
  const auto part = [&](const std::string& what, const Json& e, const Json& g) {
    if (e != g) text += "  " + what + "\n    LangGraph " + e.dump() + "\n    Corvid    " + g.dump() + "\n";
  };
  for (std::size_t i = 0; i < expected["actions"].size(); ++i) {
    const Json &e = expected["actions"][i], &g = got["actions"][i];
    const auto at = "action " + std::to_string(i) + " ";
    for (const char* key : {"status", "error", "values", "next", "interrupts", "step", "supersteps"}) {
      if (e.contains("state_error") && (std::string(key) == "values" || std::string(key) == "next")) continue;
      if (!events && !e.contains("step") && std::string(key) == "values") continue;
      part(at + key, e.value(key, Json()), g.value(key, Json()));
    }
    if (!events) continue;
    const Json ee = ordered ? e["events"] : sorted(e["events"]), ge = ordered ? g["events"] : sorted(g["events"]);
    std::size_t same = 0;
    while (same < std::min(ee.size(), ge.size()) && ee[same] == ge[same]) ++same;
    if (same == ee.size() && same == ge.size()) continue;
    text += "  " + at + "events, from " + std::to_string(same) + "\n";
    for (std::size_t j = same; j < std::max(ee.size(), ge.size()); ++j) {
      text += "    L " + (j < ee.size() ? ee[j].dump() : "-") + "\n    C " + (j < ge.size() ? ge[j].dump() : "-") + "\n";
    }
  }
  part("runs", expected["runs"], got["runs"]);
  if (expected.contains("history")) part("history", expected["history"], got["history"]);
  return text;
}

struct Pass {
  std::string name;
  NodeKind kind;
  bool streamed, sqlite;
};

std::string check(Runtime& runtime, const Json& given, const Json& expected, const Difference* known, const Pass& pass,
                  SqliteFiles& files) {
  std::shared_ptr<Checkpointer> saver;
  if (given.value("saver", true)) saver = pass.sqlite ? files.fresh().saver : make_memory_saver();
  LangGraphCase one(runtime, given, pass.kind, std::move(saver));
  const auto got = one.run(pass.streamed);
  if (known && known->refused) {
    const auto code = got ? one.first_error() : std::optional(got.error().code());
    if (code == known->refused) return {};
    return "  expected " + std::string(to_string(*known->refused)) + ", got " + (code ? std::string(to_string(*code)) : "no error") + "\n";
  }
  if (!got) return "  compile: " + got.error().describe() + "\n";
  return compare(expected, *got, pass.streamed, pass.kind != NodeKind::pool);
}

}  // namespace

TEST_CASE("graphs do what they do in LangGraph") {
  Runtime runtime;
  SqliteFiles files;
  const std::vector<Pass> passes{{"in place", NodeKind::in_place, true, false},
                                 {"in place, without a stream", NodeKind::in_place, false, false},
                                 {"coroutines, SQLite", NodeKind::coroutine, true, true},
                                 {"pool", NodeKind::pool, true, false}};
  int equal = 0, named = 0, skipped = 0;
  for (const auto& recorded : goldens()) {
    const Json given = with_roles(recorded);
    const auto name = given["name"].get<std::string>();
    const Difference* known = difference(name);
    if (known && !known->refused && !known->patch) {
      ++skipped;
      continue;
    }
    Json expected = as_corvid_records(given);
    if (known && known->patch) known->patch(expected);
    std::string problems;
    for (const auto& pass : passes) {
      if (pass.sqlite && !given.value("saver", true)) continue;
      if (pass.kind == NodeKind::pool && (!given.value("unordered_within_step", false) || given.value("serial", false))) continue;
      if (auto found = check(runtime, given, expected, known, pass, files); !found.empty()) {
        problems = pass.name + ":\n" + found;
        break;
      }
    }
    if (problems.empty()) ++(known ? named : equal);
    INFO(name << ", " << problems);
    CHECK(problems.empty());
  }
  std::cout << equal << " equal, " << named << " otherwise, " << skipped << " skipped\n";
}
