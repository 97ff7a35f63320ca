// Block-format matrices repacked for integer dot products, about the size they have in the file.
//
// A matrix is cut in tiles of 16 rows, a row in blocks of 32 columns. A line is 64 bytes: for each of the 16 rows the quants of 4
// consecutive columns, so that a vector of weights meets 4 activations that are the same in every lane. A block's 32 columns are
// 8 such groups v; quants are unsigned, their bits spread over the block's lines:
//
//   4 bits  line j of 4: group j in the low nibbles, group j + 4 in the high ones
//   2 bits  line j of 2: group 4 * j + i in bits 2 * i and 2 * i + 1
//   1 bit   one line: group v in bit v
//   8 bits  8 lines
//
// A tile is [blocks][lines] of quants, then [blocks] of the 16 rows' block scales, then [cols / 256] of their super-block scales:
//
//   q4_0 q5_0 q8_0   f16 d[16]                     q4_k q5_k   u8 scale[16], min[16]               f16 d[16], dmin[16]
//   q4_1 q5_1        f16 d[16], m[16]              q6_k q3_k   i8 scale[2][16]                     f16 d[16]
//                                                  q2_k        u8 (scale | min << 4)[2][16]        f16 d[16], dmin[16]
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "corvid/tensor/dtype.hpp"
#include "cpu/kernels.hpp"

namespace corvid::cpu {

constexpr std::size_t kTileRows = 16, kLineBytes = 64, kBlockColumns = 32;

/// The format of a dtype, or nullopt where rows are not blocks.
std::optional<BlockFormat> block_format(DType dtype) noexcept;

/// Where things lie in a tile, in bytes from its start.
struct PackedLayout {
  std::size_t blocks = 0;       // of 32 columns
  std::size_t block_bytes = 0;  // quants of a block
  std::size_t scales_at = 0, scale_bytes = 0;
  std::size_t supers_at = 0, super_bytes = 0;
  std::size_t tile_bytes = 0;   // a multiple of 64

  static PackedLayout of(BlockFormat format, std::size_t cols) noexcept;
};

struct PackedMatrix {
  BlockFormat format{};
  PackedLayout layout;
  std::size_t rows = 0;
  std::shared_ptr<std::byte> data;  // tiles one after another, 64-byte aligned; the last tile's missing rows are zeros

  explicit operator bool() const noexcept { return data != nullptr; }
  std::size_t tiles() const noexcept { return (rows + kTileRows - 1) / kTileRows; }
  const std::uint8_t* tile(std::size_t i) const noexcept { return reinterpret_cast<const std::uint8_t*>(data.get()) + i * layout.tile_bytes; }
};

/// Packs `count` rows (at most 16), stored `row_bytes` apart, into one tile. Returns the offset from `rows` of the first block with a
/// scale that is NaN or infinite, or ~0.
std::size_t pack_tile(BlockFormat format, const PackedLayout& layout, const std::uint8_t* rows, std::size_t row_bytes, std::size_t count, std::uint8_t* tile);

/// Block b of row r of a kQ8_0 tile: `scale` of f16 and 32 quants.
void put_block(const PackedLayout& layout, std::uint8_t* tile, std::size_t b, std::size_t r, std::uint16_t scale, const std::int8_t* quants);

/// Row i as floats, for gathers: the mapped original would come back into memory 64 KiB a touch.
void unpack_row(const PackedMatrix& m, std::size_t i, float* out);

/// 32 activations: x = scale * q, and what formats with an offset or a minimum need of the quants' sum.
struct alignas(64) ActivationBlock {
  std::int8_t q[32];
  float scale;
  float sum;                               // scale * sum of q
  std::int32_t times8, times16, times128;  // -8, -16, -128 times the sum of q
  std::int32_t halves[2];                  // -32 times the sum of each 16
  std::int32_t unused;
};

/// The most activation rows of one call of a product: a group.
constexpr std::size_t kGroupRows = 16;

/// Sums of floats are taken block after block, each row with its own accumulator, so that a row's bits do not depend on its group.
struct PackedKernels {
  /// n is a multiple of 32; block b goes to out[b * stride].
  void (*quantise)(const float* x, std::size_t n, std::size_t stride, ActivationBlock* out);
  /// out[(r * tiles + t) * 16 + i] = activation row r times row i of tile t, of one or two that follow each other; block b of row r is
  /// x[b * rows + r].
  void (*product[kBlockFormats])(const std::uint8_t* tile, std::size_t tiles, const PackedLayout& layout, const ActivationBlock* x, std::size_t rows, float* out);
};

/// Of the instruction set in use, as kernels().
const PackedKernels& packed_kernels() noexcept;

extern const PackedKernels kPackedScalar;
extern const PackedKernels kPackedAvx2;
extern const PackedKernels kPackedAvxVnni;
extern const PackedKernels kPackedAvx512;
extern const PackedKernels kPackedAvx512Vnni;
extern const PackedKernels kPackedNeon;
extern const PackedKernels kPackedDotprod;
extern const PackedKernels kPackedI8mm;

}  // namespace corvid::cpu
