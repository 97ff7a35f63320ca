// Weight: a handle to a parameter as its backend prepared it (mapped, repacked, uploaded).
//
//   CORVID_TRY(Weight wq, prepare_weight(ctx, file, *file->require("blk.0.attn_q.weight"), WeightUse::matrix, budget));
//   ops::linear(ctx, x, wq, {}, y);
//
// Models hold Weights and never see the file's bytes again.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "corvid/base/result.hpp"
#include "corvid/compute/op_context.hpp"
#include "corvid/runtime/memory_budget.hpp"
#include "corvid/tensor/model_file.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid {

enum class WeightUse : std::uint8_t {
  matrix,   ///< right operand of linear(); rows may be repacked
  rounded,  ///< the same, and Precision::fast may round a float one to int8, in blocks of 32 with a scale, where such products are faster
  lookup,   ///< embedding table: rows are gathered
  vector,   ///< norm gains, biases, rope factors: stored as f32
  tied,     ///< both: rows are gathered, and it is the output matrix
};

/// Shared and immutable; cheap to copy. A default-constructed Weight is empty (`if (weight)`): "the model has none".
class Weight {
 public:
  Weight() = default;
  explicit operator bool() const noexcept { return impl_ != nullptr; }

  std::int64_t rows() const noexcept;    ///< out features; vectors: 1
  std::int64_t cols() const noexcept;    ///< in features; vectors: length
  DType dtype() const noexcept;          ///< as stored
  Device device() const noexcept;
  /// f32 values of a `vector` weight. [cols], on device().
  ConstTensorView vector() const noexcept;
  std::uint64_t resident_bytes() const noexcept;  ///< beyond the mapped file

  struct Impl;                           ///< the backend's
  explicit Weight(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const noexcept { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Prepares one stored tensor for ctx.device and ctx.precision. The result keeps `file` alive while it needs the mapping.
/// Matrix and lookup tensors are [rows, cols]; vector tensors [cols] of a float dtype.
/// Errors: bad_input (rank, NaN/Inf scales found), unsupported (dtype on this device), out_of_memory (budget, tag "weights").
Result<Weight> prepare_weight(const OpContext& ctx, std::shared_ptr<const ModelFile> file, const TensorInfo& tensor,
                              WeightUse use, MemoryBudget& budget);

/// The same from f32 host values that the caller computed (fused or generated weights); copied. rows*cols values.
Result<Weight> make_weight(const OpContext& ctx, std::span<const float> values, std::int64_t rows, std::int64_t cols,
                           WeightUse use, MemoryBudget& budget);

}  // namespace corvid
