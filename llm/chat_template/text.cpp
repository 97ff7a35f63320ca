#include "llm/chat_template/text.hpp"

#include <algorithm>

namespace corvid::llm::tmpl {

std::size_t char_bytes(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const std::size_t n = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
  if (n > text.size() - at) return 1;
  for (std::size_t i = 1; i < n; ++i) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return 1;
  }
  return n;
}

std::uint32_t code_point(std::string_view text, std::size_t at) {
  const std::size_t n = char_bytes(text, at);
  const auto lead = static_cast<unsigned char>(text[at]);
  if (n == 1) return lead < 0x80 ? lead : 0xfffd;
  std::uint32_t code = lead & (0xffU >> (n + 1));
  for (std::size_t i = 1; i < n; ++i) code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3fU);
  return code;
}

void append_code_point(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

std::size_t length(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++count) i += static_cast<unsigned char>(text[i]) < 0x80 ? 1 : char_bytes(text, i);
  return count;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t n = char_bytes(text, i);
    out.push_back(text.substr(i, n));
    i += n;
  }
  return out;
}

bool is_space(std::uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x1f);
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

std::string_view strip(std::string_view text, std::string_view set, bool left, bool right) {
  const auto chars = characters(text);
  const auto drop = [&](std::string_view c) {
    if (set.empty()) return is_space(code_point(c, 0));
    for (std::size_t i = 0; i < set.size(); i += char_bytes(set, i)) {
      if (set.substr(i, char_bytes(set, i)) == c) return true;
    }
    return false;
  };
  std::size_t begin = 0, end = chars.size();
  while (left && begin < end && drop(chars[begin])) ++begin;
  while (right && end > begin && drop(chars[end - 1])) --end;
  if (begin == end) return text.substr(0, 0);
  const std::size_t from = static_cast<std::size_t>(chars[begin].data() - text.data());
  const std::size_t to = static_cast<std::size_t>(chars[end - 1].data() - text.data()) + chars[end - 1].size();
  return text.substr(from, to - from);
}

std::vector<std::string_view> split_space(std::string_view text, std::int64_t most) {
  std::vector<std::string_view> out;
  std::size_t i = 0;
  while (true) {
    while (i < text.size() && is_space(code_point(text, i))) i += char_bytes(text, i);
    if (i >= text.size()) return out;
    if (most >= 0 && static_cast<std::int64_t>(out.size()) >= most) {
      out.push_back(strip(text.substr(i), {}, false, true));
      return out;
    }
    const std::size_t begin = i;
    while (i < text.size() && !is_space(code_point(text, i))) i += char_bytes(text, i);
    out.push_back(text.substr(begin, i - begin));
  }
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, std::int64_t most) {
  std::vector<std::string_view> out;
  std::size_t at = 0;
  while (most < 0 || static_cast<std::int64_t>(out.size()) < most) {
    const std::size_t next = text.find(separator, at);
    if (next == std::string_view::npos) break;
    out.push_back(text.substr(at, next - at));
    at = next + separator.size();
  }
  out.push_back(text.substr(at));
  return out;
}

std::vector<std::string_view> rsplit(std::string_view text, std::string_view separator, std::int64_t most) {
  std::vector<std::string_view> out;
  while (most < 0 || static_cast<std::int64_t>(out.size()) < most) {
    const std::size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  out.push_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t most) {
  std::string out;
  if (from.empty()) {  // Python puts `to` before every character and at the end
    std::int64_t done = 0;
    for (const auto c : characters(text)) {
      if (most < 0 || done < most) { out += to; ++done; }
      out += c;
    }
    if (most < 0 || done < most) out += to;
    return out;
  }
  std::size_t at = 0;
  for (std::int64_t done = 0; most < 0 || done < most; ++done) {
    const std::size_t next = text.find(from, at);
    if (next == std::string_view::npos) break;
    out.append(text, at, next - at);
    out += to;
    at = next + from.size();
  }
  out.append(text, at);
  return out;
}

namespace {

// Simple case mapping where it is regular: ASCII, Latin-1, Greek and Cyrillic; other letters stay as they are.
std::uint32_t upper_code(std::uint32_t c) {
  if (c >= 'a' && c <= 'z') return c - 32;
  if ((c >= 0xe0 && c <= 0xfe && c != 0xf7) || (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2) || (c >= 0x430 && c <= 0x44f)) return c - 32;
  if (c >= 0x450 && c <= 0x45f) return c - 80;
  return c;
}

std::uint32_t lower_code(std::uint32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9 && c != 0x3a2) || (c >= 0x410 && c <= 0x42f)) return c + 32;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  return c;
}

template <class Map>
std::string map_case(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); i += char_bytes(text, i)) {
    const std::uint32_t code = code_point(text, i), mapped = map(code);
    if (mapped == code) out.append(text, i, char_bytes(text, i));
    else append_code_point(out, mapped);
  }
  return out;
}

}  // namespace

std::string upper(std::string_view text) { return map_case(text, upper_code); }
std::string lower(std::string_view text) { return map_case(text, lower_code); }

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const std::size_t n = char_bytes(text, 0);
  return upper(text.substr(0, n)) + lower(text.substr(n));
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const auto c : characters(text)) {
    const std::uint32_t code = code_point(c, 0);
    const bool letter = (code >= 0xaa && !is_space(code)) || upper_code(code) != lower_code(code);
    out += letter ? (inside ? lower(c) : upper(c)) : std::string(c);
    inside = letter;
  }
  return out;
}

}  // namespace corvid::llm::tmpl
