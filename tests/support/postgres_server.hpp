// A real PostgreSQL for a test: its own cluster in a temporary folder, reached through a Unix socket in that folder and nothing else.
//
//   auto server = PostgresServer::start();
//   if (!server) return;                       // said SKIPPED; with CORVID_REQUIRE_POSTGRES set it has thrown instead
//   auto store = open_postgres_store(server->url());
//   server->kill(); server->restart();
//
// Dies with the thread that started it, and leaves nothing behind. Failures throw std::runtime_error with the server's log.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/support.hpp"

namespace corvid::test {

struct PostgresServerOptions {
  bool fsync = false;                 ///< a killed server loses nothing without it; a machine without power would
  std::vector<std::string> settings;  ///< "name=value", as postgres -c takes them
};

class PostgresServer {
 public:
  static std::unique_ptr<PostgresServer> start(const PostgresServerOptions& options = {});
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  std::string url() const { return url_through(socket_folder()); }
  /// The same database behind another socket folder: a proxy's.
  static std::string url_through(const std::filesystem::path& socket_folder);
  std::filesystem::path socket_folder() const { return folder_ / "socket"; }
  static constexpr const char* kSocketName = ".s.PGSQL.5432";

  void stop();     ///< in order, clients are cut off; returns when it has ended
  void kill();     ///< SIGKILL to the server and each of its processes; returns when all are gone
  void restart();  ///< returns when it takes connections again
  bool running() const { return pid_ > 0; }
  /// Runs statements behind the store's back, with psql. Throws when one fails.
  void sql(const std::string& statements);
  std::string log() const;

 private:
  PostgresServer() = default;
  void initialise();
  void launch();
  std::filesystem::path data() const { return folder_ / "data"; }

  TempDir folder_;
  std::filesystem::path bin_;
  PostgresServerOptions options_;
  pid_t pid_ = -1;
};

}  // namespace corvid::test
