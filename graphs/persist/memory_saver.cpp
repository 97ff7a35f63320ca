// MemorySaver: the reference for what a store does, in maps. One mutex; a commit is built aside and then spliced in, which cannot fail.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "corvid/graphs/savers.hpp"
#include "persist/rules.hpp"

namespace corvid {
namespace {

using namespace persist;

template <class V>
using ByName = std::map<std::string, V, std::less<>>;

struct Blob {
  std::uint64_t base_version = 0;
  std::shared_ptr<const Bytes> bytes;  // shared by copies of the thread
};

using BlobKey = std::pair<std::string, std::uint64_t>;                // channel, version
using WriteKey = std::tuple<std::string, std::string, std::int32_t>;  // checkpoint, task, index

struct Space {
  ByName<CheckpointRecord> checkpoints;
  std::map<BlobKey, Blob> blobs;
  std::map<WriteKey, PendingWrite> writes;
};

struct Question {
  InterruptRecord asked;
  std::optional<AnswerRecord> answer;
  bool closed = false;

  bool open() const { return !answer && !closed; }
  bool open_at(std::int64_t now_ms) const { return open() && (asked.expires_ms == 0 || asked.expires_ms > now_ms); }
};

struct Thread {
  ByName<Space> spaces;
  ByName<Question> questions;
  LeaseState lease;
  std::int64_t updated_ms = 0;
};

struct Cached {
  Bytes value;
  std::int64_t expires_ms = 0;
};

bool older(const InterruptRecord& a, const InterruptRecord& b) {
  return std::tie(a.asked_ms, a.id, a.thread_id) < std::tie(b.asked_ms, b.id, b.thread_id);
}

// Moves what is staged over what is there. Node handles are spliced: no allocation.
template <class Map>
void replace_with(Map& stored, Map& staged) noexcept {
  for (const auto& [key, value] : staged) stored.erase(key);
  stored.merge(staged);
}

class MemorySaver final : public Checkpointer {
 public:
  std::string_view name() const noexcept override { return "memory"; }
  bool blocks() const noexcept override { return false; }

  Status commit(const Commit& commit) override {
    CORVID_TRY_STATUS(check_commit(commit));
    Staged staged = stage(commit);
    std::lock_guard lock(mutex_);
    const auto there = threads_.find(commit.thread_id);
    CORVID_TRY(auto lease,
               change_lease(there == threads_.end() ? LeaseState{} : there->second.lease, commit.lease, commit.thread_id, system_now_ms()));
    if (commit.expected_latest) {
      const Space* space = there == threads_.end() ? nullptr : find_space(&there->second, commit.ns);
      const std::string newest = space && !space->checkpoints.empty() ? std::prev(space->checkpoints.end())->first : std::string();
      if (newest != *commit.expected_latest) return fail(not_latest(commit.thread_id, *commit.expected_latest, newest));
    }
    // From here on nothing allocates but these two, which leave an empty thread or namespace at worst: as good as none.
    Thread& thread = there == threads_.end() ? threads_[commit.thread_id] : there->second;
    if (!staged.space.checkpoints.empty() || !staged.space.blobs.empty() || !staged.space.writes.empty()) {
      Space& space = thread.spaces[commit.ns];
      replace_with(space.checkpoints, staged.space.checkpoints);
      space.blobs.merge(staged.space.blobs);  // a version that is there stays
      replace_with(space.writes, staged.space.writes);
    }
    if (!commit.drop_writes_of.empty()) drop_writes(thread, commit.ns, commit.drop_writes_of);
    thread.questions.merge(staged.questions);
    for (const auto& id : commit.close_interrupts) {
      if (const auto question = thread.questions.find(id); question != thread.questions.end()) question->second.closed = true;
    }
    if (commit.checkpoint) thread.updated_ms = std::max(thread.updated_ms, commit.checkpoint->created_ms);
    thread.lease = std::move(lease);
    return {};
  }

