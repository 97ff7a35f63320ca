#include "corvid/compute/weight.hpp"

#include "cpu/weight_cpu.hpp"
#include "device/weight_device.hpp"
#include "op_checks.hpp"
#include "weight_impl.hpp"

namespace corvid {

std::int64_t Weight::rows() const noexcept { return impl_ ? impl_->rows : 0; }
std::int64_t Weight::cols() const noexcept { return impl_ ? impl_->cols : 0; }
DType Weight::dtype() const noexcept { return impl_ ? impl_->dtype : DType::f32; }
Device Weight::device() const noexcept { return impl_ ? impl_->device : Device{}; }
std::uint64_t Weight::resident_bytes() const noexcept { return impl_ ? impl_->resident_bytes : 0; }

ConstTensorView Weight::vector() const noexcept {
  if (!impl_) return {};
  if (!impl_->device.is_cpu()) return impl_->use == WeightUse::vector ? ConstTensorView(impl_->on_device.data(), DType::f32, {impl_->cols}, impl_->device) : ConstTensorView{};
  if (impl_->values.empty()) return {};
  return ConstTensorView(impl_->values.data(), DType::f32, {impl_->cols}, impl_->device);
}

Result<Weight> prepare_weight(const OpContext& ctx, std::shared_ptr<const ModelFile> file, const TensorInfo& tensor,
                              WeightUse use, MemoryBudget& budget) {
  if (!ctx.device.is_cpu()) return device::prepare_weight(ctx, std::move(file), tensor, use, budget);
  return cpu::prepare_weight(ctx, std::move(file), tensor, use, budget);
}

Result<Weight> make_weight(const OpContext& ctx, std::span<const float> values, std::int64_t rows, std::int64_t cols,
                           WeightUse use, MemoryBudget& budget) {
  detail::require(rows > 0 && cols > 0 && values.size() / static_cast<std::size_t>(rows) == static_cast<std::size_t>(cols) &&
                      values.size() % static_cast<std::size_t>(rows) == 0,
                  "make_weight: values must be rows * cols floats");
  detail::require(use != WeightUse::vector || rows == 1, "make_weight: a vector has one row");
  if (!ctx.device.is_cpu()) return device::make_weight(ctx, values, rows, cols, use, budget);
  return cpu::make_weight(ctx, values, rows, cols, use, budget);
}

}  // namespace corvid
