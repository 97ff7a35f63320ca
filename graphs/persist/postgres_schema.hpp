// The tables of a store, and how older ones become newer ones.
#pragma once

#include <string>
#include <string_view>

#include "corvid/base/result.hpp"
#include "graphs/persist/postgres_connection.hpp"

namespace corvid::postgres {

/// Errors: invalid_argument. Names are put into SQL (they cannot be parameters), so only letters, digits and _ are let through.
Status check_schema_name(std::string_view name);
/// Sets a new connection up and brings the tables to this build's version; several processes may do so at once.
/// Errors: conflict (tables of a newer Corvid), rejected (no permission).
Status prepare_session(Connection& connection, const std::string& schema);

}  // namespace corvid::postgres
