// Connections to one database, shared by threads, made again after the server was away.
//
//   return pool.call([&](Connection& connection, bool resent) -> Status { … });
//
// What is called may run several times: when a connection breaks, nobody knows whether what was sent took place. `resent` is true from the
// second time on, and each operation finds out for itself (a commit by its token) whether it happened.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "corvid/base/function_ref.hpp"
#include "corvid/graphs/savers.hpp"
#include "graphs/persist/postgres_connection.hpp"

namespace corvid::postgres {

class Pool {
 public:
  Pool(std::string url, PostgresOptions options) : url_(std::move(url)), options_(std::move(options)) {}

  /// Thread-safe; blocks. Runs `operation` until it ends otherwise than by a broken connection or a lost race, or until retry_ms passed.
  template <class F>
  auto call(F&& operation) -> std::invoke_result_t<F&, Connection&, bool> {
    Attempts attempts(*this);
    while (true) {
      Borrowed borrowed(*this);
      CORVID_TRY_STATUS(take(attempts, borrowed.connection));
      auto result = operation(*borrowed.connection, attempts.resent);
      const auto failure = result ? Failure::none : borrowed.connection->failure();
      if (failure == Failure::broken) {
        attempts.resent = true;
        close_idle();  // they are of the same server
      } else {
        if (!result) borrowed.connection->roll_back();
        borrowed.reusable = borrowed.connection->failure() != Failure::broken;
      }
      borrowed.give_back();  // before the pause
      if (failure == Failure::none || failure == Failure::final || !attempts.wait()) return result;
    }
  }

  const PostgresOptions& options() const { return options_; }

 private:
  /// Time and pauses of one call.
  struct Attempts {
    explicit Attempts(const Pool& pool);
    bool wait();  ///< false: the time is over
    Clock::time_point deadline() const;
    int retry_ms;
    std::optional<Clock::time_point> failed_first;
    int pause_ms = 0;
    bool resent = false;
  };

  /// A place among the connections, and the connection once there is one. What an exception leaves half done is not used again.
  struct Borrowed {
    explicit Borrowed(Pool& from);  // waits until there is a place
    ~Borrowed() { give_back(); }
    void give_back();
    Pool* pool;
    std::unique_ptr<Connection> connection;
    bool reusable = false;
  };

  Status take(Attempts& attempts, std::unique_ptr<Connection>& connection);
  void close_idle();

  const std::string url_;
  const PostgresOptions options_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Connection>> idle_;
  int in_use_ = 0;
};

}  // namespace corvid::postgres
