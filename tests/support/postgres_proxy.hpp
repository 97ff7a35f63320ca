// A Unix-socket proxy before a PostgreSQL server: counts the client's messages and can act, or cut the connection, before any of them.
//
//   PostgresProxy proxy(server.socket_folder());
//   proxy.before_message([](const PostgresProxy::Message& m) { return m.number == 7 ? Action::cut : Action::forward; });
//   auto store = open_postgres_store(PostgresServer::url_through(proxy.socket_folder()));
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace corvid::test {

class PostgresProxy {
 public:
  enum class Action : std::uint8_t {
    forward,
    cut,        ///< the message and what follows it are lost: both sides see the connection end
    cut_after,  ///< the server gets the message, and the client never hears of it
  };
  struct Message {
    std::size_t number;      ///< from 1, over all connections since the proxy was made
    std::size_t connection;  ///< from 1
    char type;               ///< 'Q', 'P', 'B', 'E', 'S', …; 0: a startup packet, which has none
  };
  using Hook = std::function<Action(const Message&)>;

  explicit PostgresProxy(std::filesystem::path server_socket_folder);
  ~PostgresProxy();
  PostgresProxy(const PostgresProxy&) = delete;
  PostgresProxy& operator=(const PostgresProxy&) = delete;

  std::filesystem::path socket_folder() const;
  /// Called on the proxy's thread before a message is passed on; what came before it has been sent. It may kill a server or a process.
  void before_message(Hook hook);
  std::size_t messages() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace corvid::test
