#include <cmath>

#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ref {

void rms_norm(ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset) {
  const std::int64_t d = x.dim(-1);
  for (std::int64_t r = 0; r < detail::row_count(x); ++r) {
    const float* in = detail::row_at(x, r);
    float* out = detail::row_at(y, r);
    double sum = 0;
    for (std::int64_t i = 0; i < d; ++i) sum += static_cast<double>(in[i]) * static_cast<double>(in[i]);
    const float inverse = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(d) + static_cast<double>(eps)));
    for (std::int64_t i = 0; i < d; ++i) out[i] = in[i] * inverse * (gain_offset + gain[i]);
  }
}

void layer_norm(ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) {
  const std::int64_t d = x.dim(-1);
  for (std::int64_t r = 0; r < x.dim(0); ++r) {
    const float* in = detail::row_at(x, r);
    float* out = detail::row_at(y, r);
    double mean = 0, variance = 0;
    for (std::int64_t i = 0; i < d; ++i) mean += static_cast<double>(in[i]);
    mean /= static_cast<double>(d);
    for (std::int64_t i = 0; i < d; ++i) {
      const double c = static_cast<double>(in[i]) - mean;
      variance += c * c;
    }
    const double inverse = 1.0 / std::sqrt(variance / static_cast<double>(d) + static_cast<double>(eps));
    for (std::int64_t i = 0; i < d; ++i) out[i] = static_cast<float>((static_cast<double>(in[i]) - mean) * inverse) * gain[i] + bias[i];
  }
}

void add(ConstTensorView x, TensorView y) {
  for (std::int64_t r = 0; r < x.dim(0); ++r) {
    for (std::int64_t i = 0; i < x.dim(1); ++i) detail::row_at(y, r)[i] += detail::row_at(x, r)[i];
  }
}

}  // namespace corvid::ref
