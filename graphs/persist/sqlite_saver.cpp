// SqliteSaver: commits and what is read back of them.
#include <algorithm>
#include <utility>

#include "persist/rows.hpp"
#include "persist/rules.hpp"
#include "persist/sqlite_schema.hpp"

namespace corvid::persist {
namespace {

constexpr std::size_t kInline = 4096;  // bytes; larger blobs go to graph_contents

std::int64_t number(std::uint64_t n) { return static_cast<std::int64_t>(n); }

std::int64_t sum_of(const CheckpointRecord& r, std::span<const std::byte> channels) {
  return RowSum().add(r.id).add(r.parent_id).add(r.step).add(r.source).add(r.created_ms).add(r.body).add(channels).finish();
}

std::int64_t sum_of(std::string_view channel, std::uint64_t version, std::uint64_t base, std::span<const std::byte> bytes_or_hash) {
  return RowSum().add(channel).add(number(version)).add(number(base)).add(bytes_or_hash).finish();
}

std::int64_t sum_of(const PendingWrite& w) {
  return RowSum().add(w.checkpoint_id).add(w.task_id).add(std::int64_t{w.index}).add(w.channel).add(w.bytes).finish();
}

Status put_checkpoint(Database& db, std::int64_t space, const CheckpointRecord& record) {
  const Bytes channels = pack_channels(record.channels);
  CORVID_TRY(CachedStatement row,
             db.cached("INSERT OR REPLACE INTO graph_states(space, kind, name, version, parent, step, source, at_ms, bytes, channels, sum)"
                       " VALUES(?1, 1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"));
  row->bind(1, space);
  row->bind_borrowed(2, record.id);
  row->bind_borrowed(3, record.parent_id);
  row->bind(4, record.step);
  row->bind_borrowed(5, record.source);
  row->bind(6, record.created_ms);
  row->bind_borrowed(7, record.body);
  row->bind_borrowed(8, channels);
  row->bind(9, sum_of(record, channels));
  return row->run();
}

// The content's id; it is made if absent.
Result<std::int64_t> put_content(Database& db, std::span<const std::byte> hash, std::span<const std::byte> bytes) {
  {
    CORVID_TRY(CachedStatement there, db.cached("SELECT id FROM graph_contents WHERE hash = ?1"));
    there->bind(1, hash);
    CORVID_TRY(const bool found, there->step());
    if (found) return there->integer(0);
  }
  CORVID_TRY(CachedStatement row, db.cached("INSERT INTO graph_contents(hash, bytes) VALUES(?1, ?2)"));
  row->bind(1, hash);
  row->bind(2, bytes);
  CORVID_TRY_STATUS(row->run());
  return db.last_insert_rowid();
}

Status put_blob(Database& db, std::int64_t space, const ChannelBlob& blob) {
  const bool large = blob.bytes.size() > kInline;
  std::int64_t content = 0;
  Sha256Digest hash{};
  if (large) {
    // A version that is there already must not leave a content that nobody refers to.
    CORVID_TRY(CachedStatement there, db.cached("SELECT 1 FROM graph_states WHERE space = ?1 AND kind = 2 AND name = ?2 AND version = ?3"));
    there->bind(1, space);
    there->bind_borrowed(2, blob.channel);
    there->bind(3, number(blob.version));
    CORVID_TRY(const bool found, there->step());
    if (found) return {};
    hash = sha256_of(blob.bytes);
    CORVID_TRY(content, put_content(db, std::as_bytes(std::span(hash)), blob.bytes));
  }
  CORVID_TRY(CachedStatement row, db.cached("INSERT OR IGNORE INTO graph_states(space, kind, name, version, base, bytes, content, sum)"
                                            " VALUES(?1, 2, ?2, ?3, ?4, ?5, ?6, ?7)"));
  row->bind(1, space);
  row->bind_borrowed(2, blob.channel);
  row->bind(3, number(blob.version));
  row->bind(4, number(blob.base_version));
  if (large)
    row->bind(6, content);
  else
    row->bind_borrowed(5, blob.bytes);
  const std::span<const std::byte> summed = large ? std::as_bytes(std::span(hash)) : std::span<const std::byte>(blob.bytes);
  row->bind(7, sum_of(blob.channel, blob.version, blob.base_version, summed));
  return row->run();
}

Status put_write(Database& db, std::int64_t space, const PendingWrite& write) {
  CORVID_TRY(CachedStatement row, db.cached("INSERT OR REPLACE INTO graph_writes(space, checkpoint, task, idx, channel, bytes, sum)"
                                            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  row->bind(1, space);
  row->bind_borrowed(2, write.checkpoint_id);
  row->bind_borrowed(3, write.task_id);
  row->bind(4, std::int64_t{write.index});
  row->bind_borrowed(5, write.channel);
  row->bind_borrowed(6, write.bytes);
  row->bind(7, sum_of(write));
  return row->run();
}

Status put_space(Database& db, std::string_view ns, ThreadRow& thread) {
  CORVID_TRY(CachedStatement row, db.cached("INSERT INTO graph_spaces(thread, ns) VALUES(?1, ?2)"));
  row->bind(1, thread.id);
  row->bind(2, ns);
  CORVID_TRY_STATUS(row->run());
  thread.space = -db.last_insert_rowid();
  return {};
}

Status apply(Database& db, const Commit& commit) {
  CORVID_TRY(ThreadRow thread, touch_thread(db, commit.thread_id, commit.ns, commit.lease));
  if (commit.expected_latest && (!thread.made || !commit.expected_latest->empty())) {
    CORVID_TRY(CachedStatement newest, db.cached("SELECT coalesce(max(name), '') FROM graph_states WHERE space = ?1 AND kind = 1"));
    newest->bind(1, thread.space);
    CORVID_TRY(const bool any, newest->step());
    if (!any || newest->text(0) != *commit.expected_latest) return fail(not_latest(commit.thread_id, *commit.expected_latest, any ? newest->text(0) : ""));
  }
  const bool states = commit.checkpoint || !commit.blobs.empty() || !commit.writes.empty();
  if (states && thread.space == 0) CORVID_TRY_STATUS(put_space(db, commit.ns, thread));
  if (commit.checkpoint) CORVID_TRY_STATUS(put_checkpoint(db, thread.space, *commit.checkpoint));
  for (const auto& blob : commit.blobs) CORVID_TRY_STATUS(put_blob(db, thread.space, blob));
  for (const auto& write : commit.writes) {
    if (write.checkpoint_id != commit.drop_writes_of) CORVID_TRY_STATUS(put_write(db, thread.space, write));
  }
  if (!commit.drop_writes_of.empty()) {
    CORVID_TRY(CachedStatement drop, db.cached("DELETE FROM graph_writes WHERE space = ?1 AND checkpoint = ?2"));
    drop->bind(1, thread.space);
    drop->bind(2, commit.drop_writes_of);
    CORVID_TRY_STATUS(drop->run());
  }
  for (auto asked : commit.interrupts) {
    asked.ns = commit.ns;
    CORVID_TRY_STATUS(put_question(db, thread.id, asked));
  }
  for (const auto& id : commit.close_interrupts) {
    CORVID_TRY(CachedStatement close, db.cached("UPDATE graph_interrupts SET closed = 1 WHERE thread = ?1 AND id = ?2"));
    close->bind(1, thread.id);
    close->bind(2, id);
    CORVID_TRY_STATUS(close->run());
  }
  for (const auto& answer : commit.answers) {
    CORVID_TRY_STATUS(put_foreign_answer(db, thread.id, commit.ns, commit.checkpoint->id, answer));
  }
  return {};
}

// From a row of: name, parent, step, source, at_ms, bytes, channels, sum.
Result<CheckpointRecord> record_of(Statement& row) {
  CheckpointRecord record;
  record.id = row.text(0);
  record.parent_id = row.text(1);
  record.step = row.integer(2);
  record.source = row.text(3);
  record.created_ms = row.integer(4);
  record.body = to_bytes(row.blob(5));
  if (sum_of(record, row.blob(6)) != row.integer(7)) return fail(damaged_row("a checkpoint", record.id));
  auto channels = unpack_channels(row.blob(6));
  if (!channels) return fail(std::move(channels).error().at_key(record.id));
  record.channels = std::move(*channels);
  return record;
}

// Appends the chain of one channel, whole value first.
Status load_chain(Database& db, std::int64_t space, const ChannelVersion& wanted, std::string_view thread_id, std::string_view ns,
                  std::vector<ChannelBlob>& blobs) {
  const auto first = static_cast<std::ptrdiff_t>(blobs.size());
  CORVID_TRY(
      CachedStatement row,
      db.cached(
          "SELECT b.base, b.bytes, b.content, b.sum, c.hash, c.bytes FROM graph_states b LEFT JOIN graph_contents c ON c.id = b.content"
          " WHERE b.space = ?1 AND b.kind = 2 AND b.name = ?2 AND b.version = ?3"));
  for (auto version = wanted.version; version != 0;) {
    row->reset();
    row->bind(1, space);
    row->bind(2, wanted.channel);
    row->bind(3, number(version));
    CORVID_TRY(const bool found, row->step());
    if (!found) return fail(broken_chain(thread_id, ns, wanted.channel, version));
    const bool large = !row->is_null(2);
    ChannelBlob blob{wanted.channel, version, static_cast<std::uint64_t>(row->integer(0)), to_bytes(row->blob(large ? 5 : 1))};
    const auto summed = large ? row->blob(4) : std::span<const std::byte>(blob.bytes);
    bool intact = sum_of(blob.channel, version, blob.base_version, summed) == row->integer(3) && blob.base_version < version;
    if (intact && large) {
      const auto hash = sha256_of(blob.bytes);
      intact = std::ranges::equal(std::as_bytes(std::span(hash)), summed);
    }
    if (!intact) {
      return fail(damaged_row(
          "version " + std::to_string(version) + " of channel '" + wanted.channel + "' of thread '" + std::string(thread_id) + "'",
          wanted.channel));
    }
    version = blob.base_version;
    blobs.push_back(std::move(blob));
  }
  std::reverse(blobs.begin() + first, blobs.end());
  return {};
}

Status load_writes(Database& db, std::int64_t space, LoadedCheckpoint& loaded) {
  CORVID_TRY(CachedStatement row, db.cached("SELECT task, idx, channel, bytes, sum FROM graph_writes WHERE space = ?1 AND checkpoint = ?2"
                                            " ORDER BY task, idx"));
  row->bind(1, space);
  row->bind(2, loaded.record.id);
  while (true) {
    CORVID_TRY(const bool more, row->step());
    if (!more) return {};
    PendingWrite write{loaded.record.id, std::string(row->text(0)), static_cast<std::int32_t>(row->integer(1)), std::string(row->text(2)),
                       to_bytes(row->blob(3))};
    if (sum_of(write) != row->integer(4)) return fail(damaged_row("a task's pending write", write.task_id));
    loaded.writes.push_back(std::move(write));
  }
}

}  // namespace

Status SqliteSaver::commit(const Commit& commit) {
  CORVID_TRY_STATUS(check_commit(commit));
  const auto body = [&](Database& db) { return apply(db, commit); };
  return workspace_->write(body);
}

Result<std::optional<LoadedCheckpoint>> SqliteSaver::get(std::string_view thread_id, std::string_view ns, std::string_view id) {
  std::optional<LoadedCheckpoint> loaded;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const ThreadRow thread, find_thread(db, thread_id, ns));
    if (thread.space == 0) return {};
    {
      CORVID_TRY(
          CachedStatement row,
          db.cached(id.empty() ? "SELECT name, parent, step, source, at_ms, bytes, channels, sum FROM graph_states WHERE space = ?1"
                                 " AND kind = 1 ORDER BY name DESC LIMIT 1"
                               : "SELECT name, parent, step, source, at_ms, bytes, channels, sum FROM graph_states WHERE space = ?1"
                                 " AND kind = 1 AND name = ?2 AND version = 0"));
      row->bind(1, thread.space);
      if (!id.empty()) row->bind(2, id);
      CORVID_TRY(const bool found, row->step());
      if (!found) return {};
      loaded.emplace();
      CORVID_TRY(loaded->record, record_of(*row));
    }
    for (const auto& channel : loaded->record.channels) {
      CORVID_TRY_STATUS(load_chain(db, thread.space, channel, thread_id, ns, loaded->blobs));
    }
    CORVID_TRY_STATUS(load_writes(db, thread.space, *loaded));
    return load_questions(db, thread.id, thread_id, ns, *loaded);
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return loaded;
}

Result<std::vector<CheckpointRecord>> SqliteSaver::list(std::string_view thread_id, std::string_view ns, const ListOptions& options) {
  std::vector<CheckpointRecord> records;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(const ThreadRow thread, find_thread(db, thread_id, ns));
    if (thread.space == 0) return {};
    CORVID_TRY(CachedStatement row, db.cached("SELECT name, parent, step, source, at_ms, bytes, channels, sum FROM graph_states"
                                              " WHERE space = ?1 AND kind = 1 AND (?2 = '' OR name < ?2) ORDER BY name DESC LIMIT ?3"));
    row->bind(1, thread.space);
    row->bind(2, options.before);
    row->bind(3, options.limit == 0 ? std::int64_t{-1} : number(options.limit));
    while (true) {
      CORVID_TRY(const bool more, row->step());
      if (!more) return {};
      CORVID_TRY(auto record, record_of(*row));
      records.push_back(std::move(record));
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return records;
}

Result<std::vector<std::string>> SqliteSaver::namespaces(std::string_view thread_id) {
  std::vector<std::string> names;
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY(
        CachedStatement row,
        db.cached("SELECT '' FROM graph_names t WHERE t.name = ?1"
                  " AND EXISTS(SELECT 1 FROM graph_states c WHERE c.space = t.thread AND c.kind = 1)"
                  " UNION ALL SELECT s.ns FROM graph_spaces s JOIN graph_names t ON t.thread = s.thread WHERE t.name = ?1"
                  " AND EXISTS(SELECT 1 FROM graph_states c WHERE c.space = -s.id AND c.kind = 1) ORDER BY 1"));
    row->bind(1, thread_id);
    while (true) {
      CORVID_TRY(const bool more, row->step());
      if (!more) return {};
      names.emplace_back(row->text(0));
    }
  };
  CORVID_TRY_STATUS(workspace_->read(body));
  return names;
}

}  // namespace corvid::persist
