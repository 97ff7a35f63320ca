// JSON in and out with limits: depth, size, duplicate keys, UTF-8.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "corvid/base/result.hpp"

namespace corvid {

using Json = nlohmann::json;

struct JsonLimits {
  std::size_t max_depth = 128;                          ///< nested arrays and objects
  std::size_t max_bytes = std::size_t{256} << 20;       ///< of the text
  bool reject_duplicate_keys = false;
};

/// Parses one JSON value. Errors: bad_input with the byte offset (syntax, depth, duplicate key, invalid UTF-8),
/// limit_exceeded (size).
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

/// Reads and parses a file. Errors as parse_json with the file's name, and io / not_found.
Result<Json> read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

/// Writes JSON as valid UTF-8: bytes that are not become U+FFFD. `indent` < 0 is one line.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace corvid
