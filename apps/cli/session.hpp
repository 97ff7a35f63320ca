// Session: one run of the program: output, errors, progress, interruption, the runtime.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/progress.hpp"
#include "corvid/base/result.hpp"

namespace corvid {
class Runtime;
}

namespace corvid::cli {

class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool json = false;      ///< --json
  bool verbose = false;   ///< --verbose: the library's log on stderr

  /// Cancelled by Ctrl-C and SIGTERM; a second Ctrl-C ends the process at once.
  CancellationToken cancellation() const;
  bool interrupted() const;

  /// Made on first use. `threads` 0 takes the cores of this process.
  Runtime& runtime(std::int64_t threads = 0);

  /// Data, on stdout, flushed. Errors: io when stdout is closed or full.
  Status write(std::string_view bytes);
  Status write_line(std::string_view text);
  Status write_json(const Json& value);   ///< one line
  /// A remark for people, on stderr.
  void note(std::string_view text);
  /// A bar on stderr when that is a terminal, else a sink that draws nothing.
  ProgressSink progress();
  void end_progress();    ///< removes an unfinished bar
  bool stdout_is_terminal() const;
  std::string bold(std::string_view text) const;   ///< unless NO_COLOR is set or stdout is no terminal

 private:
  struct Interruption;
  std::unique_ptr<Interruption> interruption_;
  std::unique_ptr<Runtime> runtime_;
  std::atomic<bool> drawn_ = false;
};

/// 0 done, 1 failed, 2 usage, 3 bad or damaged input, 4 not found, 5 unsupported, 130 interrupted.
int exit_code(ErrorCode code) noexcept;
/// `corvid: error: …` on stderr and, with --json, {"error":{code,message,file,offset,key}} after it.
void print_error(const Error& error, bool json);

/// All of standard input, or of a file, verbatim.
Result<std::string> read_stdin();
Result<std::string> read_bytes(const std::string& path);

}  // namespace corvid::cli
