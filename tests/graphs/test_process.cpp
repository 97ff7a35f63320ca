#include "corvid/graphs/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/wait.hpp"
#include "graphs/run/process_child.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;
using namespace std::chrono_literals;
using graphs::WatchBy;

namespace {

constexpr WatchBy kWatches[] = {WatchBy::pidfd, WatchBy::thread};

ProcessRequest shell(const std::string& script, Json input = Json::object()) {
  ProcessRequest request;
  request.command = {"sh", "-c", script};
  request.input = std::move(input);
  return request;
}

Result<ProcessResult> run(Runtime& runtime, ProcessRequest request, CancellationToken token = {}, WatchBy watch = WatchBy::pidfd) {
  return runtime.wait(graphs::run_process(runtime, std::move(request), std::move(token), watch));
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    (void)each;
    ++count;
  }
  return count;
}

// Children of this process, zombies included.
std::vector<std::string> children() {
  std::vector<std::string> out;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in(task.path() / "children");
    for (std::string pid; in >> pid;) out.push_back(pid);
  }
  return out;
}

bool alive(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string number, name, state;
  return in >> number >> name >> state && state != "Z";
}

pid_t read_pid(const std::filesystem::path& path) {
  for (int i = 0; i < 3000; ++i) {
    std::ifstream in(path);
    pid_t pid = 0;
    if (in >> pid && pid > 0) return pid;
    std::this_thread::sleep_for(10ms);
  }
  FAIL("the program did not write " + path.string());
  return 0;
}

// A process that was killed is gone a little later, once its new parent has taken notice.
bool gone(pid_t pid) {
  for (int i = 0; i < 3000; ++i) {
    if (!alive(pid)) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("a program gets JSON and gives JSON", "[process]") {
  Runtime runtime;
  for (const auto watch : kWatches) {
    auto result = run(runtime, shell("read line; echo \"{\\\"got\\\": $line}\"; echo a word >&2", Json{{"a", {1, 2}}}), {}, watch);
    REQUIRE(result);
    CHECK(result->output == Json{{"got", {{"a", {1, 2}}}}});
    CHECK(result->errors == "a word\n");
  }
  CHECK(run(runtime, shell("cat; echo; sleep 0"), {})->output == Json::object());
  CHECK(run(runtime, shell("printf '[1,\\n{\"emit\": 2},\\n3]'"))->output == Json{1, {{"emit", 2}}, 3});
}

TEST_CASE("input and output of many megabytes, both ways at once", "[process]") {
  Runtime runtime;
  const std::string text(5'000'000, 'x');
  auto request = shell("cat", Json{{"text", text}});
  auto result = run(runtime, request);
  REQUIRE(result);
  CHECK(result->output["text"].get<std::string>().size() == text.size());
}

TEST_CASE("output over the limit ends the program and its group", "[process]") {
  Runtime runtime;
  TempDir folder;
  for (const auto watch : kWatches) {
    std::filesystem::remove(folder / "pid");
    auto request = shell("trap '' TERM; sleep 1000 & echo $! > pid; yes '\"longer and longer\"'");
    request.folder = folder.path();
    request.max_output_bytes = 100'000;
    request.grace = 1h;
    const auto start = std::chrono::steady_clock::now();
    const auto result = run(runtime, std::move(request), {}, watch);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::limit_exceeded);
    CHECK(result.error().key() == "max_output_bytes");
    CHECK(seconds_since(start) < 60);
    CHECK(gone(read_pid(folder / "pid")));
  }
}

TEST_CASE("an exit code, a signal, and what the program said", "[process]") {
  Runtime runtime;
  for (const auto watch : kWatches) {
    auto result = run(runtime, shell("echo 'first\nlast \033[31mred\033[0m' >&2; echo '{}'; exit 3"), {}, watch);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::rejected);
    CHECK(result.error().message() == "the program 'sh' exited with 3; it said: first | last red");
    result = run(runtime, shell("kill -SEGV $$"), {}, watch);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::rejected);
    CHECK(result.error().message() == "the program 'sh' was ended by SIGSEGV");
  }
}

