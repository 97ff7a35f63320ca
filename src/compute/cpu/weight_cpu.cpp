#include "cpu/weight_cpu.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

#include "corvid/compute/weight_arena.hpp"
#include "cpu/dense_weight.hpp"
#include "cpu/rounded_weight.hpp"
#include "op_checks.hpp"
#include "weight_impl.hpp"

namespace corvid::cpu {

namespace {

std::uint16_t half_at(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bits;
}
bool bad_half(std::uint16_t bits) { return (bits & 0x7c00u) == 0x7c00u; }

// Byte offsets in a block of the half-precision scales that must be finite.
struct ScaleOffsets { std::size_t first, second; };
constexpr std::size_t kNone = ~std::size_t{0};
ScaleOffsets scale_offsets(DType dtype) {
  switch (dtype) {
    case DType::q8_0: case DType::q4_0: case DType::q5_0: return {0, kNone};
    case DType::q4_1: case DType::q5_1: case DType::q4_k: case DType::q5_k: return {0, 2};
    case DType::q2_k: return {80, 82};
    case DType::q3_k: return {108, kNone};
    case DType::q6_k: return {208, kNone};
    default: return {kNone, kNone};
  }
}

// The offset of the first value or block scale that is NaN or infinite, or kNone.
std::size_t first_not_finite(const OpContext& ctx, DType dtype, std::span<const std::byte> bytes) {
  const ScaleOffsets at = scale_offsets(dtype);
  const std::size_t step = traits(dtype).block_bytes;
  std::atomic<std::size_t> first{kNone};
  detail::for_ranges(ctx, bytes.size() / step, std::size_t{1} << 16, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::byte* p = bytes.data() + i * step;
      bool bad = false;
      if (at.first != kNone) {
        bad = bad_half(half_at(p + at.first)) || (at.second != kNone && bad_half(half_at(p + at.second)));
      } else if (dtype == DType::f32) {
        std::uint32_t bits;
        std::memcpy(&bits, p, sizeof bits);
        bad = (bits & 0x7f800000u) == 0x7f800000u;
      } else if (dtype == DType::f16) {
        bad = bad_half(half_at(p));
      } else if (dtype == DType::bf16) {
        bad = (half_at(p) & 0x7f80u) == 0x7f80u;
      }
      if (!bad) continue;
      std::size_t seen = first.load();
      while (i * step < seen && !first.compare_exchange_weak(seen, i * step)) {}
      return;
    }
  });
  return first.load();
}

bool float_dtype(DType d) { return d == DType::f32 || d == DType::f16 || d == DType::bf16; }

std::vector<float> to_floats(DType dtype, const std::byte* p, std::size_t n) {
  std::vector<float> out(n);
  if (dtype == DType::f32) std::memcpy(out.data(), p, n * 4);
  else for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t bits = half_at(p + 2 * i);
    out[i] = dtype == DType::f16 ? half_to_float(bits) : bfloat16_to_float(bits);
  }
  return out;
}

// Tiles are packed and checked in one pass over the file, whose pages are given back behind it. Returns as first_not_finite.
std::size_t pack(const OpContext& ctx, const ModelFile* file, std::span<const std::byte> bytes, std::size_t row_bytes, const PackedMatrix& packed) {
  constexpr std::size_t kPiece = std::size_t{512} << 10;  // of the file
  const std::size_t tile_bytes = row_bytes * kTileRows;
  std::atomic<std::size_t> first{kNone};
  detail::for_ranges(ctx, packed.tiles(), 1 + kPiece / tile_bytes, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const std::size_t at = t * tile_bytes, rows = std::min(kTileRows, packed.rows - t * kTileRows);
      auto* tile = reinterpret_cast<std::uint8_t*>(packed.data.get()) + t * packed.layout.tile_bytes;
      const std::size_t bad = pack_tile(packed.format, packed.layout, reinterpret_cast<const std::uint8_t*>(bytes.data() + at), row_bytes, rows, tile);
      std::size_t seen = first.load();
      while (bad != kNone && at + bad < seen && !first.compare_exchange_weak(seen, at + bad)) {}
    }
    if (file) file->release(bytes.subspan(begin * tile_bytes, std::min(end * tile_bytes, bytes.size()) - begin * tile_bytes));
  });
  return first.load();
}

