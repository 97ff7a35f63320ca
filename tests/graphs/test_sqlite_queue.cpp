#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "graphs/checkpointer_conformance.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

// Takes runs until all are finished. A worker that is to die does so with its third run claimed and not finished; its claim runs out.
int work(const std::filesystem::path& file, const std::string& me, bool dies) {
  auto workspace = Workspace::open(file);
  if (!workspace) return 90;
  auto store = open_sqlite_store(*workspace);
  if (!store) return 91;
  for (int taken = 1;;) {
    const auto run = store->queue->claim(me, 300);
    if (!run) return 92;
    if (!*run) {
      const auto counts = store->queue->counts();
      if (!counts) return 93;
      if (counts->waiting == 0 && counts->running == 0) return 0;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      continue;
    }
    if (dies && taken++ == 3) ::kill(::getpid(), SIGKILL);
    // What a run does: one checkpoint of its thread, named by the run. A slow worker may have lost the run meanwhile.
    const auto& got = (*run)->run;
    if (!store->saver->commit(commit_of(got.thread_id, "", got.run_id, 1))) return 94;
    const auto finished = store->queue->finish(got.run_id, me, "done");
    if (!finished && finished.error().code() != ErrorCode::conflict) return 95;
  }
}

}  // namespace

TEST_CASE("sqlite work queue: a killed worker's run goes to another process") {
  SqliteFiles files;
  const auto file = files / "queue.db";
  constexpr int kRuns = 40;
  {
    auto store = SqliteFiles::open(file);
    for (int i = 0; i < kRuns; ++i)
      REQUIRE(store.queue->enqueue({"run " + std::to_string(i), "thread " + std::to_string(i % 8), "g", bytes_of("x")}));
  }
  const auto start = [&](const std::string& name, bool dies) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(work(file, name, dies));
    return child;
  };
  const auto end_of = [](pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  };
  CHECK(end_of(start("dies", true)) == -SIGKILL);
  CHECK(SqliteFiles::open(file).queue->counts()->finished == 2);
  std::vector<pid_t> workers;
  for (int w = 0; w < 3; ++w) workers.push_back(start("worker " + std::to_string(w), false));
  for (const auto worker : workers) CHECK(end_of(worker) == 0);
  auto store = SqliteFiles::open(file);
  CHECK(store.queue->counts()->finished == kRuns);
  std::size_t checkpoints = 0;
  for (int t = 0; t < 8; ++t) checkpoints += store.saver->list("thread " + std::to_string(t), "")->size();
  CHECK(checkpoints == kRuns);
}
