#include <algorithm>
#include <cmath>

#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ref {

void pool_rows(ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) {
  const auto* offsets = row_offsets.as<const std::int32_t>();
  for (std::int64_t s = 0; s < y.dim(0); ++s) {
    const std::int64_t begin = offsets[s], end = offsets[s + 1];
    float* out = detail::row_at(y, s);
    for (std::int64_t i = 0; i < y.dim(1); ++i) {
      switch (pooling) {
        case ops::Pooling::cls: out[i] = detail::row_at(x, begin)[i]; break;
        case ops::Pooling::last: out[i] = detail::row_at(x, end - 1)[i]; break;
        case ops::Pooling::max: {
          float best = detail::row_at(x, begin)[i];
          for (std::int64_t r = begin + 1; r < end; ++r) best = std::max(best, detail::row_at(x, r)[i]);
          out[i] = best;
          break;
        }
        case ops::Pooling::mean: {
          double sum = 0;
          for (std::int64_t r = begin; r < end; ++r) sum += static_cast<double>(detail::row_at(x, r)[i]);
          out[i] = static_cast<float>(sum / static_cast<double>(end - begin));
          break;
        }
      }
    }
  }
}

void l2_normalise(TensorView x) {
  for (std::int64_t r = 0; r < x.dim(0); ++r) {
    float* row = detail::row_at(x, r);
    double sum = 0;
    for (std::int64_t i = 0; i < x.dim(1); ++i) sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    if (sum == 0) continue;
    const double inverse = 1.0 / std::sqrt(sum);
    for (std::int64_t i = 0; i < x.dim(1); ++i) row[i] = static_cast<float>(static_cast<double>(row[i]) * inverse);
  }
}

}  // namespace corvid::ref
