// SqliteSaver: threads as a whole, their leases, and what is removed of them.
#include <map>
#include <set>
#include <utility>

#include "persist/rows.hpp"
#include "persist/rules.hpp"
#include "persist/sqlite_schema.hpp"

namespace corvid::persist {
namespace {

template <class F>
Status each_row(Statement& row, F&& take) {
  while (true) {
    CORVID_TRY(const bool more, row.step());
    if (!more) return {};
    take(row);
  }
}

Result<std::vector<std::pair<std::int64_t, std::string>>> spaces_of(Database& db, std::int64_t thread) {
  std::vector<std::pair<std::int64_t, std::string>> spaces = {{thread, ""}};
  CORVID_TRY(CachedStatement row, db.cached("SELECT id, ns FROM graph_spaces WHERE thread = ?1"));
  row->bind(1, thread);
  CORVID_TRY_STATUS(each_row(*row, [&](Statement& r) { spaces.emplace_back(-r.integer(0), std::string(r.text(1))); }));
  return spaces;
}

Status run_with(Database& db, std::string_view sql, std::int64_t first) {
  CORVID_TRY(CachedStatement row, db.cached(sql));
  row->bind(1, first);
  return row->run();
}

Status run_with(Database& db, std::string_view sql, std::int64_t first, std::int64_t second) {
  CORVID_TRY(CachedStatement row, db.cached(sql));
  row->bind(1, first);
  row->bind(2, second);
  return row->run();
}

Status run_with(Database& db, std::string_view sql, std::int64_t first, std::string_view second, std::string_view third) {
  CORVID_TRY(CachedStatement row, db.cached(sql));
  row->bind(1, first);
  row->bind(2, second);
  if (!third.empty()) row->bind(3, third);
  return row->run();
}

// Reachability, not counters: a counter that is once wrong stays wrong.
Status drop_unused(Database& db, const std::set<std::int64_t>& contents) {
  for (const auto content : contents) {
    CORVID_TRY_STATUS(
        run_with(db, "DELETE FROM graph_contents WHERE id = ?1 AND NOT EXISTS(SELECT 1 FROM graph_states WHERE content = ?1)", content));
  }
  return {};
}

// From a row of: thread's id, its namespace's or NULL.
ThreadRow thread_row(Statement& row, std::string_view ns) { return {row.integer(0), ns.empty() ? row.integer(0) : -row.integer(1)}; }

struct StoredBlob {
  std::uint64_t base = 0;
  std::int64_t content = 0;  // 0: inline
};
using BlobKey = std::pair<std::string, std::uint64_t>;  // channel, version

Result<std::size_t> prune_space(Database& db, std::int64_t thread, std::int64_t space, std::string_view ns, const PruneOptions& options,
                                std::int64_t now_ms) {
  std::set<std::string, std::less<>> asked_from;
  {
    CORVID_TRY(CachedStatement row,
               db.cached("SELECT checkpoint FROM graph_interrupts WHERE thread = ?1 AND ns = ?2 AND answered_by IS NULL"
                         " AND closed = 0 AND (expires_ms = 0 OR expires_ms > ?3)"));
    row->bind(1, thread);
    row->bind(2, ns);
    row->bind(3, now_ms);
    CORVID_TRY_STATUS(each_row(*row, [&](Statement& r) { asked_from.emplace(r.text(0)); }));
  }
  std::vector<std::string> gone;
  std::set<BlobKey> needed;
  std::map<BlobKey, StoredBlob> blobs;
  std::vector<ChannelVersion> kept;
  {
    CORVID_TRY(CachedStatement row, db.cached("SELECT name, at_ms, channels FROM graph_states WHERE space = ?1 AND kind = 1 ORDER BY name DESC"));
    row->bind(1, space);
    for (std::size_t newer = 0;; ++newer) {
      CORVID_TRY(const bool more, row->step());
      if (!more) break;
      const bool old = options.older_than_ms == 0 || row->integer(1) < options.older_than_ms;
      if (newer >= options.keep_last && old && !asked_from.contains(row->text(0))) {
        gone.emplace_back(row->text(0));
        continue;
      }
      auto channels = unpack_channels(row->blob(2));
      if (!channels) return fail(std::move(channels).error().at_key(std::string(row->text(0))));
      kept.insert(kept.end(), std::make_move_iterator(channels->begin()), std::make_move_iterator(channels->end()));
    }
  }
  if (gone.empty()) return gone.size();
  {
    CORVID_TRY(CachedStatement row, db.cached("SELECT name, version, base, content FROM graph_states WHERE space = ?1 AND kind = 2"));
    row->bind(1, space);
    CORVID_TRY_STATUS(each_row(*row, [&](Statement& r) {
      blobs.emplace(BlobKey{r.text(0), static_cast<std::uint64_t>(r.integer(1))},
                    StoredBlob{static_cast<std::uint64_t>(r.integer(2)), r.integer(3)});
    }));
  }
  for (auto& channel : kept) {
    BlobKey key{std::move(channel.channel), channel.version};
    for (auto blob = blobs.find(key); blob != blobs.end() && needed.insert(key).second; blob = blobs.find(key))
      key.second = blob->second.base;
  }
  for (const auto& id : gone) {
    CORVID_TRY_STATUS(run_with(db, "DELETE FROM graph_states WHERE space = ?1 AND kind = 1 AND name = ?2 AND version = 0", space, id, {}));
    CORVID_TRY_STATUS(run_with(db, "DELETE FROM graph_writes WHERE space = ?1 AND checkpoint = ?2", space, id, {}));
    CORVID_TRY(CachedStatement row, db.cached("DELETE FROM graph_interrupts WHERE thread = ?1 AND checkpoint = ?2 AND ns = ?3"));
    row->bind(1, thread);
    row->bind(2, id);
    row->bind(3, ns);
    CORVID_TRY_STATUS(row->run());
  }
  std::set<std::int64_t> contents;
  for (const auto& [key, blob] : blobs) {
    if (needed.contains(key)) continue;
    CORVID_TRY(CachedStatement row, db.cached("DELETE FROM graph_states WHERE space = ?1 AND kind = 2 AND name = ?2 AND version = ?3"));
    row->bind(1, space);
    row->bind(2, key.first);
    row->bind(3, static_cast<std::int64_t>(key.second));
    CORVID_TRY_STATUS(row->run());
    if (blob.content != 0) contents.insert(blob.content);
  }
  CORVID_TRY_STATUS(drop_unused(db, contents));
  return gone.size();
}

Result<std::int64_t> make_thread(Database& db, std::string_view thread_id, const LeaseState& lease) {
  std::int64_t id = 0;
  {
    CORVID_TRY(CachedStatement next, db.cached("SELECT max(coalesce(max(space), 0), 0) + 1 FROM graph_states"));
    CORVID_TRY(const bool any, next->step());
    if (!any) return fail(Error::internal("SQLite gave no row for an aggregate"));
    id = next->integer(0);
  }
  CORVID_TRY(CachedStatement name, db.cached("INSERT INTO graph_names(name, thread) VALUES(?1, ?2)"));
  name->bind_borrowed(1, thread_id);
  name->bind(2, id);
  CORVID_TRY_STATUS(name->run());
  CORVID_TRY(CachedStatement row, db.cached("INSERT INTO graph_states(space, kind, name, version, owner, at_ms) VALUES(?1, 0, ?2, 0, ?3, ?4)"));
  row->bind(1, id);
  row->bind_borrowed(2, thread_id);
  row->bind_borrowed(3, lease.owner);
  row->bind(4, lease.expires_ms);
  CORVID_TRY_STATUS(row->run());
  return id;
}

}  // namespace

Result<ThreadRow> find_thread(Database& db, std::string_view thread_id, std::string_view ns) {
  CORVID_TRY(CachedStatement row,
             db.cached("SELECT t.thread, s.id FROM graph_names t LEFT JOIN graph_spaces s ON s.thread = t.thread AND s.ns = ?2"
                       " WHERE t.name = ?1"));
  row->bind(1, thread_id);
  row->bind(2, ns);
  CORVID_TRY(const bool found, row->step());
  return found ? thread_row(*row, ns) : ThreadRow{};
}

Result<ThreadRow> touch_thread(Database& db, std::string_view thread_id, std::string_view ns, const LeaseChange& change) {
  ThreadRow thread;
  LeaseState held;
  {
    CORVID_TRY(CachedStatement row,
               db.cached(ns.empty() ? "SELECT t.thread, NULL, l.owner, l.at_ms FROM graph_names t CROSS JOIN graph_states l"
                                      " ON l.space = t.thread AND l.kind = 0 WHERE t.name = ?1"
                                    : "SELECT t.thread, s.id, l.owner, l.at_ms FROM graph_names t CROSS JOIN graph_states l"
                                      " ON l.space = t.thread AND l.kind = 0 LEFT JOIN graph_spaces s ON s.thread = t.thread AND s.ns = ?2"
                                      " WHERE t.name = ?1"));
    row->bind_borrowed(1, thread_id);
    if (!ns.empty()) row->bind_borrowed(2, ns);
    CORVID_TRY(const bool found, row->step());
    if (found) {
      thread = thread_row(*row, ns);
      held = {std::string(row->text(2)), row->integer(3)};
    }
  }
  CORVID_TRY(const LeaseState lease, change_lease(held, change, thread_id, system_now_ms()));
  // Renewing a lease of which less than an eighth has passed is not worth the page that each superstep would write for it.
  const auto gained = lease.expires_ms - held.expires_ms;
  const bool fresh = change.kind == LeaseChange::Kind::keep && gained >= 0 && gained < change.ttl_ms / 8;
  if (thread.id == 0) {
    CORVID_TRY(thread.id, make_thread(db, thread_id, lease));
    thread.made = true;
  } else if (change.kind != LeaseChange::Kind::none && !fresh) {
    CORVID_TRY(CachedStatement row, db.cached("UPDATE graph_states SET owner = ?2, at_ms = ?3 WHERE space = ?1 AND kind = 0"));
    row->bind(1, thread.id);
    row->bind_borrowed(2, lease.owner);
    row->bind(3, lease.expires_ms);
    CORVID_TRY_STATUS(row->run());
  }
  if (ns.empty()) thread.space = thread.id;
  return thread;
}

Result<std::vector<ThreadInfo>> SqliteSaver::threads() {
  std::vector<ThreadInfo> infos;
  const auto now = system_now_ms();
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(
        CachedStatement row,
        db.cached("SELECT t.name, max(coalesce((SELECT c.at_ms FROM graph_states c WHERE c.space = t.thread AND c.kind = 1"
                  "  ORDER BY c.name DESC LIMIT 1), 0),"
                  " coalesce((SELECT max((SELECT c.at_ms FROM graph_states c WHERE c.space = -s.id AND c.kind = 1 ORDER BY c.name DESC LIMIT 1))"
                  "  FROM graph_spaces s WHERE s.thread = t.thread), 0)), l.owner, l.at_ms,"
                  " (SELECT c.name FROM graph_states c WHERE c.space = t.thread AND c.kind = 1 ORDER BY c.name DESC LIMIT 1),"
                  " (SELECT count(*) FROM graph_interrupts i WHERE i.thread = t.thread AND i.answered_by IS NULL AND i.closed = 0"
                  "  AND (i.expires_ms = 0 OR i.expires_ms > ?1))"
                  " FROM graph_names t CROSS JOIN graph_states l ON l.space = t.thread AND l.kind = 0 ORDER BY t.name"));
    row->bind(1, now);
    return each_row(*row, [&](Statement& r) {
      ThreadInfo info;
      info.thread_id = r.text(0);
      info.updated_ms = r.integer(1);
      if (r.integer(3) > now) {
        info.lease_owner = r.text(2);
        info.lease_expires_ms = r.integer(3);
      }
      info.last_checkpoint_id = r.text(4);
      info.open_interrupts = static_cast<std::size_t>(r.integer(5));
      infos.push_back(std::move(info));
    });
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return infos;
}

Status SqliteSaver::lease(std::string_view thread_id, const LeaseChange& change) {
  CORVID_TRY_STATUS(check_name("a thread's id", thread_id));
  CORVID_TRY_STATUS(check_lease(change));
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY_STATUS(touch_thread(db, thread_id, "", change));
    return {};
  };
  return workspace_->write(body);
}

