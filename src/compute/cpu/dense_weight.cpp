#include "cpu/dense_weight.hpp"

#include <algorithm>
#include <cstring>

#include "corvid/tensor/dequantise.hpp"
#include "cpu/dense_kernels.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

std::size_t depth_of(PanelKind kind, std::int64_t cols) {
  const auto n = static_cast<std::size_t>(cols);
  return kind == PanelKind::bf16_pairs ? (n + 1) / 2 * 2 : n;
}

template <class T>
T value_at(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

std::uint16_t as_bf16(DType dtype, const std::byte* row, std::size_t k) {
  if (dtype == DType::bf16) return value_at<std::uint16_t>(row + 2 * k);
  return float_to_bfloat16(dtype == DType::f32 ? value_at<float>(row + 4 * k) : half_to_float(value_at<std::uint16_t>(row + 2 * k)));
}

// Panel p of w to `to`, [depth][16] or [depth / 2][16][2]; columns beyond the last weight row are zero.
template <class T, class Get>
void pack(const Weight::Impl& w, std::size_t p, std::size_t depth, bool pairs, T* to, Get get) {
  const auto cols = static_cast<std::size_t>(w.cols);
  for (std::size_t c = 0; c < kPanel; ++c) {
    const auto r = static_cast<std::int64_t>(p * kPanel + c);
    const std::byte* row = r < w.rows ? w.row(r) : nullptr;
    for (std::size_t k = 0; k < depth; ++k) {
      const std::size_t at = pairs ? k / 2 * 2 * kPanel + 2 * c + k % 2 : k * kPanel + c;
      to[at] = row && k < cols ? get(row, k) : T{};
    }
  }
}

}  // namespace

PanelKind panel_kind_for(const OpContext& ctx, DType dtype, WeightUse use) {
  if (use != WeightUse::matrix || ctx.path == OpPath::reference) return PanelKind::none;
  const bool pairs = ctx.precision == Precision::fast && dense_kernels().product_bf16 != nullptr;
  switch (dtype) {
    case DType::f32: return pairs ? PanelKind::bf16_pairs : PanelKind::f32;
    case DType::f16: return pairs ? PanelKind::bf16_pairs : PanelKind::f16;
    case DType::bf16: return pairs ? PanelKind::bf16_pairs : PanelKind::bf16;
    default: return PanelKind::none;
  }
}

std::uint64_t panel_bytes(PanelKind kind, std::int64_t rows, std::int64_t cols) {
  if (kind == PanelKind::none) return 0;
  const auto panels = (static_cast<std::uint64_t>(rows) + kPanel - 1) / kPanel;
  return panels * kPanel * depth_of(kind, cols) * (kind == PanelKind::f32 ? 4u : 2u);
}

Status pack_panels(const OpContext& ctx, PanelKind kind, Weight::Impl& w, MemoryBudget& budget) {
  if (kind == PanelKind::none) return {};
  CORVID_TRY(w.panels, allocate(ctx, panel_bytes(kind, w.rows, w.cols), budget, "weights"));
  w.panel_kind = kind;
  const std::size_t depth = depth_of(kind, w.cols), panels = (static_cast<std::size_t>(w.rows) + kPanel - 1) / kPanel;
  detail::for_ranges(ctx, panels, 4, [&](std::size_t begin, std::size_t end) {
    for (std::size_t p = begin; p < end; ++p) {
      auto* wide = reinterpret_cast<float*>(w.panels.data()) + p * kPanel * depth;
      auto* narrow = reinterpret_cast<std::uint16_t*>(w.panels.data()) + p * kPanel * depth;
      switch (kind) {
        case PanelKind::f32: pack(w, p, depth, false, wide, [](const std::byte* row, std::size_t k) { return value_at<float>(row + 4 * k); }); break;
        case PanelKind::f16: pack(w, p, depth, false, narrow, [](const std::byte* row, std::size_t k) { return value_at<std::uint16_t>(row + 2 * k); }); break;
        default: pack(w, p, depth, kind == PanelKind::bf16_pairs, narrow, [&](const std::byte* row, std::size_t k) { return as_bf16(w.dtype, row, k); }); break;
      }
    }
  });
  return {};
}

}  // namespace corvid::cpu
