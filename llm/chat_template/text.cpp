#include "llm/chat_template/text.hpp"

#include <algorithm>

#include "corvid/text/unicode.hpp"

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

// Bytes that are no UTF-8 stay as they are.
template <class Append>
void append_mapped(std::string& out, std::string_view text, Append append) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t n = char_bytes(text, i);
    if (n == 1 && static_cast<unsigned char>(text[i]) >= 0x80) out += text[i];
    else append(out, code_point(text, i), i);
    i += n;
  }
}

// A capital sigma ends a word: a cased character stands before it and none after, case-ignorable ones aside (Unicode ch. 3.13).
bool final_sigma(std::string_view text, std::size_t at) {
  bool before = false;
  for (std::size_t end = at; end > 0 && !before;) {
    std::size_t begin = end - 1;   // of the character before; a byte that is no UTF-8 stands alone
    for (std::size_t n = 2; n <= 4 && n <= end; ++n) {
      if (char_bytes(text, end - n) == n) begin = end - n;
    }
    const char32_t c = code_point(text, begin);
    end = begin;
    if (unicode::is_case_ignorable(c)) continue;
    if (!unicode::is_cased(c)) return false;
    before = true;
  }
  if (!before) return false;
  for (std::size_t i = at + 2; i < text.size(); i += char_bytes(text, i)) {
    const char32_t c = code_point(text, i);
    if (!unicode::is_case_ignorable(c)) return !unicode::is_cased(c);
  }
  return true;
}

}  // namespace

std::string upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  append_mapped(out, text, [](std::string& to, char32_t c, std::size_t) { unicode::append_upper(to, c); });
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  append_mapped(out, text, [&](std::string& to, char32_t c, std::size_t at) {
    if (c == 0x3a3 && final_sigma(text, at)) unicode::append_utf8(to, 0x3c2);
    else unicode::append_lower(to, c);
  });
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out;
  if (text.empty()) return out;
  const std::string small = lower(text);   // of the whole: what a sigma becomes depends on what stands before it
  const std::size_t n = char_bytes(text, 0);
  append_mapped(out, text.substr(0, n), [](std::string& to, char32_t c, std::size_t) { unicode::append_title(to, c); });
  out.append(small, lower(text.substr(0, n)).size());
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  append_mapped(out, text, [&](std::string& to, char32_t c, std::size_t at) {
    if (!inside) unicode::append_title(to, c);
    else if (c == 0x3a3 && final_sigma(text, at)) unicode::append_utf8(to, 0x3c2);
    else unicode::append_lower(to, c);
    inside = unicode::is_cased(c);
  });
  return out;
}

std::string title_words(std::string_view text) {
  const auto parts = [&](std::size_t at) {
    const std::uint32_t c = code_point(text, at);
    return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  };
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    const bool gap = parts(i);
    while (end < text.size() && parts(end) == gap) end += char_bytes(text, end);
    const std::size_t first = char_bytes(text, i);
    out += gap ? std::string(text.substr(i, end - i)) : upper(text.substr(i, first)) + lower(text.substr(i + first, end - i - first));
    i = end;
  }
  return out;
}

}  // namespace corvid::llm::tmpl
