// The inner loops over floats: matrix products in register tiles, attention's transposes and softmax, row functions. One table an
// instruction set, each compiled from dense_kernels.inc; kernels.hpp has the quantised ones.
//
// The right operand of a product lies in panels of kPanel columns: [columns / 16][depth][16], columns beyond the last zero. Every
// element of a product is one chain of multiply-adds over the depth, whatever the number of rows and columns of the call.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corvid::cpu {

constexpr std::size_t kPanel = 16;

/// Where a product's right operand lies. Strides in elements of its type: `row` from one depth to the next (kPanel where packed),
/// `panel` from one panel of 16 columns to the next. bf16 panels hold pairs: [depth / 2][16][2].
struct Panels {
  const void* data;
  std::size_t row;
  std::size_t panel;
  std::size_t count;
  /// What lies the same way and is wanted soon, or null: product_half asks the memory for it line by line as it reads `data`.
  const void* ahead = nullptr;
};

/// out[r][c] = sum over k of a[r][k] * b[k][c], plus out[r][c] when `add`; c in [0, 16 * b.count), rows lda and ldo floats apart.
using Product = void (*)(const float* a, std::size_t lda, std::size_t rows, const Panels& b, std::size_t depth, bool add, float* out, std::size_t ldo);

struct DenseKernels {
  std::size_t tile_rows;   ///< rows that products take at once: blocks of a multiple waste nothing
  Product product_f32;     ///< b of f32
  Product product_half;    ///< b of f16
  Product product_bfloat;  ///< b of single bf16 values
  /// a and b of bf16, a's rows as pairs, lda and depth in pairs; null where the machine has no such instruction.
  void (*product_bf16)(const std::uint32_t* a, std::size_t lda, std::size_t rows, const Panels& b, std::size_t depth, bool add, float* out, std::size_t ldo);
  /// bf16 by the same instruction set's rounding (to nearest even); n values, then zero up to an even number.
  void (*round_bf16)(const float* x, std::size_t n, std::uint16_t* y);
  /// y[i] = act(x[i] + bias[i]) (+ y[i] when add), n columns; act -1: none, else as KernelTable::activate. bias may be null.
  void (*finish)(const float* x, const float* bias, int act, bool add, std::size_t n, float* y);

  /// 16 rows of d values, null ones as zeros, to a panel [d][16].
  void (*transpose_f32)(const float* const* rows, std::size_t d, float* panel);
  void (*transpose_half)(const std::uint16_t* const* rows, std::size_t d, std::uint16_t* panel);
  /// Pairs of bf16: 16 rows of d floats to [d / 2][16][2], d even; null as product_bf16.
  void (*transpose_bf16)(const float* const* rows, std::size_t d, std::uint16_t* panel);
  /// Two rows of d floats, the second perhaps null, to pairs [d][2], d a multiple of 16; null as product_bf16.
  void (*pair_bf16)(const float* a, const float* b, std::size_t d, std::uint16_t* pairs);

  /// Scores to softmax's terms. s[0, first) and s[last, end) become 0, the others exp(s * scale - top), where top, which is returned,
  /// is the largest s * scale; *sum is their sum. first <= last <= end; end a multiple of 16. softcap as in AttentionParams.
  float (*softmax_terms)(float* s, std::size_t first, std::size_t last, std::size_t end, float scale, float softcap, float* sum);
  void (*scale_rows)(const float* x, float factor, std::size_t n, float* y);              ///< y = x * factor
  void (*merge_rows)(const float* x, float a, float b, std::size_t n, float* y);          ///< y = a * y + b * x
  void (*rotate_halves)(float* x, const float* c, const float* s, std::size_t half);      ///< pairs (i, i + half)
  void (*rotate_interleaved)(float* x, const float* c, const float* s, std::size_t half); ///< pairs (2i, 2i + 1)
  void (*f32_to_half)(const float* x, std::size_t n, std::uint16_t* y);
  /// Rows of n values, `stride` apart, to rows of `width` >= n, a multiple of 16: zeros behind the values.
  void (*widen_half)(const std::uint16_t* x, std::size_t stride, std::size_t rows, std::size_t n, float* y, std::size_t width);
  void (*rms_norm)(const float* x, std::size_t n, const float* gain, float eps, float gain_offset, float* y);
  void (*layer_norm)(const float* x, std::size_t n, const float* gain, const float* bias, float eps, float* y);
  /// y = act(x) * up, or act(x) when up is null.
  void (*activate)(int act, const float* x, const float* up, std::size_t n, float* y);
};

/// The table of the level in use (see simd_level.cpp).
const DenseKernels& dense_kernels() noexcept;

extern const DenseKernels kDenseScalar;
extern const DenseKernels kDenseAvx2;
extern const DenseKernels kDenseAvx512;
extern const DenseKernels kDenseAvx512Bf16;
extern const DenseKernels kDenseNeon;

}  // namespace corvid::cpu
