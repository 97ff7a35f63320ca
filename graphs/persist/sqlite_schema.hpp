// The tables of graphs in a workspace, and the saver's class, whose members are spread over files by what they are about.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/work_queue.hpp"
#include "corvid/storage/workspace.hpp"

namespace corvid::persist {

std::span<const Migration> sqlite_migrations();

class SqliteSaver final : public Checkpointer {
 public:
  explicit SqliteSaver(std::shared_ptr<Workspace> workspace) : workspace_(std::move(workspace)) {}
  std::string_view name() const noexcept override { return "sqlite"; }

  // sqlite_saver.cpp
  Status commit(const Commit& commit) override;
  Result<std::optional<LoadedCheckpoint>> get(std::string_view thread_id, std::string_view ns, std::string_view id) override;
  Result<std::vector<CheckpointRecord>> list(std::string_view thread_id, std::string_view ns, const ListOptions& options) override;
  Result<std::vector<std::string>> namespaces(std::string_view thread_id) override;
  // sqlite_threads.cpp
  Result<std::vector<ThreadInfo>> threads() override;
  Status lease(std::string_view thread_id, const LeaseChange& change) override;
  Status delete_thread(std::string_view thread_id) override;
  Status copy_thread(std::string_view from, std::string_view to) override;
  Result<std::size_t> prune(std::string_view thread_id, const PruneOptions& options) override;
  // sqlite_questions.cpp
  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread_id, bool with_expired) override;
  Status answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now_ms) override;
  Status append_audit(const AuditRecord& entry) override;
  Result<std::vector<AuditRecord>> audit() override;
  Result<std::optional<Bytes>> cache_get(std::string_view key, std::int64_t now_ms) override;
  Status cache_put(std::string_view key, const Bytes& value, std::int64_t expires_ms) override;

 private:
  std::shared_ptr<Workspace> workspace_;
};

std::shared_ptr<WorkQueue> make_sqlite_queue(std::shared_ptr<Workspace> workspace);

// Inside a transaction.
struct ThreadRow {
  std::int64_t id = 0;     ///< 0: not there
  std::int64_t space = 0;  ///< of the namespace asked for: the thread's id for the root, else negative; 0: not there
  bool made = false;       ///< by touch_thread(), just now: it has nothing yet
};
Result<ThreadRow> find_thread(Database& db, std::string_view thread_id, std::string_view ns = {});
/// Applies a lease change to the thread's row, which is made if absent. Errors: conflict.
Result<ThreadRow> touch_thread(Database& db, std::string_view thread_id, std::string_view ns, const LeaseChange& change);

Status put_question(Database& db, std::int64_t thread, const InterruptRecord& asked);
Status put_foreign_answer(Database& db, std::int64_t thread, std::string_view ns, std::string_view checkpoint_id,
                          const AnswerRecord& answer);
/// Fills in the questions and answers of a checkpoint.
Status load_questions(Database& db, std::int64_t thread, std::string_view thread_id, std::string_view ns, LoadedCheckpoint& loaded);

Bytes to_bytes(std::span<const std::byte> column);
Error damaged_row(std::string_view what, std::string_view id);

}  // namespace corvid::persist
