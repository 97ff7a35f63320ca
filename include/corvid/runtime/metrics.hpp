// Metrics: named counters and gauges, readable at any time.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace corvid {

/// A monotonic counter or a gauge. Any thread.
class Metric {
 public:
  void add(std::int64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  void set(std::int64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

/// Thread-safe registry; a metric's reference stays valid for the registry's life.
class Metrics {
 public:
  Metric& at(std::string_view name);                    ///< made on first use
  std::map<std::string, std::int64_t> snapshot() const; ///< sorted by name

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Metric>, std::less<>> metrics_;
};

}  // namespace corvid
