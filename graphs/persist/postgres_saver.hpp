// The Checkpointer over PostgreSQL. Its members are in four files: commits and leases, reading, questions and audit, whole threads.
#pragma once

#include <memory>

#include "corvid/graphs/checkpoint.hpp"
#include "graphs/persist/postgres_pool.hpp"

namespace corvid::postgres {

// Unix milliseconds by the server's clock: leases and claims of several machines are compared by one clock. Not now(), which is when the
// transaction began: it may have waited for a row since.
#define CORVID_PG_NOW "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

/// What recognises a commit that is sent again.
std::int64_t new_token();

class Saver final : public Checkpointer {
 public:
  explicit Saver(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}
  std::string_view name() const noexcept override { return "postgres"; }

  Status commit(const Commit& commit) override;
  Status lease(std::string_view thread_id, const LeaseChange& change) override;

  Result<std::optional<LoadedCheckpoint>> get(std::string_view thread_id, std::string_view ns, std::string_view id) override;
  Result<std::vector<CheckpointRecord>> list(std::string_view thread_id, std::string_view ns, const ListOptions& options) override;
  Result<std::vector<std::string>> namespaces(std::string_view thread_id) override;
  Result<std::vector<ThreadInfo>> threads() override;
  Result<std::optional<Bytes>> cache_get(std::string_view key, std::int64_t now_ms) override;
  Status cache_put(std::string_view key, const Bytes& value, std::int64_t expires_ms) override;

  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread_id, bool with_expired) override;
  Status answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now_ms) override;
  Status append_audit(const AuditRecord& entry) override;
  Result<std::vector<AuditRecord>> audit() override;
  Status check_audit() override;

  Status delete_thread(std::string_view thread_id) override;
  Status copy_thread(std::string_view from, std::string_view to) override;
  Result<std::size_t> prune(std::string_view thread_id, const PruneOptions& options) override;

 private:
  std::shared_ptr<Pool> pool_;
};

/// The row of an interrupt as `SELECT` lists it for open_interrupts() and get().
InterruptRecord interrupt_in(const Rows& rows, int row);

}  // namespace corvid::postgres
