// Markdown by heading: ATX and setext headings (CommonMark 0.30 §4.2, §4.3) outside of fenced code and front matter.
// A section is an element: its heading's line and all up to the next heading, verbatim.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retrieval/load/source_file.hpp"

namespace corvid::retrieval {
namespace {

struct Heading {
  int level = 0;
  std::string title;
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

std::size_t indent_of(std::string_view line) {
  std::size_t n = 0;
  while (n < line.size() && line[n] == ' ') ++n;
  return n < line.size() && line[n] == '\t' ? 4 : n;
}

std::size_t run_of(std::string_view s, char c) {
  std::size_t n = 0;
  while (n < s.size() && s[n] == c) ++n;
  return n;
}

// The visible words of a heading: links by their text, no emphasis or code marks.
std::string plain(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\\' && i + 1 < s.size()) {
      out += s[++i];
    } else if (s[i] == '`' || s[i] == '*') {
      continue;
    } else if (s[i] == '!' && i + 1 < s.size() && s[i + 1] == '[') {
      continue;
    } else if (s[i] == '[') {
      continue;
    } else if (s[i] == ']' && i + 1 < s.size() && s[i + 1] == '(') {
      const std::size_t close = s.find(')', i);
      if (close == std::string_view::npos) out += s[i];
      else i = close;
    } else if (s[i] != ']') {
      out += s[i];
    }
  }
  return collapse_space(out);
}

bool atx(std::string_view line, Heading& out) {
  if (indent_of(line) > 3) return false;
  std::string_view s = trim(line);
  const std::size_t level = run_of(s, '#');
  if (level == 0 || level > 6 || (s.size() > level && s[level] != ' ' && s[level] != '\t')) return false;
  s = trim(s.substr(level));
  std::size_t end = s.size();
  while (end > 0 && s[end - 1] == '#') --end;
  if (end == 0 || s[end - 1] == ' ' || s[end - 1] == '\t') s = trim(s.substr(0, end));
  out = {static_cast<int>(level), plain(s)};
  return true;
}

// 1 for ===, 2 for ---, 0 for neither.
int setext_level(std::string_view line) {
  if (indent_of(line) > 3) return 0;
  const std::string_view s = trim(line);
  if (s.empty() || (s[0] != '=' && s[0] != '-') || run_of(s, s[0]) != s.size()) return 0;
  return s[0] == '=' ? 1 : 2;
}

// A line that a setext underline can follow: a paragraph's.
bool paragraph_line(std::string_view line) {
  const std::string_view s = trim(line);
  if (s.empty() || indent_of(line) > 3 || s[0] == '>' || s[0] == '|' || s[0] == '#' || s[0] == '<') return false;
  if ((s[0] == '-' || s[0] == '*' || s[0] == '+') && (s.size() == 1 || s[1] == ' ' || s[1] == s[0])) return false;
  return true;
}

// The title of YAML front matter; moves `at` past it.
std::string front_matter(std::string_view text, std::size_t& at) {
  const std::string_view body = text.substr(at);
  if (body.substr(0, 4) != "---\n" && body.substr(0, 5) != "---\r\n") return {};
  std::string title;
  std::size_t line = at + body.find('\n') + 1;
  while (line < text.size()) {
    std::size_t end = text.find('\n', line);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view s = trim(text.substr(line, end - line));
    line = end < text.size() ? end + 1 : end;
    if (s == "---" || s == "...") {
      at = line;
      return title;
    }
    if (s.substr(0, 6) == "title:") {
      std::string_view value = trim(s.substr(6));
      if (value.size() > 1 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front()) value = value.substr(1, value.size() - 2);
      title = std::string(value);
    }
  }
  return {};  // never closed: a thematic break
}

}  // namespace

Status load_markdown(const SourceFile& file, const LoadLimits& limits, const CancellationToken& cancellation, Document& out) {
  const std::string_view text = file.bytes;
  std::size_t at = text.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
  const std::size_t first = at;
  out.title = front_matter(text, at);
  std::vector<Heading> path;
  std::string first_title;
  std::size_t section = first;
  bool fenced = false, after_paragraph = false;
  char fence_mark = 0;
  std::size_t fence_run = 0, paragraph_begin = at;

  const auto close_section = [&](std::size_t end) {
    if (text.substr(section, end - section).find_first_not_of(" \t\r\n") != std::string_view::npos) {
      std::vector<std::string> heading;
      for (const Heading& h : path) heading.push_back(h.title);
      out.elements.push_back(file.element({section, end}, std::move(heading)));
    }
    section = end;
  };
  const auto open_section = [&](std::size_t begin, Heading heading) {
    close_section(begin);
    if (first_title.empty()) first_title = heading.title;
    while (!path.empty() && path.back().level >= heading.level) path.pop_back();
    path.push_back(std::move(heading));
  };

  std::size_t line_number = 0;
  while (at < text.size()) {
    if (++line_number % 4096 == 0) CORVID_TRY_STATUS(cancellation.check());
    std::size_t end = text.find('\n', at);
    end = end == std::string_view::npos ? text.size() : end + 1;
    std::string_view line = text.substr(at, end - at);
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    const std::string_view body = trim(line);
    const std::size_t ticks = run_of(body, '`'), tildes = run_of(body, '~');
    Heading heading;
    if (fenced) {
      const std::size_t run = run_of(body, fence_mark);
      if (run >= fence_run && run == body.size() && indent_of(line) <= 3) fenced = false;
      after_paragraph = false;
    } else if ((ticks >= 3 && body.find('`', ticks) == std::string_view::npos) || tildes >= 3) {
      fenced = true;
      fence_mark = body[0];
      fence_run = ticks >= 3 ? ticks : tildes;
      after_paragraph = false;
    } else if (atx(line, heading)) {
      open_section(at, std::move(heading));
      after_paragraph = false;
    } else if (const int level = after_paragraph ? setext_level(line) : 0; level > 0) {
      open_section(paragraph_begin, {level, plain(collapse_space(text.substr(paragraph_begin, at - paragraph_begin)))});
      after_paragraph = false;
    } else {
      const bool paragraph = paragraph_line(line);
      if (paragraph && !after_paragraph) paragraph_begin = at;
      after_paragraph = paragraph;
    }
    if (out.elements.size() > limits.max_elements) return fail(too_many_elements(limits));
    at = end;
  }
  close_section(text.size());
  if (out.title.empty()) out.title = first_title;
  return {};
}

}  // namespace corvid::retrieval
