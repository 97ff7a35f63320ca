// Buffer: owned memory on the device of an OpContext, drawn from a budget; and the ways in and out of it.
//
//   CORVID_TRY(Buffer states, allocate(ctx, rows * width * 4, budget, "scratch"));
//   TensorView x = states.view(DType::f32, {rows, width});
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "corvid/base/result.hpp"
#include "corvid/compute/op_context.hpp"
#include "corvid/runtime/memory_budget.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid {

/// Move-only. Not initialised. On a device it is freed in the stream's order: work queued before still finds it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&&) noexcept = default;

  std::byte* data() const noexcept { return memory_.get(); }
  std::uint64_t bytes() const noexcept { return bytes_; }
  Device device() const noexcept { return device_; }
  /// Elements of `dtype` from byte `offset` on (a multiple of the element's size).
  TensorView view(DType dtype, std::initializer_list<std::int64_t> shape, std::uint64_t offset = 0) const {
    return TensorView(memory_.get() + offset, dtype, shape, device_);
  }

 private:
  friend Result<Buffer> allocate(const OpContext&, std::uint64_t, MemoryBudget&, std::string_view);
  std::shared_ptr<std::byte> memory_;
  std::uint64_t bytes_ = 0;
  Device device_{};
  Reservation reservation_;
};

/// At least 256-byte aligned. Errors: out_of_memory (the budget, or the device), with the owner's tag; unsupported (no stream).
Result<Buffer> allocate(const OpContext& ctx, std::uint64_t bytes, MemoryBudget& budget, std::string_view owner);

/// Host to ctx.device. `from` may be reused on return; on a device the copy is queued (through pinned memory).
Status upload(const OpContext& ctx, void* to, const void* from, std::size_t bytes);
/// ctx.device to host; waits for it and for all that was queued before. Errors: internal (a kernel failed).
Status download(const OpContext& ctx, void* to, const void* from, std::size_t bytes);
/// Within ctx.device; queued.
Status copy(const OpContext& ctx, void* to, const void* from, std::size_t bytes);

}  // namespace corvid
