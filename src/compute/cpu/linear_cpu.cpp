#include <algorithm>
#include <optional>
#include <span>

#include "cpu/dense_linear.hpp"
#include "cpu/dense_scratch.hpp"
#include "cpu/kernels.hpp"
#include "cpu/optimised.hpp"
#include "cpu/packed_linear.hpp"
#include "op_checks.hpp"
#include "weight_impl.hpp"

namespace corvid::cpu {

namespace {

const std::uint8_t* bytes_at(const Weight::Impl& w, std::size_t row) {
  return reinterpret_cast<const std::uint8_t*>(w.row(static_cast<std::int64_t>(row)));
}

std::size_t padded(std::size_t n) { return (n + 63) / 64 * 64; }

// Where a weight row is unpacked, in a thread's scratch; zero beyond n.
struct UnpackBuffer {
  UnpackBuffer(Scratch& memory, std::size_t n) {
    Pieces pieces(memory.get<std::byte>(Pieces::room<std::int8_t>(padded(n)) + 2 * Pieces::room<float>(padded(n) / 16) + Pieces::room<float>(n)));
    q = pieces.take<std::int8_t>(padded(n));
    scale = pieces.take<float>(padded(n) / 16);
    min = pieces.take<float>(padded(n) / 16);
    row = pieces.take<float>(n);
    std::fill(q + n, q + padded(n), std::int8_t{0});
    std::fill(scale + n / 16, scale + padded(n) / 16, 0.0f);
    std::fill(min + n / 16, min + padded(n) / 16, 0.0f);
  }
  std::int8_t* q;
  float *scale, *min, *row;
};

// The dequantised row o of any dtype as f32; may point into the weight.
const float* row_as_f32(const KernelTable& k, const Weight::Impl& w, std::optional<BlockFormat> format, std::size_t o, UnpackBuffer& u, float* buffer) {
  const auto n = static_cast<std::size_t>(w.cols);
  const std::uint8_t* bytes = bytes_at(w, o);
  if (w.dtype == DType::f32) return reinterpret_cast<const float*>(bytes);
  if (w.dtype == DType::f16) {
    k.half_to_f32(reinterpret_cast<const std::uint16_t*>(bytes), n, buffer);
  } else if (w.dtype == DType::bf16) {
    k.bf16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes), n, buffer);
  } else {
    k.unpack[*format](bytes, n, u.q, u.scale, u.min);
    k.expand(n, u.q, u.scale, u.min, buffer);
  }
  return buffer;
}

struct Output {
  const float* bias;
  TensorView y;
  bool accumulate;

  // One output column: the products of one weight row with rows [0, count).
  void store(std::size_t column, const float* values, std::size_t count) const {
    const float b = bias ? bias[column] : 0.0f;
    float* out = y.as<float>() + column;
    for (std::size_t r = 0; r < count; ++r, out += y.stride(0)) *out = accumulate ? *out + (values[r] + b) : values[r] + b;
  }
};

// Weight rows taken together by the float kernels, so that activations are read once for all of them.
constexpr std::size_t kTile = 4;

// Weight rows in tiles, each against every activation row. product(thread, column, columns, values) fills values[columns][rows].
template <class Product>
void for_columns(const OpContext& ctx, std::size_t columns, std::size_t rows, std::size_t n, const Output& out, Product&& product) {
  thread_local Scratch memory;
  float* const values = memory.get<float>(thread_count(ctx) * rows * kTile);
  // Pieces of whole cache lines of y, so that threads do not write to each other's.
  const std::size_t grain = (grain_for(n * rows / 4) + 15) / 16 * 16;
  for_threads(ctx, columns, grain, [&](std::size_t thread, std::size_t begin, std::size_t end) {
    float* mine = values + thread * rows * kTile;
    for (std::size_t o = begin; o < end; o += kTile) {
      const std::size_t count = std::min(kTile, end - o);
      product(thread, o, count, mine);
      for (std::size_t j = 0; j < count; ++j) out.store(o + j, mine + j * rows, rows);
    }
  });
}

void linear_bf16(const OpContext& ctx, const KernelTable& k, ConstTensorView x, const Weight::Impl& w, const std::uint16_t* matrix, const Output& out) {
  const auto n = static_cast<std::size_t>(w.cols), rows = static_cast<std::size_t>(x.dim(0));
  thread_local Scratch values16, pointers;
  std::uint16_t* const rounded = values16.get<std::uint16_t>(rows * n);
  const std::uint16_t** const inputs = pointers.get<const std::uint16_t*>(rows);
  for_threads(ctx, rows, grain_for(n * 2), [&](std::size_t, std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      k.f32_to_bf16(detail::row_at(x, static_cast<std::int64_t>(r)), n, rounded + r * n);
      inputs[r] = rounded + r * n;
    }
  });
  for_columns(ctx, static_cast<std::size_t>(w.rows), rows, n, out,
              [&](std::size_t, std::size_t o, std::size_t count, float* values) { k.dot_bf16(n, matrix + o * n, n, count, inputs, rows, values); });
}

