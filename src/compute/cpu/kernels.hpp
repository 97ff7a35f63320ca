// The inner loops of the CPU members, one table an instruction set. Every table is compiled from kernels.inc.
//
// A matrix row of a block format is unpacked to int8 quants with a scale and a minimum each 16 elements: w = scale * q + min.
// Integer products of such matrices are in packed.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corvid::cpu {

/// Order of KernelTable::unpack.
enum BlockFormat { kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ2K, kQ3K, kQ4K, kQ5K, kQ6K, kBlockFormats };

using UnpackRow = void (*)(const std::uint8_t* blocks, std::size_t n, std::int8_t* q, float* scale, float* min);

/// Sums are taken in an order that depends on n alone, never on how many rows a call has.
struct KernelTable {
  UnpackRow unpack[kBlockFormats];
  /// out[i] = scale * q + min. Quants are as this table's unpack wrote them.
  void (*expand)(std::size_t n, const std::int8_t* q, const float* scale, const float* min, float* out);
  void (*half_to_f32)(const std::uint16_t* x, std::size_t n, float* y);
  void (*bf16_to_f32)(const std::uint16_t* x, std::size_t n, float* y);
  void (*f32_to_bf16)(const float* x, std::size_t n, std::uint16_t* y);
  /// out[w * count + i] = row i · weight row w, for `weights` rows `stride` elements apart.
  void (*dot_f32)(std::size_t n, const float* w, std::size_t stride, std::size_t weights, const float* const* rows, std::size_t count, float* out);
  /// bf16 products summed in f32; null where the machine has no such instruction.
  void (*dot_bf16)(std::size_t n, const std::uint16_t* w, std::size_t stride, std::size_t weights, const std::uint16_t* const* rows, std::size_t count, float* out);
  void (*axpy)(float a, const float* x, std::size_t n, float* y);  // y += a * x
};

/// The table of the level in use; chosen at the first call (see simd_level.cpp), changed only by tests.
const KernelTable& kernels() noexcept;

extern const KernelTable kScalarKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kAvx512VnniKernels;
extern const KernelTable kAvx512Bf16Kernels;
extern const KernelTable kNeonKernels;
extern const KernelTable kDotprodKernels;

}  // namespace corvid::cpu
