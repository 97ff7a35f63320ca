// What a program writes: lines before its value, the value, and the end of what it says on standard error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"

namespace corvid::graphs {

/// Takes standard output as it comes. Lines {"emit": …} and {"heartbeat": …} are handed on until the first other line, with which the value
/// begins.
class OutputReader {
 public:
  OutputReader(std::size_t most_bytes, std::function<void(Json)> emit, std::function<void()> heartbeat)
      : most_(most_bytes), emit_(std::move(emit)), heartbeat_(std::move(heartbeat)) {}

  /// Errors: limit_exceeded. What the functions throw passes through.
  Status feed(std::string_view bytes);
  /// At the end: a last line without its line break counts too.
  void end();
  std::size_t held() const noexcept { return text_.size(); }
  /// The value. Errors: bad_input with the offset in the whole output.
  Result<Json> value() const;

 private:
  void lines();
  bool event(std::string_view line);  // false: it belongs to the value

  const std::size_t most_;
  const std::function<void(Json)> emit_;
  const std::function<void()> heartbeat_;
  std::string text_;          // the value, or the line that is not whole yet
  std::uint64_t offset_ = 0;  // of text_ in the output
  std::size_t searched_ = 0;  // bytes of text_ without a line break
  bool value_begun_ = false;
};

/// The last bytes of what is added.
class Tail {
 public:
  explicit Tail(std::size_t most_bytes) : most_(most_bytes) {}
  void add(std::string_view bytes);
  std::string take();
  /// The last lines for a message: short, on one line, without control characters.
  std::string last_words() const;

 private:
  const std::size_t most_;
  std::string text_;
};

}  // namespace corvid::graphs
