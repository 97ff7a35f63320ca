// Weights on a device: checked as on the CPU, then uploaded as stored; a float matrix becomes bf16 for Precision::fast.
#pragma once

#include "corvid/compute/weight.hpp"

namespace corvid::device {

Result<Weight> prepare_weight(const OpContext& ctx, std::shared_ptr<const ModelFile> file, const TensorInfo& tensor, WeightUse use, MemoryBudget& budget);
Result<Weight> make_weight(const OpContext& ctx, std::span<const float> values, std::int64_t rows, std::int64_t cols, WeightUse use, MemoryBudget& budget);

}  // namespace corvid::device
