// run_isolated: many cases in child processes, so that one that crashes, hangs or wants too much memory is one failed case.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "corvid/runtime/runtime.hpp"

namespace corvid::test {

/// What a case came to.
struct CaseResult {
  bool accepted = false;     ///< loaded, searched, …; else it was refused with a typed error
  std::string wrong;         ///< empty: nothing
};

struct IsolatedTotals {
  std::int64_t cases = 0, accepted = 0, wrong = 0;
  double slowest_ms = 0;     ///< of the process's computing time
};

/// Runs body(runtime, i) for each i of [0, count) in a child with one compute thread; a new child follows one that ends early. Each case may
/// allocate `extra_bytes` beyond what the child had before (not checked under a sanitizer) and take 60 s. Prints the totals; fails with what
/// was wrong.
IsolatedTotals run_isolated(const std::string& name, std::int64_t count, std::uint64_t extra_bytes, const std::function<CaseResult(Runtime&, std::int64_t)>& body);

}  // namespace corvid::test
