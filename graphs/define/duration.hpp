// Durations as people write them in files.
#pragma once

#include <chrono>
#include <string>

#include "corvid/base/json.hpp"

namespace corvid {

/// A number of seconds, or a text such as "250ms", "30s", "5m", "2h", "1d"; at most thirty years. Errors: bad_input.
Result<std::chrono::milliseconds> read_duration(const Json& value);
/// "30s", or "250ms" where it is no whole number of seconds.
std::string write_duration(std::chrono::milliseconds duration);

}  // namespace corvid
