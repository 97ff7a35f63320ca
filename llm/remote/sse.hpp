// Server-sent events, as a stream of bytes cut anywhere (WHATWG HTML, section 9.2.6). Only the data of each event matters here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"

namespace corvid::llm {

struct SseEvent {
  std::string data;
  std::uint64_t offset = 0;  ///< of its first byte, from the stream's start
};

class SseParser {
 public:
  explicit SseParser(std::size_t max_event_bytes) : max_event_bytes_(max_event_bytes) {}

  /// Appends the data of every event that these bytes complete. Errors: limit_exceeded (one event's size).
  Status push(std::string_view bytes, std::vector<SseEvent>& events);

 private:
  void line(std::vector<SseEvent>& events);

  std::size_t max_event_bytes_;
  std::string line_;
  SseEvent event_;
  std::uint64_t line_offset_ = 0, position_ = 0;  // of the line, of the next byte
  bool has_data_ = false, after_cr_ = false, first_line_ = true;
};

}  // namespace corvid::llm
