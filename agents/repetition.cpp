#include "agents/repetition.hpp"

#include <algorithm>

namespace corvid {

std::size_t loop_start(std::string_view text) {
  constexpr std::size_t kLongest = 1024, kLong = 160, kLeast = 48;
  for (std::size_t period = 1; period <= kLongest; ++period) {
    // Nobody says 160 bytes twice in a row; a short word or a table's rule may come four times.
    const std::size_t copies = period >= kLong ? 2 : 4;
    const std::size_t needed = std::max(kLeast, period * copies) - period;  // bytes that must equal those a period before
    if (needed + period > text.size()) continue;
    std::size_t equal = 0;
    while (equal < needed && text[text.size() - 1 - equal] == text[text.size() - 1 - equal - period]) ++equal;
    if (equal < needed) continue;
    // Back to the loop's first byte; its first copy stays.
    std::size_t begin = text.size() - needed - period;
    while (begin > 0 && text[begin - 1] == text[begin - 1 + period]) --begin;
    return begin + period;
  }
  return std::string_view::npos;
}

}  // namespace corvid
