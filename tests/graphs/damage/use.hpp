// What is done with a damaged thread, and what may come of it.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <string>

#include "corvid/base/error.hpp"
#include "corvid/runtime/runtime.hpp"
#include "graphs/damage/mutate.hpp"
#include "graphs/damage/seeds.hpp"

namespace corvid::test {

/// Counts of what came of calls, and the first few that were wrong.
struct Tally {
  long cases = 0, values = 0, wrong = 0;
  std::array<long, 16> errors{};                      ///< by ErrorCode
  std::string problems;                               ///< a line each, of the first 20
  long error_count() const;
  void complain(const std::string& what);
  /// A value, or an error that a user can act on: a stored thing that is damaged says where.
  void expect(const Status& status, const char* call);
  template <class T>
  bool expect(const Result<T>& result, const char* call) {
    Status status;
    if (!result) status = fail(result.error());
    expect(status, call);
    return result.has_value();
  }
};

/// Reads the thread kThread of `saver`, and goes on with it in a way that the dice choose: run, answer, edit, fork, move, prune.
void use_thread(Runtime& runtime, const Seed& seed, const std::shared_ptr<Checkpointer>& saver, Dice& dice, Tally& tally);

/// Of CORVID_CHECKPOINT_MUTATIONS, else `otherwise`.
long mutations_wanted(long otherwise);

/// Calls `one` for cases [0, count) — or for CORVID_CHECKPOINT_MUTATION alone, or the shard() — with dice of its own each; an exception is a wrong case.
/// Prints a line of totals.
void run_cases(const char* what, long count, const std::function<void(Dice& dice, Tally& tally)>& one);

}  // namespace corvid::test
