// run_process: one call of a program that reads JSON on standard input and writes JSON on standard output.
//
//   ProcessRequest request;
//   request.command = {"python3", "score.py"};
//   request.input = {{"text", text}};
//   request.timeout = 30s;
//   CORVID_CO_TRY(auto result, co_await run_process(runtime, std::move(request), token));
//   result.output["score"]
//
// The protocol (docs/exec-nodes.md). The program gets the input as one line, then the end of the file; it may leave it unread. It writes one
// JSON value, over as many lines as it likes, and exits with 0. Before that value it may write lines {"emit": VALUE} and
// {"heartbeat": true}, which are handed on as they come. What it writes on standard error goes into the log, and into the error if it fails.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/task.hpp"

namespace corvid {

class Runtime;

struct ProcessRequest {
  std::vector<std::string> command;              ///< the program and its arguments, no shell; looked up in the child's PATH where it has no '/'
  std::filesystem::path folder;                  ///< where it runs, and from where a relative program with a '/' is found; empty: ours
  /// Beside PATH, HOME, LANG, TZ and TMPDIR, which are inherited where they are set, and in place of them; nothing else is inherited.
  std::vector<std::pair<std::string, std::string>> environment;
  Json input;
  std::size_t max_output_bytes = std::size_t{16} << 20;   ///< of the value, and of one line before it
  std::chrono::milliseconds timeout{0};          ///< from the call; 0: none but the token's deadline
  std::chrono::milliseconds grace{2'000};        ///< between TERM and KILL
  /// For lines before the value. On the runtime's executor, in order; must not block. An exception ends the program.
  std::function<void(Json)> on_emit;
  std::function<void()> on_heartbeat;
};

struct ProcessResult {
  Json output;
  std::string errors;                            ///< the last 64 KiB of standard error, as bytes
  std::chrono::milliseconds elapsed{0};
};

/// Runs the program in a process group of its own and waits for it without holding a thread. A cancel or the timeout sends TERM to the group,
/// and KILL after the grace. When the program itself has exited, what it left running in its group may go on writing for the length of
/// the grace and is then killed: nothing in the group outlives the call, nor the runtime. Signals that this process ignores or blocks are at
/// their defaults in the program, and it has no descriptors but the three.
/// Errors: invalid_argument (command, environment), not_found (program, folder), io (it could not be started), rejected (another exit code
/// than 0, or ended by a signal: the message has which, and the last words of standard error), bad_input (its output is not one JSON
/// value; the offset is into standard output), limit_exceeded (output; the group is killed at once), cancelled, deadline_exceeded, internal (on_emit threw).
Task<ProcessResult> run_process(Runtime& runtime, ProcessRequest request, CancellationToken token);

}  // namespace corvid