void linear_f32(const OpContext& ctx, const KernelTable& k, ConstTensorView x, const Weight::Impl& w, const Output& out) {
  const auto n = static_cast<std::size_t>(w.cols), rows = static_cast<std::size_t>(x.dim(0));
  thread_local Scratch pointers, tiles;
  const float** const inputs = pointers.get<const float*>(rows);
  for (std::size_t r = 0; r < rows; ++r) inputs[r] = detail::row_at(x, static_cast<std::int64_t>(r));
  const auto format = block_format(w.dtype);
  float* const expanded = tiles.get<float>(thread_count(ctx) * n * kTile);
  for_columns(ctx, static_cast<std::size_t>(w.rows), rows, n, out, [&](std::size_t thread, std::size_t o, std::size_t count, float* values) {
    thread_local Scratch memory;
    UnpackBuffer buffer(memory, n);
    float* tile = expanded + thread * n * kTile;
    const float* matrix = w.dtype == DType::f32 ? reinterpret_cast<const float*>(bytes_at(w, o)) : tile;
    for (std::size_t j = 0; matrix == tile && j < count; ++j) row_as_f32(k, w, format, o + j, buffer, tile + j * n);
    k.dot_f32(n, matrix, n, count, inputs, rows, values);
  });
}

}  // namespace

void linear(const OpContext& ctx, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y, bool accumulate) {
  const KernelTable& k = kernels();
  const Weight::Impl& impl = w.impl();
  if (impl.panel_kind != PanelKind::none && panels_usable(ctx, impl.panel_kind)) {
    return dense_linear(ctx, x, impl, bias ? bias.vector().as<const float>() : nullptr, -1, y, accumulate);
  }
  const Output out{bias ? bias.vector().as<const float>() : nullptr, y, accumulate};
  if (ctx.precision == Precision::fast) {
    if (impl.packed) {
      const PackedProduct product{&impl.packed, out.bias, y, accumulate};
      return packed_linear(ctx, x, std::span(&product, 1));
    }
    if (k.dot_bf16 && impl.dtype == DType::bf16) {
      return linear_bf16(ctx, k, x, impl, reinterpret_cast<const std::uint16_t*>(impl.data), out);
    }
  }
  linear_f32(ctx, k, x, impl, out);
}

bool linear_many(const OpContext& ctx, ConstTensorView x, std::span<const ops::Projection> projections) {
  constexpr std::size_t kMost = 4;
  if (ctx.precision != Precision::fast || projections.size() > kMost) return false;
  PackedProduct products[kMost];
  for (std::size_t i = 0; i < projections.size(); ++i) {
    const ops::Projection& p = projections[i];
    if (!p.w->impl().packed) return false;
    products[i] = {&p.w->impl().packed, p.bias && *p.bias ? p.bias->vector().as<const float>() : nullptr, p.y, false};
  }
  packed_linear(ctx, x, std::span(products, projections.size()));
  return true;
}

void linear_activation(const OpContext& ctx, ops::Activation act, ConstTensorView x, const Weight& w, const Weight& bias, TensorView y) {
  const Weight::Impl& impl = w.impl();
  if (impl.panel_kind != PanelKind::none && panels_usable(ctx, impl.panel_kind)) {
    return dense_linear(ctx, x, impl, bias ? bias.vector().as<const float>() : nullptr, static_cast<int>(act), y, false);
  }
  if (impl.packed && ctx.precision == Precision::fast) {
    const PackedProduct product{&impl.packed, bias ? bias.vector().as<const float>() : nullptr, y, false, static_cast<int>(act)};
    return packed_linear(ctx, x, std::span(&product, 1));
  }
  linear(ctx, x, w, bias, y, false);
  cpu::activation(ctx, act, ConstTensorView(y), y);
}

void embedding(const OpContext& ctx, ConstTensorView ids, const Weight& table, float scale, TensorView y, bool accumulate) {
  const KernelTable& k = kernels();
  const Weight::Impl& impl = table.impl();
  const auto n = static_cast<std::size_t>(impl.cols);
  const auto format = block_format(impl.dtype);
  for_threads(ctx, static_cast<std::size_t>(ids.dim(0)), grain_for(n * 2), [&](std::size_t, std::size_t begin, std::size_t end) {
    thread_local Scratch memory;   // one a thread of the pool: a step allocates nothing
    UnpackBuffer buffer(memory, n);
    for (std::size_t i = begin; i < end; ++i) {
      const auto id = static_cast<std::size_t>(ids.as<const std::int32_t>()[i]);
      const float* row = buffer.row;
      if (impl.packed) unpack_row(impl.packed, id, buffer.row);
      else row = row_as_f32(k, impl, format, id, buffer, buffer.row);
      float* out = detail::row_at(y, static_cast<std::int64_t>(i));
      for (std::size_t c = 0; c < n; ++c) out[c] = (accumulate ? out[c] : 0.0f) + scale * row[c];
    }
  });
}

}  // namespace corvid::cpu
