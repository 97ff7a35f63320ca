#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "corvid/runtime/channel.hpp"
#include "corvid/runtime/offload.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"

using namespace corvid;

namespace {

Task<int> doubled(Runtime& runtime, int n) {
  auto job = [n]() -> Result<int> { return n * 2; };
  CORVID_CO_TRY(const int value, co_await offload(runtime, std::move(job)));
  co_return value;
}

Task<std::unique_ptr<int>> move_only() { co_return std::make_unique<int>(7); }

Task<int> throwing(Runtime& runtime) {
  auto job = []() -> Result<int> { throw std::runtime_error("inside"); };
  co_return co_await offload(runtime, std::move(job));
}

Task<int> sum(Channel<int> channel) {
  int total = 0;
  while (auto value = co_await channel.receive()) total += *value;
  co_return total;
}

Task<void> produce(Channel<int> channel, int n) {
  for (int i = 1; i <= n; ++i) {
    if (!co_await channel.send_async(i)) co_return fail(Error::cancelled("closed"));
  }
  channel.close();
  co_return Status{};
}

}  // namespace

TEST_CASE("compute pool: what handing out work and waiting for it costs", "[.benchmark]") {
  for (const int threads : {1, 2}) {
    ComputePool pool(threads);
    std::vector<double> each;
    for (int round = 0; round < 21; ++round) {
      constexpr int kRuns = 10'000;
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < kRuns; ++i) pool.run([](int, int) {});
      each.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / kRuns);
    }
    std::sort(each.begin(), each.end());
    std::printf("%d threads: %.3f us a run, the quickest round %.3f, the slowest %.3f\n", threads, each[10], each[0], each[20]);
  }
}

TEST_CASE("compute pool: every index once, from several callers", "[runtime]") {
  ComputePool pool(3);
  CHECK(pool.threads() == 3);
  for (const std::size_t n : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> hits(n);
    pool.parallel_for(n, 3, [&](std::size_t begin, std::size_t end) {
      for (auto i = begin; i < end; ++i) hits[i].fetch_add(1);
    });
    for (auto& hit : hits) CHECK(hit.load() == 1);
  }
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) pool.run([&](int, int count) { total.fetch_add(count); });
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(total.load() == 4 * 200 * 9);
}

TEST_CASE("memory budget: a hard limit with owners", "[runtime]") {
  MemoryBudget budget(100);
  {
    auto weights = budget.reserve(60, "weights");
    REQUIRE(weights);
    auto kv = budget.reserve(50, "kv");
    REQUIRE_FALSE(kv);
    CHECK(kv.error().code() == ErrorCode::out_of_memory);
    CHECK(kv.error().message().find("weights 60") != std::string::npos);
    REQUIRE(weights->resize(20));
    CHECK(budget.reserve(80, "kv"));
    CHECK_FALSE(weights->resize(101));
    CHECK(weights->bytes() == 20);
    Reservation moved = std::move(*weights);
    CHECK(budget.by_owner() == std::vector<std::pair<std::string, std::uint64_t>>{{"weights", 20}});
  }
  CHECK(budget.used_bytes() == 0);
  const auto over = budget.reserve(~0ull, "x");
  REQUIRE_FALSE(over);
  CHECK(over.error().message().find("RuntimeOptions::memory_budget_bytes") != std::string::npos);
  // A device's budget is what was free there, unless an option says less: no option of the host's memory raises it.
  Runtime free_memory(RuntimeOptions{.threads = 1}), limited(RuntimeOptions{.threads = 1, .device_memory_budget_bytes = 50});
  CHECK(free_memory.device_memory(0, 100).reserve(101, "kv").error().message().find("Free memory of the device") != std::string::npos);
  CHECK(limited.device_memory(0, 100).reserve(51, "kv").error().message().find("RuntimeOptions::device_memory_budget_bytes") != std::string::npos);
}

