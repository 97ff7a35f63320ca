#include "graphs/damage/store_image.hpp"

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include "corvid/graphs/savers.hpp"
#include "support/catch.hpp"

namespace corvid::test {

StoreImage image_of(Checkpointer& saver, const std::string& thread_id) {
  StoreImage image;
  const auto names = saver.namespaces(thread_id);
  REQUIRE(names);
  for (const auto& ns : *names) {
    Space space;
    space.ns = ns;
    const auto records = saver.list(thread_id, ns);
    REQUIRE(records);
    std::set<std::pair<std::string, std::uint64_t>> seen;
    for (auto record = records->rbegin(); record != records->rend(); ++record) {
      auto loaded = saver.get(thread_id, ns, record->id);
      REQUIRE(loaded);
      REQUIRE(loaded->has_value());
      space.checkpoints.push_back((*loaded)->record);
      for (auto& blob : (*loaded)->blobs) {
        if (seen.emplace(blob.channel, blob.version).second) space.blobs.push_back(std::move(blob));
      }
      for (auto& write : (*loaded)->writes) space.writes.push_back(std::move(write));
      for (auto& answer : (*loaded)->answers) image.answers.push_back({ns, record->id, std::move(answer)});
    }
    image.spaces.push_back(std::move(space));
  }
  auto open = saver.open_interrupts(thread_id, true);
  REQUIRE(open);
  image.open = std::move(*open);
  return image;
}

void store_image(Checkpointer& saver, const std::string& thread_id, const StoreImage& image) {
  for (const auto& space : image.spaces) {
    for (std::size_t i = 0; i < space.checkpoints.size(); ++i) {
      Commit commit;
      commit.thread_id = thread_id;
      commit.ns = space.ns;
      commit.checkpoint = space.checkpoints[i];
      if (i == 0) commit.blobs = space.blobs;
      for (const auto& write : space.writes) {
        if (write.checkpoint_id == commit.checkpoint->id) commit.writes.push_back(write);
      }
      for (const auto& asked : image.open) {
        if (asked.ns == space.ns && asked.checkpoint_id == commit.checkpoint->id) commit.interrupts.push_back(asked);
      }
      for (const auto& answer : image.answers) {
        if (answer.ns == space.ns && answer.checkpoint_id == commit.checkpoint->id) commit.answers.push_back(answer.answer);
      }
      REQUIRE(saver.commit(commit));
    }
  }
}

namespace {

class DamagedStore final : public Checkpointer {
 public:
  DamagedStore(std::string thread_id, StoreImage image) : thread_(std::move(thread_id)), image_(std::move(image)) {}
  std::string_view name() const noexcept override { return "damaged"; }
  bool blocks() const noexcept override { return false; }

  Status commit(const Commit& commit) override {
    if (commit.thread_id != thread_) return others_->commit(commit);
    std::lock_guard lock(mutex_);
    Space* space = find(commit.ns);
    if (commit.expected_latest) {
      const auto* newest = space ? newest_of(*space) : nullptr;
      if ((newest ? newest->id : "") != *commit.expected_latest) return fail(Error::conflict("another checkpoint is the newest"));
    }
    if (!space) {
      image_.spaces.push_back({commit.ns, {}, {}, {}});
      space = &image_.spaces.back();
    }
    if (commit.checkpoint) {
      std::erase_if(space->checkpoints, [&](const auto& r) { return r.id == commit.checkpoint->id; });
      space->checkpoints.push_back(*commit.checkpoint);
    }
    for (const auto& blob : commit.blobs) {
      if (!blob_at(*space, blob.channel, blob.version)) space->blobs.push_back(blob);
    }
    for (const auto& write : commit.writes) {
      std::erase_if(space->writes, [&](const auto& w) {
        return w.checkpoint_id == write.checkpoint_id && w.task_id == write.task_id && w.index == write.index;
      });
      space->writes.push_back(write);
    }
    if (!commit.drop_writes_of.empty()) {
      std::erase_if(space->writes, [&](const auto& w) { return w.checkpoint_id == commit.drop_writes_of; });
    }
    for (auto asked : commit.interrupts) {
      asked.thread_id = commit.thread_id;
      asked.ns = commit.ns;
      image_.open.push_back(std::move(asked));
    }
    for (const auto& id : commit.close_interrupts) {
      std::erase_if(image_.open, [&](const auto& q) { return q.id == id; });
    }
    for (const auto& answer : commit.answers) {
      image_.answers.push_back({commit.ns, commit.checkpoint ? commit.checkpoint->id : std::string(), answer});
    }
    return {};
  }

