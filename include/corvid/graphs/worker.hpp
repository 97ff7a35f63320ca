// work: takes runs from a queue and runs them, one after another, until told to stop. Any number of processes may; a run whose worker dies
// is taken over by another and goes on from its last checkpoint.
//
//   CORVID_TRY(auto store, open_postgres_store(url));
//   WorkerOptions options;
//   options.graphs = [&](const std::string& name) { return find_graph(name); };      // compiled with store.saver
//   auto done = runtime.wait(work(runtime, *store.queue, options));
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/task.hpp"
#include "corvid/graphs/graph.hpp"
#include "corvid/graphs/work_queue.hpp"

namespace corvid {

struct WorkerOptions {
  /// The graph that a queued run names; not_found ends that run as failed. Its checkpointer is where the run's thread is kept.
  std::function<Result<std::shared_ptr<const CompiledGraph>>(const std::string& name)> graphs;
  std::string owner;                            ///< empty: drawn; never shared by two workers
  std::chrono::milliseconds ttl{30'000};        ///< of the claim and of the thread's lease; renewed while the run lasts
  std::chrono::milliseconds pause{200};         ///< between two looks at an empty queue
  bool until_empty = false;                     ///< return when nothing waits and nothing runs
  CancellationToken cancellation;               ///< stops the run in hand too: it waits in the queue again
  RunConfig config;                             ///< what runs have in common; thread, run id, owner and lease are set per run
  /// After each run, with its outcome. May be null.
  std::function<void(const QueuedRun& run, const Result<RunResult>& result)> on_finished;
};

struct WorkerReport {
  std::size_t done = 0, interrupted = 0, failed = 0, taken_over = 0;
};

/// A run that asks a person is finished as "interrupted": enqueue it again, with Continue for an input, when there is an answer.
/// Errors: those of the queue; invalid_argument (no `graphs`). A run's own failure is not one: it is finished as "failed: …".
Task<WorkerReport> work(Runtime& runtime, WorkQueue& queue, WorkerOptions options);

/// A queued run's input: the state to begin with, or nothing: go on.
Bytes queued_input(const Json& state);
Bytes queued_continue();

}  // namespace corvid
