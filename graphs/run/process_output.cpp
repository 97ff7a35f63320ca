#include "graphs/run/process_output.hpp"

#include <algorithm>

namespace corvid::graphs {
namespace {

constexpr std::size_t kLastWordsBytes = 1000;

std::string_view trimmed(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

// Whether a line is worth parsing as an event: values may be large and are parsed once only.
bool looks_like_event(std::string_view line) {
  if (line.empty() || line.front() != '{' || line.back() != '}') return false;
  line.remove_prefix(1);
  line = trimmed(line);
  return line.substr(0, 6) == "\"emit\"" || line.substr(0, 11) == "\"heartbeat\"";
}

}  // namespace

Status OutputReader::feed(std::string_view bytes) {
  // In pieces, so that many short lines in one read do not count as one long one.
  constexpr std::size_t kPiece = std::size_t{16} << 10;
  while (!bytes.empty()) {
    const auto piece = bytes.substr(0, kPiece);
    bytes.remove_prefix(piece.size());
    text_.append(piece);
    if (!value_begun_) lines();
    if (text_.size() > most_) {
      return fail(Error::limit_exceeded("the program wrote over " + std::to_string(most_) + " bytes of output (max_output_bytes)")
                      .at_key("max_output_bytes"));
    }
  }
  return {};
}

void OutputReader::end() {
  if (value_begun_ || !event(text_)) return;
  offset_ += text_.size();
  text_.clear();
}

void OutputReader::lines() {
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text_.find('\n', std::max(begin, searched_));
    if (end == std::string::npos) {
      searched_ = text_.size();
      break;
    }
    if (!event(std::string_view(text_).substr(begin, end - begin))) {
      value_begun_ = true;
      break;
    }
    begin = end + 1;
  }
  text_.erase(0, begin);
  offset_ += begin;
  searched_ -= std::min(searched_, begin);
}

bool OutputReader::event(std::string_view line) {
  line = trimmed(line);
  if (line.empty()) return true;
  if (!looks_like_event(line)) return false;
  auto parsed = parse_json(line);
  if (!parsed || !parsed->is_object() || parsed->size() != 1) return false;
  if (parsed->contains("emit")) {
    if (emit_) emit_(std::move((*parsed)["emit"]));
    return true;
  }
  if (!parsed->contains("heartbeat")) return false;
  if (heartbeat_) heartbeat_();
  return true;
}

Result<Json> OutputReader::value() const {
  if (trimmed(text_).empty()) {
    return fail(Error::bad_input("the program ended without a value on its standard output").at_offset(offset_ + text_.size()));
  }
  auto parsed = parse_json(text_);
  if (parsed) return parsed;
  const std::uint64_t at = offset_ + parsed.error().offset().value_or(0);
  return fail(Error::bad_input("the program's output is no JSON value: " + parsed.error().message()).at_offset(at));
}

void Tail::add(std::string_view bytes) {
  if (bytes.size() > most_) bytes.remove_prefix(bytes.size() - most_);
  text_.append(bytes);
  if (text_.size() > 2 * most_) text_.erase(0, text_.size() - most_);  // seldom, so that adding stays linear
}

std::string Tail::take() {
  if (text_.size() > most_) text_.erase(0, text_.size() - most_);
  return std::move(text_);
}

std::string Tail::last_words() const {
  std::string_view text = trimmed(text_);
  if (text.size() > kLastWordsBytes) {
    text.remove_prefix(text.size() - kLastWordsBytes);
    if (const auto line = text.find('\n'); line != std::string_view::npos) text.remove_prefix(line + 1);
  }
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (text[i] == '\n') {
      out += " | ";
    } else if (byte == 0x1b && i + 1 < text.size() && text[i + 1] == '[') {  // a colour
      for (i += 2; i < text.size() && (text[i] < '@' || text[i] > '~'); ++i) {
      }
    } else if (byte >= 0x20 && byte != 0x7f) {
      out += text[i];
    } else if (byte == '\t') {
      out += ' ';
    }
  }
  return out;
}

}  // namespace corvid::graphs