// Room for w in tiles, which the budget knows; nothing of the file stays.
Status take_tiles(const OpContext& ctx, BlockFormat format, MemoryBudget& budget, Weight::Impl& w) {
  PackedMatrix& packed = w.packed;
  packed.format = format;
  packed.layout = PackedLayout::of(format, static_cast<std::size_t>(w.cols));
  packed.rows = static_cast<std::size_t>(w.rows);
  w.resident_bytes = packed.tiles() * packed.layout.tile_bytes;
  CORVID_TRY(w.reservation, budget.reserve(w.resident_bytes, "weights"));
  if (ctx.arena) packed.data = ctx.arena->allocate(w.resident_bytes);
  else if (void* const own = std::aligned_alloc(kLineBytes, w.resident_bytes)) packed.data = {static_cast<std::byte*>(own), [](std::byte* p) { std::free(p); }};
  if (!packed.data) return fail(Error::out_of_memory("the system has no " + std::to_string(w.resident_bytes) + " bytes left"));
  return {};
}

// Rounds w.data to tiles. False where a value is too large for them: w is as before.
Result<bool> round_to_tiles(const OpContext& ctx, MemoryBudget& budget, Weight::Impl& w) {
  CORVID_TRY_STATUS(take_tiles(ctx, kQ8_0, budget, w));
  std::atomic<bool> fits{true};
  detail::for_ranges(ctx, w.packed.tiles(), 4, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end && fits; ++t) {
      if (!round_tile(w, t)) fits = false;
    }
  });
  if (fits) return true;
  w.packed = {};
  w.reservation = {};
  w.resident_bytes = 0;
  return false;
}

Error in_tensor(Error error, const TensorInfo& tensor) { return std::move(error).at_file(tensor.file).at_key(tensor.name); }

Error not_finite(const TensorInfo& tensor, std::size_t at) {
  return in_tensor(Error::bad_input("a weight or block scale is NaN or infinite; the file is damaged, fetch it again"), tensor).at_offset(tensor.file_offset + at);
}

}  // namespace

