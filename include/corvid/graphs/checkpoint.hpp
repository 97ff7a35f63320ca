// Checkpointer: where threads keep their supersteps, unanswered questions and answers. A store moves bytes; what is in them is the
// graph runtime's business (CBOR, or its encryption).
//
//   CORVID_TRY(auto store, open_sqlite_store(workspace));  // or make_memory_saver(), open_postgres_store(url)
//   CORVID_TRY_STATUS(store.saver->commit(commit));        // one transaction: all of it, or none
//
// Every call blocks until the store has answered and may come from any thread. What commit() returned for is durable. Names and ids are
// UTF-8 without NUL bytes and compare by their bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid {

using Bytes = std::vector<std::byte>;

/// One version of one channel's value. Versions of a channel grow within (thread, namespace).
struct ChannelBlob {
  std::string channel;
  std::uint64_t version = 0;            ///< from 1
  std::uint64_t base_version = 0;       ///< 0: `bytes` are the whole value; else a delta on top of that version
  Bytes bytes;
};

struct ChannelVersion {
  std::string channel;
  std::uint64_t version = 0;
};

/// A state of a thread between two supersteps.
struct CheckpointRecord {
  std::string id;                       ///< sortable: a later checkpoint of the thread compares greater
  std::string parent_id;                ///< empty for the first
  std::int64_t step = -1;               ///< -1: the input
  std::string source;                   ///< "input", "loop", "update", "fork"
  std::int64_t created_ms = 0;          ///< Unix time
  Bytes body;                           ///< what comes next, joins, signature, metadata
  std::vector<ChannelVersion> channels; ///< the values of which the state consists
};

/// What a finished (or started) task wrote before its superstep's barrier. Keyed by (checkpoint, task, index); a second one replaces.
struct PendingWrite {
  std::string checkpoint_id;            ///< the checkpoint from which the task ran
  std::string task_id;
  std::int32_t index = 0;               ///< from 0; negative ones are the runtime's own
  std::string channel;
  Bytes bytes;
};

/// A question to a person, open until answered, expired, or its thread is deleted.
struct InterruptRecord {
  std::string id;                       ///< unique within its thread; a copy of the thread may ask under the same id
  std::string thread_id, ns;            ///< filled in by the store from the commit when reading
  std::string checkpoint_id, task_id;
  std::string node;
  std::int64_t asked_ms = 0;            ///< Unix time
  std::int64_t expires_ms = 0;          ///< 0: never
  Bytes body;                           ///< CBOR {value, response_schema, kind}
};

/// An answer; durable before anything acts on it.
struct AnswerRecord {
  std::string interrupt_id;
  std::string by;                       ///< who answered
  std::int64_t answered_ms = 0;
  Bytes body;                           ///< CBOR {decision, value}
  std::string thread_id;                ///< of the thread that asked; empty: the one that has this question open
};

/// One entry of the audit log: `hash` = SHA-256 over (previous hash, seq, at_ms, actor, action, subject, detail), each length-prefixed.
struct AuditRecord {
  std::int64_t seq = 0;                 ///< from 1, without gaps
  std::int64_t at_ms = 0;
  std::string actor, action, subject;   ///< "ana", "approve", an interrupt's id
  Bytes detail;
  std::string previous_hash, hash;      ///< lower-case hex; the first one's previous hash is 64 zeros
};

/// The right to run a thread. A commit that names an owner who lost the lease is refused.
struct LeaseChange {
  enum class Kind : std::uint8_t { none, acquire, keep, release };
  /// acquire takes a free, expired or own lease. keep renews (a store may wait until an eighth has passed), release gives back: both are
  /// refused where the lease is no longer the owner's, and go through where it ran out and nobody took it.
  Kind kind = Kind::none;
  std::string owner;                    ///< unique per run of a process; with `none`: empty, or one that must still hold the lease
  std::int64_t ttl_ms = 0;
};

/// One transaction on one (thread, namespace).
struct Commit {
  std::string thread_id;
  std::string ns;                       ///< "" is the root graph; "a:TASK|b:TASK" a subgraph's
  LeaseChange lease;                    ///< of the thread, whatever the namespace
  std::optional<std::string> expected_latest;    ///< refuse (conflict) unless this is the newest checkpoint of (thread, ns); "": none yet
  std::optional<CheckpointRecord> checkpoint;    ///< replaces one of the same id
  std::vector<ChannelBlob> blobs;       ///< may repeat a version already stored: ignored then
  std::vector<PendingWrite> writes;
  std::string drop_writes_of;           ///< checkpoint id whose pending writes, those above too, are folded into this one; empty: none
  std::vector<InterruptRecord> interrupts;       ///< asked now; one that is there already is left as it is
  std::vector<std::string> close_interrupts;     ///< ids that are no longer open, their tasks having finished
  /// Given elsewhere, to questions asked from `checkpoint` (a thread that is copied or imported). Each is stored with its question,
  /// closed; without an audit entry. One that is there already is left as it is.
  std::vector<AnswerRecord> answers;
};

