#include "tracer_span.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <random>

namespace corvid {
namespace {

constexpr std::size_t kMostAttributes = 128, kMostEvents = 128, kMostTextBytes = std::size_t{32} << 10;
constexpr char kDigits[] = "0123456789abcdef";

bool hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool zero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

void cut(std::string& text) {
  if (text.size() <= kMostTextBytes) return;
  std::size_t end = kMostTextBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not within a code point
  text.resize(end);
}

Json cut(Json value) {
  if (value.is_string()) cut(value.get_ref<std::string&>());
  if (value.is_array()) {
    for (auto& element : value) element = cut(std::move(element));
  }
  return value;
}

}  // namespace

std::string random_hex(std::size_t bytes) {
  // From the kernel each time: a generator of our own would repeat itself in a forked child.
  std::array<unsigned char, 32> drawn{};
  bytes = std::min(bytes, drawn.size());
  std::string text(bytes * 2, '0');
  while (zero(text)) {
    if (::getrandom(drawn.data(), bytes, 0) != static_cast<ssize_t>(bytes)) {
      std::random_device device;
      for (auto& byte : drawn) byte = static_cast<unsigned char>(device());
    }
    for (std::size_t i = 0; i < bytes; ++i) {
      text[2 * i] = kDigits[drawn[i] >> 4];
      text[2 * i + 1] = kDigits[drawn[i] & 15];
    }
  }
  return text;
}

std::optional<TraceParent> parse_traceparent(std::string_view text) {
  // "00-<32>-<16>-<2>"; a later version may go on after another dash (W3C Trace Context, section 3.2).
  if (text.size() < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  const auto version = text.substr(0, 2), trace = text.substr(3, 32), span = text.substr(36, 16), flags = text.substr(53, 2);
  if (!hex(version) || !hex(trace) || !hex(span) || !hex(flags) || version == "ff" || zero(trace) || zero(span)) return std::nullopt;
  if (text.size() > 55 && (version == "00" || text[55] != '-')) return std::nullopt;
  const int low = flags[1] <= '9' ? flags[1] - '0' : flags[1] - 'a' + 10;
  return TraceParent{std::string(trace), std::string(span), (low & 1) != 0};
}

std::string format_traceparent(const TraceParent& parent) {
  return "00-" + parent.trace_id + "-" + parent.span_id + (parent.sampled ? "-01" : "-00");
}

RecordedSpan::RecordedSpan(std::shared_ptr<SpanSink> sink, std::string_view name, std::string_view traceparent) : sink_(std::move(sink)) {
  if (auto parent = parse_traceparent(traceparent)) {
    record_.trace_id = std::move(parent->trace_id);
    record_.parent_id = std::move(parent->span_id);
    sampled_ = parent->sampled;
  } else {
    record_.trace_id = random_hex(16);
  }
  record_.span_id = random_hex(8);
  record_.name = name;
  record_.start_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  traceparent_ = format_traceparent({record_.trace_id, record_.span_id, sampled_});
}

RecordedSpan::~RecordedSpan() {
  record_.end_ns = now_ns();
  sink_->ended(std::move(record_), sampled_);
}

// From the steady clock, so that a span never ends before it starts.
std::int64_t RecordedSpan::now_ns() const {
  return record_.start_ns + std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - started_).count();
}

void RecordedSpan::attribute(std::string_view key, Json value) {
  const std::string name(key);
  if (record_.attributes.size() >= kMostAttributes && !record_.attributes.contains(name)) return;
  record_.attributes[name] = cut(std::move(value));
}

void RecordedSpan::event(std::string_view name, Json attributes) {
  if (record_.events.size() >= kMostEvents) return;
  Json kept = Json::object();
  if (attributes.is_object()) {
    for (auto& [key, value] : attributes.items()) {
      if (kept.size() < kMostAttributes) kept[key] = cut(std::move(value));
    }
  }
  record_.events.push_back({std::string(name), now_ns(), std::move(kept)});
}

void RecordedSpan::fail(std::string_view what) {
  record_.failed = true;
  record_.failure = what;
  cut(record_.failure);
}

}  // namespace corvid