Result<Weight> prepare_weight(const OpContext& ctx, std::shared_ptr<const ModelFile> file, const TensorInfo& tensor,
                              WeightUse use, MemoryBudget& budget) {
  const DType dtype = tensor.dtype;
  const std::size_t want_rank = use == WeightUse::vector ? 1 : 2;
  if (tensor.shape.size() != want_rank) {
    return fail(in_tensor(Error::bad_input("tensor has " + std::to_string(tensor.shape.size()) + " dimensions where " +
                                           std::to_string(want_rank) + " are needed"), tensor).at_offset(tensor.file_offset));
  }
  if (!float_dtype(dtype) && (use == WeightUse::vector || !is_quantised(dtype))) {
    return fail(in_tensor(Error::unsupported(std::string("a ") + (use == WeightUse::vector ? "vector" : "matrix") + " weight of type " +
                                             std::string(traits(dtype).name) + " on the CPU"), tensor));
  }
  auto impl = std::make_shared<Weight::Impl>();
  impl->rows = want_rank == 2 ? tensor.shape[0] : 1;
  impl->cols = tensor.shape.back();
  if (impl->rows <= 0 || impl->cols <= 0) return fail(in_tensor(Error::bad_input("tensor is empty"), tensor).at_offset(tensor.file_offset));
  impl->dtype = dtype;
  impl->device = ctx.device;
  impl->use = use;
  CORVID_TRY(const std::uint64_t row_bytes, bytes_of(dtype, static_cast<std::uint64_t>(impl->cols)));
  if (row_bytes > std::numeric_limits<std::uint64_t>::max() / static_cast<std::uint64_t>(impl->rows) ||
      row_bytes * static_cast<std::uint64_t>(impl->rows) != tensor.bytes.size()) {
    return fail(in_tensor(Error::bad_input("tensor holds " + std::to_string(tensor.bytes.size()) + " bytes, which is not its shape's size"),
                          tensor).at_offset(tensor.file_offset));
  }
  impl->row_bytes = row_bytes;
  const auto elements = static_cast<std::uint64_t>(impl->rows) * static_cast<std::uint64_t>(impl->cols);
  const std::size_t alignment = dtype == DType::f32 ? 4 : 2;
  const bool misaligned = reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignment != 0;
  if (const auto format = block_format(dtype); format && ctx.precision == Precision::fast && use != WeightUse::lookup) {
    if (auto taken = take_tiles(ctx, *format, budget, *impl); !taken) return fail(in_tensor(std::move(taken).error(), tensor));
    if (const std::size_t at = pack(ctx, file.get(), tensor.bytes, row_bytes, impl->packed); at != kNone) return fail(not_finite(tensor, at));
    impl->file = std::move(file);
    impl->data = tensor.bytes.data();  // blocks are read byte by byte: no alignment is needed
    return Weight(std::move(impl));
  }
  if (use == WeightUse::rounded) {
    if (!misaligned && rounding_pays(ctx, dtype, impl->cols)) {
      if (const std::size_t at = first_not_finite(ctx, dtype, tensor.bytes); at != kNone) return fail(not_finite(tensor, at));
      impl->data = tensor.bytes.data();
      auto rounded = round_to_tiles(ctx, budget, *impl);
      if (!rounded) return fail(in_tensor(std::move(rounded).error(), tensor));
      if (*rounded) {
        if (file) file->release(tensor.bytes);
        impl->file = std::move(file);
        return Weight(std::move(impl));
      }
    }
    impl->use = use = WeightUse::matrix;
  }
  const PanelKind kind = panel_kind_for(ctx, dtype, use);
  const std::uint64_t owned = use == WeightUse::vector ? elements * 4 : misaligned ? tensor.bytes.size() : 0;
  const std::uint64_t mapped = use == WeightUse::vector || kind != PanelKind::none ? 0 : tensor.bytes.size();  // packed: not kept in memory
  auto reserved = budget.reserve(owned + mapped, "weights");
  if (!reserved) return fail(in_tensor(reserved.error(), tensor));
  impl->reservation = std::move(*reserved);
  impl->resident_bytes = owned;
  if (const std::size_t at = first_not_finite(ctx, dtype, tensor.bytes); at != kNone) {
    return fail(not_finite(tensor, at));
  }
  if (use == WeightUse::vector) {
    impl->values = to_floats(dtype, tensor.bytes.data(), static_cast<std::size_t>(elements));
    return Weight(std::move(impl));
  }
  if (misaligned) {
    impl->owned.assign(tensor.bytes.begin(), tensor.bytes.end());
    impl->data = impl->owned.data();
  } else {
    impl->file = std::move(file);
    impl->data = tensor.bytes.data();
  }
  if (kind != PanelKind::none) {
    if (auto packed = pack_panels(ctx, kind, *impl, budget); !packed) return fail(in_tensor(std::move(packed).error(), tensor));
    impl->resident_bytes += impl->panels.bytes();
    if (impl->file) impl->file->release(tensor.bytes);
  }
  // Gathers touch few pages of what the check has read. A device's upload, which asks for f32, reads them all again.
  if (impl->file && use == WeightUse::lookup && ctx.precision == Precision::fast) impl->file->release(tensor.bytes);
  return Weight(std::move(impl));
}

Result<Weight> make_weight(const OpContext& ctx, std::span<const float> values, std::int64_t rows, std::int64_t cols,
                           WeightUse use, MemoryBudget& budget) {
  if (use == WeightUse::rounded) use = WeightUse::matrix;  // few and small so far: not rounded
  auto impl = std::make_shared<Weight::Impl>();
  impl->rows = rows;
  impl->cols = cols;
  impl->device = ctx.device;
  impl->use = use;
  impl->row_bytes = static_cast<std::size_t>(cols) * 4;
  impl->resident_bytes = values.size_bytes();
  CORVID_TRY(impl->reservation, budget.reserve(impl->resident_bytes, "weights"));
  if (use == WeightUse::vector) {
    impl->values.assign(values.begin(), values.end());
    return Weight(std::move(impl));
  }
  const auto bytes = std::as_bytes(values);
  impl->owned.assign(bytes.begin(), bytes.end());
  impl->data = impl->owned.data();
  CORVID_TRY_STATUS(pack_panels(ctx, panel_kind_for(ctx, DType::f32, use), *impl, budget));
  impl->resident_bytes += impl->panels.bytes();
  return Weight(std::move(impl));
}

}  // namespace corvid::cpu