TEST_CASE("standard error is kept to its end", "[process]") {
  Runtime runtime;
  auto result = run(runtime, shell("i=0; while [ $i -lt 30000 ]; do echo line $i >&2; i=$((i+1)); done; echo 1"));
  REQUIRE(result);
  CHECK(result->errors.size() == 64u << 10);
  CHECK(result->errors.substr(result->errors.size() - 11) == "line 29999\n");
}

TEST_CASE("output that is no JSON value says where", "[process]") {
  Runtime runtime;
  const auto offset = [&](const std::string& script) {
    const auto result = run(runtime, shell(script));
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::bad_input);
    return result.error().offset().value_or(999);
  };
  CHECK(offset("true") == 0);
  CHECK(offset("printf '{\"a\": x}'") == 6);
  CHECK(offset("printf '{\"emit\": 1}\n{\"a\": x}'") == 18);
  CHECK(offset("printf '{\"emit\": 1}\n'") == 12);
  CHECK(offset("printf '1\n2'") == 2);
}

TEST_CASE("a program that does not read, and a closed pipe that kills nobody", "[process]") {
  Runtime runtime;
  const std::string text(3'000'000, 'x');
  for (const auto watch : kWatches) {
    CHECK(run(runtime, shell("exec <&-; echo 1", text), {}, watch)->output == 1);
    CHECK(run(runtime, shell("echo 2", text), {}, watch)->output == 2);
  }
}

TEST_CASE("lines before the value are handed on", "[process]") {
  Runtime runtime;
  auto request = shell(
      "echo '{\"emit\": {\"n\": 1}}'; echo; echo '{\"heartbeat\": true}'; printf '{\"emit\"'; sleep 0.1; echo ': 2}'; echo '{\"emit\": 3, "
      "\"b\": 4}'");
  std::vector<Json> emitted;
  int heartbeats = 0;
  request.on_emit = [&](Json value) { emitted.push_back(std::move(value)); };
  request.on_heartbeat = [&] { ++heartbeats; };
  const auto result = run(runtime, request);
  REQUIRE(result);
  CHECK(result->output == Json{{"emit", 3}, {"b", 4}});
  CHECK(emitted == std::vector<Json>{{{"n", 1}}, 2});
  CHECK(heartbeats == 1);
  request.on_emit = [](Json) { throw std::runtime_error("no room"); };
  const auto failed = run(runtime, request);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == ErrorCode::internal);
  // Many lines, more than the limit in all, none over it.
  auto many =
      shell("i=0; while [ $i -lt 5000 ]; do echo '{\"emit\": \"0123456789012345678901234567890123456789\"}'; i=$((i+1)); done; echo 1");
  many.max_output_bytes = 20'000;
  std::size_t seen = 0;
  many.on_emit = [&](Json) { ++seen; };
  CHECK(run(runtime, many)->output == 1);
  CHECK(seen == 5000);
}

TEST_CASE("a deadline, a cancel: TERM, then KILL", "[process]") {
  Runtime runtime;
  TempDir folder;
  for (const auto watch : kWatches) {
    std::filesystem::remove(folder / "pid");
    // It hears TERM and cleans up.
    auto polite = shell("trap 'echo cleaned >&2; touch cleaned; exit 0' TERM; echo $$ > pid; while true; do sleep 0.05; done");
    polite.folder = folder.path();
    polite.timeout = 700ms;
    polite.grace = 1h;
    auto result = run(runtime, std::move(polite), {}, watch);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::deadline_exceeded);
    CHECK(result.error().message().find("cleaned") != std::string::npos);
    CHECK(std::filesystem::exists(folder / "cleaned"));
    std::filesystem::remove(folder / "cleaned");

    // It does not, and has a child that does not either.
    std::filesystem::remove(folder / "pid");
    auto deaf = shell("trap '' TERM; sh -c 'echo $$ > pid; while true; do sleep 0.05; done'");
    deaf.folder = folder.path();
    deaf.grace = 200ms;
    CancellationSource source;
    std::thread canceller([&] {
      read_pid(folder / "pid");
      source.cancel();
    });
    result = run(runtime, std::move(deaf), source.token(), watch);
    canceller.join();
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::cancelled);
    CHECK(gone(read_pid(folder / "pid")));
  }
  CancellationSource before;
  before.cancel();
  CHECK(run(runtime, shell("echo 1"), before.token()).error().code() == ErrorCode::cancelled);
  CancellationSource late;
  late.set_deadline(std::chrono::steady_clock::now() + 300ms);
  CHECK(run(runtime, shell("sleep 1000"), late.token()).error().code() == ErrorCode::deadline_exceeded);
}

