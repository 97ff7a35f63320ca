#include "graphs/postgres_store.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <utility>

namespace corvid::test {

PostgresServer* shared_postgres() {
  static const auto server = PostgresServer::start();
  return server.get();
}

PostgresStore open_store(const std::string& url, const PostgresOptions& options) {
  auto store = open_postgres_store(url, options);
  if (!store) throw std::runtime_error(store.error().describe());
  return std::move(*store);
}

PostgresStore fresh_store(const PostgresServer& server) {
  static std::atomic<int> number = 0;
  PostgresOptions options;
  options.schema = "fresh_" + std::to_string(++number);
  return open_store(server.url(), options);
}

TestProcess::TestProcess(const std::string& tag, const std::vector<std::string>& environment) {
  std::vector<std::string> arguments = {"/proc/self/exe", tag};
  std::vector<char*> argv, envp;
  for (auto& argument : arguments) argv.push_back(argument.data());
  for (const auto& setting : environment) envp.push_back(const_cast<char*>(setting.c_str()));
  for (char** setting = environ; *setting; ++setting) envp.push_back(*setting);
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  // What it prints is looked at only when it fails; here its exit status says that.
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  const int failed = posix_spawn(&pid_, argv[0], &files, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&files);
  if (failed) throw std::runtime_error("cannot start this program again");
}

TestProcess::TestProcess(TestProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}

TestProcess& TestProcess::operator=(TestProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  return *this;
}

TestProcess::~TestProcess() {
  kill();
  wait();
}

void TestProcess::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

int TestProcess::wait() {
  if (pid_ <= 0) return -1;
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace corvid::test
