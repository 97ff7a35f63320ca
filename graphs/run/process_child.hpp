// ProcessChild: a program that runs, watched from a strand of the runtime's executor without holding a thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "graphs/run/process_output.hpp"
#include "graphs/run/process_spawn.hpp"

namespace corvid::graphs {

/// How the program's end is noticed; the second where the kernel or a sandbox has no pidfd.
enum class WatchBy { pidfd, thread };

/// All members on the strand, but for abandon(). Handlers hold the object; run() ends when the program and its pipes have.
class ProcessChild : public std::enable_shared_from_this<ProcessChild> {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  using Clock = std::chrono::steady_clock;

  ProcessChild(boost::asio::io_context& io, ProcessRequest request, WatchBy watch);

  const Strand& strand() const noexcept { return strand_; }
  /// Starts the program and waits for its end; `deadline` ends it with deadline_exceeded.
  boost::asio::awaitable<void> run(std::optional<Clock::time_point> deadline);
  /// Ends it with this error; gently: TERM, and KILL after the grace. The first error counts.
  void stop(Error why, bool gently);
  /// Nobody waits any more, and the executor may be gone: kills and reaps now. Where run() has ended it does nothing.
  void abandon() noexcept;

  /// After run(). Errors as run_process.
  Result<ProcessResult> result();
  /// After run(), for the log.
  std::string last_words() const { return errors_.last_words(); }

 private:
  void work(std::function<void()> job, void (ProcessChild::*then)());
  void join();
  void started();
  void write_input();
  void wait_for_input();
  void read(boost::asio::posix::stream_descriptor& from, bool output);
  void closed(boost::asio::posix::stream_descriptor& pipe);
  void take(std::string_view bytes, bool output);
  void watch_exit();
  void exited();
  void kill_group(int signal) noexcept;
  void after_grace(std::chrono::milliseconds grace);
  void look();
  void close();
  void ended();
  void parsed();

  const ProcessRequest request_;
  const WatchBy watch_;
  const Clock::time_point begun_ = Clock::now();
  Strand strand_;
  boost::asio::posix::stream_descriptor input_, output_, error_output_, exit_;
  boost::asio::steady_timer deadline_, grace_, done_;

  Result<Spawned> spawned_{tl::unexpect, Error::internal("not started")};
  std::string text_;  // the input, as text
  std::size_t written_ = 0;
  OutputReader reader_;
  Tail errors_;
  std::optional<Error> why_;  // it is to end with
  Result<Json> value_{Json()};
  int status_ = 0;  // as of waitpid
  bool running_ = false, exited_ = false, killed_ = false, given_up_ = false, finished_ = false;

  std::thread worker_;  // starts the program, may wait for it, parses large values: one after another
  std::mutex mutex_;    // the worker's last step against abandon()
  bool abandoned_ = false;
  pid_t pid_ = -1;  // not reaped yet
};

Task<ProcessResult> run_process(Runtime& runtime, ProcessRequest request, CancellationToken token, WatchBy watch);

}  // namespace corvid::graphs
