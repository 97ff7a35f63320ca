// Small models fall into loops under greedy decoding. Where one begins, so that an answer can end there.
#pragma once

#include <cstddef>
#include <string_view>

namespace corvid {

/// Whether `text` ends in the same bytes again and again: up to 159 bytes four times (48 bytes in all at least), or 160 to 1,024 bytes
/// twice. Returns where the second copy begins, or npos. Cheap enough to call as text arrives: O(1024 + matches).
std::size_t loop_start(std::string_view text);

}  // namespace corvid
