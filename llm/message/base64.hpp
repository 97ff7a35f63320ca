// Base64 (RFC 4648, section 4), for the media of messages.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid::llm {

std::string base64_encode(std::span<const std::byte> bytes);
/// Padding is required, other characters are refused. Errors: bad_input with the byte offset.
Result<std::vector<std::byte>> base64_decode(std::string_view text);

}  // namespace corvid::llm
