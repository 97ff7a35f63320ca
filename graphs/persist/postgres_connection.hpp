// One connection: prepared statements, pipelined into one round trip, with typed errors.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "graphs/persist/postgres_values.hpp"

namespace corvid::postgres {

using Clock = std::chrono::steady_clock;

/// A statement with its parameters. `sql` is a literal: its address is its name among the connection's prepared statements.
struct Step {
  const char* sql;
  Params params;
};

/// What a failed statement means to whoever runs it.
enum class Failure : std::uint8_t {
  none,
  final,   ///< would fail again
  again,   ///< rolled back in favour of another transaction: run it again
  broken,  ///< the connection is gone; whether a COMMIT that was sent took place is not known
};

/// Not thread-safe.
class Connection {
 public:
  /// Errors: network (try again later when `retry` is set), rejected, unsupported (server older than 13).
  static Result<std::unique_ptr<Connection>> open(const std::string& url, Clock::time_point deadline, bool& retry);

  /// Sends all steps at once and waits for all results. Outside of a transaction they are one.
  Result<std::vector<Rows>> run(std::vector<Step> steps);
  Result<Rows> run_one(Step step);
  /// BEGIN, the steps, COMMIT: one round trip. After an error nothing of it has happened, unless failure() says `broken`.
  Result<std::vector<Rows>> transaction(std::vector<Step> steps);
  /// The same for reading: all steps see one state of the database.
  Result<std::vector<Rows>> snapshot(std::vector<Step> steps);
  /// Several statements without parameters or results, for migrations.
  Status script(const std::string& sql);
  void roll_back();

  Failure failure() const { return failure_; }               ///< of the last call
  const std::string& sqlstate() const { return sqlstate_; }  ///< of the last call's error, five characters; empty: none from the server

 private:
  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  explicit Connection(PGconn* handle) : handle_(handle) {}
  Status send(const std::vector<Step>& steps, std::vector<const char*>& prepared_now);
  Result<std::vector<Rows>> between(const char* begin, std::vector<Step> steps);
  Error error_of(const PGresult* result);
  Error broken_off();

  std::unique_ptr<PGconn, Finish> handle_;
  std::set<const char*> prepared_;
  Failure failure_ = Failure::none;
  std::string sqlstate_;
};

extern const char* const kBegin;
extern const char* const kCommit;

}  // namespace corvid::postgres
