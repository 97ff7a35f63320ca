#include "file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace corvid {

Result<FileLock> FileLock::acquire(const std::filesystem::path& path, int timeout_ms) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) return fail(Error::io(std::string("cannot open the lock file: ") + std::strerror(errno)).at_file(path.string()));
  FileLock lock(descriptor);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  auto pause = std::chrono::microseconds(100);
  while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return fail(Error::io(std::string("cannot lock the workspace: ") + std::strerror(errno)).at_file(path.string()));
    }
    if (std::chrono::steady_clock::now() >= end) {
      return fail(Error::conflict("another process has been writing to the workspace for " + std::to_string(timeout_ms / 1000) +
                                  " s; try again when it is done").at_file(path.string()));
    }
    std::this_thread::sleep_for(pause);
    if (pause < std::chrono::milliseconds(20)) pause *= 2;
  }
  return lock;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace corvid
