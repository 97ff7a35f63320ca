// Argument checks and row addressing shared by the ops.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "corvid/compute/op_context.hpp"
#include "corvid/compute/weight.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid::detail {

/// Throws std::invalid_argument: a wrong shape is the caller's defect, not a user's input.
inline void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

/// Success on the CPU; elsewhere an error that names the op.
Status require_cpu(const OpContext& ctx, const char* op);

template <class View>
bool is_f32(const View& v, int rank) {
  return v.dtype == DType::f32 && v.rank == rank && (v.elements() == 0 || v.data != nullptr) && (v.dim(-1) <= 1 || v.stride(-1) == 1);
}
inline bool is_i32(const ConstTensorView& v) {
  return v.dtype == DType::i32 && (v.elements() == 0 || v.data != nullptr) && (v.rank == 0 || v.dim(-1) <= 1 || v.stride(-1) == 1);
}

/// Rows of the last dimension of a rank-2 or rank-3 view.
template <class View>
std::int64_t row_count(const View& v) {
  return v.rank == 3 ? v.dim(0) * v.dim(1) : v.dim(0);
}
inline const float* row_at(const ConstTensorView& v, std::int64_t i) {
  const float* base = v.as<const float>();
  return v.rank == 3 ? base + (i / v.dim(1)) * v.stride(0) + (i % v.dim(1)) * v.stride(1) : base + i * v.stride(0);
}
inline float* row_at(const TensorView& v, std::int64_t i) {
  float* base = v.as<float>();
  return v.rank == 3 ? base + (i / v.dim(1)) * v.stride(0) + (i % v.dim(1)) * v.stride(1) : base + i * v.stride(0);
}

/// Runs body(begin, end) over [0, n), on the pool when there is one.
template <class Body>
void for_ranges(const OpContext& ctx, std::size_t n, std::size_t grain, Body&& body) {
  if (n == 0) return;
  if (ctx.pool && n > grain && ctx.pool->threads() > 1) ctx.pool->parallel_for(n, grain, body);
  else body(std::size_t{0}, n);
}

}  // namespace corvid::detail
