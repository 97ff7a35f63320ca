// How long to wait before a request is tried again.
#pragma once

#include <chrono>
#include <ctime>
#include <optional>
#include <string_view>

#include "corvid/llm/remote_chat_model.hpp"
#include "llm/sampling/random.hpp"

namespace corvid::llm {

/// The pause before retry `retry` (0 is the first): first_backoff doubled `retry` times, at most max_backoff, its second half random.
std::chrono::milliseconds backoff(const RemoteChatOptions& options, int retry, Random& random);

/// A Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3) against `now`. nullopt where it is neither.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::time_t now);

}  // namespace corvid::llm