TEST_CASE("runtime: wait, offload, exceptions, move-only values", "[runtime]") {
  Runtime runtime(RuntimeOptions{.threads = 2, .memory_budget_bytes = 1 << 20});
  CHECK(*runtime.wait(doubled(runtime, 21)) == 42);
  CHECK(**runtime.wait(move_only()) == 7);
  CHECK_THROWS_AS((void)runtime.wait(throwing(runtime)), std::runtime_error);
  CHECK(runtime.memory().limit_bytes() == 1 << 20);
  runtime.metrics().at("a").add(3);
  CHECK(runtime.metrics().snapshot().at("a") == 3);
}

TEST_CASE("runtime: jobs of the blocking pool run once, with their reports after them", "[runtime]") {
  Runtime runtime(RuntimeOptions{.threads = 1});
  constexpr int kJobs = 2'000;
  std::atomic<int> done{0}, reported{0}, early{0};
  {
    std::vector<std::thread> givers;
    for (int t = 0; t < 3; ++t) {
      givers.emplace_back([&] {
        for (int i = 0; i < kJobs; ++i) {
          auto worked = std::make_shared<std::atomic<bool>>(false);
          auto heard = std::make_shared<std::atomic<bool>>(false);
          auto work = [&, worked] {
            worked->store(true);
            ++done;
          };
          auto report = [&, worked, heard] {
            if (!worked->load()) ++early;
            ++reported;
            heard->store(true);
          };
          runtime.post_blocking(std::move(work), std::move(report));
          // Some come one after another, as a run's do, some many at once.
          while (i % 3 == 0 && !heard->load()) std::this_thread::yield();
        }
      });
    }
    for (auto& giver : givers) giver.join();
  }
  while (reported.load() < 3 * kJobs) std::this_thread::yield();
  CHECK(done.load() == 3 * kJobs);
  CHECK(early.load() == 0);
}

TEST_CASE("runtime: runs on the host's io_context", "[runtime]") {
  boost::asio::io_context io;
  auto guard = boost::asio::make_work_guard(io);
  std::thread thread([&] { io.run(); });
  {
    RuntimeOptions options;
    options.threads = 1;
    options.io_context = &io;
    Runtime runtime(options);
    CHECK(*runtime.wait(doubled(runtime, 3)) == 6);
  }
  guard.reset();
  thread.join();
}

TEST_CASE("channel: bounded, ordered, drained after close", "[runtime]") {
  Channel<int> channel(2);
  int value = 1;
  CHECK(channel.try_send(value));
  CHECK(channel.send(2));
  value = 3;
  CHECK_FALSE(channel.try_send(value));
  channel.close();
  CHECK_FALSE(channel.send(4));
  CHECK(channel.receive_blocking() == 1);
  CHECK(channel.try_receive() == 2);
  CHECK(channel.receive_blocking() == std::nullopt);
}

TEST_CASE("channel: threads and coroutines on both ends", "[runtime]") {
  Runtime runtime(RuntimeOptions{.threads = 1});
  constexpr int kCount = 2000;
  constexpr int kSum = kCount * (kCount + 1) / 2;
  for (const bool producer_thread : {true, false}) {
    for (const bool consumer_thread : {true, false}) {
      Channel<int> channel(3);
      std::atomic<int> room{0};
      channel.on_room([&] { room.fetch_add(1); });
      int total = 0;
      std::thread consumer, producer;
      if (consumer_thread) consumer = std::thread([&] { while (auto v = channel.receive_blocking()) total += *v; });
      else consumer = std::thread([&] { total = *runtime.wait(sum(channel)); });
      if (producer_thread) {
        for (int i = 1; i <= kCount; ++i) REQUIRE(channel.send(i));
        channel.close();
      } else {
        REQUIRE(runtime.wait(produce(channel, kCount)));
      }
      consumer.join();
      CHECK(total == kSum);
      CHECK(room.load() >= kCount);
    }
  }
}