TEST_CASE("what a program leaves running does not hold us and does not live on", "[process]") {
  Runtime runtime;
  TempDir folder;
  for (const auto watch : kWatches) {
    std::filesystem::remove(folder / "pid");
    auto held = shell("sh -c 'echo $$ > pid; exec sleep 1000' & while ! [ -s pid ]; do sleep 0.02; done; echo 5");  // holds standard output
    held.folder = folder.path();
    held.grace = 200ms;
    auto result = run(runtime, std::move(held), {}, watch);
    REQUIRE(result);
    CHECK(result->output == 5);
    CHECK(gone(read_pid(folder / "pid")));

    std::filesystem::remove(folder / "pid");
    auto detached = shell("sh -c 'echo $$ > pid; exec sleep 1000' > /dev/null 2>&1 & while ! [ -s pid ]; do sleep 0.02; done; echo 6");
    detached.folder = folder.path();
    detached.grace = 1h;
    result = run(runtime, std::move(detached), {}, watch);
    REQUIRE(result);
    CHECK(result->output == 6);
    CHECK(gone(read_pid(folder / "pid")));

    // A child that finishes the output in time.
    auto late = shell("(sleep 0.3; echo 7) &");
    late.grace = 1min;
    CHECK(run(runtime, std::move(late), {}, watch)->output == 7);
  }
}

TEST_CASE("the environment is the list and what is allowed, descriptors are three", "[process]") {
  ::setenv("CORVID_TEST_SECRET", "s3cret", 1);
  const int leaked = ::open("/dev/null", O_RDONLY);  // without close-on-exec
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGUSR1, &ignore, &before);
  Runtime runtime;
  TempDir folder;
  auto request = shell("env > env; ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status > signals");
  request.folder = folder.path();
  request.environment = {{"GREETING", "hello world"}, {"LANG", "C"}};
  const auto result = run(runtime, request);
  ::sigaction(SIGUSR1, &before, nullptr);
  ::close(leaked);
  ::unsetenv("CORVID_TEST_SECRET");
  REQUIRE(result);
  CHECK(result->output == 4);  // and the folder that ls reads
  const auto env = read_file(folder / "env");
  CHECK(env.find("s3cret") == std::string::npos);
  CHECK(env.find("GREETING=hello world\n") != std::string::npos);
  CHECK(env.find("LANG=C\n") != std::string::npos);
  CHECK(env.find("PATH=") != std::string::npos);
  const auto ignored = std::stoull(read_file(folder / "signals").substr(7), nullptr, 16);
  CHECK((ignored & ((1ull << 31) - 1)) == 0);  // the C library keeps two above these for itself
}

TEST_CASE("programs that cannot be started", "[process]") {
  Runtime runtime;
  TempDir folder;
  const auto code = [&](std::vector<std::string> command, std::filesystem::path where = {},
                        std::vector<std::pair<std::string, std::string>> env = {}) {
    ProcessRequest request;
    request.command = std::move(command);
    request.folder = std::move(where);
    request.environment = std::move(env);
    const auto result = run(runtime, std::move(request));
    REQUIRE_FALSE(result);
    return result.error().code();
  };
  write_file(folder / "plain", "echo 1\n");
  CHECK(code({}) == ErrorCode::invalid_argument);
  CHECK(code({""}) == ErrorCode::invalid_argument);
  CHECK(code({"sh", std::string("a\0b", 3)}) == ErrorCode::invalid_argument);
  CHECK(code({"sh"}, {}, {{"A=B", "c"}}) == ErrorCode::invalid_argument);
  CHECK(code({"no-such-program-here"}) == ErrorCode::not_found);
  CHECK(code({"/no/such/program"}) == ErrorCode::not_found);
  CHECK(code({"sh"}, folder / "absent") == ErrorCode::not_found);
  CHECK(code({"sh"}, {}, {{"PATH", folder.path().string()}}) == ErrorCode::not_found);
  CHECK(code({"./plain"}, folder.path()) == ErrorCode::io);
  ::chmod((folder / "plain").c_str(), 0755);
  CHECK(code({"./plain"}, folder.path()) == ErrorCode::io);  // no #!
  CHECK(code({"sh", "-c", "true", std::string(4'000'000, 'x')}) == ErrorCode::limit_exceeded);
  write_file(folder / "plain", "#!/bin/sh\necho 1\n");
  ProcessRequest good;
  good.command = {"./plain"};
  good.folder = folder.path();
  CHECK(run(runtime, good)->output == 1);
}

