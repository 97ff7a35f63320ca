// Weights on the CPU: mapped matrices, owned f32 vectors, float matrices packed in panels.
#pragma once

#include "corvid/compute/weight.hpp"

namespace corvid::cpu {

Result<Weight> prepare_weight(const OpContext& ctx, std::shared_ptr<const ModelFile> file, const TensorInfo& tensor,
                              WeightUse use, MemoryBudget& budget);
Result<Weight> make_weight(const OpContext& ctx, std::span<const float> values, std::int64_t rows, std::int64_t cols,
                           WeightUse use, MemoryBudget& budget);

}  // namespace corvid::cpu
