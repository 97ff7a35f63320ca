// Coroutines of one superstep, of which some wait and some do not.
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <atomic>

#include "corvid/graphs/state_graph.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace std::chrono_literals;

namespace {

struct Fan {
  Key<int> i{"i"};
  Key<std::vector<int>> out{"out", append};
};

}  // namespace

TEST_CASE("coroutines that wait run beside each other, and all are joined in the order of their tasks", "[lanes]") {
  Runtime runtime;
  for (const int limit : {0, 1, 3}) {
    std::atomic<int> running{0}, most{0};
    StateGraph<Fan> graph;
    const auto work = [&](const StateOf<Fan>& s) -> Task<Update<Fan>> {
      const int i = s[&Fan::i];
      const int now = ++running;
      for (int seen = most.load(); seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      if (i % 3 == 0) {
        boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, 1ms * (1 + i % 5));
        co_await timer.async_wait(boost::asio::use_awaitable);
      }
      --running;
      if (i == 200) co_return fail(Error::io("task 200"));
      if (i == 201) throw std::runtime_error("task 201");
      co_return update(&Fan::out, std::vector<int>{i});
    };
    graph.add_node("start", [](const StateOf<Fan>&) -> Task<Update<Fan>> { co_return Update<Fan>(); });
    graph.add_node("work", work);
    graph.add_edge(START, "start");
    int count = 60, first = 0;
    graph.add_conditional_edges("start", [&](const StateOf<Fan>&) {
      std::vector<Send> sends;
      for (int i = 0; i < count; ++i) sends.emplace_back("work", update(&Fan::i, first + i));
      return sends;
    }, {"work"});
    const auto compiled = *graph.compile();
    RunConfig config;
    config.max_concurrency = limit;
    const auto result = compiled->invoke_blocking(runtime, input(update(&Fan::i, 0)), config);
    REQUIRE(result);
    std::vector<int> expected;
    for (int i = 0; i < count; ++i) expected.push_back(i);
    CHECK(result->get(&Fan::out) == expected);
    if (limit > 0) CHECK(most.load() <= limit);
    else CHECK(most.load() > 10);
    // The failure that is told is the first by task, whichever came first.
    first = 198;
    count = 5;
    const auto failed = compiled->invoke_blocking(runtime, input(update(&Fan::i, 0)), config);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().message().find("task 200") != std::string::npos);
    CHECK(failed.error().key() == "work");
  }
}