/// A checkpoint with all that is needed to go on from it.
struct LoadedCheckpoint {
  CheckpointRecord record;
  std::vector<ChannelBlob> blobs;       ///< for each channel its chain, from the whole value to the newest delta
  std::vector<PendingWrite> writes;     ///< ordered by task id, index
  std::vector<InterruptRecord> interrupts;       ///< unanswered ones asked from this checkpoint, expired ones too; oldest first
  std::vector<AnswerRecord> answers;             ///< to any of its interrupts, closed ones too; ordered by interrupt id
};

struct ListOptions {
  std::size_t limit = 0;                ///< 0: all
  std::string before;                   ///< only ids that compare smaller; empty: all
};

struct ThreadInfo {
  std::string thread_id;
  std::string last_checkpoint_id;       ///< of the root namespace
  std::int64_t updated_ms = 0;          ///< created_ms of its newest checkpoint, of all namespaces the greatest; 0: none yet
  std::string lease_owner;              ///< empty: free (or expired)
  std::int64_t lease_expires_ms = 0;
  std::size_t open_interrupts = 0;      ///< without expired ones
};

struct PruneOptions {
  std::size_t keep_last = 1;            ///< checkpoints kept in each namespace
  std::int64_t older_than_ms = 0;       ///< Unix time; only what was created before it goes; 0: any
};

/// Thread-safe. Errors of every member: io (disk full, server gone), bad_input (damaged), conflict (lease lost, newer schema),
/// invalid_argument (an empty id, a delta on a later version).
class Checkpointer {
 public:
  virtual ~Checkpointer() = default;
  virtual std::string_view name() const noexcept = 0;    ///< "memory", "sqlite", "postgres"
  /// False: calls return at once and may be made on the I/O thread.
  virtual bool blocks() const noexcept { return true; }

  /// Applies all of it or nothing. Errors: conflict where the lease is another's (the message names the owner and the time left).
  virtual Status commit(const Commit& commit) = 0;
  /// The newest checkpoint, or the one named. nullopt where there is none. Errors: bad_input when a delta's chain is broken.
  virtual Result<std::optional<LoadedCheckpoint>> get(std::string_view thread_id, std::string_view ns, std::string_view id = {}) = 0;
  /// Newest first, without blobs and writes.
  virtual Result<std::vector<CheckpointRecord>> list(std::string_view thread_id, std::string_view ns, const ListOptions& options = {}) = 0;
  virtual Result<std::vector<std::string>> namespaces(std::string_view thread_id) = 0;   ///< those with a checkpoint, sorted
  virtual Result<std::vector<ThreadInfo>> threads() = 0;                                 ///< sorted by id

  /// Open questions, oldest first; of all threads where `thread_id` is empty. Expired ones are left out unless asked for.
  virtual Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread_id = {}, bool with_expired = false) = 0;
  /// Stores an answer and its audit entry in one transaction. Errors: not_found (no such open question), conflict (answered already,
  /// by whom; expired, when). `now_ms` decides expiry.
  virtual Status answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now_ms) = 0;
  /// Appends to the audit log; seq and hashes are computed in the transaction.
  virtual Status append_audit(const AuditRecord& entry) = 0;
  virtual Result<std::vector<AuditRecord>> audit() = 0;                                  ///< oldest first
  /// verify_audit() over what is stored: with encryption the hashes are over the encrypted details, so no key is needed.
  virtual Status check_audit();

  /// Takes, renews or gives back a lease outside a commit. Errors: conflict.
  virtual Status lease(std::string_view thread_id, const LeaseChange& change) = 0;

  /// Removes the thread with all that belongs to it, in every namespace. Not an error where there is none.
  virtual Status delete_thread(std::string_view thread_id) = 0;
  /// Everything of `from` under the name `to`, but its lease and open questions. Errors: not_found, conflict (`to` exists).
  virtual Status copy_thread(std::string_view from, std::string_view to) = 0;
  /// Removes old checkpoints and every blob that no kept checkpoint needs, directly or as the base of a delta, with their pending
  /// writes, questions and answers. Checkpoints with an open question stay. Returns how many checkpoints went.
  virtual Result<std::size_t> prune(std::string_view thread_id, const PruneOptions& options) = 0;

  /// A cache of nodes' results. nullopt where there is none or it has expired at `now_ms`.
  virtual Result<std::optional<Bytes>> cache_get(std::string_view key, std::int64_t now_ms) = 0;
  virtual Status cache_put(std::string_view key, const Bytes& value, std::int64_t expires_ms) = 0;   ///< expires_ms 0: never
};

/// Recomputes the chain. Errors: bad_input naming the first entry that does not fit.
Status verify_audit(const std::vector<AuditRecord>& log);
/// The hash that an entry must have after `previous_hash`.
std::string audit_hash(const AuditRecord& entry, std::string_view previous_hash);

}  // namespace corvid
