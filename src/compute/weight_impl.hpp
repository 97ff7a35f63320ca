// What a Weight holds: host memory on the CPU, `on_device` elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "corvid/compute/buffer.hpp"
#include "corvid/compute/weight.hpp"
#include "cpu/packed.hpp"

namespace corvid {

/// How a float matrix lies in panels (cpu/dense_kernels.hpp).
enum class PanelKind : std::uint8_t {
  none,
  f32,
  f16,
  bf16,        ///< single values, for f32 activations
  bf16_pairs,  ///< pairs, for bf16 activations
};

struct Weight::Impl {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DType dtype = DType::f32;
  Device device{};
  WeightUse use = WeightUse::matrix;
  std::shared_ptr<const ModelFile> file;   // keeps `data` mapped; null when the bytes are owned
  const std::byte* data = nullptr;         // [rows, cols] of dtype, row_bytes apart, aligned for dtype's scalars
  std::size_t row_bytes = 0;
  std::vector<std::byte> owned;            // behind `data` when not mapped
  std::vector<float> values;               // a vector's f32 values, [cols]
  cpu::PackedMatrix packed;                // a block-format matrix for Precision::fast, or empty; `data` is for the reference then
  Buffer panels;                           // a float matrix as cpu/dense_weight.hpp packs it, or empty; `data` then is not kept in memory
  PanelKind panel_kind = PanelKind::none;
  Buffer on_device;                        // elsewhere: the rows as stored in `dtype_on_device`, or a vector's f32 values
  DType dtype_on_device = DType::f32;
  std::uint64_t resident_bytes = 0;
  Reservation reservation;

  const std::byte* row(std::int64_t i) const { return data + static_cast<std::size_t>(i) * row_bytes; }
};

}  // namespace corvid
