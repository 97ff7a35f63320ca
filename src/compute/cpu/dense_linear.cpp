#include "cpu/dense_linear.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/dense_kernels.hpp"
#include "cpu/dense_scratch.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

// Rows that share a pair of panels while it lies in the first cache: 8 tiles of 14 rows, of whose 384 to 1,536 values L2 holds all.
constexpr std::size_t kBlockRows = 112;
// Panels of one call of a product: what its tiles take together.
constexpr std::size_t kStepPanels = 2;

// Rows of x, contiguous and an odd number of cache lines apart, so that the rows of a tile do not meet in the same sets of the cache.
struct Rows {
  const float* data;
  std::size_t stride;  // floats, or pairs of bf16
};

struct Problem {
  const DenseKernels& kernel;
  const Weight::Impl& w;
  const float* bias;
  int act;
  bool accumulate;
  ConstTensorView x;
  TensorView y;
  std::size_t depth;       // of a panel, in values or pairs
  std::size_t stride;      // of packed rows

  std::size_t panels() const { return (static_cast<std::size_t>(w.rows) + kPanel - 1) / kPanel; }

  Rows packed(std::size_t begin, std::size_t end, float* to) const {
    const auto n = static_cast<std::size_t>(w.cols);
    for (std::size_t r = begin; r < end; ++r, to += stride) {
      const float* row = detail::row_at(x, static_cast<std::int64_t>(r));
      if (w.panel_kind == PanelKind::bf16_pairs) kernel.round_bf16(row, n, reinterpret_cast<std::uint16_t*>(to));
      else std::memcpy(to, row, n * sizeof(float));
    }
    return {to - (end - begin) * stride, stride};
  }

  void multiply(const Rows& a, std::size_t rows, std::size_t panel, std::size_t count, float* out, std::size_t ldo) const {
    const std::size_t step = depth * kPanel;
    switch (w.panel_kind) {
      case PanelKind::bf16_pairs: {
        const Panels b{reinterpret_cast<const std::uint32_t*>(w.panels.data()) + panel * step, kPanel, step, count};
        return kernel.product_bf16(reinterpret_cast<const std::uint32_t*>(a.data), a.stride, rows, b, depth, false, out, ldo);
      }
      case PanelKind::f32: {
        const Panels b{reinterpret_cast<const float*>(w.panels.data()) + panel * step, kPanel, step, count};
        return kernel.product_f32(a.data, a.stride, rows, b, depth, false, out, ldo);
      }
      default: {
        const Panels b{reinterpret_cast<const std::uint16_t*>(w.panels.data()) + panel * step, kPanel, step, count};
        return (w.panel_kind == PanelKind::f16 ? kernel.product_half : kernel.product_bfloat)(a.data, a.stride, rows, b, depth, false, out, ldo);
      }
    }
  }

  // Rows [begin, begin + rows) of y, columns of the panels [first, last); `a` begins at row `begin`.
  void columns(const Rows& a, std::size_t begin, std::size_t rows, std::size_t first, std::size_t last) const {
    constexpr std::size_t kWidth = kStepPanels * kPanel;
    float out[kBlockRows * kWidth];
    const auto width = static_cast<std::size_t>(w.rows);
    for (std::size_t p = first; p < last; p += kStepPanels) {
      const std::size_t count = std::min(kStepPanels, last - p), column = p * kPanel, wide = std::min(count * kPanel, width - column);
      for (std::size_t at = 0; at < rows; at += kBlockRows) {
        const std::size_t some = std::min(kBlockRows, rows - at);
        multiply({a.data + at * a.stride, a.stride}, some, p, count, out, kWidth);
        for (std::size_t r = 0; r < some; ++r) {
          kernel.finish(out + r * kWidth, bias ? bias + column : nullptr, act, accumulate, wide,
                        detail::row_at(y, static_cast<std::int64_t>(begin + at + r)) + column);
        }
      }
    }
  }
};

}  // namespace

bool panels_usable(const OpContext& ctx, PanelKind kind) {
  return kind != PanelKind::bf16_pairs || (ctx.precision == Precision::fast && dense_kernels().product_bf16 != nullptr);
}

void dense_linear(const OpContext& ctx, ConstTensorView x, const Weight::Impl& w, const float* bias, int act, TensorView y, bool accumulate) {
  const auto n = static_cast<std::size_t>(w.cols), rows = static_cast<std::size_t>(x.dim(0));
  const std::size_t depth = w.panel_kind == PanelKind::bf16_pairs ? (n + 1) / 2 : n, lines = (depth + 15) / 16;
  const Problem problem{dense_kernels(), w, bias, act, accumulate, x, y, depth, (lines | 1) * 16};
  const std::size_t tile = problem.kernel.tile_rows, threads = thread_count(ctx), panels = problem.panels();
  thread_local Scratch scratch;
  if (rows < 2 * tile * threads) {
    // Few rows: threads share the columns.
    const Rows a = problem.packed(0, rows, scratch.get<float>(rows * problem.stride));
    const std::size_t steps = (panels + kStepPanels - 1) / kStepPanels;
    for_threads(ctx, steps, grain_for(n * rows * 8), [&](std::size_t, std::size_t begin, std::size_t end) {
      problem.columns(a, 0, rows, begin * kStepPanels, std::min(end * kStepPanels, panels));
    });
    return;
  }
  const std::size_t blocks = std::max(threads, (rows + kBlockRows - 1) / kBlockRows);
  const std::size_t block = std::min(((rows + blocks - 1) / blocks + tile - 1) / tile * tile, std::max(kBlockRows / tile, std::size_t{1}) * tile);
  for_threads(ctx, (rows + block - 1) / block, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
    thread_local Scratch own;
    for (std::size_t b = begin; b < end; ++b) {
      const std::size_t first = b * block, some = std::min(block, rows - first);
      problem.columns(problem.packed(first, first + some, own.get<float>(block * problem.stride)), first, some, 0, panels);
    }
  });
}

}  // namespace corvid::cpu
