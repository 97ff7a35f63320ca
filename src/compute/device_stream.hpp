// DeviceStream: what a device's backend implements. Arguments are checked by the callers (<op>.cpp); each call queues and returns.
#pragma once

#include "corvid/compute/ops.hpp"
#include "corvid/compute/stream.hpp"

namespace corvid {

class DeviceStream : public Stream {
 public:
  virtual Result<std::uint64_t> free_bytes() = 0;
  // Memory. allocate() is not budgeted here; deallocate() is in the stream's order and cannot fail.
  virtual Result<std::byte*> allocate(std::uint64_t bytes) = 0;
  virtual void deallocate(std::byte* memory) noexcept = 0;
  virtual Status upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual Status download(void* to, const void* from, std::size_t bytes) = 0;
  virtual Status copy(void* to, const void* from, std::size_t bytes) = 0;

  /// A matrix of this kind was prepared: plan() makes room for what linear() needs with it.
  virtual void note_matrix(DType stored, std::int64_t rows, std::int64_t cols) = 0;

  virtual Status linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) = 0;
  virtual Status embedding(ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) = 0;
  virtual Status gather_rows(ConstTensorView rows, ConstTensorView x, TensorView y) = 0;
  virtual Status rms_norm(ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset) = 0;
  virtual Status layer_norm(ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) = 0;
  virtual Status add(ConstTensorView x, TensorView y) = 0;
  virtual Status gated_activation(ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) = 0;
  virtual Status activation(ops::Activation act, ConstTensorView x, TensorView y) = 0;
  virtual Status rope(const ops::RopeParams& params, ConstTensorView positions, TensorView x) = 0;
  virtual Status pool_rows(ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) = 0;
  virtual Status l2_normalise(TensorView x) = 0;
  virtual Status kv_append(const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) = 0;
  virtual Status paged_attention(const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y) = 0;
  virtual Status encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y) = 0;
};

namespace detail {

/// The stream of a context that is not on the CPU. Errors: unsupported, naming the op: no stream, no member.
Result<DeviceStream*> device_stream(const OpContext& ctx, const char* op);

}  // namespace detail
}  // namespace corvid