Status SqliteSaver::delete_thread(std::string_view thread_id) {
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const ThreadRow thread, find_thread(db, thread_id));
    if (thread.id == 0) return {};
    CORVID_TRY(const auto spaces, spaces_of(db, thread.id));
    std::set<std::int64_t> contents;
    for (const auto& [space, ns] : spaces) {
      {
        CORVID_TRY(CachedStatement row, db.cached("SELECT content FROM graph_states WHERE space = ?1 AND kind = 2 AND content IS NOT NULL"));
        row->bind(1, space);
        CORVID_TRY_STATUS(each_row(*row, [&](Statement& r) { contents.insert(r.integer(0)); }));
      }
      CORVID_TRY_STATUS(run_with(db, "DELETE FROM graph_states WHERE space = ?1", space));
      CORVID_TRY_STATUS(run_with(db, "DELETE FROM graph_writes WHERE space = ?1", space));
    }
    CORVID_TRY_STATUS(run_with(db, "DELETE FROM graph_spaces WHERE thread = ?1", thread.id));
    CORVID_TRY_STATUS(run_with(db, "DELETE FROM graph_interrupts WHERE thread = ?1", thread.id));
    CORVID_TRY(CachedStatement name, db.cached("DELETE FROM graph_names WHERE name = ?1"));
    name->bind(1, thread_id);
    CORVID_TRY_STATUS(name->run());
    return drop_unused(db, contents);
  };
  return workspace_->write(body);
}

