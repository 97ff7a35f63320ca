// A branch with error handling: a ticket goes where its words say; a service that is down is tried again, then stood in for.
//
//   21_branch "Invoice 7 is wrong"
#include <corvid/graphs/state_graph.hpp>
#include <corvid/runtime/runtime.hpp>
#include <cstdio>
#include <string>
#include <vector>

namespace {

struct Ticket {
  corvid::Key<std::string> text{"text"};
  corvid::Key<std::vector<std::string>> log{"log", corvid::append};
};
using State = corvid::StateOf<Ticket>;

corvid::Result<corvid::NodeResult> billing(corvid::NodeContext& context) {
  std::printf("billing, attempt %d\n", context.attempt());
  return corvid::fail(corvid::Error::network("the billing service is down"));
}

corvid::Status run(const char* text) {
  corvid::Runtime runtime;
  corvid::StateGraph<Ticket> graph;
  graph.add_node("read", [](const State& s) { return corvid::update(&Ticket::log, {"read: " + s[&Ticket::text]}); });

  corvid::NodeOptions careful;
  careful.retry = corvid::RetryPolicy();
  careful.retry->max_attempts = 2;
  careful.retry->initial_interval = std::chrono::milliseconds(10);
  careful.destinations = {"support"};
  careful.error_handler = [](corvid::NodeContext&, const corvid::Error& error) -> corvid::Result<corvid::NodeResult> {
    return corvid::command(corvid::update(&Ticket::log, {"billing failed: " + std::string(error.message())}), {"support"});
  };
  graph.add_node("billing", billing, std::move(careful));
  graph.add_node("support", [](const State&) { return corvid::update(&Ticket::log, {"answered"}); });

  graph.add_edge(corvid::START, "read").add_edge("support", corvid::END);
  const auto queue = [](const State& s) { return s[&Ticket::text].find("nvoice") != std::string::npos ? "billing" : "support"; };
  graph.add_conditional_edges("read", queue, {"billing", "support"});

  CORVID_TRY(auto compiled, graph.compile());
  CORVID_TRY(auto result, compiled->invoke_blocking(runtime, corvid::input(corvid::update(&Ticket::text, text))));
  for (const auto& line : result.get(&Ticket::log)) std::printf("%s\n", line.c_str());
  return {};
}

}  // namespace

int main(int argc, char* argv[]) {
  if (auto status = run(argc > 1 ? argv[1] : "Invoice 7 is wrong"); !status) {
    std::fprintf(stderr, "%s\n", status.error().describe().c_str());
    return 1;
  }
}
