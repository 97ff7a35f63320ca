#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ref {

void scan_top_k(ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids, TensorView scores) {
  const std::int64_t d = queries.dim(1), k = row_ids.dim(1);
  const auto* words = static_cast<const std::int64_t*>(allowed.data);
  for (std::int64_t n = 0; n < queries.dim(0); ++n) {
    const float* query = detail::row_at(queries, n);
    std::vector<std::pair<float, std::int64_t>> found;
    for (std::int64_t r = 0; r < vectors.dim(0); ++r) {
      if (words && !((static_cast<std::uint64_t>(words[r / 64]) >> (r % 64)) & 1u)) continue;
      double sum = 0;
      for (std::int64_t i = 0; i < d; ++i) {
        const std::int64_t at = r * vectors.stride(0) + i;
        const float value = vectors.dtype == DType::f16 ? half_to_float(static_cast<const std::uint16_t*>(vectors.data)[at])
                                                        : static_cast<const float*>(vectors.data)[at];
        sum += static_cast<double>(query[i]) * static_cast<double>(value);
      }
      found.emplace_back(static_cast<float>(sum), r);
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    auto* ids = row_ids.as<std::int64_t>() + n * row_ids.stride(0);
    float* out = detail::row_at(scores, n);
    for (std::int64_t i = 0; i < k; ++i) {
      const bool have = i < static_cast<std::int64_t>(found.size());
      ids[i] = have ? found[static_cast<std::size_t>(i)].second : -1;
      out[i] = have ? found[static_cast<std::size_t>(i)].first : -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace corvid::ref
