#include "llm/remote/sse.hpp"

#include <utility>

namespace corvid::llm {

void SseParser::line(std::vector<SseEvent>& events) {
  std::string_view text = line_;
  if (std::exchange(first_line_, false) && text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  if (text.empty()) {
    if (has_data_) events.push_back(std::move(event_));
    event_ = {};
    has_data_ = false;
  } else if (text == "data" || text.substr(0, 5) == "data:") {
    text.remove_prefix(text.size() == 4 ? 4 : 5);
    if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    if (has_data_) event_.data += '\n';
    else event_.offset = line_offset_ + (line_.size() - text.size());
    event_.data += text;
    has_data_ = true;
  }  // other fields and comments carry nothing for us
  line_.clear();
}

Status SseParser::push(std::string_view bytes, std::vector<SseEvent>& events) {
  while (!bytes.empty()) {
    if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      line_offset_ = ++position_;
      continue;
    }
    const std::size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (part.size() > max_event_bytes_ || line_.size() + event_.data.size() > max_event_bytes_ - part.size()) {
      return fail(Error::limit_exceeded("the endpoint sent an event of over " + std::to_string(max_event_bytes_) + " bytes").at_offset(line_offset_));
    }
    line_ += part;
    position_ += part.size();
    if (end == std::string_view::npos) break;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    line(events);
    line_offset_ = ++position_;
  }
  return {};
}

}  // namespace corvid::llm
