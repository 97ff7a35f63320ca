#include "corvid/runtime/metrics.hpp"

namespace corvid {

Metric& Metrics::at(std::string_view name) {
  std::lock_guard lock(mutex_);
  auto found = metrics_.find(name);
  if (found == metrics_.end()) found = metrics_.emplace(std::string(name), std::make_unique<Metric>()).first;
  return *found->second;
}

std::map<std::string, std::int64_t> Metrics::snapshot() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::int64_t> values;
  for (const auto& [name, metric] : metrics_) values.emplace(name, metric->value());
  return values;
}

}  // namespace corvid
