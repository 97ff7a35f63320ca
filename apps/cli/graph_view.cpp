#include "apps/cli/graph_view.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace corvid::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kFrame = 100ms;
constexpr std::array<std::string_view, 10> kSpinner{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
constexpr int kWidestName = 28;
constexpr std::size_t kTextBytes = 400;
constexpr std::string_view kReset = "\033[0m", kGreen = "\033[32m", kRed = "\033[31m", kYellow = "\033[33m", kCyan = "\033[36m",
                           kDim = "\033[2m";

bool between(char32_t c, char32_t low, char32_t high) { return c >= low && c <= high; }

// Columns of a terminal, near enough: East Asian wide characters and emoji take two, marks none.
int columns(char32_t c) {
  if (between(c, 0x300, 0x36f) || between(c, 0x200b, 0x200f) || between(c, 0xfe00, 0xfe0f)) return 0;
  const bool wide = between(c, 0x1100, 0x115f) || between(c, 0x2e80, 0xa4cf) || between(c, 0xac00, 0xd7a3) || between(c, 0xf900, 0xfaff) ||
                    between(c, 0xfe30, 0xfe6f) || between(c, 0xff00, 0xff60) || between(c, 0xffe0, 0xffe6) ||
                    between(c, 0x1f300, 0x1faff) || between(c, 0x20000, 0x3fffd);
  return wide ? 2 : 1;
}

// The bytes of the character at `at`, and what it is; bytes that are no UTF-8 are '?', one each.
std::pair<std::size_t, char32_t> character(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(at);
  if (first < 0x80) return {1, first};
  const std::size_t length = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first >= 0xf5) return {1, U'?'};
  char32_t value = first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return {1, U'?'};
    value = value << 6 | (byte(at + i) & 0x3f);
  }
  return {length, value};
}

// Whole characters that fit into `width` columns, and no control characters: nothing in a text may move the cursor.
std::string fitting(std::string_view text, int width, int* used = nullptr) {
  std::string out;
  int taken = 0;
  for (std::size_t at = 0; at < text.size();) {
    auto [length, value] = character(text, at);
    const bool control = value < 0x20 || between(value, 0x7f, 0x9f);
    const int more = control ? 1 : columns(value);
    if (taken + more > width) break;
    if (control)
      out += ' ';
    else if (length == 1 && value == U'?')
      out += '?';
    else
      out += text.substr(at, length);
    taken += more;
    at += length;
  }
  if (used) *used = taken;
  return out;
}

std::string padded(std::string_view text, int width) {
  int used = 0;
  std::string out = fitting(text, width, &used);
  return out + std::string(static_cast<std::size_t>(width - used), ' ');
}

std::string duration(std::chrono::nanoseconds time) {
  const double seconds = std::chrono::duration<double>(time).count();
  char text[32];
  if (seconds < 100)
    std::snprintf(text, sizeof text, "%.1f s", seconds);
  else
    std::snprintf(text, sizeof text, "%d:%02d m", static_cast<int>(seconds) / 60, static_cast<int>(seconds) % 60);
  return text;
}

std::string said(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("message") && value["message"].is_string()) return value["message"].get<std::string>();
  return dump_json(value);
}

bool present(const Json& data, const char* key) {
  return data.is_object() && data.contains(key) && !data[key].is_null() && !(data[key].is_array() && data[key].empty());
}

}  // namespace

GraphView::GraphView()
    : GraphView([] {
        Options options;
        options.active = ::isatty(STDERR_FILENO) != 0;
        const char* no_color = std::getenv("NO_COLOR");
        options.colour = !no_color || !*no_color;
        return options;
      }()) {}

GraphView::GraphView(Options options) : options_(std::move(options)) {
  if (!options_.active || !options_.animate) return;
  try {
    thread_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (!wake_.wait_for(lock, kFrame, [&] { return finished_; })) {
        if (drawn_ > 0) draw(false);
      }
    });
  } catch (const std::system_error&) {  // no thread to be had: the view changes with events alone
  }
}

GraphView::~GraphView() { finish(); }

std::vector<StreamMode> GraphView::modes() const {
  if (!options_.active) return {};
  return {StreamMode::tasks, StreamMode::messages, StreamMode::custom};
}

