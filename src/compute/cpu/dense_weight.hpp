// Float matrices in panels: packed once at load, instead of the rows as stored.
#pragma once

#include "corvid/compute/weight.hpp"
#include "weight_impl.hpp"

namespace corvid::cpu {

/// How a matrix of this kind is packed for products under ctx; none: it stays as stored. Rows that are gathered too (lookup) stay.
PanelKind panel_kind_for(const OpContext& ctx, DType dtype, WeightUse use);
/// Bytes of the panels.
std::uint64_t panel_bytes(PanelKind kind, std::int64_t rows, std::int64_t cols);
/// Fills w.panels from w.data. Errors: out_of_memory (tag "weights").
Status pack_panels(const OpContext& ctx, PanelKind kind, Weight::Impl& w, MemoryBudget& budget);

}  // namespace corvid::cpu