Status SqliteSaver::copy_thread(std::string_view from, std::string_view to) {
  CORVID_TRY_STATUS(check_name("a thread's id", to));
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const ThreadRow source, find_thread(db, from));
    if (source.id == 0) return fail(no_thread(from));
    CORVID_TRY(const ThreadRow there, find_thread(db, to));
    if (there.id != 0) return fail(thread_exists(to));
    CORVID_TRY(const auto copy, make_thread(db, to, LeaseState{}));
    CORVID_TRY(const auto spaces, spaces_of(db, source.id));
    for (const auto& [space, ns] : spaces) {
      auto mine = copy;
      if (!ns.empty()) {
        CORVID_TRY_STATUS(run_with(db, "INSERT INTO graph_spaces(thread, ns) VALUES(?1, ?2)", copy, ns, {}));
        mine = -db.last_insert_rowid();
      }
      CORVID_TRY_STATUS(run_with(db,
                                 "INSERT INTO graph_states SELECT ?2, kind, name, version, at_ms, owner, parent, step, source, channels, base,"
                                 " content, bytes, sum FROM graph_states WHERE space = ?1 AND kind > 0",
                                 space, mine));
      CORVID_TRY_STATUS(run_with(db,
                                 "INSERT INTO graph_writes SELECT ?2, checkpoint, task, idx, channel, bytes, sum FROM graph_writes"
                                 " WHERE space = ?1",
                                 space, mine));
    }
    return run_with(db,
                    "INSERT INTO graph_interrupts SELECT ?2, id, ns, checkpoint, task, node, asked_ms, expires_ms, body, sum, closed,"
                    " answered_by, answered_ms, answer, answer_sum FROM graph_interrupts"
                    " WHERE thread = ?1 AND (answered_by IS NOT NULL OR closed = 1)",
                    source.id, copy);
  };
  return workspace_->write(body);
}

Result<std::size_t> SqliteSaver::prune(std::string_view thread_id, const PruneOptions& options) {
  std::size_t removed = 0;
  const auto now = system_now_ms();
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const ThreadRow thread, find_thread(db, thread_id));
    CORVID_TRY(const auto spaces, spaces_of(db, thread.id));
    for (const auto& [space, ns] : spaces) {
      CORVID_TRY(const auto gone, prune_space(db, thread.id, space, ns, options, now));
      removed += gone;
    }
    return {};
  };
  CORVID_TRY_STATUS(workspace_->write(body));
  return removed;
}

}  // namespace corvid::persist
