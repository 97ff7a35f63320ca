#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "corvid/runtime/tracer.hpp"
#include "corvid/runtime/tracer_names.hpp"

namespace corvid {
namespace {

constexpr std::size_t kMostValueBytes = 60;

std::string milliseconds(std::int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%10.3f", static_cast<double>(ns) / 1e6);
  return text;
}

// On one line and short; quoted where it would not stand alone.
std::string shown(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : dump_json(value);
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != '"' && c != 0x7f; });
  if (value.is_string() && (!plain || text.empty())) text = dump_json(value);
  if (text.size() <= kMostValueBytes) return text;
  std::size_t end = kMostValueBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

void attributes(std::string& line, const Json& all) {
  for (const auto& [key, value] : all.items()) {
    if (key == trace_names::kOperationName) continue;  // the span's name begins with it
    std::string_view name = key;
    for (const std::string_view prefix : {"gen_ai.", "corvid."}) {
      if (name.substr(0, prefix.size()) == prefix) name.remove_prefix(prefix.size());
    }
    if (name.size() == key.size() && key != trace_names::kErrorType) continue;
    line.append(" ").append(name).append("=").append(shown(value));
  }
}

class Text {
 public:
  explicit Text(const std::vector<SpanRecord>& spans) : spans_(spans), order_(spans.size()), printed_(spans.size()) {
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](auto a, auto b) { return spans_[a].start_ns < spans_[b].start_ns; });
    for (const auto& span : spans_) known_.insert(Name(span.trace_id, span.span_id));
    for (const auto i : order_) {
      const Name parent(spans_[i].trace_id, spans_[i].parent_id);
      if (known_.count(parent) != 0)
        children_[parent].push_back(i);
      else
        roots_.push_back(i);
    }
  }

  std::string write() {
    std::string out;
    for (const auto root : roots_) below(out, root);
    for (const auto i : order_) below(out, i);  // damaged: spans that are each other's parents
    return out;
  }

 private:
  using Name = std::pair<std::string_view, std::string_view>;

  void below(std::string& out, std::size_t first) {
    std::vector<std::pair<std::size_t, int>> waiting{{first, 0}};
    while (!waiting.empty()) {
      const auto [i, depth] = waiting.back();
      waiting.pop_back();
      if (printed_[i]) continue;
      printed_[i] = true;
      line(out, spans_[i], depth);
      const auto found = children_.find(Name(spans_[i].trace_id, spans_[i].span_id));
      if (found == children_.end()) continue;
      for (auto child = found->second.rbegin(); child != found->second.rend(); ++child) waiting.emplace_back(*child, depth + 1);
    }
  }

  void line(std::string& out, const SpanRecord& span, int depth) const {
    out += milliseconds(span.start_ns - spans_[order_.front()].start_ns) + " ms " + milliseconds(span.end_ns - span.start_ns) + " ms  ";
    out += std::string(static_cast<std::size_t>(depth) * 2, ' ') + span.name;
    attributes(out, span.attributes);
    if (span.failed) out += "  FAILED: " + shown(span.failure);
    out += "\n";
  }

  const std::vector<SpanRecord>& spans_;
  std::vector<std::size_t> order_, roots_;
  std::vector<bool> printed_;
  std::set<Name> known_;
  std::map<Name, std::vector<std::size_t>> children_;
};

}  // namespace

std::string trace_text(const std::vector<SpanRecord>& spans) { return spans.empty() ? std::string() : Text(spans).write(); }

}  // namespace corvid
