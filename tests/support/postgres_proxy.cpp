#include "support/postgres_proxy.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/postgres_server.hpp"

namespace corvid::test {

namespace fs = std::filesystem;

namespace {

class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

sockaddr_un address_in(const fs::path& folder) {
  const std::string path = (folder / PostgresServer::kSocketName).string();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) throw std::runtime_error("too long for a socket's name: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  return value;
}

struct Connection {
  Socket client, server;
  std::size_t number = 0;
  bool started = false;  // a startup packet has been seen: messages have a type byte from now on
  std::string pending;   // the client's bytes that are not a whole message yet
};

}  // namespace

class PostgresProxy::Impl {
 public:
  explicit Impl(fs::path server) : server_(std::move(server)), listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = address_in(folder_.path());
    if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) || listen(listener_.get(), 64) || pipe(wake_)) {
      throw std::runtime_error("the proxy cannot listen");
    }
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    close(wake_[1]);
    thread_.join();
    close(wake_[0]);
  }

  const fs::path& folder() const { return folder_.path(); }
  std::size_t messages() const { return messages_; }
  void set(Hook hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }

 private:
  void run() {
    while (true) {
      std::vector<pollfd> polled = {{wake_[0], POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const auto& connection : connections_) {
        polled.push_back({connection.client.get(), POLLIN, 0});
        polled.push_back({connection.server.get(), POLLIN, 0});
      }
      if (poll(polled.data(), polled.size(), -1) < 0) continue;
      if (polled[0].revents) return;
      std::size_t at = 2;
      for (auto connection = connections_.begin(); connection != connections_.end(); at += 2) {
        bool open = true;
        if (polled[at].revents) open = from_client(*connection);
        if (open && polled[at + 1].revents) open = from_server(*connection);
        connection = open ? std::next(connection) : connections_.erase(connection);
      }
      if (polled[1].revents) accept_one();
    }
  }

  void accept_one() {
    Connection connection;
    connection.client = Socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    connection.server = Socket(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = address_in(server_);
    // A server that is away looks as it does without a proxy: the connection ends before any answer.
    if (connect(connection.server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address))) return;
    connection.number = ++accepted_;
    connections_.push_back(std::move(connection));
  }

  bool from_server(Connection& connection) {
    char buffer[16384];
    const ssize_t n = recv(connection.server.get(), buffer, sizeof(buffer), 0);
    return n > 0 && send_all(connection.client.get(), {buffer, static_cast<std::size_t>(n)});
  }

  bool from_client(Connection& connection) {
    char buffer[16384];
    const ssize_t n = recv(connection.client.get(), buffer, sizeof(buffer), 0);
    if (n <= 0) return false;
    connection.pending.append(buffer, static_cast<std::size_t>(n));
    std::string_view left = connection.pending;
    while (true) {
      const std::size_t header = connection.started ? 5 : 4;
      if (left.size() < header) break;
      // The length counts itself but not the type byte.
      const std::size_t size = big_endian(left.substr(header - 4)) + header - 4;
      if (size < header || left.size() < size) break;
      const auto message = left.substr(0, size);
      const auto action = ask({++messages_, connection.number, connection.started ? message[0] : '\0'});
      if (action == Action::cut || !send_all(connection.server.get(), message)) return false;
      if (action == Action::cut_after) return false;
      // Requests for encryption (codes 1234.5679 and 1234.5680) come before the startup packet proper.
      if (!connection.started && size >= 8) connection.started = (big_endian(message.substr(4)) >> 16) != 1234;
      left.remove_prefix(size);
    }
    connection.pending.erase(0, connection.pending.size() - left.size());
    return true;
  }

  Action ask(const Message& message) {
    const std::lock_guard lock(mutex_);
    return hook_ ? hook_(message) : Action::forward;
  }

  TempDir folder_;
  fs::path server_;
  Socket listener_;
  int wake_[2] = {-1, -1};
  std::mutex mutex_;
  Hook hook_;
  std::atomic<std::size_t> messages_ = 0;
  std::size_t accepted_ = 0;
  std::list<Connection> connections_;  // of the proxy's thread
  std::thread thread_;
};

PostgresProxy::PostgresProxy(fs::path server_socket_folder) : impl_(std::make_unique<Impl>(std::move(server_socket_folder))) {}
PostgresProxy::~PostgresProxy() = default;
fs::path PostgresProxy::socket_folder() const { return impl_->folder(); }
void PostgresProxy::before_message(Hook hook) { impl_->set(std::move(hook)); }
std::size_t PostgresProxy::messages() const { return impl_->messages(); }

}  // namespace corvid::test
