// One PostgreSQL for all tests of this program that do not kill it, and fresh schemas in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/savers.hpp"
#include "support/postgres_server.hpp"

namespace corvid::test {

/// nullptr after a loud skip.
PostgresServer* shared_postgres();
/// A store without anything in it.
PostgresStore fresh_store(const PostgresServer& server);
PostgresStore open_store(const std::string& url, const PostgresOptions& options);

/// This program again, running only its hidden tests of `tag`, with NAME=VALUE settings added to the environment.
class TestProcess {
 public:
  TestProcess(const std::string& tag, const std::vector<std::string>& environment);
  ~TestProcess();
  TestProcess(TestProcess&& other) noexcept;
  TestProcess& operator=(TestProcess&& other) noexcept;
  void kill();  ///< SIGKILL
  int wait();   ///< its exit status; -1 when killed

 private:
  int pid_ = -1;
};

}  // namespace corvid::test
