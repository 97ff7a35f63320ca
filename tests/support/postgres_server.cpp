#include "support/postgres_server.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace corvid::test {

namespace fs = std::filesystem;

namespace {

struct User {
  uid_t uid;
  gid_t gid;
};

/// Whom the server runs as: it refuses root. nullopt: ourselves.
std::optional<User> server_user() {
  if (geteuid() != 0) return std::nullopt;
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* entry = getpwnam(name)) return User{entry->pw_uid, entry->pw_gid};
  }
  throw std::runtime_error("PostgreSQL does not run as root, and there is neither a user postgres nor nobody");
}

bool has_server(const fs::path& folder) {
  return access((folder / "initdb").c_str(), X_OK) == 0 && access((folder / "postgres").c_str(), X_OK) == 0;
}

std::optional<fs::path> find_server() {
  std::istringstream path(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(path, folder, ':');) {
    // Links to single programs are followed to where the others are.
    if (has_server(folder)) return fs::canonical(fs::path(folder) / "initdb").parent_path();
  }
  std::vector<fs::path> versions;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", none)) {
    if (has_server(entry.path() / "bin")) versions.push_back(entry.path());
  }
  if (versions.empty()) return std::nullopt;
  const auto number = [](const fs::path& version) { return std::atoi(version.filename().c_str()); };
  return *std::max_element(versions.begin(), versions.end(), [&](auto& a, auto& b) { return number(a) < number(b); }) / "bin";
}

/// Everything between fork and exec is prepared before: the test may have threads, so the child may not allocate.
pid_t spawn(const std::vector<std::string>& arguments, const fs::path& folder, const fs::path& log) {
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const char* environment[] = {"LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin", nullptr};
  const auto user = server_user();
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw std::runtime_error("cannot fork");
  if (pid > 0) return pid;
  const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  const int in = open("/dev/null", O_RDONLY);
  if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  setpgid(0, 0);  // Ctrl-C is the test's to handle
  if (user && (setgroups(0, nullptr) || setgid(user->gid) || setuid(user->uid))) _exit(126);
  // After setuid, which would clear it. SIGQUIT: the server ends at once, and its processes with it.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != parent || chdir(folder.c_str())) _exit(126);
  execve(argv[0], argv.data(), const_cast<char**>(environment));
  _exit(127);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// False for a zombie too: where nobody reaps orphans they stay, but hold nothing.
bool alive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string stat;
  if (!std::getline(file, stat)) return false;
  const auto name_end = stat.rfind(')');
  return name_end == std::string::npos || stat.size() < name_end + 3 || (stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X');
}

std::vector<pid_t> children(pid_t pid) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t child = std::atoi(entry.path().filename().c_str());
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    if (child <= 0 || !std::getline(file, stat)) continue;
    std::istringstream rest(stat.substr(std::min(stat.size(), stat.rfind(')') + 2)));
    char state = 0;
    pid_t parent = 0;
    if (rest >> state >> parent && parent == pid) found.push_back(child);
  }
  return found;
}

void pause_briefly() { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }

}  // namespace

std::unique_ptr<PostgresServer> PostgresServer::start(const PostgresServerOptions& options) {
  const auto bin = find_server();
  if (!bin) {
    const std::string line = "SKIPPED: no PostgreSQL server here; install postgresql";
    if (std::getenv("CORVID_REQUIRE_POSTGRES")) throw std::runtime_error(line);
    std::cerr << line << '\n';
    return nullptr;
  }
  std::unique_ptr<PostgresServer> server(new PostgresServer);
  server->bin_ = *bin;
  server->options_ = options;
  server->initialise();
  server->launch();
  return server;
}

PostgresServer::~PostgresServer() {
  try {
    stop();
  } catch (const std::exception& error) {
    std::cerr << "PostgreSQL did not stop: " << error.what() << '\n';
  }
}

std::string PostgresServer::url_through(const fs::path& socket_folder) {
  return "host='" + socket_folder.string() + "' port=5432 user=corvid dbname=postgres";
}

std::string PostgresServer::log() const {
  std::ifstream in(folder_ / "log");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void PostgresServer::initialise() {
  fs::create_directory(socket_folder());
  if (const auto user = server_user()) {
    for (const auto& path : {folder_.path(), socket_folder()}) {
      if (chown(path.c_str(), user->uid, user->gid)) throw std::runtime_error("cannot give " + path.string() + " to the server's user");
    }
  }
  const std::vector<std::string> arguments = {bin_ / "initdb", "-D", data(), "-U",         "corvid",    "-A",
                                              "trust",         "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"};
  if (wait_for(spawn(arguments, folder_.path(), folder_ / "log")) != 0) throw std::runtime_error("initdb failed: " + log());
}

void PostgresServer::launch() {
  std::vector<std::string> arguments = {bin_ / "postgres", "-D", data()};
  const auto set = [&](std::string setting) { arguments.insert(arguments.end(), {"-c", std::move(setting)}); };
  set("listen_addresses=");
  set("unix_socket_directories=" + socket_folder().string());
  set(std::string("fsync=") + (options_.fsync ? "on" : "off"));
  set("shared_buffers=16MB");
  // Segments in the data folder, which goes away with the test however it ends.
  set("dynamic_shared_memory_type=mmap");
  for (const auto& setting : options_.settings) set(setting);
  pid_ = spawn(arguments, folder_.path(), folder_ / "log");
  // Ready is what pg_ctl takes for it: our own pid in the first line of this file, and "ready" in its last.
  while (true) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      throw std::runtime_error("PostgreSQL did not start: " + log());
    }
    std::ifstream in(data() / "postmaster.pid");
    std::string first, line, last;
    std::getline(in, first);
    while (std::getline(in, line)) last = line;
    if (first == std::to_string(pid_) && last.rfind("ready", 0) == 0) return;
    pause_briefly();
  }
}

void PostgresServer::stop() {
  if (!running()) return;
  ::kill(pid_, SIGINT);
  wait_for(pid_);
  pid_ = -1;
}

void PostgresServer::kill() {
  if (!running()) return;
  // Stopped first, so that it starts no process between the look at its children and its end.
  ::kill(pid_, SIGSTOP);
  const auto processes = children(pid_);
  ::kill(pid_, SIGKILL);
  for (const pid_t process : processes) ::kill(process, SIGKILL);
  wait_for(pid_);
  pid_ = -1;
  for (const pid_t process : processes) {
    while (alive(process)) pause_briefly();
  }
}

void PostgresServer::sql(const std::string& statements) {
  const std::vector<std::string> arguments = {bin_ / "psql",           url(),     "--no-psqlrc",
                                              "--set=ON_ERROR_STOP=1", "--quiet", "--command=" + statements};
  const int status = wait_for(spawn(arguments, folder_.path(), folder_ / "log"));
  if (status != 0) throw std::runtime_error("psql failed with status " + std::to_string(status) + ": " + log());
}

void PostgresServer::restart() {
  stop();
  launch();
}

}  // namespace corvid::test
