// StopMatcher: finds stop strings in streamed text, across the borders of its pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid::llm {

/// Text that could still become a stop string is held back until it is clear that it does not. Where several stop strings occur,
/// the one that is complete first wins (of these, the longest): the outcome does not depend on how the text was cut.
class StopMatcher {
 public:
  /// Errors: invalid_argument (an empty stop string, or one that is over 4,096 bytes, or over 1,024 of them).
  static Result<StopMatcher> make(std::vector<std::string> stops);

  struct Step { std::string text; bool stopped = false; };
  /// Adds a piece; gives the text that may be shown. Once stopped, nothing more is shown.
  Step push(std::string_view piece);
  /// At the end of the generation: what was held back, which is no stop string.
  std::string flush();

 private:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace corvid::llm
