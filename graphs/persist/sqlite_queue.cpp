// SqliteQueue: runs in a table of the workspace. Claims are serialised by the workspace's one writer.
#include <utility>

#include "persist/rows.hpp"
#include "persist/rules.hpp"
#include "persist/sqlite_schema.hpp"

namespace corvid::persist {
namespace {

std::int64_t sum_of(const QueuedRun& run) { return RowSum().add(run.run_id).add(run.thread_id).add(run.graph).add(run.input).finish(); }

class SqliteQueue final : public WorkQueue {
 public:
  explicit SqliteQueue(std::shared_ptr<Workspace> workspace) : workspace_(std::move(workspace)) {}

  Status enqueue(const QueuedRun& run) override {
    CORVID_TRY_STATUS(check_name("a run's id", run.run_id));
    CORVID_TRY_STATUS(check_name("a thread's id", run.thread_id));
    CORVID_TRY_STATUS(check_name("a run's graph", run.graph, true));
    const auto body = [&](Database& db) -> Status {
      CORVID_TRY(CachedStatement row, db.cached("INSERT OR IGNORE INTO graph_runs(run_id, thread, graph, input, sum, attempt, expires_ms)"
                                                " VALUES(?1, ?2, ?3, ?4, ?5, 0, 0)"));
      row->bind(1, run.run_id);
      row->bind(2, run.thread_id);
      row->bind(3, run.graph);
      row->bind(4, run.input);
      row->bind(5, sum_of(run));
      return row->run();
    };
    return workspace_->write(body);
  }

  Result<std::optional<ClaimedRun>> claim(std::string_view owner, std::int64_t ttl_ms) override {
    CORVID_TRY_STATUS(check_name("a worker's name", owner));
    CORVID_TRY_STATUS(check_ttl(ttl_ms));
    std::optional<ClaimedRun> claimed;
    const auto body = [&](Database& db) -> Status {
      const auto now = system_now_ms();
      std::int64_t seq = 0;
      {
        CORVID_TRY(
            CachedStatement row,
            db.cached("SELECT r.seq, r.run_id, r.thread, r.graph, r.input, r.sum, r.attempt FROM graph_runs r INDEXED BY graph_runs_order"
                      " WHERE r.status IS NULL AND r.expires_ms <= ?1 AND NOT EXISTS(SELECT 1 FROM graph_runs o"
                      " WHERE o.thread = r.thread AND o.status IS NULL AND o.expires_ms > ?1) ORDER BY r.seq LIMIT 1"));
        row->bind(1, now);
        CORVID_TRY(const bool found, row->step());
        if (!found) return {};
        seq = row->integer(0);
        claimed.emplace();
        claimed->run = {std::string(row->text(1)), std::string(row->text(2)), std::string(row->text(3)), to_bytes(row->blob(4))};
        claimed->attempt = static_cast<std::int32_t>(row->integer(6)) + 1;
        if (sum_of(claimed->run) != row->integer(5)) return fail(damaged_row("a queued run", claimed->run.run_id));
      }
      CORVID_TRY(CachedStatement take,
                 db.cached("UPDATE graph_runs SET owner = ?2, expires_ms = ?3, attempt = attempt + 1 WHERE seq = ?1"));
      take->bind(1, seq);
      take->bind(2, owner);
      take->bind(3, now + ttl_ms);
      return take->run();
    };
    CORVID_TRY_STATUS(workspace_->write(body));
    return claimed;
  }

  Status renew(std::string_view run_id, std::string_view owner, std::int64_t ttl_ms) override {
    CORVID_TRY_STATUS(check_ttl(ttl_ms));
    const auto body = [&](Database& db) -> Status {
      CORVID_TRY(const auto seq, owned(db, run_id, owner));
      CORVID_TRY(CachedStatement row, db.cached("UPDATE graph_runs SET expires_ms = ?2 WHERE seq = ?1"));
      row->bind(1, seq);
      row->bind(2, system_now_ms() + ttl_ms);
      return row->run();
    };
    return workspace_->write(body);
  }

  Status finish(std::string_view run_id, std::string_view owner, std::string_view status) override {
    const auto body = [&](Database& db) -> Status {
      CORVID_TRY(const auto seq, owned(db, run_id, owner));
      // What ended is kept, so that the same run is not taken in again; its input is not.
      CORVID_TRY(CachedStatement row, db.cached("UPDATE graph_runs SET status = ?2, expires_ms = 0, input = x'' WHERE seq = ?1"));
      row->bind(1, seq);
      row->bind(2, status);
      return row->run();
    };
    return workspace_->write(body);
  }

  Result<QueueCounts> counts() override {
    QueueCounts counts;
    const auto body = [&](Database& db) -> Status {
      CORVID_TRY(CachedStatement row, db.cached("SELECT count(*) FILTER(WHERE status IS NULL AND expires_ms <= ?1),"
                                                " count(*) FILTER(WHERE status IS NULL AND expires_ms > ?1),"
                                                " count(*) FILTER(WHERE status IS NOT NULL) FROM graph_runs"));
      row->bind(1, system_now_ms());
      CORVID_TRY(const bool any, row->step());
      if (any)
        counts = {static_cast<std::size_t>(row->integer(0)), static_cast<std::size_t>(row->integer(1)),
                  static_cast<std::size_t>(row->integer(2))};
      return {};
    };
    CORVID_TRY_STATUS(workspace_->read(body));
    return counts;
  }

 private:
  static Status check_ttl(std::int64_t ttl_ms) {
    if (ttl_ms > 0) return {};
    return fail(Error::invalid_argument("a claim for " + std::to_string(ttl_ms) + " ms; give it a positive time"));
  }

  // The row of a run that the owner has, even if the claim ran out, as long as nobody else took it.
  static Result<std::int64_t> owned(Database& db, std::string_view run_id, std::string_view owner) {
    CORVID_TRY(CachedStatement row, db.cached("SELECT seq, owner, status FROM graph_runs WHERE run_id = ?1"));
    row->bind(1, run_id);
    CORVID_TRY(const bool found, row->step());
    const auto refuse = [&](Error error) { return fail(std::move(error).at_key(std::string(run_id))); };
    if (!found) return refuse(Error::not_found("no run has this id; enqueue it first"));
    if (!row->is_null(2)) return refuse(Error::conflict("the run ended already: " + std::string(row->text(2))));
    if (row->is_null(1)) return refuse(Error::conflict("nobody has claimed the run; claim it first"));
    if (row->text(1) != owner)
      return refuse(Error::conflict("the run was taken over by '" + std::string(row->text(1)) + "'; stop working on it"));
    return row->integer(0);
  }

  std::shared_ptr<Workspace> workspace_;
};

}  // namespace

std::shared_ptr<WorkQueue> make_sqlite_queue(std::shared_ptr<Workspace> workspace) {
  return std::make_shared<SqliteQueue>(std::move(workspace));
}

}  // namespace corvid::persist
