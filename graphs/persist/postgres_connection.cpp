#include "graphs/persist/postgres_connection.hpp"

#include <poll.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "graphs/persist/postgres_errors.hpp"

namespace corvid::postgres {

// Read committed: a statement that waited for a thread's row sees what its last holder committed.
const char* const kBegin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const char* const kCommit = "COMMIT";

namespace {

const char* const kBeginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

constexpr int kOldestServer = 130000;

/// libpq keeps no SQLSTATE for a failed connection, but writes it into a verbose message: "FATAL:  28P01: password …".
std::string sqlstate_in(std::string_view message) {
  for (std::size_t at = message.find(":  "); at != std::string_view::npos; at = message.find(":  ", at + 1)) {
    const auto code = message.substr(at + 3, 5);
    const auto follows = message.substr(std::min(message.size(), at + 8), 2);
    const auto known = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) || (c >= 'A' && c <= 'Z'); };
    if (code.size() == 5 && follows == ": " && std::all_of(code.begin(), code.end(), known)) return std::string(code);
  }
  return {};
}

std::string one_line(const char* message) {
  std::string line = message;
  while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

/// Runs the handshake until it is done or the deadline passed.
bool connect(PGconn* connection, Clock::time_point deadline) {
  auto wanted = PGRES_POLLING_WRITING;
  while (wanted != PGRES_POLLING_OK) {
    if (wanted == PGRES_POLLING_FAILED) return false;
    pollfd socket{PQsocket(connection), static_cast<short>(wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    poll(&socket, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (socket.revents) wanted = PQconnectPoll(connection);
  }
  return true;
}

void ignore_notices(void*, const PGresult*) {}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::open(const std::string& url, Clock::time_point deadline, bool& retry) {
  retry = false;
  // What comes before dbname may be set otherwise in the URL. A peer that vanished without a word is noticed within half a minute.
  const char* names[] = {"application_name", "keepalives_idle", "keepalives_interval", "keepalives_count",
                         "tcp_user_timeout", "dbname",          "client_encoding",     nullptr};
  const char* values[] = {"corvid", "15", "5", "3", "30000", url.c_str(), "UTF8", nullptr};
  std::unique_ptr<Connection> connection(new Connection(PQconnectStartParams(names, values, 1)));
  PGconn* handle = connection->handle_.get();
  if (!handle) return fail(Error::out_of_memory("no memory for a connection to PostgreSQL"));
  PQsetNoticeReceiver(handle, ignore_notices, nullptr);
  PQsetErrorVerbosity(handle, PQERRORS_VERBOSE);
  if (PQstatus(handle) == CONNECTION_BAD || !connect(handle, deadline)) {
    const std::string message = one_line(PQerrorMessage(handle));
    const std::string code = sqlstate_in(message);
    retry = failure_of(code) == Failure::broken;
    if (!retry) return fail(to_error(code, message));
    const char* host = PQhost(handle);
    return fail(Error::network("cannot reach PostgreSQL at " + std::string(host && *host ? host : "the default socket") + " port " +
                               PQport(handle) + ": " + (message.empty() ? "no answer in time" : message) +
                               "; check that the server runs and that host and port are right"));
  }
  if (PQserverVersion(handle) < kOldestServer) {
    return fail(
        Error::unsupported("this PostgreSQL is version " + std::to_string(PQserverVersion(handle) / 10000) + "; 13 or newer is needed"));
  }
  return connection;
}

Error Connection::error_of(const PGresult* result) {
  const char* code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  if (!code || PQstatus(handle_.get()) == CONNECTION_BAD) {
    if (!code) return broken_off();
    failure_ = Failure::broken;
  }
  sqlstate_ = code;
  if (failure_ != Failure::broken) failure_ = failure_of(sqlstate_);
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return to_error(sqlstate_, primary ? primary : one_line(PQresultErrorMessage(result)));
}

Error Connection::broken_off() {
  failure_ = Failure::broken;
  return Error::network("the connection to PostgreSQL broke: " + one_line(PQerrorMessage(handle_.get())));
}

Status Connection::send(const std::vector<Step>& steps, std::vector<const char*>& prepared_now) {
  PGconn* handle = handle_.get();
  if (!PQenterPipelineMode(handle)) return fail(broken_off());
  for (const auto& step : steps) {
    char name[24];
    std::snprintf(name, sizeof(name), "s%llx", static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(step.sql)));
    if (prepared_.insert(step.sql).second) {
      prepared_now.push_back(step.sql);
      if (!PQsendPrepare(handle, name, step.sql, step.params.size(), step.params.types())) return fail(broken_off());
    } else {
      prepared_now.push_back(nullptr);
    }
    const std::vector<int> binary(static_cast<std::size_t>(step.params.size()), 1);
    if (!PQsendQueryPrepared(handle, name, step.params.size(), step.params.values(), step.params.lengths(), binary.data(), 1)) {
      return fail(broken_off());
    }
  }
  if (!PQpipelineSync(handle)) return fail(broken_off());
  return {};
}

Result<std::vector<Rows>> Connection::run(std::vector<Step> steps) {
  failure_ = Failure::final;
  sqlstate_.clear();
  for (const auto& step : steps) CORVID_TRY_STATUS(step.params.check());
  std::vector<const char*> prepared_now;  // beside each step: its text, where it is prepared in this call
  CORVID_TRY_STATUS(send(steps, prepared_now));

  std::vector<Rows> rows;
  std::optional<Error> error;
  // For each command its results and then a null, the sync's result at last.
  const auto next = [&] { return PQgetResult(handle_.get()); };
  const auto take = [&](PGresult* result) -> bool {
    if (!result) {
      Error broken = broken_off();
      if (!error) error = std::move(broken);
      return false;
    }
    Rows owned(result);
    const auto status = PQresultStatus(result);
    const bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (!good && status != PGRES_PIPELINE_ABORTED && !error) error = error_of(result);
    if (PGresult* end = next()) {  // the null that ends this command's results
      PQclear(end);
      if (!error) error = broken_off();
    }
    if (good) rows.push_back(std::move(owned));
    return good;
  };
  for (const char* text : prepared_now) {
    if (text) {
      const bool good = take(next());
      if (good)
        rows.pop_back();
      else
        prepared_.erase(text);
    }
    if (failure_ == Failure::broken) return fail(std::move(*error));
    take(next());
    if (failure_ == Failure::broken) return fail(std::move(*error));
  }
  // What was sent outside of a transaction commits at the sync: without its result nothing is acknowledged.
  PGresult* sync = next();
  const Rows owned(sync);
  if (!sync) return fail(broken_off());
  if (PQresultStatus(sync) != PGRES_PIPELINE_SYNC) {
    error = error_of(sync);
    failure_ = Failure::broken;
    return fail(std::move(*error));
  }
  if (!PQexitPipelineMode(handle_.get())) return fail(broken_off());
  if (error) return fail(std::move(*error));
  failure_ = Failure::none;
  return rows;
}

Result<Rows> Connection::run_one(Step step) {
  std::vector<Step> steps;
  steps.push_back(std::move(step));
  CORVID_TRY(auto rows, run(std::move(steps)));
  return std::move(rows.front());
}

Result<std::vector<Rows>> Connection::transaction(std::vector<Step> steps) { return between(kBegin, std::move(steps)); }
Result<std::vector<Rows>> Connection::snapshot(std::vector<Step> steps) { return between(kBeginSnapshot, std::move(steps)); }

Result<std::vector<Rows>> Connection::between(const char* begin, std::vector<Step> steps) {
  steps.insert(steps.begin(), Step{begin, {}});
  steps.push_back({kCommit, {}});
  auto rows = run(std::move(steps));
  if (!rows) {
    roll_back();
    return rows;
  }
  rows->erase(rows->begin());
  rows->pop_back();
  return rows;
}

Status Connection::script(const std::string& sql) {
  failure_ = Failure::final;
  sqlstate_.clear();
  PGresult* result = PQexec(handle_.get(), sql.c_str());
  const Rows owned(result);
  if (!result) return fail(broken_off());
  if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) return fail(error_of(result));
  failure_ = Failure::none;
  return {};
}

void Connection::roll_back() {
  if (failure_ == Failure::broken || PQtransactionStatus(handle_.get()) == PQTRANS_IDLE) return;
  const auto failure = failure_;
  const auto code = sqlstate_;
  if (script("ROLLBACK")) failure_ = failure;
  sqlstate_ = code;
}

}  // namespace corvid::postgres
