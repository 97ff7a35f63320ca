// What a run and the runs of its subgraphs have in common.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "corvid/graphs/graph.hpp"
#include "corvid/runtime/channel.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/tracer.hpp"
#include "graphs/run/notifier.hpp"

namespace corvid {

struct RunShared : std::enable_shared_from_this<RunShared> {
  RunShared(Runtime& on, RunConfig with) : runtime(on), config(std::move(with)) {}

  Runtime& runtime;
  RunConfig config;
  bool cancellable = false;                         // the caller gave a token, or may call cancel()
  bool saver_blocks = false;
  bool loop_blocks = false;                         // the loop is on a thread that may wait: it calls the saver itself
  std::shared_ptr<Checkpointer> saver;
  std::shared_ptr<Tracer> tracer;
  std::chrono::steady_clock::time_point started{};  // set where there are events

  // Events. What runs and their nodes on the executor have to tell waits in `emitted`, in order, until one of the runs sends it.
  std::optional<Channel<StreamEvent>> events;
  std::optional<Channel<bool>> sending;                         // full while a run sends: the others wait, as their reader does
  std::array<bool, 7> wanted{};
  std::mutex emitted_mutex;
  std::vector<StreamEvent> emitted;

  std::atomic<int> abandoned{0};                    // plain functions that timed out and still run

  bool wants(StreamMode mode) const noexcept { return wanted[static_cast<std::size_t>(mode)]; }
  bool streams() const noexcept { return events.has_value(); }
  bool drain_requested() const noexcept { return config.drain && config.drain->requested(); }
  std::int64_t elapsed_us() const {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - started).count();
  }
};

}  // namespace corvid
