// CudaStream: the DeviceStream of CUDA.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "corvid/compute/buffer.hpp"
#include "cuda/cublas_lt.hpp"
#include "cuda/launch.hpp"
#include "device_stream.hpp"

namespace corvid::cuda {

/// Errors: unsupported, when there is no device that could be used.
Result<int> device_count();
std::string version_text(int version);
Result<std::uint64_t> free_device_bytes(int index);

class CudaStream final : public DeviceStream {
 public:
  static Result<std::shared_ptr<CudaStream>> make(Device device);
  ~CudaStream() override;

  Device device() const noexcept override { return device_; }
  Status wait() override;
  Status plan(std::int64_t rows, MemoryBudget& budget) override;
  Status begin_capture() override;
  Result<std::unique_ptr<StepGraph>> end_capture() override;
  Status launch(StepGraph& graph) override;

  Result<std::uint64_t> free_bytes() override { return free_device_bytes(device_.index); }
  Result<std::byte*> allocate(std::uint64_t bytes) override;
  void deallocate(std::byte* memory) noexcept override;
  Status upload(void* to, const void* from, std::size_t bytes) override;
  Status download(void* to, const void* from, std::size_t bytes) override;
  Status copy(void* to, const void* from, std::size_t bytes) override;
  void note_matrix(DType stored, std::int64_t rows, std::int64_t cols) override;

  Status linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) override;
  Status embedding(ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) override;
  Status gather_rows(ConstTensorView rows, ConstTensorView x, TensorView y) override;
  Status rms_norm(ConstTensorView x, const float* gain, float eps, TensorView y, float gain_offset) override;
  Status layer_norm(ConstTensorView x, const float* gain, const float* bias, float eps, TensorView y) override;
  Status add(ConstTensorView x, TensorView y) override;
  Status gated_activation(ops::Activation act, ConstTensorView gate, ConstTensorView up, TensorView y) override;
  Status activation(ops::Activation act, ConstTensorView x, TensorView y) override;
  Status rope(const ops::RopeParams& params, ConstTensorView positions, TensorView x) override;
  Status pool_rows(ops::Pooling pooling, ConstTensorView row_offsets, ConstTensorView x, TensorView y) override;
  Status l2_normalise(TensorView x) override;
  Status kv_append(const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) override;
  Status paged_attention(const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q, ops::PagedKv kv, TensorView y) override;
  Status encoder_attention(const OpContext& ctx, float scale, ConstTensorView row_offsets, ConstTensorView q, ConstTensorView k, ConstTensorView v, TensorView y) override;

 private:
  explicit CudaStream(Device device) : device_(device) {}
  Status choose();  // the calling thread's current device
  /// y = x · wᵀ (+ y) in `type`, bf16 or f16, with f32 sums; x and w [.., k] contiguous.
  Status matmul(cudaDataType_t type, const void* w, const void* x, float* y, std::int64_t y_stride, std::int64_t out, std::int64_t n, std::int64_t k, bool accumulate, const float* bias);

  bool made_to_fail();  // the next allocation, by a test

  // Uploads pass through pinned memory in two halves. One is filled from its start on while the copies out of the other run; so a step,
  // whose batch is small, waits for none.
  struct Half {
    void* pinned = nullptr;
    cudaEvent_t free_again = nullptr;  // recorded when it is full
  };
  Device device_;
  cudaStream_t stream_ = nullptr;
  CublasLt lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::mutex staging_mutex_;
  std::array<Half, 2> halves_;
  std::size_t half_ = 0, filled_ = 0;
  long allocations_until_failure_ = -1;   // a test's; -1: never

  // What linear() needs: the widest input and the largest matrix that is not bf16, both noted while weights are prepared.
  std::int64_t widest_ = 0, largest_ = 0;
  // Memory of plan(), freed by the destructor; the budget's part ends with it.
  std::byte* scratch_ = nullptr;
  Reservation scratch_held_;
  std::int64_t planned_rows_ = 0, planned_width_ = 0, planned_matrix_ = 0;
  std::byte *rounded_ = nullptr, *dequantised_ = nullptr, *lt_memory_ = nullptr;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace corvid::cuda
