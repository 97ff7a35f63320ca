// "did you mean": the nearest of the names that there are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace corvid::detail {

/// The name within two edits (one for short names), or empty.
std::string nearest(std::string_view name, const std::vector<std::string>& known);
/// "; did you mean \"x\"?", or "; there are a, b and c" while those are few, or nothing.
std::string suggestion(std::string_view name, const std::vector<std::string>& known);
/// Of the first byte that is not well-formed UTF-8; npos where all is.
std::size_t bad_utf8(std::string_view text) noexcept;

}  // namespace corvid::detail
