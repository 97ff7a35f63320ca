#include <openssl/sha.h>

#include <array>
#include <charconv>
#include <deque>

#include "graphs/persist/postgres_errors.hpp"
#include "graphs/persist/postgres_saver.hpp"
#include "graphs/persist/rules.hpp"

namespace corvid::postgres {

namespace {

// A larger value is stored once for all threads that hold it.
constexpr std::size_t kLargestInline = 4096;

// The first statement of each commit locks the thread's row, checks the lease, and makes sure that this very commit has not been applied
// yet: it may have been sent before, over a connection that broke. All checks stand in one CASE, because columns are assigned in an
// order that is the server's. Casts of text that holds a column are not evaluated before their turn.
#define CORVID_PG_APPLIED "WHEN $2 = ANY (t.recent) THEN ('corvid:applied:' || t.thread_id || ':!')::bigint "
#define CORVID_PG_REFUSED "('corvid:lease:' || t.lease_expires_ms || ':' || " CORVID_PG_NOW " || ':' || t.lease_owner || ':!')::bigint "
// More than the commits that others can make while one is being sent again.
#define CORVID_PG_RECENT "recent = (array_prepend($2, t.recent))[1:16] "

// $1 thread, $2 token
const char* const kTouch =
    "INSERT INTO threads AS t (thread_id, recent) VALUES ($1, ARRAY[$2]) ON CONFLICT (thread_id) DO UPDATE SET "
    "lease_expires_ms = CASE " CORVID_PG_APPLIED "ELSE t.lease_expires_ms END, " CORVID_PG_RECENT;

// $3 owner, $4 milliseconds
const char* const kAcquire =
    "INSERT INTO threads AS t (thread_id, recent, lease_owner, lease_expires_ms) VALUES ($1, ARRAY[$2], $3, " CORVID_PG_NOW
    " + $4) "
    "ON CONFLICT (thread_id) DO UPDATE SET lease_owner = $3, " CORVID_PG_RECENT ", lease_expires_ms = CASE " CORVID_PG_APPLIED
    "WHEN t.lease_owner IN ('', $3) OR t.lease_expires_ms <= " CORVID_PG_NOW " THEN " CORVID_PG_NOW " + $4 ELSE " CORVID_PG_REFUSED "END";

// $5: 0 only checks, 1 keeps, 2 releases
const char* const kOwned =
    "WITH done AS (UPDATE threads t SET lease_owner = CASE WHEN $5 = 2 THEN '' ELSE t.lease_owner END, " CORVID_PG_RECENT
    ", lease_expires_ms = CASE " CORVID_PG_APPLIED "WHEN t.lease_owner <> $3 THEN " CORVID_PG_REFUSED "WHEN $5 = 1 THEN " CORVID_PG_NOW
    " + $4 WHEN $5 = 2 THEN 0 ELSE t.lease_expires_ms END "
    "WHERE t.thread_id = $1 RETURNING 1) "
    "SELECT CASE WHEN EXISTS (SELECT FROM done) THEN 0 ELSE ('corvid:lease:0:0:' || (SELECT left(count(*)::text, 0) FROM done) || "
    "':!')::bigint "
    "END";

// $3: the checkpoint that must be the newest. After the lease, so that a commit that was applied before is recognised first.
const char* const kLatest =
    "SELECT CASE WHEN coalesce(max(c.id COLLATE \"C\"), '') = $3 THEN 0 "
    "ELSE ('corvid:latest:=' || coalesce(max(c.id COLLATE \"C\"), '') || ':!')::bigint END FROM checkpoints c WHERE c.thread_id = $1 AND c.ns = $2";

const char* const kCheckpoint =
    "INSERT INTO checkpoints (thread_id, ns, id, parent_id, step, source, created_ms, body, channels, versions) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (thread_id, ns, id) DO UPDATE SET parent_id = excluded.parent_id, "
    "step = excluded.step, source = excluded.source, created_ms = excluded.created_ms, body = excluded.body, "
    "channels = excluded.channels, versions = excluded.versions";

const char* const kSmallBlobs =
    "INSERT INTO checkpoint_blobs (thread_id, ns, channel, version, base_version, bytes) "
    "SELECT $1, $2, g.channel, g.version, g.base, g.bytes FROM unnest($3, $4, $5, $6) AS g(channel, version, base, bytes) ON CONFLICT DO "
    "NOTHING";

// Users are counted only for rows that were new. Contents in their order, lest two commits wait for each other.
const char* const kLargeBlobs =
    "WITH given AS (SELECT * FROM unnest($3, $4, $5, $6, $7) AS g(channel, version, base, bytes, content)), "
    "stored AS (INSERT INTO checkpoint_blobs (thread_id, ns, channel, version, base_version, content) "
    "SELECT $1, $2, channel, version, base, content FROM given ON CONFLICT DO NOTHING RETURNING content) "
    "INSERT INTO blob_contents AS c (content, users, bytes) "
    "SELECT s.content, count(*), (SELECT g.bytes FROM given g WHERE g.content = s.content LIMIT 1) FROM stored s GROUP BY s.content "
    "ORDER BY s.content ON CONFLICT (content) DO UPDATE SET users = c.users + excluded.users";

// Of two writes with the same key the later one counts.
const char* const kWrites =
    "INSERT INTO pending_writes (thread_id, ns, checkpoint_id, task_id, idx, channel, bytes) "
    "SELECT DISTINCT ON (g.checkpoint, g.task, g.idx) $1, $2, g.checkpoint, g.task, g.idx, g.channel, g.bytes "
    "FROM unnest($3, $4, $5, $6, $7) WITH ORDINALITY AS g(checkpoint, task, idx, channel, bytes, n) ORDER BY g.checkpoint, g.task, g.idx, "
    "g.n DESC "
    "ON CONFLICT (thread_id, ns, checkpoint_id, task_id, idx) DO UPDATE SET channel = excluded.channel, bytes = excluded.bytes";

const char* const kDropWrites = "DELETE FROM pending_writes WHERE thread_id = $1 AND ns = $2 AND checkpoint_id = $3";

const char* const kInterrupts =
    "INSERT INTO interrupts (thread_id, ns, id, checkpoint_id, task_id, node, asked_ms, expires_ms, body) "
    "SELECT $1, $2, g.* FROM unnest($3, $4, $5, $6, $7, $8, $9) AS g(id, checkpoint, task, node, asked, expires, body) ON CONFLICT DO "
    "NOTHING";

const char* const kClose = "UPDATE interrupts SET open = false WHERE thread_id = $1 AND id = ANY ($2) AND open";

const char* const kAnswers =
    "INSERT INTO interrupts AS i (thread_id, ns, id, checkpoint_id, task_id, node, asked_ms, expires_ms, body, open, answered_by, "
    "answered_ms, answer) "
    "SELECT DISTINCT ON (g.id) $1, $2, g.id, $3, '', '', 0, 0, ''::bytea, false, g.by, g.at, g.body "
    "FROM unnest($4, $5, $6, $7) AS g(id, by, at, body) ON CONFLICT (thread_id, id) DO UPDATE SET open = false, "
    "answered_by = excluded.answered_by, answered_ms = excluded.answered_ms, answer = excluded.answer WHERE i.answered_by IS NULL";

using Text = std::vector<std::string_view>;
using Numbers = std::vector<std::int64_t>;
using ByteStrings = std::vector<std::optional<std::span<const std::byte>>>;

template <class Values, class List, class F>
Values each(const List& list, F&& field) {
  Values out;
  out.reserve(list.size());
  for (const auto& item : list) out.push_back(field(item));
  return out;
}

Step lease_step(std::string_view thread_id, const LeaseChange& change, std::int64_t token) {
  using Kind = LeaseChange::Kind;
  if (change.kind == Kind::none && change.owner.empty()) {
    Step step{kTouch, {}};
    step.params.text(thread_id).integer(token);
    return step;
  }
  Step step{change.kind == Kind::acquire ? kAcquire : kOwned, {}};
  step.params.text(thread_id).integer(token).text(change.owner).integer(change.ttl_ms);
  if (change.kind != Kind::acquire) step.params.integer(change.kind == Kind::keep ? 1 : change.kind == Kind::release ? 2 : 0);
  return step;
}

/// Sums of large blobs; kept until they have been sent.
using Digests = std::deque<std::array<unsigned char, SHA256_DIGEST_LENGTH>>;

void blob_steps(const Commit& commit, Digests& digests, std::vector<Step>& steps) {
  std::vector<const ChannelBlob*> small, large;
  for (const auto& blob : commit.blobs) (blob.bytes.size() > kLargestInline ? large : small).push_back(&blob);
  for (const auto* some : {&small, &large}) {
    if (some->empty()) continue;
    Step step{some == &small ? kSmallBlobs : kLargeBlobs, {}};
    step.params.text(commit.thread_id).text(commit.ns);
    step.params.texts(each<Text>(*some, [](auto* b) -> std::string_view { return b->channel; }));
    step.params.integers(each<Numbers>(*some, [](auto* b) { return static_cast<std::int64_t>(b->version); }));
    step.params.integers(each<Numbers>(*some, [](auto* b) { return static_cast<std::int64_t>(b->base_version); }));
    step.params.byte_strings(each<ByteStrings>(*some, [](auto* b) { return std::span<const std::byte>(b->bytes); }));
    if (some == &large) {
      step.params.byte_strings(each<ByteStrings>(large, [&](auto* b) {
        auto& digest = digests.emplace_back();
        SHA256(reinterpret_cast<const unsigned char*>(b->bytes.data()), b->bytes.size(), digest.data());
        return std::as_bytes(std::span(digest));
      }));
    }
    steps.push_back(std::move(step));
  }
}

void write_steps(const Commit& commit, std::vector<Step>& steps) {
  // What is folded into this checkpoint at once need not be stored first.
  std::vector<const PendingWrite*> kept;
  for (const auto& write : commit.writes) {
    if (commit.drop_writes_of.empty() || write.checkpoint_id != commit.drop_writes_of) kept.push_back(&write);
  }
  if (!kept.empty()) {
    Step step{kWrites, {}};
    step.params.text(commit.thread_id).text(commit.ns);
    step.params.texts(each<Text>(kept, [](auto* w) -> std::string_view { return w->checkpoint_id; }));
    step.params.texts(each<Text>(kept, [](auto* w) -> std::string_view { return w->task_id; }));
    step.params.integers(each<Numbers>(kept, [](auto* w) { return std::int64_t{w->index}; }));
    step.params.texts(each<Text>(kept, [](auto* w) -> std::string_view { return w->channel; }));
    step.params.byte_strings(each<ByteStrings>(kept, [](auto* w) { return std::span<const std::byte>(w->bytes); }));
    steps.push_back(std::move(step));
  }
  if (!commit.drop_writes_of.empty()) {
    Step step{kDropWrites, {}};
    step.params.text(commit.thread_id).text(commit.ns).text(commit.drop_writes_of);
    steps.push_back(std::move(step));
  }
}

void question_steps(const Commit& commit, std::vector<Step>& steps) {
  if (const auto& asked = commit.interrupts; !asked.empty()) {
    Step step{kInterrupts, {}};
    step.params.text(commit.thread_id).text(commit.ns);
    step.params.texts(each<Text>(asked, [](auto& i) -> std::string_view { return i.id; }));
    step.params.texts(each<Text>(asked, [](auto& i) -> std::string_view { return i.checkpoint_id; }));
    step.params.texts(each<Text>(asked, [](auto& i) -> std::string_view { return i.task_id; }));
    step.params.texts(each<Text>(asked, [](auto& i) -> std::string_view { return i.node; }));
    step.params.integers(each<Numbers>(asked, [](auto& i) { return i.asked_ms; }));
    step.params.integers(each<Numbers>(asked, [](auto& i) { return i.expires_ms; }));
    step.params.byte_strings(each<ByteStrings>(asked, [](auto& i) { return std::span<const std::byte>(i.body); }));
    steps.push_back(std::move(step));
  }
  if (!commit.close_interrupts.empty()) {
    Step step{kClose, {}};
    step.params.text(commit.thread_id).texts(each<Text>(commit.close_interrupts, [](auto& id) -> std::string_view { return id; }));
    steps.push_back(std::move(step));
  }
  if (const auto& answers = commit.answers; !answers.empty()) {
    Step step{kAnswers, {}};
    step.params.text(commit.thread_id).text(commit.ns).text(commit.checkpoint->id);
    step.params.texts(each<Text>(answers, [](auto& a) -> std::string_view { return a.interrupt_id; }));
    step.params.texts(each<Text>(answers, [](auto& a) -> std::string_view { return a.by; }));
    step.params.integers(each<Numbers>(answers, [](auto& a) { return a.answered_ms; }));
    step.params.byte_strings(each<ByteStrings>(answers, [](auto& a) { return std::span<const std::byte>(a.body); }));
    steps.push_back(std::move(step));
  }
}

std::vector<Step> steps_of(const Commit& commit, std::int64_t token, Digests& digests) {
  std::vector<Step> steps;
  steps.push_back(lease_step(commit.thread_id, commit.lease, token));
  if (commit.expected_latest) {
    Step step{kLatest, {}};
    step.params.text(commit.thread_id).text(commit.ns).text(*commit.expected_latest);
    steps.push_back(std::move(step));
  }
  blob_steps(commit, digests, steps);
  if (commit.checkpoint) {
    const auto& record = *commit.checkpoint;
    Step step{kCheckpoint, {}};
    step.params.text(commit.thread_id).text(commit.ns).text(record.id).text(record.parent_id).integer(record.step).text(record.source);
    step.params.integer(record.created_ms).bytes(record.body);
    step.params.texts(each<Text>(record.channels, [](auto& c) -> std::string_view { return c.channel; }));
    step.params.integers(each<Numbers>(record.channels, [](auto& c) { return static_cast<std::int64_t>(c.version); }));
    steps.push_back(std::move(step));
  }
  write_steps(commit, steps);
  question_steps(commit, steps);
  return steps;
}

/// Success where the error says that this commit took place before; the words all stores have where the lease is another's.
Status settle(Error error, std::string_view thread_id, const LeaseChange& change) {
  if (!refusal(error.message(), "applied").empty()) return {};
  const auto held = refusal(error.message(), "lease");
  if (held.empty()) return fail(std::move(error));
  persist::LeaseState state;
  std::int64_t now = 0;
  const auto expires_end = std::from_chars(held.data(), held.data() + held.size(), state.expires_ms).ptr;
  const auto now_end = std::from_chars(expires_end + 1, held.data() + held.size(), now).ptr;
  state.owner.assign(now_end + 1, held.data() + held.size());
  auto changed = persist::change_lease(state, change, thread_id, now);
  if (changed) return fail(Error::conflict("the lease of thread '" + std::string(thread_id) + "' is another's"));
  return fail(std::move(changed).error());
}

}  // namespace

Status Saver::commit(const Commit& commit) {
  CORVID_TRY_STATUS(persist::check_commit(commit));
  const auto token = new_token();
  Digests digests;
  return pool_->call([&](Connection& connection, bool) -> Status {
    digests.clear();
    auto done = connection.transaction(steps_of(commit, token, digests));
    if (done) return {};
    if (const auto newest = refusal(done.error().message(), "latest"); !newest.empty()) {
      return fail(persist::not_latest(commit.thread_id, commit.expected_latest.value_or(""), newest.substr(1)));
    }
    return settle(std::move(done).error(), commit.thread_id, commit.lease);
  });
}

Status Saver::lease(std::string_view thread_id, const LeaseChange& change) {
  CORVID_TRY_STATUS(persist::check_name("a thread's id", thread_id));
  CORVID_TRY_STATUS(persist::check_lease(change));
  if (change.kind == LeaseChange::Kind::none && change.owner.empty()) return {};
  const auto token = new_token();
  return pool_->call([&](Connection& connection, bool) -> Status {
    auto done = connection.run_one(lease_step(thread_id, change, token));
    return done ? Status{} : settle(std::move(done).error(), thread_id, change);
  });
}

}  // namespace corvid::postgres
