// An advisory lock on a file, between processes and between objects of one process.
#pragma once

#include <filesystem>
#include <utility>

#include "corvid/base/result.hpp"

namespace corvid {

/// Holds flock(LOCK_EX) on a file while it lives. The kernel drops it when the process dies.
class FileLock {
 public:
  /// Waits at most `timeout_ms`. Errors: io, conflict (held by another).
  static Result<FileLock> acquire(const std::filesystem::path& path, int timeout_ms);
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace corvid
