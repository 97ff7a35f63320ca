#include <cmath>

#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ref {

void rope(const ops::RopeParams& params, ConstTensorView positions, TensorView x) {
  const int half = params.dims / 2;
  const bool interleaved = params.pairing == ops::RopePairing::interleaved;
  for (std::int64_t t = 0; t < x.dim(0); ++t) {
    const double position = positions.as<const std::int32_t>()[t];
    for (int i = 0; i < half; ++i) {
      const double frequency = params.inverse_frequencies.data
          ? static_cast<double>(params.inverse_frequencies.as<const float>()[i])
          : std::pow(static_cast<double>(params.base), -2.0 * i / params.dims) * static_cast<double>(params.position_scale);
      const float c = static_cast<float>(std::cos(position * frequency)) * params.magnitude;
      const float s = static_cast<float>(std::sin(position * frequency)) * params.magnitude;
      for (std::int64_t h = 0; h < x.dim(1); ++h) {
        float* v = detail::row_at(x, t * x.dim(1) + h);
        float& a = v[interleaved ? 2 * i : i];
        float& b = v[interleaved ? 2 * i + 1 : i + half];
        const float a0 = a, b0 = b;
        a = a0 * c - b0 * s;
        b = a0 * s + b0 * c;
      }
    }
  }
}

}  // namespace corvid::ref