GraphView::Row& GraphView::row(const StreamEvent& event) {
  const std::string node = event.node.empty() && event.data.is_object() ? event.data.value("name", std::string()) : event.node;
  const auto [found, added] = by_name_.try_emplace({event.ns, node}, rows_.size());
  if (added) {
    rows_.emplace_back();
    // The parts of a namespace are "node:task"; the tasks' ids tell people nothing.
    for (std::size_t at = 0; at < event.ns.size();) {
      const std::size_t end = std::min(event.ns.find('|', at), event.ns.size());
      const std::string part = event.ns.substr(at, end - at);
      rows_.back().name += part.substr(0, part.find(':')) + "/";
      at = end + 1;
    }
    rows_.back().name += node;
  }
  return rows_[found->second];
}

void GraphView::task(Row& row, const StreamEvent& event) {
  const Json& data = event.data;
  const std::string id = event.task_id.empty() && data.is_object() ? data.value("id", std::string()) : event.task_id;
  const bool ended = data.is_object() && (data.contains("result") || data.contains("error") || data.contains("interrupts"));
  if (!ended) {
    if (row.running.empty()) {
      row.since = now();
      row.failed = row.waiting = false;
    }
    if (row.running.emplace(id, now()).second) ++row.started;
    return;
  }
  row.running.erase(id);
  row.until = now();
  if (present(data, "error")) {
    row.failed = true;
    row.text = said(data["error"]);
  } else if (present(data, "interrupts")) {
    row.waiting = true;
    const Json& first = data["interrupts"].is_array() ? data["interrupts"][0] : data["interrupts"];
    row.text = said(first.is_object() && first.contains("value") ? first["value"] : first);
  } else {
    ++row.done;
  }
}

void GraphView::event(const StreamEvent& event) {
  if (!options_.active) return;
  std::lock_guard lock(mutex_);
  if (finished_) return;
  if (event.mode == StreamMode::tasks) {
    task(row(event), event);
    return draw(true);
  }
  if (event.mode == StreamMode::custom) {
    row(event).text = said(event.data).substr(0, kTextBytes);
  } else if (event.mode == StreamMode::messages) {
    if (!event.data.is_object() || !event.data.contains("text") || !event.data["text"].is_string()) return;
    const std::string& token = event.data["text"].get_ref<const std::string&>();
    if (token.empty()) return;
    Row& to = row(event);
    ++to.tokens;
    to.text += token;
    // The line that is being written.
    if (const auto line = to.text.find_last_of('\n'); line != std::string::npos && line + 1 < to.text.size()) to.text.erase(0, line + 1);
    if (to.text.size() > 2 * kTextBytes) to.text.erase(0, to.text.size() - kTextBytes);
  } else {
    return;
  }
  draw(false);
}

std::pair<int, int> GraphView::size() const {
  winsize found{};
  const bool asked = (options_.width <= 0 || options_.height <= 0) && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &found) == 0;
  const int width = options_.width > 0 ? options_.width : asked && found.ws_col > 0 ? found.ws_col : 80;
  const int height = options_.height > 0 ? options_.height : asked && found.ws_row > 0 ? found.ws_row : 24;
  return {width, height};
}

std::string GraphView::count_of(const Row& row) {
  return row.started > 1 ? " " + std::to_string(row.done) + "/" + std::to_string(row.started) : std::string();
}
std::string GraphView::tokens_of(const Row& row) {
  return row.tokens == 0 ? std::string() : "  " + std::to_string(row.tokens) + (row.tokens == 1 ? " token" : " tokens");
}

