#include "llm/remote/backoff.hpp"

#include <algorithm>
#include <cstdint>

namespace corvid::llm {

std::chrono::milliseconds backoff(const RemoteChatOptions& options, int retry, Random& random) {
  const auto most = std::max<std::int64_t>(options.max_backoff.count(), 0);
  auto pause = std::clamp<std::int64_t>(options.first_backoff.count(), 0, most);
  for (int i = 0; i < retry && pause < most; ++i) pause = pause > most / 2 ? most : pause * 2;
  return std::chrono::milliseconds(pause / 2 + static_cast<std::int64_t>(static_cast<double>(pause - pause / 2) * random.uniform()));
}

}  // namespace corvid::llm
