// run_limited, call_limited: another program, or a function in a process of its own, with hard limits; its output read into memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/function_ref.hpp"
#include "corvid/base/result.hpp"

namespace corvid::retrieval {

struct ProcessLimits {
  std::chrono::seconds timeout{60};            ///< wall clock; the same of CPU time
  std::uint64_t memory_bytes = 0;              ///< address space; of a program only
  std::uint64_t max_output_bytes = 0;          ///< of stdout
};

struct ProcessOutput {
  int exit_code = 0;                           ///< 128 + signal when killed by one
  std::string output;
  std::string errors;                          ///< the first 4 KiB of stderr
};

/// The program's path in $PATH.
std::optional<std::string> find_program(const std::string& name);

/// Standard input is /dev/null; no files may be written, and no sockets made (a seccomp filter; exit code 126 where the kernel has none).
/// Errors: io, limit_exceeded (time, output), cancelled.
Result<ProcessOutput> run_limited(const std::string& program, const std::vector<std::string>& arguments, const ProcessLimits& limits,
                                  const CancellationToken& cancellation);

/// What `body` returns, from a copy of this process that has `body`'s thread alone: a defect in it ends the copy, not this process. `body` may
/// allocate, but must take no lock that another thread may hold, start no thread and print nothing. `name` is for errors, which are run_limited's.
Result<ProcessOutput> call_limited(const std::string& name, FunctionRef<std::string()> body, const ProcessLimits& limits, const CancellationToken& cancellation);

}  // namespace corvid::retrieval
