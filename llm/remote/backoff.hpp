// How long to wait before a request is tried again.
#pragma once

#include <chrono>

#include "corvid/llm/remote_chat_model.hpp"
#include "llm/sampling/random.hpp"

namespace corvid::llm {

/// The pause before retry `retry` (0 is the first): first_backoff doubled `retry` times, at most max_backoff, its second half random.
std::chrono::milliseconds backoff(const RemoteChatOptions& options, int retry, Random& random);

}  // namespace corvid::llm
