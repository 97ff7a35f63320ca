#include "retrieval/load/child_process.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string_view>

namespace corvid::retrieval {
namespace {

constexpr std::size_t kMaxErrorBytes = 4096;

struct Pipe {
  int read_end = -1, write_end = -1;
  bool open() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
    read_end = ends[0];
    write_end = ends[1];
    return true;
  }
  static void shut(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  ~Pipe() {
    shut(read_end);
    shut(write_end);
  }
};

// Kills and reaps the child however the caller leaves.
struct Child {
  pid_t pid = -1;
  int wait(bool kill_first) {
    if (pid < 0) return 0;
    if (kill_first) ::kill(pid, SIGKILL);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    pid = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + (WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  }
  ~Child() { wait(true); }
};

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

// From here on this process and what it starts make no sockets: a converter of strangers' files needs no network. False where the kernel
// has no such filters.
bool without_network() {
  const auto load = [](std::size_t offset) { return sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(offset)}; };
  const auto refuse = sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM};
  const auto unless = [](std::uint32_t number) { return sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number}; };
  sock_filter rules[] = {
      load(offsetof(seccomp_data, arch)),
      {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, kArchitecture},
      refuse,  // another architecture's calls have other numbers
      load(offsetof(seccomp_data, nr)),
      {BPF_JMP | BPF_JGE | BPF_K, 0, 1, 0x40000000u},  // x32
      refuse,
      unless(SYS_socket),
      refuse,
      unless(SYS_connect),
      refuse,
      unless(425),  // io_uring_setup: the same number on every architecture
      refuse,
      unless(SYS_ptrace),
      refuse,
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  sock_fprog program{static_cast<unsigned short>(std::size(rules)), rules};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

void limit(int resource, std::uint64_t value) {
  const struct rlimit bound { value, value };
  ::setrlimit(static_cast<__rlimit_resource_t>(resource), &bound);
}

// What a process has of its own, after the fork. Only what is async-signal-safe.
void settle(int output, int errors, const ProcessLimits& limits) {
  limit(RLIMIT_CPU, static_cast<std::uint64_t>(limits.timeout.count()));
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CORE, 0);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing < 0 || ::dup2(nothing, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(errors, 2) < 0) ::_exit(127);
  for (const int signal : {SIGPIPE, SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTERM, SIGINT}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Between fork and exec only what is async-signal-safe.
[[noreturn]] void become(const char* program, char* const* argv, int output, int errors, const ProcessLimits& limits) {
  limit(RLIMIT_AS, limits.memory_bytes);
  if (!without_network()) {
    constexpr char kWhy[] = "the kernel has no seccomp filters, without which no converter is run";
    (void)!::write(errors, kWhy, sizeof kWhy - 1);
    ::_exit(126);
  }
  settle(output, errors, limits);
  ::execv(program, argv);
  ::_exit(127);
}

// `child` runs after the fork, with the ends that become the standard output and error, and does not come back.
Result<ProcessOutput> run_child(const std::string& name, FunctionRef<void(int output, int errors)> child_body, const ProcessLimits& limits,
                                const CancellationToken& cancellation) {
  Pipe output, errors;
  if (!output.open() || !errors.open()) return fail(Error::io(std::string("cannot make a pipe: ") + std::strerror(errno)));
  Child child;
  child.pid = ::fork();
  if (child.pid < 0) return fail(Error::io(std::string("cannot start ") + name + ": " + std::strerror(errno)));
  if (child.pid == 0) {
    child_body(output.write_end, errors.write_end);
    ::_exit(127);
  }
  Pipe::shut(output.write_end);
  Pipe::shut(errors.write_end);

  ProcessOutput out;
  std::array<char, 65536> buffer{};
  const auto deadline = std::chrono::steady_clock::now() + limits.timeout;
  while (output.read_end >= 0 || errors.read_end >= 0) {
    CORVID_TRY_STATUS(cancellation.check());
    if (std::chrono::steady_clock::now() >= deadline)
      return fail(Error::limit_exceeded(name + " took more than " + std::to_string(limits.timeout.count()) + " s"));
    std::array<pollfd, 2> ready{pollfd{output.read_end, POLLIN, 0}, pollfd{errors.read_end, POLLIN, 0}};
    if (::poll(ready.data(), ready.size(), 100) < 0 && errno != EINTR) return fail(Error::io(std::string("poll: ") + std::strerror(errno)));
    for (std::size_t i = 0; i < ready.size(); ++i) {
      if (ready[i].fd < 0 || ready[i].revents == 0) continue;
      const ssize_t n = ::read(ready[i].fd, buffer.data(), buffer.size());
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (n <= 0) {
        Pipe::shut(i == 0 ? output.read_end : errors.read_end);
      } else if (i == 0) {
        if (out.output.size() + static_cast<std::size_t>(n) > limits.max_output_bytes)
          return fail(Error::limit_exceeded(name + " gave more than " + std::to_string(limits.max_output_bytes) + " bytes"));
        out.output.append(buffer.data(), static_cast<std::size_t>(n));
      } else {
        out.errors.append(buffer.data(), std::min(static_cast<std::size_t>(n), kMaxErrorBytes - out.errors.size()));
      }
    }
  }
  out.exit_code = child.wait(false);
  return out;
}

[[noreturn]] void answer(FunctionRef<std::string()> body, int output, int errors, const ProcessLimits& limits) {
  settle(output, errors, limits);
  (void)without_network();
  const std::string bytes = body();
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::write(1, bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);
    at += static_cast<std::size_t>(n);
  }
  ::_exit(0);
}

}  // namespace

std::optional<std::string> find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string_view folder = rest.substr(0, colon);
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
    if (folder.empty() || folder[0] != '/') continue;  // never out of the current folder
    std::string candidate = std::string(folder) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

Result<ProcessOutput> run_limited(const std::string& program, const std::vector<std::string>& arguments, const ProcessLimits& limits,
                                  const CancellationToken& cancellation) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  return run_child(program, [&](int output, int errors) { become(program.c_str(), argv.data(), output, errors, limits); }, limits, cancellation);
}

Result<ProcessOutput> call_limited(const std::string& name, FunctionRef<std::string()> body, const ProcessLimits& limits, const CancellationToken& cancellation) {
  return run_child(name, [&](int output, int errors) { answer(body, output, errors, limits); }, limits, cancellation);
}

}  // namespace corvid::retrieval
