#include "llm/remote/socket_stopper.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace corvid::llm {

void SocketStopper::watch(int socket) {
  const int copy = ::fcntl(socket, F_DUPFD_CLOEXEC, 0);
  std::lock_guard lock(mutex_);
  if (socket_ >= 0) ::close(socket_);
  socket_ = copy;  // -1 when the process has no descriptors left: then only timeouts end the transfer
}

void SocketStopper::release() {
  std::lock_guard lock(mutex_);
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

bool SocketStopper::stop() {
  std::lock_guard lock(mutex_);
  return socket_ < 0 || ::shutdown(socket_, SHUT_RDWR) == 0 || errno != ENOTCONN;
}

void block_sigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace corvid::llm
