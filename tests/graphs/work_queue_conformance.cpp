#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "graphs/checkpointer_conformance.hpp"
#include "support/catch.hpp"

namespace corvid::test {
namespace {

constexpr std::int64_t kLong = 600'000;

void wait_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

bool is_conflict(const Status& status) { return !status && status.error().code() == ErrorCode::conflict; }

std::string claimed(WorkQueue& queue, std::string_view owner, std::int64_t ttl_ms = kLong) {
  const auto run = queue.claim(owner, ttl_ms);
  if (!run) return run.error().describe();
  return *run ? (*run)->run.run_id + "#" + std::to_string((*run)->attempt) : "nothing";
}

void runs_in_their_order(WorkQueue& queue) {
  CHECK(claimed(queue, "w") == "nothing");
  REQUIRE(queue.enqueue({"r1", "t1", "graph 'x'.yaml", bytes_of(std::string("in\0put", 6))}));
  REQUIRE(queue.enqueue({"r2", "t2", "g", {}}));
  REQUIRE(queue.enqueue({"r1", "t9", "other", bytes_of("other")}));  // is there already
  auto counts = queue.counts().value();
  CHECK(counts.waiting == 2);
  CHECK(counts.running == 0);
  const auto first = queue.claim("w", kLong);
  REQUIRE(first);
  REQUIRE(first->has_value());
  CHECK((*first)->run.run_id == "r1");
  CHECK((*first)->run.thread_id == "t1");
  CHECK((*first)->run.graph == "graph 'x'.yaml");
  CHECK((*first)->run.input == bytes_of(std::string("in\0put", 6)));
  CHECK((*first)->attempt == 1);
  CHECK(claimed(queue, "v") == "r2#1");
  CHECK(claimed(queue, "w") == "nothing");
  counts = queue.counts().value();
  CHECK(counts.waiting == 0);
  CHECK(counts.running == 2);
  REQUIRE(queue.finish("r1", "w", "done"));
  REQUIRE(queue.enqueue({"r1", "t1", "g", {}}));  // ended: stays ended
  CHECK(claimed(queue, "w") == "nothing");
  counts = queue.counts().value();
  CHECK(counts.running == 1);
  CHECK(counts.finished == 1);
  CHECK_FALSE(queue.enqueue({"", "t", "g", {}}));
  CHECK_FALSE(queue.enqueue({"r", "", "g", {}}));
  CHECK_FALSE(queue.claim("", kLong));
  CHECK_FALSE(queue.claim("w", 0));
}

void one_run_of_a_thread_at_a_time(WorkQueue& queue) {
  for (const auto* id : {"a1", "a2", "b1", "a3"}) REQUIRE(queue.enqueue({id, std::string(id, 1), "g", {}}));
  CHECK(claimed(queue, "w1") == "a1#1");
  CHECK(claimed(queue, "w2") == "b1#1");
  CHECK(claimed(queue, "w3") == "nothing");
  CHECK(queue.counts()->waiting == 2);
  REQUIRE(queue.finish("a1", "w1", "done"));
  CHECK(claimed(queue, "w3") == "a2#1");
  CHECK(claimed(queue, "w1") == "nothing");
  REQUIRE(queue.finish("a2", "w3", "done"));
  CHECK(claimed(queue, "w1") == "a3#1");
}

void claims_expire(WorkQueue& queue) {
  REQUIRE(queue.enqueue({"a1", "a", "g", bytes_of("input")}));
  REQUIRE(queue.enqueue({"a2", "a", "g", {}}));
  CHECK(claimed(queue, "dead", 1) == "a1#1");
  wait_ms(20);
  CHECK(queue.counts()->waiting == 2);
  CHECK(queue.counts()->running == 0);
  const auto second = queue.claim("heir", kLong);  // the older one of the thread first, input and all
  REQUIRE(second);
  REQUIRE(second->has_value());
  CHECK((*second)->run.run_id == "a1");
  CHECK((*second)->run.input == bytes_of("input"));
  CHECK((*second)->attempt == 2);
  CHECK(claimed(queue, "other") == "nothing");
  CHECK(is_conflict(queue.renew("a1", "dead", kLong)));
  CHECK(is_conflict(queue.finish("a1", "dead", "done")));
  REQUIRE(queue.renew("a1", "heir", 1));
  wait_ms(20);
  REQUIRE(queue.renew("a1", "heir", kLong));  // ran out, but nobody took it
  CHECK(claimed(queue, "other") == "nothing");
  REQUIRE(queue.finish("a1", "heir", "done"));
  CHECK(is_conflict(queue.finish("a1", "heir", "done")));
  CHECK(is_conflict(queue.renew("a1", "heir", kLong)));
  CHECK(is_conflict(queue.finish("a2", "heir", "done")));  // never claimed
  const auto unknown = queue.finish("unknown", "heir", "done");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == ErrorCode::not_found);
}

void many_workers(WorkQueue& queue) {
  constexpr int kWorkers = 8, kRuns = 200;
  // Each worker enqueues its share; two hundred runs over forty threads.
  std::mutex mutex;
  std::map<std::string, int> finished;
  std::set<std::string> busy;
  std::atomic<int> failed{0}, clashes{0}, left{kRuns};
  std::vector<std::thread> workers;
  for (int w = 0; w < kWorkers; ++w) {
    workers.emplace_back([&, w] {
      const std::string me = "worker " + std::to_string(w);
      for (int i = w; i < kRuns; i += kWorkers) {
        if (!queue.enqueue({"run " + std::to_string(i), "thread " + std::to_string(i % 40), "g", bytes_of("x")})) ++failed;
      }
      while (left > 0) {
        const auto run = queue.claim(me, kLong);
        if (!run) {
          ++failed;
          return;
        }
        if (!*run) {
          wait_ms(1);
          continue;
        }
        const auto& got = (*run)->run;
        {
          std::lock_guard lock(mutex);
          if (!busy.insert(got.thread_id).second) ++clashes;
        }
        if (got.run_id.size() % 3 == 0) std::this_thread::yield();
        {
          std::lock_guard lock(mutex);
          busy.erase(got.thread_id);
        }
        if (!queue.finish(got.run_id, me, "done")) ++failed;
        std::lock_guard lock(mutex);
        ++finished[got.run_id];
        --left;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  CHECK(failed == 0);
  CHECK(clashes == 0);
  CHECK(finished.size() == kRuns);
  for (const auto& [run, times] : finished) {
    if (times != 1) FAIL_CHECK(run << " ended " << times << " times");
  }
  CHECK(queue.counts()->finished == kRuns);
  CHECK(queue.counts()->waiting == 0);
}

}  // namespace

void check_work_queue(const MakeQueue& make_empty) {
  runs_in_their_order(*make_empty());
  one_run_of_a_thread_at_a_time(*make_empty());
  claims_expire(*make_empty());
  many_workers(*make_empty());
}

}  // namespace corvid::test
