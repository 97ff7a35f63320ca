// run_limited: another program with hard limits, no shell, its output read into memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/result.hpp"

namespace corvid::retrieval {

struct ProcessLimits {
  std::chrono::seconds timeout{60};            ///< wall clock; the same of CPU time
  std::uint64_t memory_bytes = 0;              ///< address space
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

}  // namespace corvid::retrieval
