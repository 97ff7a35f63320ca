// Plain coroutines of one superstep side by side, in as few strands of execution as they need.
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include "graphs/run/run.hpp"

namespace corvid {

// A lane runs one task after another. While one waits, the next lane goes on with the tasks that are left: nodes that never wait share one
// lane, and each that does has its own. To spawn a coroutine costs more than a small node does.
struct Run::Lanes {
  std::size_t count = 0;
  std::atomic<std::size_t> next{0};                 // the first task that no lane has taken
  std::atomic<std::size_t> running{1};              // lanes, and who spawns them
  std::vector<std::optional<Error>> failures;       // by task
  std::vector<char> begun;                          // by lane
  Notifier done;
};

// In place of a task that is kept: it lives as long as its coroutine. The error, if it failed.
boost::asio::awaitable<std::optional<Error>> Run::run_plain(std::size_t index) {
  const bool pulled = index < frontier_.nodes.size();
  const std::size_t send_index = pulled ? 0 : index - frontier_.nodes.size();
  const std::uint32_t node = pulled ? frontier_.nodes[index] : frontier_.sends[send_index].node;
  TaskRun task(*shared_, g_, ns_, step_ + 1, node, checkpoint_id(), nullptr);
  if (!pulled) {
    task.send = &frontier_.sends[send_index];
    task.send_index = send_index;
  }
  task.look_at(std::span<const Value>(*values_));
  finished_[index] = {node, &outcomes_[index]};
  if (auto opened = task.open_view(); !opened) co_return std::move(opened).error();
  Result<NodeResult> result = fail(Error::internal("not run"));
  try {
    result = co_await g_.nodes[node].coroutine(task);
  } catch (...) {
    result = fail(error_of(std::current_exception()));
  }
  if (!result) co_return std::move(result).error();
  if (auto made = make_outcome(g_, node, *values_, std::move(*result), outcomes_[index]); !made) co_return std::move(made).error();
  co_return std::nullopt;
}

boost::asio::awaitable<void> Run::lane(Lanes& lanes, std::size_t number) {
  lanes.begun[number] = 1;
  while (true) {
    const std::size_t turn = lanes.next.fetch_add(1, std::memory_order_relaxed);
    if (turn >= lanes.count) break;
    // Sends start before the nodes that edges triggered.
    const std::size_t index = (turn + frontier_.nodes.size()) % lanes.count;
    try {
      lanes.failures[index] = co_await run_plain(index);
    } catch (const std::bad_alloc&) {
      lanes.failures[index] = Error::out_of_memory("no memory left in the run");
    }
  }
  // What it names may be gone once the last lane has counted itself out.
  Notifier done = lanes.done;
  if (lanes.running.fetch_sub(1, std::memory_order_acq_rel) == 1) done.notify();
}

// As run_in_place(), for coroutines.
Task<Run::Stop> Run::run_in_lanes() {
  Lanes lanes;
  lanes.count = frontier_.size();
  lanes.failures.resize(lanes.count);
  outcomes_.clear();
  outcomes_.resize(lanes.count);
  finished_.resize(lanes.count);
  const int limit = shared_->config.max_concurrency;
  const std::size_t most = limit > 0 ? std::min(lanes.count, static_cast<std::size_t>(limit)) : lanes.count;
  const auto executor = co_await boost::asio::this_coro::executor;
  lanes.begun.assign(most, 0);
  std::optional<Error> stopped;
  for (std::size_t number = 0; number < most && lanes.next.load(std::memory_order_relaxed) < lanes.count && !stopped; ++number) {
    lanes.running.fetch_add(1, std::memory_order_relaxed);
    try {
      auto one = lane(lanes, number);
      boost::asio::co_spawn(executor, std::move(one), boost::asio::detached);   // what fails is in `failures`
    } catch (const std::bad_alloc&) {
      stopped = Error::out_of_memory("no memory left to start a task");
      if (!lanes.begun[number]) lanes.running.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  if (lanes.running.fetch_sub(1, std::memory_order_acq_rel) != 1) co_await lanes.done.wait(std::nullopt);
  if (stopped) co_return fail(std::move(*stopped));
  std::vector<Problem> problems;
  for (std::size_t i = 0; i < lanes.count; ++i) {
    if (lanes.failures[i]) problems.push_back({i, std::move(lanes.failures[i]), {}});
  }
  const bool clean = problems.empty();
  if (!clean) CORVID_CO_TRY_STATUS(show_problems(std::move(problems)));
  co_return superstep_ended(clean);
}

}  // namespace corvid
