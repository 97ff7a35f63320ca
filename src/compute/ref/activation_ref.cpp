#include <cmath>

#include "op_checks.hpp"
#include "ref/reference.hpp"

namespace corvid::ref {

namespace {

float apply(ops::Activation act, float x) {
  switch (act) {
    case ops::Activation::silu: return x / (1.0f + std::exp(-x));
    case ops::Activation::gelu_erf: return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f));
    case ops::Activation::gelu_tanh: return 0.5f * x * (1.0f + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case ops::Activation::relu: return x > 0 ? x : 0.0f;
  }
  return x;
}

}  // namespace

void gated_activation(ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) {
  for (std::int64_t r = 0; r < gate.dim(0); ++r) {
    for (std::int64_t i = 0; i < gate.dim(1); ++i) {
      detail::row_at(y, r)[i] = apply(act, detail::row_at(gate, r)[i]) * detail::row_at(up, r)[i];
    }
  }
}

void activation(ops::Activation act, ConstTensorView x, TensorView y) {
  for (std::int64_t r = 0; r < x.dim(0); ++r) {
    for (std::int64_t i = 0; i < x.dim(1); ++i) detail::row_at(y, r)[i] = apply(act, detail::row_at(x, r)[i]);
  }
}

}  // namespace corvid::ref
