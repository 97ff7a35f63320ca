// Place: a folder with tiny models, documents and a workspace, where the program is run with faults and what it leaves is judged.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli/run_program.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "support/faults.hpp"

namespace corvid::test {

using Faults = std::map<std::string, std::string>;  ///< FAULT_…, see support/fault_preload.c

struct Ended {
  int exit = -1;    ///< -1: a signal
  int signal = 0;
  bool hung = false;
  std::string out, err;
  std::int64_t peak_bytes = 0;   ///< of resident memory
  Json error() const;   ///< the object in {"error": …} on standard error; null where there is none
};

/// What a run counted, from FAULT_TOTALS.
struct Totals { std::int64_t calls = 0, opens = 0, reads = 0, allocations = 0; };

class Place {
 public:
  explicit Place(std::filesystem::path root);
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path documents() const { return root_ / "documents"; }
  std::filesystem::path store() const { return root_ / "store"; }           ///< the folder whose files meet the faults
  std::filesystem::path workspace() const { return store() / "corvid.db"; }

  /// An empty store, or a copy of what `keep_as` kept.
  void reset(const std::string& kept = {});
  void keep_as(const std::string& name);
  /// The first documents; and the same after edits, deletions and additions.
  void write_documents();
  void edit_documents();

  /// Runs `corvid WORDS… --workspace W --json`; at most a minute. `kill_after_ms` ≥ 0 sends SIGKILL then. Runs at
  /// once need lanes of their own: their standard streams are files by that name.
  Ended run(std::vector<std::string> words, const Faults& faults = {}, std::string_view input = {}, int kill_after_ms = -1, const std::string& lane = {});
  Ended ingest(const Faults& faults = {}, int kill_after_ms = -1) { return run({"ingest", documents().string(), "--embedder", (root_ / "encoder").string(), "--threads", "1"}, faults, {}, kill_after_ms); }
  /// Whether the next runs are by an unprivileged user (only root can; permissions mean nothing to root).
  void as_nobody(bool yes) { nobody_ = yes; }
  Ended chat(const Faults& faults, std::string_view turns);
  Totals totals() const;     ///< of the last run

  /// Opens the workspace, checks it, and gives each document as one text that holds all of it: row, chunks, vectors, words.
  /// Errors: whatever opening says; bad_input where PRAGMA integrity_check, the word index's own check or a reference is not ok.
  Result<std::map<std::string, std::string>> indexed();
  /// The messages of the thread "t", in order.
  Result<std::vector<std::string>> messages();

 private:
  std::filesystem::path root_;
  bool nobody_ = false;
};

/// Cases in two lanes, each with a Place of its own; prints the totals, fails with what was wrong.
void each_case(const char* name, const std::vector<std::int64_t>& cases, const std::function<std::vector<std::string>(std::int64_t, Place&, std::atomic<std::int64_t>& fired)>& run, bool must_fire = true);

/// What is wrong with `error` as the end of a command that met a fault; empty: nothing.
std::string judge_error(const Ended& ended);

}  // namespace corvid::test