  Result<std::optional<LoadedCheckpoint>> get(std::string_view thread, std::string_view ns, std::string_view id) override {
    if (thread != thread_) return others_->get(thread, ns, id);
    std::lock_guard lock(mutex_);
    const Space* space = find(ns);
    if (!space) return std::nullopt;
    const CheckpointRecord* record = nullptr;
    if (id.empty()) record = newest_of(*space);
    for (const auto& each : space->checkpoints) {
      if (!id.empty() && each.id == id) record = &each;
    }
    if (!record) return std::nullopt;
    LoadedCheckpoint loaded;
    loaded.record = *record;
    for (const auto& channel : record->channels) {
      const auto first = static_cast<std::ptrdiff_t>(loaded.blobs.size());
      std::set<std::uint64_t> seen;
      auto version = channel.version;
      while (seen.insert(version).second) {
        const auto* blob = blob_at(*space, channel.channel, version);
        if (!blob) break;
        loaded.blobs.push_back(*blob);
        version = blob->base_version;
        if (version == 0) break;
      }
      std::reverse(loaded.blobs.begin() + first, loaded.blobs.end());
    }
    for (const auto& write : space->writes) {
      if (write.checkpoint_id == record->id) loaded.writes.push_back(write);
    }
    for (const auto& question : image_.open) {
      if (question.ns == ns && question.checkpoint_id == record->id) loaded.interrupts.push_back(question);
    }
    for (const auto& answer : image_.answers) {
      if (answer.ns == ns && answer.checkpoint_id == record->id) loaded.answers.push_back(answer.answer);
    }
    return loaded;
  }

  Result<std::vector<CheckpointRecord>> list(std::string_view thread, std::string_view ns, const ListOptions& options) override {
    if (thread != thread_) return others_->list(thread, ns, options);
    std::lock_guard lock(mutex_);
    std::vector<CheckpointRecord> records;
    if (const Space* space = find(ns)) records = space->checkpoints;
    std::stable_sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.id > b.id; });
    if (!options.before.empty()) std::erase_if(records, [&](const auto& r) { return r.id >= options.before; });
    if (options.limit != 0 && records.size() > options.limit) records.resize(options.limit);
    return records;
  }

  Result<std::vector<std::string>> namespaces(std::string_view thread) override {
    if (thread != thread_) return others_->namespaces(thread);
    std::lock_guard lock(mutex_);
    std::set<std::string> names;
    for (const auto& space : image_.spaces) names.insert(space.ns);
    return std::vector<std::string>(names.begin(), names.end());
  }
  Result<std::vector<ThreadInfo>> threads() override { return std::vector<ThreadInfo>(); }

  Result<std::vector<InterruptRecord>> open_interrupts(std::string_view thread, bool with_expired) override {
    if (!thread.empty() && thread != thread_) return others_->open_interrupts(thread, with_expired);
    std::lock_guard lock(mutex_);
    return image_.open;
  }

  Status answer(const AnswerRecord& answer, const AuditRecord&, std::int64_t) override {
    std::lock_guard lock(mutex_);
    for (auto asked = image_.open.begin(); asked != image_.open.end(); ++asked) {
      if (asked->id != answer.interrupt_id) continue;
      image_.answers.push_back({asked->ns, asked->checkpoint_id, answer});
      image_.open.erase(asked);
      return {};
    }
    return fail(Error::not_found("no open question has this id"));
  }
  Status append_audit(const AuditRecord&) override { return {}; }
  Result<std::vector<AuditRecord>> audit() override { return std::vector<AuditRecord>(); }
  Status lease(std::string_view, const LeaseChange&) override { return {}; }
  Status delete_thread(std::string_view) override {
    std::lock_guard lock(mutex_);
    image_ = StoreImage();
    return {};
  }
  Status copy_thread(std::string_view, std::string_view) override { return fail(Error::unsupported("one thread only")); }
  Result<std::size_t> prune(std::string_view, const PruneOptions&) override { return fail(Error::unsupported("nothing is pruned")); }
  Result<std::optional<Bytes>> cache_get(std::string_view, std::int64_t) override { return std::nullopt; }
  Status cache_put(std::string_view, const Bytes&, std::int64_t) override { return {}; }

 private:
  Space* find(std::string_view ns) {
    for (auto& space : image_.spaces) {
      if (space.ns == ns) return &space;
    }
    return nullptr;
  }
  static const CheckpointRecord* newest_of(const Space& space) {
    const auto newest =
        std::max_element(space.checkpoints.begin(), space.checkpoints.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    return newest == space.checkpoints.end() ? nullptr : &*newest;
  }
  static const ChannelBlob* blob_at(const Space& space, std::string_view channel, std::uint64_t version) {
    for (const auto& blob : space.blobs) {
      if (blob.version == version && blob.channel == channel) return &blob;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::string thread_;
  StoreImage image_;
  std::shared_ptr<Checkpointer> others_ = make_memory_saver();
};

}  // namespace

std::shared_ptr<Checkpointer> make_damaged_store(std::string thread_id, StoreImage image) {
  return std::make_shared<DamagedStore>(std::move(thread_id), std::move(image));
}

}  // namespace corvid::test
