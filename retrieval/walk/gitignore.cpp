#include "retrieval/walk/gitignore.hpp"

#include <cstddef>

namespace corvid::retrieval {
namespace {

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    std::size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    if (end > begin) parts.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// One element of the glob at `g` against `c`; moves `g` past it. An unclosed '[' is a plain character.
bool match_one(std::string_view glob, std::size_t& g, unsigned char c) {
  const char head = glob[g];
  if (head == '?') return ++g, true;
  if (head == '\\' && g + 1 < glob.size()) {
    g += 2;
    return static_cast<unsigned char>(glob[g - 1]) == c;
  }
  if (head == '[') {
    std::size_t i = g + 1;
    const bool inverted = i < glob.size() && (glob[i] == '!' || glob[i] == '^');
    if (inverted) ++i;
    bool found = false;
    for (bool first = true; i < glob.size(); first = false) {
      if (glob[i] == ']' && !first) {
        g = i + 1;
        return found != inverted;
      }
      if (glob[i] == '\\' && i + 1 < glob.size()) ++i;
      const auto low = static_cast<unsigned char>(glob[i++]);
      auto high = low;
      if (i + 1 < glob.size() && glob[i] == '-' && glob[i + 1] != ']') {
        ++i;
        if (glob[i] == '\\' && i + 1 < glob.size()) ++i;
        high = static_cast<unsigned char>(glob[i++]);
      }
      if (low <= c && c <= high) found = true;
    }
  }
  ++g;
  return static_cast<unsigned char>(head) == c;
}

}  // namespace

bool match_segment(std::string_view glob, std::string_view name) {
  std::size_t g = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = ++g;
      resume = n;
      continue;
    }
    std::size_t next = g;
    if (g < glob.size() && match_one(glob, next, static_cast<unsigned char>(name[n]))) {
      g = next;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

GitIgnore GitIgnore::parse(std::string_view contents) {
  GitIgnore out;
  if (contents.substr(0, 3) == "\xEF\xBB\xBF") contents.remove_prefix(3);
  while (!contents.empty()) {
    const std::size_t newline = contents.find('\n');
    std::string_view line = contents.substr(0, newline);
    contents.remove_prefix(newline == std::string_view::npos ? contents.size() : newline + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    while (!line.empty() && line.back() == ' ' && !(line.size() > 1 && line[line.size() - 2] == '\\')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#') continue;
    Rule rule;
    if (line[0] == '!') {
      rule.negated = true;
      line.remove_prefix(1);
    }
    if (!line.empty() && line.back() == '/') {
      rule.directory_only = true;
      line.remove_suffix(1);
    }
    const bool anchored = line.find('/') != std::string_view::npos;
    rule.segments = split(line);
    if (rule.segments.empty()) continue;
    if (!anchored) rule.segments.insert(rule.segments.begin(), "**");
    out.rules_.push_back(std::move(rule));
  }
  return out;
}

std::optional<bool> GitIgnore::decide(std::string_view path, bool is_directory) const {
  const std::vector<std::string> names = split(path);
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->directory_only && !is_directory) continue;
    // reached[i]: the segments so far match the first i names. A last "**" must match at least one name.
    std::vector<char> reached(names.size() + 1, 0);
    reached[0] = 1;
    for (std::size_t s = 0; s < rule->segments.size(); ++s) {
      std::vector<char> next(names.size() + 1, 0);
      if (rule->segments[s] == "**") {
        const bool last = s + 1 == rule->segments.size();
        char any = 0;
        for (std::size_t i = 0; i <= names.size(); ++i) {
          if (last) next[i] = any;
          any = static_cast<char>(any | reached[i]);
          if (!last) next[i] = any;
        }
      } else {
        for (std::size_t i = 0; i < names.size(); ++i)
          if (reached[i] && match_segment(rule->segments[s], names[i])) next[i + 1] = 1;
      }
      reached = std::move(next);
    }
    if (reached[names.size()]) return !rule->negated;
  }
  return std::nullopt;
}

}  // namespace corvid::retrieval