  Result<std::optional<LoadedCheckpoint>> get(std::string_view thread_id, std::string_view ns, std::string_view id) override {
    std::lock_guard lock(mutex_);
    const Thread* thread = find(thread_id);
    const Space* space = find_space(thread, ns);
    if (!space || space->checkpoints.empty()) return std::nullopt;
    const auto found = id.empty() ? std::prev(space->checkpoints.end()) : space->checkpoints.find(id);
    if (found == space->checkpoints.end()) return std::nullopt;
    LoadedCheckpoint loaded;
    loaded.record = found->second;
    for (const auto& channel : loaded.record.channels) {
      const auto first = static_cast<std::ptrdiff_t>(loaded.blobs.size());
      for (std::uint64_t version = channel.version;;) {
        const auto blob = space->blobs.find(BlobKey{channel.channel, version});
        if (blob == space->blobs.end()) return fail(broken_chain(thread_id, ns, channel.channel, version));
        loaded.blobs.push_back({channel.channel, version, blob->second.base_version, *blob->second.bytes});
        if (blob->second.base_version == 0) break;
        version = blob->second.base_version;
      }
      std::reverse(loaded.blobs.begin() + first, loaded.blobs.end());
    }
    const WriteKey from{loaded.record.id, std::string(), std::numeric_limits<std::int32_t>::min()};
    for (auto write = space->writes.lower_bound(from); write != space->writes.end() && std::get<0>(write->first) == loaded.record.id;
         ++write) {
      loaded.writes.push_back(write->second);
    }
    for (const auto& [name, question] : thread->questions) {
      if (question.asked.ns != ns || question.asked.checkpoint_id != loaded.record.id) continue;
      if (question.answer)
        loaded.answers.push_back(*question.answer);
      else if (question.open())
        loaded.interrupts.push_back(question.asked);
    }
    std::sort(loaded.interrupts.begin(), loaded.interrupts.end(), older);
    return loaded;
  }

  Result<std::vector<CheckpointRecord>> list(std::string_view thread_id, std::string_view ns, const ListOptions& options) override {
    std::lock_guard lock(mutex_);
    std::vector<CheckpointRecord> records;
    const Space* space = find_space(find(thread_id), ns);
    if (!space) return records;
    auto end = options.before.empty() ? space->checkpoints.end() : space->checkpoints.lower_bound(options.before);
    while (end != space->checkpoints.begin() && (options.limit == 0 || records.size() < options.limit)) records.push_back((--end)->second);
    return records;
  }

  Result<std::vector<std::string>> namespaces(std::string_view thread_id) override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    if (const Thread* thread = find(thread_id)) {
      for (const auto& [name, space] : thread->spaces) {
        if (!space.checkpoints.empty()) names.push_back(name);
      }
    }
    return names;
  }

  Result<std::vector<ThreadInfo>> threads() override {
    std::lock_guard lock(mutex_);
    const auto now = system_now_ms();
    std::vector<ThreadInfo> infos;
    for (const auto& [id, thread] : threads_) {
      ThreadInfo info;
      info.thread_id = id;
      if (const Space* root = find_space(&thread, ""); root && !root->checkpoints.empty())
        info.last_checkpoint_id = root->checkpoints.rbegin()->first;
      info.updated_ms = thread.updated_ms;
      if (thread.lease.expires_ms > now) {
        info.lease_owner = thread.lease.owner;
        info.lease_expires_ms = thread.lease.expires_ms;
      }
      for (const auto& [name, question] : thread.questions) info.open_interrupts += question.open_at(now) ? 1 : 0;
      infos.push_back(std::move(info));
    }
    return infos;
  }

  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread_id, bool with_expired) override {
    std::lock_guard lock(mutex_);
    const auto now = system_now_ms();
    std::vector<InterruptRecord> open;
    for (const auto& [id, thread] : threads_) {
      if (!thread_id.empty() && id != thread_id) continue;
      for (const auto& [name, question] : thread.questions) {
        if (with_expired ? question.open() : question.open_at(now)) open.push_back(question.asked);
      }
    }
    std::sort(open.begin(), open.end(), older);
    return open;
  }

