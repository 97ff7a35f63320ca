#include "graphs/run/process_spawn.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

namespace corvid::graphs {
namespace {

constexpr std::array<const char*, 5> kInherited{"PATH", "HOME", "LANG", "TZ", "TMPDIR"};
constexpr char kDefaultPath[] = "/usr/local/bin:/usr/bin:/bin";

std::string words(int error) { return std::generic_category().message(error); }

struct Pipe {
  Descriptor read, write;
};

// Above the standard descriptors, so that putting them in their places overwrites none of them.
Result<Descriptor> above_standard(Descriptor fd) {
  if (fd.get() > 2) return fd;
  Descriptor higher(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (higher.get() < 0) return fail(Error::io("no descriptor is left for a pipe: " + words(errno)));
  return higher;
}

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(Error::io("a pipe to the program could not be made: " + words(errno)));
  Descriptor first(ends[0]), second(ends[1]);
  Pipe pipe;
  CORVID_TRY(pipe.read, above_standard(std::move(first)));
  CORVID_TRY(pipe.write, above_standard(std::move(second)));
  return pipe;
}

std::vector<std::string> environment_of(const ProcessRequest& request) {
  std::vector<std::string> out;
  const auto given = [&](std::string_view name) {
    return std::any_of(request.environment.begin(), request.environment.end(), [&](const auto& each) { return each.first == name; });
  };
  for (const char* name : kInherited) {
    const char* value = std::getenv(name);
    if (value && !given(name)) out.push_back(std::string(name) + "=" + value);
  }
  for (const auto& [name, value] : request.environment) out.push_back(name + "=" + value);
  return out;
}

// posix_spawnp would search our PATH; the child's is what its own children see.
Result<std::string> find_program(const ProcessRequest& request, const std::vector<std::string>& environment) {
  const std::string& name = request.command.front();
  if (name.find('/') != std::string::npos) return name;
  std::string path = kDefaultPath;
  for (const auto& each : environment) {
    if (each.compare(0, 5, "PATH=") == 0) path = each.substr(5);
  }
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    std::string file = path.substr(at, end - at) + "/" + name;
    at = end + 1;
    std::error_code status;
    if (file.front() != '/' || file.size() == name.size() + 1)
      continue;  // relative entries, and empty ones: the folder that happens to be ours
    if (::access(file.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(file, status)) return file;
  }
  return fail(Error::not_found("there is no program '" + name + "' in PATH (" + path + ")").at_key("command"));
}

Error not_started(const ProcessRequest& request, const std::string& program, int error) {
  const std::string what = "the program '" + program + "' could not be started: ";
  switch (error) {
    case ENOENT:
      return Error::not_found(what + "it, or the interpreter that it names, does not exist").at_key("command");
    case EACCES:
      return Error::io(what + "it may not be executed (chmod +x?)").at_key("command");
    case ENOEXEC:
      return Error::io(what + "it is no executable; a script begins with a line #! that names its interpreter").at_key("command");
    case E2BIG:
      return Error::limit_exceeded(what + "its arguments and environment are too long; hand data in as input").at_key("command");
    default:
      return Error::io(what + words(error) + (request.folder.empty() ? "" : " (in " + request.folder.string() + ")")).at_key("command");
  }
}

class Actions {
 public:
  Actions() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~Actions() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

bool zero_byte(const std::string& text) { return text.find('\0') != std::string::npos; }

// One start at a time: each holds the child's ends of three pipes too, and descriptors are few (1,024 by default).
std::mutex starting;

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Status check(const ProcessRequest& request) {
  if (request.command.empty() || request.command.front().empty())
    return fail(Error::invalid_argument("there is no program to run").at_key("command"));
  if (std::any_of(request.command.begin(), request.command.end(), zero_byte)) {
    return fail(Error::invalid_argument("an argument has a zero byte").at_key("command"));
  }
  for (const auto& [name, value] : request.environment) {
    if (name.empty() || name.find('=') != std::string::npos || zero_byte(name) || zero_byte(value)) {
      return fail(Error::invalid_argument("'" + name + "' is no name of a variable, or its value has a zero byte").at_key("environment"));
    }
  }
  return {};
}

Result<Spawned> spawn(const ProcessRequest& request) {
  std::error_code status;
  if (!request.folder.empty() && !std::filesystem::is_directory(request.folder, status)) {
    return fail(Error::not_found("there is no folder to run the program in").at_file(request.folder.string()).at_key("folder"));
  }
  auto environment = environment_of(request);
  CORVID_TRY(const std::string program, find_program(request, environment));
  auto arguments = request.command;

  std::lock_guard lock(starting);
  CORVID_TRY(Pipe input, make_pipe());
  CORVID_TRY(Pipe output, make_pipe());
  CORVID_TRY(Pipe errors, make_pipe());
  Actions spawn;
  int failed = ::posix_spawn_file_actions_adddup2(&spawn.actions, input.read.get(), 0);
  if (failed == 0) failed = ::posix_spawn_file_actions_adddup2(&spawn.actions, output.write.get(), 1);
  if (failed == 0) failed = ::posix_spawn_file_actions_adddup2(&spawn.actions, errors.write.get(), 2);
  if (failed == 0) failed = ::posix_spawn_file_actions_addclosefrom_np(&spawn.actions, 3);
  if (failed == 0 && !request.folder.empty()) failed = ::posix_spawn_file_actions_addchdir_np(&spawn.actions, request.folder.c_str());
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setflags(&spawn.attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setpgroup(&spawn.attributes, 0);
  ::posix_spawnattr_setsigmask(&spawn.attributes, &none);
  ::posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  pid_t pid = -1;
  if (failed == 0) {
    failed =
        ::posix_spawn(&pid, program.c_str(), &spawn.actions, &spawn.attributes, pointers(arguments).data(), pointers(environment).data());
  }
  if (failed != 0) return fail(not_started(request, program, failed));
  for (const int fd : {input.write.get(), output.read.get(), errors.read.get()}) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return Spawned{pid, std::move(input.write), std::move(output.read), std::move(errors.read)};
}

void reap(pid_t pid) noexcept {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (std::chrono::steady_clock::now() < end) {
    const pid_t got = ::waitpid(pid, nullptr, WNOHANG);
    if (got == pid || (got < 0 && errno != EINTR)) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  try {
    std::thread([pid] {
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }).detach();
  } catch (const std::system_error&) {  // no thread to be had: a zombie is left
  }
}

}  // namespace corvid::graphs
