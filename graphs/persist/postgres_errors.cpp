#include "graphs/persist/postgres_errors.hpp"

namespace corvid::postgres {

Failure failure_of(std::string_view sqlstate) {
  const auto family = sqlstate.substr(0, 2);
  // 57P01…57P05: the server shuts down, crashed, starts up, or ended an idle connection. 25006: a standby, after a failover.
  if (sqlstate.empty() || family == "08" || sqlstate.substr(0, 4) == "57P0" || sqlstate == "25006" || sqlstate == "53300") {
    return sqlstate == "57P04" ? Failure::final : Failure::broken;  // 57P04: the database was dropped
  }
  if (sqlstate == "40001" || sqlstate == "40P01") return Failure::again;
  return Failure::final;
}

Error to_error(std::string_view sqlstate, const std::string& message) {
  const auto family = sqlstate.substr(0, 2);
  const std::string said = message + " (SQLSTATE " + std::string(sqlstate) + ")";
  if (failure_of(sqlstate) == Failure::broken) return Error::network("PostgreSQL broke off: " + said);
  if (family == "28" || sqlstate == "42501" || sqlstate == "3D000" || sqlstate == "57P04" || sqlstate == "3F000") {
    return Error::rejected("PostgreSQL refused: " + said + "; check user, password, database and its permissions");
  }
  if (sqlstate == "53100") return Error::io("PostgreSQL's disk is full: " + said);
  if (family == "53" || family == "58") return Error::io("PostgreSQL: " + said);
  if (family == "XX" && sqlstate != "XX000") return Error::bad_input("PostgreSQL found damaged data: " + said);
  if (sqlstate == "22021") return Error::invalid_argument("a name or id is not UTF-8: " + said);
  if (family == "22") return Error::invalid_argument("PostgreSQL: " + said);
  if (family == "54") return Error::limit_exceeded("PostgreSQL: " + said);
  if (sqlstate == "42P01") return Error::bad_input("tables are missing; was the schema dropped? " + said);
  if (sqlstate == "23505" || family == "40") return Error::conflict("PostgreSQL: " + said);
  return Error::internal("PostgreSQL: " + said);
}

std::string_view refusal(std::string_view message, std::string_view word) {
  const std::string marker = "corvid:" + std::string(word) + ":";
  const auto at = message.find(marker);
  const auto end = message.rfind(":!");
  if (at == std::string_view::npos || end == std::string_view::npos || end < at + marker.size()) return {};
  return message.substr(at + marker.size(), end - at - marker.size());
}

}  // namespace corvid::postgres
