// History: one (thread, namespace) of a run: what was loaded, what has changed since, and the commits that store it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"
#include "graphs/run/step.hpp"
#include "graphs/run/task.hpp"

namespace corvid {

// The runtime's own writes of a task.
inline constexpr std::int32_t kResultWrite = 0;
inline constexpr std::int32_t kErrorWrite = -1;
inline constexpr std::int32_t kStartedWrite = -2;

// The Commands that a thread was given at its checkpoint are stored as this task's writes, 0, 1, …
inline constexpr std::string_view kCommandTask = "__command__";

struct StoredTask {
  std::optional<Json> result;                       // an outcome, still encoded
  std::optional<std::string> error;
  int starts = 0;                                   // of an at_most_once node
};

class History {
 public:
  History(const CompiledGraph::Impl& graph, std::string ns);

  void enable();                                    // before anything else, where something will be stored
  const std::string& ns() const noexcept { return ns_; }
  const std::string& checkpoint_id() const noexcept { return checkpoint_id_; }
  std::int64_t step() const noexcept { return step_; }
  const Questions& questions() const noexcept { return *questions_; }
  const std::shared_ptr<const Questions>& shared_questions() const noexcept { return questions_; }
  const std::map<std::string, StoredTask>& tasks() const noexcept { return tasks_; }
  bool paused() const noexcept { return paused_; }
  const std::vector<std::string>& last() const noexcept { return last_; }   // nodes of the last superstep
  const Json& metadata() const noexcept { return metadata_; }               // of the checkpoint that was restored
  const std::string& source() const noexcept { return source_; }            // of the checkpoint that was restored
  std::vector<std::string>& notes() noexcept { return notes_; }             // what restorers had to make again

  /// Fills values and frontier from a checkpoint. Errors: bad_input (damaged), conflict (the graph changed incompatibly; says what).
  Status restore(LoadedCheckpoint&& loaded, std::vector<Value>& values, Frontier& frontier);
  /// The Command's outcome as if the checkpoint had had it, and as it is stored. Errors: those of reducers; what has no stored form.
  Result<PendingWrite> command(TaskOutcome outcome, std::vector<Value>& values, Frontier& frontier);
  /// The state is new or goes on as a fork: nothing asked or half done carries over.
  void forget_tasks();

  /// The barrier reports which channels changed; `record()` is what it fills for delta channels.
  std::vector<Json>* record() noexcept { return &record_; }
  void changed(const std::vector<std::uint32_t>& channels);

  struct Mark {
    std::string source;
    std::int64_t step = 0;
    std::vector<std::string> last;                  // nodes of the superstep that led here
    bool paused = false;                            // interrupt_before or interrupt_after stops here
    std::string run_id, caller;                     // caller: the task of the parent graph
  };
  /// A commit of the state as it is now, whose checkpoint becomes the current one. Errors: unsupported, bad_input (a value that has no
  /// stored form).
  Result<Commit> checkpoint(const std::vector<Value>& values, const Frontier& frontier, const Mark& mark);
  /// The same without storing anything yet: later ones, or store_latest(), take up what has changed.
  void advance(const Mark& mark);
  /// The commit of the checkpoint that advance() moved to; nullopt where it is stored already.
  Result<std::optional<Commit>> store_latest(const std::vector<Value>& values, const Frontier& frontier);
  /// The thread's newest checkpoint, where that is not the one that was restored.
  Status not_newest(const CheckpointRecord& newest);
  /// A commit without a checkpoint, for tasks' writes and questions.
  Commit commit() const;
  void has_tasks() noexcept { had_tasks_ = true; }  // writes were stored under the current checkpoint
  Result<PendingWrite> result_write(TaskRun& task) const;
  PendingWrite error_write(TaskRun& task) const;
  PendingWrite started_write(TaskRun& task) const;
  Result<TaskOutcome> read_outcome(const Json& stored);

 private:
  struct Track {
    std::uint64_t version = 0;                      // stored
    std::size_t full_bytes = 0, delta_bytes = 0;
    int deltas = 0;
    bool dirty = false;
  };
  Status restore_body(const LoadedCheckpoint& loaded, Frontier& frontier);
  Status apply_command(TaskOutcome outcome, std::vector<Value>& values, Frontier& frontier);
  Status restore_channel(const CheckpointRecord& record, const std::vector<ChannelBlob>& blobs, std::size_t& at, std::vector<Value>& values);

  void move_to(const Mark& mark);
  Result<Bytes> encode_body(const Frontier& frontier, const Mark& mark, std::uint64_t version) const;
  Result<Commit> encode(const std::vector<Value>& values, const Frontier& frontier, const Mark& mark);

  const CompiledGraph::Impl& graph_;
  std::string ns_;
  std::string checkpoint_id_, parent_id_, latest_id_;
  std::string stored_id_;                           // the newest that is stored, or on its way
  bool first_ = true;                               // nothing stored yet by this run
  std::optional<Mark> unstored_;
  std::int64_t step_ = -2;
  std::uint64_t newest_version_ = 0;
  std::uint64_t shape_version_ = 0;                 // 0: not stored yet
  std::string shape_signature_;
  std::vector<Track> tracks_;                       // by channel
  std::vector<Json> record_;                        // by channel: writes since stored, or null
  std::shared_ptr<const Questions> questions_ = std::make_shared<Questions>();
  std::map<std::string, StoredTask> tasks_;
  std::int32_t commands_ = 0;                       // stored at the current checkpoint
  bool paused_ = false;
  std::vector<std::string> last_;
  std::string source_;
  Json metadata_;
  std::vector<std::string> notes_, closing_;
  bool had_tasks_ = false;                          // pending writes may be stored under the current checkpoint
};

/// As CBOR. Errors: unsupported, bad_input (a value that has no stored form).
Result<Bytes> encode_outcome(const CompiledGraph::Impl& graph, const TaskOutcome& outcome);
Result<TaskOutcome> decode_outcome(const CompiledGraph::Impl& graph, const Json& stored, std::vector<std::string>& notes);

/// A later checkpoint's id compares greater than an earlier one's of the same thread.
std::string next_checkpoint_id(const std::string& after);
std::string random_id();

}  // namespace corvid
