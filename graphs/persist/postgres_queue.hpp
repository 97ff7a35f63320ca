// The WorkQueue over PostgreSQL: how a run moves between machines.
#pragma once

#include <memory>

#include "corvid/graphs/work_queue.hpp"
#include "graphs/persist/postgres_pool.hpp"

namespace corvid::postgres {

class Queue final : public WorkQueue {
 public:
  explicit Queue(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}
  Status enqueue(const QueuedRun& run) override;
  Result<std::optional<ClaimedRun>> claim(std::string_view owner, std::int64_t ttl_ms) override;
  Status renew(std::string_view run_id, std::string_view owner, std::int64_t ttl_ms) override;
  Status finish(std::string_view run_id, std::string_view owner, std::string_view status) override;
  Result<QueueCounts> counts() override;

 private:
  std::shared_ptr<Pool> pool_;
};

}  // namespace corvid::postgres
