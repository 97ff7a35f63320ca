#include "corvid/graphs/savers.hpp"

#ifdef CORVID_WITH_LIBPQ
#include "graphs/persist/postgres_queue.hpp"
#include "graphs/persist/postgres_saver.hpp"
#include "graphs/persist/postgres_schema.hpp"
#endif

namespace corvid {

#ifdef CORVID_WITH_LIBPQ

Result<PostgresStore> open_postgres_store(const std::string& url, const PostgresOptions& options) {
  CORVID_TRY_STATUS(postgres::check_schema_name(options.schema));
  char* message = nullptr;
  PQconninfoOption* parsed = PQconninfoParse(url.c_str(), &message);
  if (!parsed) {
    // libpq's words may quote the URL, password and all.
    PQfreemem(message);
    return fail(Error::invalid_argument("not a PostgreSQL address; write postgresql://user@host:5432/database").at_key("url"));
  }
  PQconninfoFree(parsed);
  auto pool = std::make_shared<postgres::Pool>(url, options);
  // Once now, so that a wrong address or password shows here, and the tables are there.
  CORVID_TRY_STATUS(pool->call([](postgres::Connection&, bool) { return Status{}; }));
  return PostgresStore{std::make_shared<postgres::Saver>(pool), std::make_shared<postgres::Queue>(pool)};
}

#else

Result<PostgresStore> open_postgres_store(const std::string&, const PostgresOptions&) {
  return fail(Error::unsupported("this build has no PostgreSQL; install libpq-dev (libpq of PostgreSQL 14 or newer) and build again"));
}

#endif

}  // namespace corvid
