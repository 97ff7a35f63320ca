#include "corvid/llm/generation.hpp"

namespace corvid {

std::string_view to_string(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::tool_calls: return "tool_calls";
    case FinishReason::cancelled: return "cancelled";
    case FinishReason::deadline: return "deadline";
  }
  return "unknown";
}

}  // namespace corvid