  Status answer(const AnswerRecord& answer, const AuditRecord& audit, std::int64_t now_ms) override {
    std::lock_guard lock(mutex_);
    Question* open = nullptr;
    const Question* answered = nullptr;
    for (auto& [id, thread] : threads_) {
      if (!answer.thread_id.empty() && id != answer.thread_id) continue;
      const auto question = thread.questions.find(answer.interrupt_id);
      if (question == thread.questions.end()) continue;
      if (question->second.answer) answered = &question->second;
      if (!question->second.open()) continue;
      if (open) return fail(asked_by_several(answer.interrupt_id));
      open = &question->second;
    }
    if (!open && answered) return fail(answered_already(answer.interrupt_id, answered->answer->by, answered->answer->answered_ms));
    if (!open) return fail(no_open_question(answer.interrupt_id));
    if (open->asked.expires_ms != 0 && now_ms >= open->asked.expires_ms)
      return fail(question_expired(answer.interrupt_id, open->asked.expires_ms));
    AnswerRecord kept = answer;
    kept.thread_id = open->asked.thread_id;
    log_.push_back(chained(audit));
    open->answer.emplace(std::move(kept));
    return {};
  }

  Status append_audit(const AuditRecord& entry) override {
    std::lock_guard lock(mutex_);
    log_.push_back(chained(entry));
    return {};
  }

  Result<std::vector<AuditRecord>> audit() override {
    std::lock_guard lock(mutex_);
    return log_;
  }

  Status lease(std::string_view thread_id, const LeaseChange& change) override {
    CORVID_TRY_STATUS(check_name("a thread's id", thread_id));
    CORVID_TRY_STATUS(check_lease(change));
    std::lock_guard lock(mutex_);
    const auto there = threads_.find(thread_id);
    CORVID_TRY(auto changed,
               change_lease(there == threads_.end() ? LeaseState{} : there->second.lease, change, thread_id, system_now_ms()));
    if (change.kind == LeaseChange::Kind::none) return {};
    Thread& thread = there == threads_.end() ? threads_[std::string(thread_id)] : there->second;
    thread.lease = std::move(changed);
    return {};
  }

  Status delete_thread(std::string_view thread_id) override {
    std::lock_guard lock(mutex_);
    if (const auto thread = threads_.find(thread_id); thread != threads_.end()) threads_.erase(thread);
    return {};
  }

  Status copy_thread(std::string_view from, std::string_view to) override {
    CORVID_TRY_STATUS(check_name("a thread's id", to));
    std::lock_guard lock(mutex_);
    const Thread* source = find(from);
    if (!source) return fail(no_thread(from));
    if (find(to)) return fail(thread_exists(to));
    Thread copy;
    copy.spaces = source->spaces;
    copy.updated_ms = source->updated_ms;
    for (const auto& [id, question] : source->questions) {
      if (question.open()) continue;
      auto& mine = copy.questions[id] = question;
      mine.asked.thread_id = to;
      if (mine.answer) mine.answer->thread_id = to;
    }
    threads_.emplace(std::string(to), std::move(copy));
    return {};
  }

  Result<std::size_t> prune(std::string_view thread_id, const PruneOptions& options) override {
    std::lock_guard lock(mutex_);
    const auto found = threads_.find(thread_id);
    std::size_t removed = 0;
    if (found == threads_.end()) return removed;
    const auto now = system_now_ms();
    for (auto& [ns, space] : found->second.spaces) removed += prune_space(found->second, ns, space, options, now);
    return removed;
  }

  Result<std::optional<Bytes>> cache_get(std::string_view key, std::int64_t now_ms) override {
    std::lock_guard lock(mutex_);
    const auto found = cache_.find(key);
    if (found == cache_.end() || (found->second.expires_ms != 0 && found->second.expires_ms <= now_ms)) return std::nullopt;
    return found->second.value;
  }

