// UTF-8 as stored text needs it: which bytes are not, and a copy that is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace corvid::retrieval {

/// Bytes of the valid sequence at `at` (RFC 3629), or 0 where the bytes there are none.
std::size_t sequence_length(std::string_view text, std::size_t at) noexcept;
/// Each byte that is not part of valid UTF-8 replaced by `with`.
std::string replace_invalid(std::string_view text, std::string_view with);
/// U+FFFD for each such byte.
inline std::string valid_utf8(std::string_view text) { return replace_invalid(text, "\xEF\xBF\xBD"); }

}  // namespace corvid::retrieval
