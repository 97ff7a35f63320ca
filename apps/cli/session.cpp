#include "apps/cli/session.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "corvid/runtime/runtime.hpp"

namespace corvid::cli {

namespace {

// A signal handler may only touch these: how often we were interrupted, and the pipe that wakes the watcher.
std::atomic<int> signals_seen{0};
std::atomic<int> wake_fd{-1};

extern "C" void on_signal(int) {
  if (signals_seen.fetch_add(1) >= 1) _exit(130);
  const int saved = errno;
  const char byte = 'i';
  [[maybe_unused]] const auto written = ::write(wake_fd.load(), &byte, 1);
  errno = saved;
}

Result<std::string> read_all(int fd, const std::string& name) {
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count == 0) return bytes;
    if (count < 0 && errno == EINTR && signals_seen.load() == 0) continue;
    if (count < 0 && errno == EINTR) return fail(Error::cancelled("interrupted"));
    if (count < 0) return fail(Error::io("cannot read: " + std::string(std::strerror(errno))).at_file(name));
    bytes.append(buffer, static_cast<std::size_t>(count));
  }
}

}  // namespace

/// Turns signals into a cancellation: the handler writes a byte, a thread reads it and cancels.
struct Session::Interruption {
  CancellationSource source;
  int pipe_fds[2] = {-1, -1};
  std::thread watcher;

  Interruption() {
    if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return;  // without a pipe the default action of the signals stays
    wake_fd = pipe_fds[1];
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);  // a closed stdout is a failed write, not a death
    watcher = std::thread([this] {
      char byte = 0;
      while (::read(pipe_fds[0], &byte, 1) < 0 && errno == EINTR) {
      }
      if (byte == 'i') source.cancel();
    });
  }

  ~Interruption() {
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    if (watcher.joinable()) {
      const char byte = 'q';
      [[maybe_unused]] const auto written = ::write(pipe_fds[1], &byte, 1);
      watcher.join();
    }
    for (const int fd : pipe_fds) {
      if (fd >= 0) ::close(fd);
    }
  }
};

Session::Session() : interruption_(std::make_unique<Interruption>()) {}
Session::~Session() = default;

CancellationToken Session::cancellation() const { return interruption_->source.token(); }
bool Session::interrupted() const { return signals_seen.load() > 0; }

Runtime& Session::runtime(std::int64_t threads) {
  if (!runtime_) {
    RuntimeOptions options;
    options.threads = static_cast<int>(threads);
    if (verbose) {
      options.log = [](LogLevel, std::string_view component, std::string_view message) {
        std::fprintf(stderr, "corvid: %.*s: %.*s\n", static_cast<int>(component.size()), component.data(), static_cast<int>(message.size()), message.data());
      };
    }
    runtime_ = std::make_unique<Runtime>(std::move(options));
  }
  return *runtime_;
}

Status Session::write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size() || std::fflush(stdout) != 0) {
    return fail(Error::io("cannot write to standard output: " + std::string(std::strerror(errno))));
  }
  return {};
}

Status Session::write_line(std::string_view text) {
  CORVID_TRY_STATUS(write(text));
  return write("\n");
}

Status Session::write_json(const Json& value) { return write_line(dump_json(value)); }

void Session::note(std::string_view text) {
  end_progress();
  std::fprintf(stderr, "corvid: %.*s\n", static_cast<int>(text.size()), text.data());
}

ProgressSink Session::progress() {
  if (::isatty(STDERR_FILENO) == 0) return {};
  return [this](const ProgressUpdate& update) {
    constexpr int kWidth = 24;
    if (update.total > 0) {
      const double part = std::min(1.0, static_cast<double>(update.done) / static_cast<double>(update.total));
      const int filled = static_cast<int>(part * kWidth);
      std::fprintf(stderr, "\r\033[K%.*s [%s%s] %3.0f%%", static_cast<int>(update.stage.size()), update.stage.data(), std::string(static_cast<std::size_t>(filled), '#').c_str(),
                   std::string(static_cast<std::size_t>(kWidth - filled), '.').c_str(), part * 100);
    } else {
      std::fprintf(stderr, "\r\033[K%.*s %llu", static_cast<int>(update.stage.size()), update.stage.data(), static_cast<unsigned long long>(update.done));
    }
    const std::string detail(update.detail.substr(0, 40));
    std::fprintf(stderr, " %s", detail.c_str());
    drawn_ = true;
    if (update.total > 0 && update.done >= update.total) end_progress();
  };
}

void Session::end_progress() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

bool Session::stdout_is_terminal() const { return ::isatty(STDOUT_FILENO) != 0; }

std::string Session::bold(std::string_view text) const {
  const char* no_color = std::getenv("NO_COLOR");
  if (!stdout_is_terminal() || (no_color && *no_color)) return std::string(text);
  return "\033[1m" + std::string(text) + "\033[0m";
}

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return 2;
    case ErrorCode::bad_input: return 3;
    case ErrorCode::not_found: return 4;
    case ErrorCode::unsupported: return 5;
    case ErrorCode::cancelled: return 130;
    default: return 1;
  }
}

void print_error(const Error& error, bool json) {
  std::fprintf(stderr, "corvid: error: %s\n", error.describe().c_str());
  if (!json) return;
  Json body = {{"code", std::string(to_string(error.code()))}, {"message", error.message()}, {"file", nullptr}, {"offset", nullptr}, {"key", nullptr}};
  if (!error.file().empty()) body["file"] = error.file();
  if (error.offset()) body["offset"] = *error.offset();
  if (!error.key().empty()) body["key"] = error.key();
  std::fprintf(stderr, "%s\n", dump_json(Json{{"error", body}}).c_str());
}

Result<std::string> read_stdin() { return read_all(STDIN_FILENO, "standard input"); }

Result<std::string> read_bytes(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return fail(Error::not_found("no such file").at_file(path));
    return fail(Error::io("cannot open: " + std::string(std::strerror(errno))).at_file(path));
  }
  auto bytes = read_all(fd, path);
  ::close(fd);
  return bytes;
}

}  // namespace corvid::cli