TEST_CASE("200 programs at once, no descriptor and no child left", "[process]") {
  const auto children_before = children();  // a database server of other tests, say
  Runtime runtime;
  CHECK(run(runtime, shell("echo 0")));  // what the first one makes for good
  for (const auto watch : kWatches) {
    const std::size_t before = open_descriptors();
    std::vector<std::promise<Result<ProcessResult>>> results(200);
    for (int i = 0; i < 200; ++i) {
      auto one = [](Runtime& on, int n, WatchBy by, std::promise<Result<ProcessResult>>* out) -> boost::asio::awaitable<void> {
        auto task = graphs::run_process(on, shell("read n; echo $n", n), {}, by);
        auto result = co_await std::move(task);
        out->set_value(std::move(result));
      };
      boost::asio::co_spawn(runtime.io_context(), one(runtime, i, watch, &results[static_cast<std::size_t>(i)]), boost::asio::detached);
    }
    for (int i = 0; i < 200; ++i) {
      auto result = results[static_cast<std::size_t>(i)].get_future().get();
      REQUIRE(result);
      CHECK(result->output == i);
    }
    CHECK(open_descriptors() == before);
    CHECK(children() == children_before);
  }
}

TEST_CASE("the runtime's end is the programs' end", "[process]") {
  const auto children_before = children();  // a database server of other tests, say
  TempDir folder;
  for (const auto watch : kWatches) {
    std::filesystem::remove(folder / "pid");
    {
      Runtime runtime;
      auto request = shell("trap '' TERM; sleep 1000 & echo $! > pid; wait");
      request.folder = folder.path();
      auto one = [](Runtime& on, ProcessRequest what, WatchBy by) -> boost::asio::awaitable<void> {
        auto task = graphs::run_process(on, std::move(what), {}, by);
        auto result = co_await std::move(task);
      };
      boost::asio::co_spawn(runtime.io_context(), one(runtime, std::move(request), watch), boost::asio::detached);
      read_pid(folder / "pid");
    }
    CHECK(gone(read_pid(folder / "pid")));
    CHECK(children() == children_before);
  }
  // Also right at the start, when it may be about to be started.
  for (int i = 0; i < 20; ++i) {
    Runtime runtime;
    auto one = [](Runtime& on) -> boost::asio::awaitable<void> {
      auto task = run_process(on, shell("sleep 1000"), {});
      auto result = co_await std::move(task);
    };
    boost::asio::co_spawn(runtime.io_context(), one(runtime), boost::asio::detached);
    std::this_thread::sleep_for(std::chrono::microseconds(200 * i));
  }
  CHECK(children() == children_before);
}

TEST_CASE("a host's executor of several threads", "[process]") {
  const auto children_before = children();  // a database server of other tests, say
  boost::asio::io_context io;
  auto guard = boost::asio::make_work_guard(io);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
  {
    RuntimeOptions options;
    options.io_context = &io;
    Runtime runtime(options);
    std::vector<std::future<Result<ProcessResult>>> running;
    for (int i = 0; i < 20; ++i) {
      running.push_back(std::async(std::launch::async, [&, i] {
        if (i % 3 != 0) return run(runtime, shell("read n; echo \"{\\\"emit\\\": 1}\"; echo $n", i));
        CancellationSource source;
        std::thread canceller([&] { source.cancel(); });
        auto result = run(runtime, shell("sleep 1000"), source.token());
        canceller.join();
        return result;
      }));
    }
    for (int i = 0; i < 20; ++i) {
      auto result = running[static_cast<std::size_t>(i)].get();
      if (i % 3 != 0) {
        REQUIRE(result);
        CHECK(result->output == i);
      } else {
        CHECK(result.error().code() == ErrorCode::cancelled);
      }
    }
  }
  guard.reset();
  for (auto& thread : threads) thread.join();
  CHECK(children() == children_before);
}
