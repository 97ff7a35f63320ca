// What the benchmarks share: the middle of several runs.
#pragma once

#include <algorithm>
#include <vector>

namespace corvid::cli {

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace corvid::cli
