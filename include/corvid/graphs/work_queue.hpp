// WorkQueue: runs that any process may take. A worker that dies loses its lease, and its run goes to another.
//
//   CORVID_TRY_STATUS(queue->enqueue({"run-1", "thread-1", "review.yaml", input}));
//   CORVID_TRY(auto run, queue->claim("worker-a", 30'000, now_ms));
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/graphs/checkpoint.hpp"

namespace corvid {

struct QueuedRun {
  std::string run_id;                   ///< enqueueing one that is there already changes nothing
  std::string thread_id;                ///< two runs of one thread are never claimed at the same time
  std::string graph;                    ///< name or file, for the worker
  Bytes input;                          ///< CBOR
};

struct ClaimedRun {
  QueuedRun run;
  std::int32_t attempt = 1;             ///< 2 and more: taken over, its thread may have checkpoints
};

struct QueueCounts { std::size_t waiting = 0, running = 0, finished = 0; };

/// Thread-safe; blocking. Oldest first among those whose thread is free.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  virtual Status enqueue(const QueuedRun& run) = 0;                       ///< durable when it returns
  /// Takes one for `ttl_ms`; nullopt where nothing waits. A run whose claim expired waits again.
  virtual Result<std::optional<ClaimedRun>> claim(std::string_view owner, std::int64_t ttl_ms) = 0;
  virtual Status renew(std::string_view run_id, std::string_view owner, std::int64_t ttl_ms) = 0;   ///< errors: conflict (lost)
  /// Ends the run once, with what the worker says of it. Errors: conflict (another owner has it, or it ended).
  virtual Status finish(std::string_view run_id, std::string_view owner, std::string_view status) = 0;
  virtual Result<QueueCounts> counts() = 0;
};

}  // namespace corvid
