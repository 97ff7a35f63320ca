// SocketStopper: breaks a connection off from another thread, in whatever state it is. The HTTP library's own stop() waits for a
// connection that is being made, and knows no thread but the one at work.
#pragma once

#include <mutex>

namespace corvid::llm {

/// Thread-safe.
class SocketStopper {
 public:
  SocketStopper() = default;
  ~SocketStopper() { release(); }
  SocketStopper(const SocketStopper&) = delete;
  SocketStopper& operator=(const SocketStopper&) = delete;

  /// A new socket is about to connect. Keeps a duplicate, so that the library may close its own at any time.
  void watch(int socket);
  /// The socket is done with.
  void release();
  /// Reads and writes of the socket end now. False when there is a socket that does not connect yet: ask again shortly.
  bool stop();

 private:
  std::mutex mutex_;
  int socket_ = -1;
};

/// For a thread that lives for one transfer: writing to a connection that the other side closed must not end the process.
void block_sigpipe();

}  // namespace corvid::llm
