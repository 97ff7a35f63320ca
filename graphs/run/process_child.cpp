#include "graphs/run/process_child.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>

namespace corvid::graphs {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr std::size_t kErrorBytes = std::size_t{64} << 10;
constexpr std::size_t kParsedInPlace = std::size_t{128} << 10;  // about a millisecond of the executor's time
constexpr auto kAfterKill = 5s;                                 // then the kernel holds it, in a dead file system say

int pidfd(pid_t pid) {
#ifdef SYS_pidfd_open
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
#else
  (void)pid;
  errno = ENOSYS;
  return -1;
#endif
}

// write() to a pipe that nobody reads sends SIGPIPE, which would end a host that does not ignore it.
ssize_t write_quietly(int fd, std::string_view bytes) {
  sigset_t pipe, before, pending;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  const ssize_t written = ::write(fd, bytes.data(), bytes.size());
  const int error = errno;
  if (written < 0 && error == EPIPE && !was_pending) {
    const timespec at_once{0, 0};
    while (sigtimedwait(&pipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

// For the worker, where nobody else would catch it.
template <class F>
auto caught(F f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return fail(Error::out_of_memory("there is no memory for the program's input or output"));
  } catch (const std::exception& thrown) {
    return fail(Error::internal(std::string("the program could not be started or read: ") + thrown.what()));
  }
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name ? std::string("SIG") + name : "signal " + std::to_string(number);
}

}  // namespace

ProcessChild::ProcessChild(asio::io_context& io, ProcessRequest request, WatchBy watch)
    : request_(std::move(request)),
      watch_(watch),
      strand_(io.get_executor()),
      input_(strand_),
      output_(strand_),
      error_output_(strand_),
      exit_(strand_),
      deadline_(strand_),
      grace_(strand_),
      done_(strand_),
      reader_(request_.max_output_bytes, request_.on_emit, request_.on_heartbeat),
      errors_(kErrorBytes) {}

asio::awaitable<void> ProcessChild::run(std::optional<Clock::time_point> deadline) {
  if (deadline) {
    deadline_.expires_at(*deadline);
    deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& failed) {
      if (!failed)
        self->stop(Error::deadline_exceeded("the program '" + self->request_.command.front() + "' did not end in its time"), true);
    });
  }
  auto start = [this] {
    auto spawned = caught([this]() -> Result<Spawned> {
      text_ = dump_json(request_.input) + "\n";
      return spawn(request_);
    });
    std::lock_guard lock(mutex_);
    spawned_ = std::move(spawned);
    if (spawned_) pid_ = spawned_->pid;
  };
  work(std::move(start), &ProcessChild::started);
  // Woken by cancel(): the executor owns the wait, so that its own end also ends this coroutine, and with it the program.
  done_.expires_at(Clock::time_point::max());
  while (!finished_) {
    boost::system::error_code ignored;
    co_await done_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

// The thread posts its continuation only while somebody waits: afterwards there may be no executor to post to.
void ProcessChild::work(std::function<void()> job, void (ProcessChild::*then)()) {
  join();
  try {
    worker_ = std::thread([self = shared_from_this(), job = std::move(job), then]() mutable {
      job();
      job = nullptr;
      ProcessChild* const raw = self.get();
      std::lock_guard lock(raw->mutex_);
      if (raw->abandoned_) return;
      // Moved, so that the last holder is never this thread, which it would have to join.
      asio::post(raw->strand_, [self = std::move(self), then] { ((*self).*then)(); });
    });
  } catch (const std::system_error& failed) {
    why_ = Error::io(std::string("no thread could be had to start or watch the program: ") + failed.what());
    ended();
  }
}

void ProcessChild::join() {
  if (worker_.joinable()) worker_.join();
}

void ProcessChild::started() {
  join();
  if (!spawned_) {
    if (!why_) why_ = std::move(spawned_).error();
    finished_ = true;
    close();
    done_.cancel();
    return;
  }
  running_ = true;
  input_.assign(spawned_->input.release());
  output_.assign(spawned_->output.release());
  error_output_.assign(spawned_->errors.release());
  watch_exit();
  if (finished_) return;
  read(output_, true);
  read(error_output_, false);
  if (!why_) return write_input();
  const Error why = *why_;  // asked to stop before there was anything to stop
  why_.reset();
  stop(why, true);
}

void ProcessChild::write_input() {
  while (written_ < text_.size() && input_.is_open()) {
    const ssize_t n = write_quietly(input_.native_handle(), std::string_view(text_).substr(written_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return wait_for_input();
    if (n < 0) break;  // EPIPE: it does not want to read the rest
    written_ += static_cast<std::size_t>(n);
  }
  boost::system::error_code ignored;
  input_.close(ignored);
  text_ = std::string();
}

void ProcessChild::wait_for_input() {
  input_.async_wait(asio::posix::stream_descriptor::wait_write, [self = shared_from_this()](const boost::system::error_code& failed) {
    if (!failed && !self->finished_) self->write_input();
  });
}

void ProcessChild::read(asio::posix::stream_descriptor& from, bool output) {
  from.async_wait(asio::posix::stream_descriptor::wait_read,
                  [self = shared_from_this(), &from, output](const boost::system::error_code& failed) {
                    if (failed || self->finished_ || !from.is_open()) return;
                    std::array<char, std::size_t{64} << 10> bytes;
                    // A few pieces, then it is somebody else's turn on the executor.
                    for (int piece = 0; piece < 4; ++piece) {
                      const ssize_t n = ::read(from.native_handle(), bytes.data(), bytes.size());
                      if (n < 0 && errno == EINTR) continue;
                      if (n < 0 && errno == EAGAIN) break;
                      if (n <= 0) return self->closed(from);
                      self->take(std::string_view(bytes.data(), static_cast<std::size_t>(n)), output);
                      if (self->finished_) return;
                    }
                    self->read(from, output);
                  });
}

void ProcessChild::closed(asio::posix::stream_descriptor& pipe) {
  boost::system::error_code ignored;
  pipe.close(ignored);
  look();
}

void ProcessChild::take(std::string_view bytes, bool output) {
  if (!output) return errors_.add(bytes);
  if (why_) return;  // read and let go, so that it can end
  Status taken;
  try {
    taken = reader_.feed(bytes);
  } catch (const std::exception& thrown) {
    taken = fail(Error::internal(std::string("what takes the program's lines failed: ") + thrown.what()));
  }
  if (taken) return;
  const bool gently = taken.error().code() != ErrorCode::limit_exceeded;
  stop(std::move(taken).error(), gently);
}

void ProcessChild::watch_exit() {
  if (const int fd = watch_ == WatchBy::pidfd ? pidfd(pid_) : -1; fd >= 0) {
    exit_.assign(fd);
    exit_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](const boost::system::error_code& failed) {
      if (!failed && !self->finished_) self->exited();
    });
    return;
  }
  work(
      [pid = pid_] {
        siginfo_t info;
        while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
        }
      },
      &ProcessChild::exited);
}

void ProcessChild::exited() {
  if (finished_) return;
  exited_ = true;
  if (input_.is_open()) closed(input_);
  if (finished_) return;
  // What it started may still hold the pipes; after a TERM its grace is running already.
  if (!why_) after_grace(request_.grace);
  look();
}

// Its group has its number as long as it is not reaped, and so can no other.
void ProcessChild::kill_group(int signal) noexcept {
  if (pid_ > 0) ::kill(-pid_, signal);
}

void ProcessChild::stop(Error why, bool gently) {
  if (why_ || finished_) return;
  why_ = std::move(why);
  if (!running_) return;  // started() sees it
  if (input_.is_open()) closed(input_);
  if (finished_) return;
  if (gently && request_.grace > 0ms) {
    kill_group(SIGTERM);
    return after_grace(request_.grace);
  }
  after_grace(0ms);
}

void ProcessChild::after_grace(std::chrono::milliseconds grace) {
  grace_.expires_after(grace);
  grace_.async_wait([self = shared_from_this()](const boost::system::error_code& failed) {
    if (failed || self->finished_) return;
    self->kill_group(SIGKILL);
    if (self->killed_) self->given_up_ = true;
    self->killed_ = true;
    if (!self->given_up_) self->after_grace(std::chrono::duration_cast<std::chrono::milliseconds>(kAfterKill));
    self->look();
  });
}

void ProcessChild::look() {
  if (finished_) return;
  const bool silent = !output_.is_open() && !error_output_.is_open();
  if ((exited_ && (silent || killed_)) || given_up_) ended();
}

void ProcessChild::close() {
  boost::system::error_code ignored;
  for (auto* pipe : {&input_, &output_, &error_output_, &exit_}) pipe->close(ignored);
  deadline_.cancel();
  grace_.cancel();
}

void ProcessChild::ended() {
  close();
  running_ = false;
  if (pid_ > 0) {
    kill_group(SIGKILL);  // what has closed the pipes and lives on
    if (exited_) {
      if (::waitpid(pid_, &status_, 0) != pid_ && !why_)
        why_ = Error::io("the program's exit code is lost: this process reaps or ignores its children");
    } else {
      if (worker_.joinable()) worker_.detach();  // the kernel holds the program, and the thread that waits for it
      reap(pid_);
    }
    std::lock_guard lock(mutex_);
    pid_ = -1;
  }
  if (!why_) {
    try {
      reader_.end();
    } catch (const std::exception& thrown) {
      why_ = Error::internal(std::string("what takes the program's lines failed: ") + thrown.what());
    }
  }
  const auto done = [this] {
    finished_ = true;
    done_.cancel();
  };
  if (why_ || !WIFEXITED(status_) || WEXITSTATUS(status_) != 0) return done();
  if (reader_.held() <= kParsedInPlace) {
    value_ = reader_.value();
    return done();
  }
  work([this] { value_ = caught([this] { return reader_.value(); }); }, &ProcessChild::parsed);
}

void ProcessChild::parsed() {
  join();
  finished_ = true;
  done_.cancel();
}

void ProcessChild::abandon() noexcept {
  pid_t pid = -1;
  {
    std::lock_guard lock(mutex_);
    if (abandoned_) return;
    abandoned_ = true;
    pid = pid_;
  }
  if (pid > 0) ::kill(-pid, SIGKILL);
  join();  // it may just have started the program
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    reap(std::exchange(pid_, -1));
  }
}

Result<ProcessResult> ProcessChild::result() {
  const std::string said = errors_.last_words();
  const std::string also = said.empty() ? "" : "; it said: " + said;
  if (why_) {
    Error error(why_->code(), why_->message() + also);
    if (!why_->file().empty()) error = std::move(error).at_file(why_->file());
    if (!why_->key().empty()) error = std::move(error).at_key(why_->key());
    return fail(std::move(error));
  }
  const std::string name = "the program '" + request_.command.front() + "' ";
  if (WIFSIGNALED(status_)) return fail(Error::rejected(name + "was ended by " + signal_name(WTERMSIG(status_)) + also));
  if (WEXITSTATUS(status_) != 0) return fail(Error::rejected(name + "exited with " + std::to_string(WEXITSTATUS(status_)) + also));
  if (!value_) return fail(Error(value_.error().code(), value_.error().message() + also).at_offset(value_.error().offset().value_or(0)));
  ProcessResult out;
  out.output = std::move(*value_);
  out.errors = errors_.take();
  out.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun_);
  return out;
}

}  // namespace corvid::graphs
