// RunProgram: the program as a script meets it: arguments in; exit code, standard output and standard error out.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/support.hpp"

namespace corvid::test {

struct Outcome {
  int code = -1;
  std::string out, err;
};

/// The program while it runs.
struct Running {
  pid_t pid = -1;
  std::string out, err;   // files

  void signal(int number) const { ::kill(pid, number); }
  /// Waits for its end; -1 where a signal ended it.
  Outcome wait() {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
  }
};

/// Starts the program in `dir` with exactly this environment beside PATH and CORVID_MODELS. `name` tells apart those that run at once.
inline Running start(const TempDir& dir, const std::vector<std::string>& arguments, std::string_view input = {}, const std::vector<std::string>& environment = {}, const std::string& name = {}) {
  write_file(dir / (".stdin" + name), input);
  std::vector<std::string> words{CORVID_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = environment;
  variables.push_back("HOME=" + dir.path().string());
  for (const char* each : {"PATH", "CORVID_MODELS", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"}) {
    if (const char* value = std::getenv(each)) variables.push_back(std::string(each) + "=" + value);
  }
  const std::string in = (dir / (".stdin" + name)).string(), out = (dir / (".stdout" + name)).string(), err = (dir / (".stderr" + name)).string();
  std::fflush(nullptr);  // or the child would print it again
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGINT, SIG_DFL);
    std::vector<char*> argv, envp;
    for (auto& word : words) argv.push_back(word.data());
    for (auto& variable : variables) envp.push_back(variable.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    const bool ready = ::chdir(dir.path().c_str()) == 0 && std::freopen(in.c_str(), "r", stdin) && std::freopen(out.c_str(), "w", stdout) && std::freopen(err.c_str(), "w", stderr);
    if (ready) ::execve(CORVID_PROGRAM, argv.data(), envp.data());
    ::_exit(127);
  }
  return {child, out, err};
}

inline Outcome run(const TempDir& dir, const std::vector<std::string>& arguments, std::string_view input = {}, const std::vector<std::string>& environment = {}) {
  return start(dir, arguments, input, environment).wait();
}

inline bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace corvid::test
