// RecordedSpan: a span that fills a SpanRecord and hands it over when it ends; what both tracers give out.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "corvid/runtime/tracer.hpp"

namespace corvid {

/// Where ended spans go. Any thread; must not block or throw.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  virtual void ended(SpanRecord record, bool sampled) noexcept = 0;
};

class RecordedSpan : public Span {
 public:
  RecordedSpan(std::shared_ptr<SpanSink> sink, std::string_view name, std::string_view traceparent);
  ~RecordedSpan() override;
  void attribute(std::string_view key, Json value) override;
  void event(std::string_view name, Json attributes) override;
  void fail(std::string_view what) override;
  const std::string& traceparent() const noexcept override { return traceparent_; }

 private:
  std::int64_t now_ns() const;

  const std::shared_ptr<SpanSink> sink_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  SpanRecord record_;
  bool sampled_ = true;
  std::string traceparent_;
};

/// Random hex digits, two a byte, not all zero.
std::string random_hex(std::size_t bytes);

}  // namespace corvid