std::string GraphView::make_line(const Row& row, const Widths& widths, int width) const {
  std::string_view sign = "✓", colour = kGreen;
  const bool running = !row.running.empty();
  if (running && finished_) {
    sign = "-";
    colour = kDim;
  } else if (running) {
    const auto frame = std::chrono::duration_cast<std::chrono::milliseconds>(now().time_since_epoch()) / kFrame;
    sign = kSpinner[static_cast<std::size_t>(frame) % kSpinner.size()];
    colour = kCyan;
  } else if (row.failed) {
    sign = "✗";
    colour = kRed;
  } else if (row.waiting) {
    sign = "?";
    colour = kYellow;
  } else if (row.started == 0) {
    sign = " ";
  }
  std::string time = row.started == 0 ? std::string() : duration((running ? now() : row.until) - row.since);
  time.insert(0, 8 - std::min<std::size_t>(time.size(), 8), ' ');
  std::string rest =
      " " + padded(row.name, widths.name) + padded(count_of(row), widths.count) + time + padded(tokens_of(row), widths.tokens) + "  ";
  int used = 0;
  rest = fitting(rest, width - 1, &used);
  // Of a text that is longer than the line, its end while it is being written, its beginning else.
  std::string_view text = row.text;
  const int room = width - 1 - used;
  if (running && row.tokens > 0) {
    int whole = 0;
    fitting(text, 1 << 20, &whole);
    while (whole > room && !text.empty()) {
      const auto [length, value] = character(text, 0);
      whole -= columns(value);
      text.remove_prefix(length);
    }
  }
  std::string out = options_.colour ? std::string(colour) + std::string(sign) + std::string(kReset) + rest : std::string(sign) + rest;
  const std::string shown = fitting(text, std::max(room, 0));
  if (!options_.colour || shown.empty())
    out += shown;
  else
    out += std::string(row.failed && !running ? kRed : kDim) + shown + std::string(kReset);
  return out;
}

std::vector<std::string> GraphView::make_lines() const {
  const auto [width, height] = size();
  Widths widths;
  for (const auto& row : rows_) {
    int used = 0;
    fitting(row.name, kWidestName, &used);
    widths.name = std::max(widths.name, used);
    widths.count = std::max(widths.count, static_cast<int>(count_of(row).size()));
    widths.tokens = std::max(widths.tokens, static_cast<int>(tokens_of(row).size()));
  }
  // Where the screen is too small: what runs or needs somebody first, then the newest.
  const std::size_t most = static_cast<std::size_t>(std::max(height - 2, 1));
  std::vector<std::size_t> shown(rows_.size());
  for (std::size_t i = 0; i < rows_.size(); ++i) shown[i] = i;
  if (rows_.size() > most && !finished_) {
    const auto matters = [&](std::size_t i) { return !rows_[i].running.empty() || rows_[i].failed || rows_[i].waiting; };
    std::stable_sort(shown.begin(), shown.end(), [&](auto a, auto b) { return matters(a) != matters(b) ? matters(a) : a > b; });
    shown.resize(most);
    std::sort(shown.begin(), shown.end());
  }
  std::vector<std::string> lines;
  for (const auto i : shown) lines.push_back(make_line(rows_[i], widths, width));
  if (shown.size() < rows_.size()) lines.push_back(fitting("  … and " + std::to_string(rows_.size() - shown.size()) + " more", width - 1));
  for (auto& line : lines) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
  }
  return lines;
}

std::vector<std::string> GraphView::lines() const {
  std::lock_guard lock(mutex_);
  return make_lines();
}

void GraphView::write(std::string_view bytes) const {
  if (options_.out) return options_.out(bytes);
  std::fwrite(bytes.data(), 1, bytes.size(), stderr);
  std::fflush(stderr);
}

void GraphView::erase(std::string& out) {
  if (drawn_ > 0) out += "\033[" + std::to_string(drawn_) + "F\033[J";
  drawn_ = 0;
}

void GraphView::draw(bool at_once) {
  // A start and an end are shown at once where little is drawn, but a fan-out of thousands does not draw thousands of times.
  const auto time = now();
  if (time - last_drawn_ < (at_once ? kFrame / 4 : kFrame) && drawn_ > 0) return;
  last_drawn_ = time;
  std::string out;
  const auto lines = make_lines();
  erase(out);
  for (const auto& line : lines) out += line + "\n";
  drawn_ = lines.size();
  if (!out.empty()) write(out);
}

void GraphView::clear() {
  std::lock_guard lock(mutex_);
  std::string out;
  erase(out);
  if (!out.empty()) write(out);
}

void GraphView::finish() {
  {
    std::lock_guard lock(mutex_);
    if (!finished_) {
      finished_ = true;
      last_drawn_ = {};
      std::string out;
      erase(out);
      if (!out.empty()) write(out);
      if (options_.active && !rows_.empty()) draw(true);
    }
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace corvid::cli
