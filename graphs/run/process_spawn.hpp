// Starting a program with three pipes, in a process group of its own.
#pragma once

#include <sys/types.h>

#include <utility>

#include "corvid/base/result.hpp"
#include "corvid/graphs/process.hpp"

namespace corvid::graphs {

/// A descriptor that is closed with the object.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

struct Spawned {
  pid_t pid = -1;                    ///< also its group
  Descriptor input, output, errors;  ///< our ends; non-blocking
};

/// Errors: invalid_argument.
Status check(const ProcessRequest& request);
/// Blocks until the program runs or cannot. Errors as run_process.
Result<Spawned> spawn(const ProcessRequest& request);
/// Waits for a child that was killed; a thread is left to wait for one that the kernel holds.
void reap(pid_t pid) noexcept;

}  // namespace corvid::graphs
