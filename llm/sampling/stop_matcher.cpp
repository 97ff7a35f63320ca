#include "llm/sampling/stop_matcher.hpp"

#include <algorithm>
#include <utility>

namespace corvid::llm {

Result<StopMatcher> StopMatcher::make(std::vector<std::string> stops) {
  constexpr std::size_t kMostStops = 1024, kLongest = 4096;
  if (stops.size() > kMostStops) {
    return fail(Error::invalid_argument(std::to_string(stops.size()) + " stop strings were given; at most 1024 are allowed").at_key("stop"));
  }
  for (const auto& stop : stops) {
    if (stop.empty()) return fail(Error::invalid_argument("a stop string is empty; it would end every answer at once").at_key("stop"));
    if (stop.size() > kLongest) {
      return fail(Error::invalid_argument("a stop string has " + std::to_string(stop.size()) + " bytes; at most 4096 are allowed").at_key("stop"));
    }
  }
  return StopMatcher(std::move(stops));
}

StopMatcher::Step StopMatcher::push(std::string_view piece) {
  Step step;
  step.stopped = stopped_;
  if (stopped_) return step;
  if (stops_.empty()) {
    step.text = piece;
    return step;
  }
  held_ += piece;
  std::size_t begin = std::string::npos, end = std::string::npos;
  for (const auto& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const std::size_t past = at + stop.size();
    if (begin == std::string::npos || past < end || (past == end && at < begin)) {
      begin = at;
      end = past;
    }
  }
  if (begin != std::string::npos) {
    step.text = held_.substr(0, begin);
    step.stopped = stopped_ = true;
    held_.clear();
    return step;
  }
  std::size_t keep = 0;  // the longest suffix that begins some stop string
  for (const auto& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) {
        keep = n;
        break;
      }
    }
  }
  step.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return step;
}

std::string StopMatcher::flush() { return std::exchange(held_, {}); }

}  // namespace corvid::llm