  Status cache_put(std::string_view key, const Bytes& value, std::int64_t expires_ms) override {
    CORVID_TRY_STATUS(check_name("a cache key", key));
    std::lock_guard lock(mutex_);
    // Swept whenever it has doubled, so that what expired does not stay for good.
    if (cache_.size() >= sweep_at_) {
      const auto now = system_now_ms();
      std::erase_if(cache_, [now](const auto& entry) { return entry.second.expires_ms != 0 && entry.second.expires_ms <= now; });
      sweep_at_ = std::max<std::size_t>(1'024, 2 * cache_.size());
    }
    cache_.insert_or_assign(std::string(key), Cached{value, expires_ms});
    return {};
  }

 private:
  struct Staged {
    Space space;
    ByName<Question> questions;
  };

  static Staged stage(const Commit& commit) {
    Staged staged;
    if (commit.checkpoint) staged.space.checkpoints.emplace(commit.checkpoint->id, *commit.checkpoint);
    for (const auto& blob : commit.blobs) {
      staged.space.blobs.try_emplace({blob.channel, blob.version}, Blob{blob.base_version, std::make_shared<const Bytes>(blob.bytes)});
    }
    for (const auto& write : commit.writes) staged.space.writes.insert_or_assign({write.checkpoint_id, write.task_id, write.index}, write);
    for (const auto& asked : commit.interrupts) {
      auto& question = staged.questions.try_emplace(asked.id, Question{asked, std::nullopt, false}).first->second;
      question.asked.thread_id = commit.thread_id;
      question.asked.ns = commit.ns;
    }
    for (const auto& answer : commit.answers) {
      Question question;
      question.asked.id = answer.interrupt_id;
      question.asked.thread_id = commit.thread_id;
      question.asked.ns = commit.ns;
      question.asked.checkpoint_id = commit.checkpoint->id;
      question.answer = answer;
      question.answer->thread_id = commit.thread_id;
      question.closed = true;
      staged.questions.insert_or_assign(answer.interrupt_id, std::move(question));
    }
    return staged;
  }

  const Thread* find(std::string_view thread_id) const {
    const auto found = threads_.find(thread_id);
    return found == threads_.end() ? nullptr : &found->second;
  }

  static const Space* find_space(const Thread* thread, std::string_view ns) {
    if (!thread) return nullptr;
    const auto found = thread->spaces.find(ns);
    return found == thread->spaces.end() ? nullptr : &found->second;
  }

  static void drop_writes(Thread& thread, std::string_view ns, std::string_view checkpoint_id) {
    if (const auto space = thread.spaces.find(ns); space != thread.spaces.end()) {
      std::erase_if(space->second.writes, [&](const auto& write) { return std::get<0>(write.first) == checkpoint_id; });
    }
  }

  AuditRecord chained(AuditRecord entry) const {
    entry.seq = static_cast<std::int64_t>(log_.size()) + 1;
    entry.previous_hash = log_.empty() ? std::string(64, '0') : log_.back().hash;
    entry.hash = audit_hash(entry, entry.previous_hash);
    return entry;
  }

  static std::size_t prune_space(Thread& thread, std::string_view ns, Space& space, const PruneOptions& options, std::int64_t now_ms) {
    std::set<std::string_view> asked_from;
    for (const auto& [id, question] : thread.questions) {
      if (question.asked.ns == ns && question.open_at(now_ms)) asked_from.insert(question.asked.checkpoint_id);
    }
    std::set<std::string, std::less<>> gone;
    std::size_t newer = space.checkpoints.size();
    for (const auto& [id, record] : space.checkpoints) {
      if (newer-- <= options.keep_last) break;
      const bool old = options.older_than_ms == 0 || record.created_ms < options.older_than_ms;
      if (old && !asked_from.contains(id)) gone.insert(id);
    }
    if (gone.empty()) return 0;
    std::erase_if(space.checkpoints, [&](const auto& entry) { return gone.contains(entry.first); });
    std::erase_if(space.writes, [&](const auto& entry) { return gone.contains(std::get<0>(entry.first)); });
    std::erase_if(thread.questions,
                  [&](const auto& entry) { return entry.second.asked.ns == ns && gone.contains(entry.second.asked.checkpoint_id); });
    std::set<BlobKey> needed;
    for (const auto& [id, record] : space.checkpoints) {
      for (const auto& channel : record.channels) {
        BlobKey key{channel.channel, channel.version};
        for (auto blob = space.blobs.find(key); blob != space.blobs.end() && needed.insert(key).second; blob = space.blobs.find(key)) {
          key.second = blob->second.base_version;
        }
      }
    }
    std::erase_if(space.blobs, [&](const auto& entry) { return !needed.contains(entry.first); });
    return gone.size();
  }

  std::mutex mutex_;
  ByName<Thread> threads_;
  std::vector<AuditRecord> log_;
  ByName<Cached> cache_;
  std::size_t sweep_at_ = 1'024;
};

}  // namespace

std::shared_ptr<Checkpointer> make_memory_saver() { return std::make_shared<MemorySaver>(); }

}  // namespace corvid
