// A person approves before something happens that cannot be taken back. The question waits in a file: any process may bring the answer.
//
//   24_approval letters.db Ana                      asks, and ends
//   24_approval letters.db Ana approve|edit|reject  answers, and goes on
#include <corvid/graphs/approvals.hpp>
#include <corvid/graphs/savers.hpp>
#include <corvid/graphs/state_graph.hpp>
#include <corvid/runtime/runtime.hpp>
#include <corvid/storage/workspace.hpp>
#include <cstdio>
#include <string>

namespace {

using namespace corvid;

struct Letter {
  Key<std::string> to{"to"}, text{"text"}, sent{"sent"};
};
using State = StateOf<Letter>;

Result<NodeResult> ask(const State& s, NodeContext& context) {
  InterruptOptions options;
  options.kind = "approval";
  options.response_schema = {{"type", "string"}};  // of an edited text; another value is refused, and the question stays open
  CORVID_TRY(const Json answer, context.interrupt_decision({{"to", s[&Letter::to]}, {"text", s[&Letter::text]}}, options));
  if (answer["decision"] == "reject") return NodeResult().go_to(END);
  const auto text = answer["decision"] == "edit" ? answer["value"].get<std::string>() : s[&Letter::text];
  return command(update(&Letter::text, text), "send");
}

Update<Letter> send(const State& s) {
  std::printf("(a letter goes to %s)\n", s[&Letter::to].c_str());
  return update(&Letter::sent, s[&Letter::text]);
}

Status run(const char* file, const char* to, const char* decision) {
  Runtime runtime;
  StateGraph<Letter> graph;
  graph.add_node("write", [](const State& s) { return update(&Letter::text, "Dear " + s[&Letter::to] + ", the harbour closes at six."); });
  graph.add_node("ask", ask, {.destinations = {"send"}});
  graph.add_node("send", send, {.effect = SideEffect::at_most_once});  // after a crash in the middle a person says what became of it
  graph.add_edge(START, "write").add_edge("write", "ask").add_edge("send", END);

  CORVID_TRY(auto workspace, Workspace::open(file));
  CORVID_TRY(auto store, open_sqlite_store(workspace));
  CompileOptions options;
  options.checkpointer = store.saver;
  CORVID_TRY(auto compiled, graph.compile(options));
  RunConfig config;
  config.thread_id = to;
  Input next = input(update(&Letter::to, to));
  if (decision) {
    CORVID_TRY(const auto open, open_interrupts(*store.saver, to));
    if (open.empty()) return fail(Error::not_found("nothing waits for an answer"));
    AnswerRequest answer{*decision_from_string(decision), nullptr, "bo"};
    if (answer.decision == Decision::edit) answer.value = "Dear " + std::string(to) + ", the harbour closes at seven.";
    CORVID_TRY_STATUS(answer_interrupt(*store.saver, open[0].id, answer));
    next = Continue{};
  }
  CORVID_TRY(const auto result, compiled->invoke_blocking(runtime, std::move(next), config));
  if (result.status == RunStatus::interrupted)
    std::printf("waits: %s\n", dump_json(result.interrupts[0].value).c_str());
  else
    std::printf("%s%s\n", result.get(&Letter::sent).empty() ? "not sent" : "sent: ", result.get(&Letter::sent).c_str());
  return {};
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s FILE.db NAME [approve|edit|reject]\n", argv[0]), 2;
  if (auto status = run(argv[1], argv[2], argc > 3 ? argv[3] : nullptr); !status)
    return std::fprintf(stderr, "%s\n", status.error().describe().c_str()), 1;
}
