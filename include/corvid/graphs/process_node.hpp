// process_node: a node that is a program. What is said in docs/exec-nodes.md for people who write such programs is said here for graphs.
//
//   ProcessNodeOptions score;
//   score.command = {"python3", "score.py"};
//   NodeOptions options;
//   options.effect = SideEffect::idempotent;         // what a crash in the middle means is the node's to declare
//   graph.add_node("score", process_node(score), options);
//
// The program reads {"state", "node", "task_id", "idempotency_key", "attempt", "thread_id"} and writes {"update": {channel: value, …},
// "goto": NODE or [NODE, …], "send": [{"node", "argument": {…}}, …]}, of which each may be left off.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "corvid/graphs/node.hpp"

namespace corvid {

struct ProcessNodeOptions {
  std::vector<std::string> command;              ///< as ProcessRequest's, like the rest
  std::filesystem::path folder;
  std::vector<std::pair<std::string, std::string>> environment;
  std::size_t max_output_bytes = std::size_t{16} << 20;
  std::chrono::milliseconds timeout{0};          ///< of the program, beside the node's own policy; 0: none
  std::chrono::milliseconds grace{2'000};
};

/// Lines {"emit": …} become events of mode custom and, like {"heartbeat": …}, restart the idle timeout. Where the run is traced, the program
/// finds its parent in TRACEPARENT. Model states are not sent. Errors: as run_process, and bad_input (key: what in the answer is wrong).
NodeCoroutine process_node(ProcessNodeOptions options);

/// The program's answer as a node's result, for the channels of `schema`. Errors: bad_input.
Result<NodeResult> process_node_result(Json answer, const Schema& schema);

/// The arguments of the node type `exec` in graph files, as a JSON Schema: command (required), cwd, env, timeout, grace, max_output_bytes.
Json process_node_schema();
/// Options of such arguments. `folder` is the graph file's: there the program runs, or in `cwd`, relative to it. Durations are seconds or a
/// text: "250ms", "30s", "5m". Errors: bad_input (key: JSON pointer of the argument).
Result<ProcessNodeOptions> process_node_options(const Json& arguments, const std::filesystem::path& folder = {});

}  // namespace corvid
