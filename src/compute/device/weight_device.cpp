#include "device/weight_device.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/weight_cpu.hpp"
#include "device_stream.hpp"
#include "op_checks.hpp"
#include "weight_impl.hpp"

namespace corvid::device {

namespace {

// f32 rows are rounded in pieces of this many elements, so that no second copy of a matrix stands on the host.
constexpr std::size_t kPiece = std::size_t{1} << 22;

Status upload_rounded(const OpContext& ctx, DeviceStream& stream, const Weight::Impl& host, std::byte* to) {
  const auto n = static_cast<std::size_t>(host.rows * host.cols);
  std::vector<std::uint16_t> piece(std::min(n, kPiece));
  for (std::size_t at = 0; at < n; at += kPiece) {
    const std::size_t count = std::min(kPiece, n - at);
    detail::for_ranges(ctx, count, std::size_t{1} << 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        float value;
        std::memcpy(&value, host.data + (at + i) * 4, 4);
        piece[i] = float_to_bfloat16(value);
      }
    });
    CORVID_TRY_STATUS(stream.upload(to + at * 2, piece.data(), count * 2));
  }
  return {};
}

Result<Weight> uploaded(const OpContext& ctx, const Weight::Impl& host, MemoryBudget& budget) {
  CORVID_TRY(DeviceStream* const stream, detail::device_stream(ctx, "prepare_weight"));
  auto impl = std::make_shared<Weight::Impl>();
  impl->rows = host.rows;
  impl->cols = host.cols;
  impl->dtype = host.dtype;
  impl->device = ctx.device;
  impl->use = host.use;
  impl->dtype_on_device = host.dtype;
  if (host.use == WeightUse::vector) {
    impl->dtype_on_device = DType::f32;
    CORVID_TRY(impl->on_device, allocate(ctx, host.values.size() * sizeof(float), budget, "weights"));
    CORVID_TRY_STATUS(stream->upload(impl->on_device.data(), host.values.data(), host.values.size() * sizeof(float)));
  } else if (host.dtype == DType::f32 && ctx.precision == Precision::fast) {
    impl->dtype_on_device = DType::bf16;
    impl->row_bytes = static_cast<std::size_t>(host.cols) * 2;
    CORVID_TRY(impl->on_device, allocate(ctx, static_cast<std::uint64_t>(host.rows) * impl->row_bytes, budget, "weights"));
    CORVID_TRY_STATUS(upload_rounded(ctx, *stream, host, impl->on_device.data()));
  } else {
    impl->row_bytes = host.row_bytes;
    const std::uint64_t bytes = static_cast<std::uint64_t>(host.rows) * host.row_bytes;
    CORVID_TRY(impl->on_device, allocate(ctx, bytes, budget, "weights"));
    CORVID_TRY_STATUS(stream->upload(impl->on_device.data(), host.data, bytes));
  }
  impl->resident_bytes = impl->on_device.bytes();
  if (host.use == WeightUse::matrix || host.use == WeightUse::rounded) stream->note_matrix(impl->dtype_on_device, impl->rows, impl->cols);
  return Weight(std::move(impl));
}

}  // namespace

Result<Weight> prepare_weight(const OpContext& ctx, std::shared_ptr<const ModelFile> file, const TensorInfo& tensor, WeightUse use, MemoryBudget& budget) {
  // The host's handle lives as long as the upload; it maps the file and copies nothing but vectors, so no budget needs to know.
  OpContext host;
  host.precision = Precision::f32;
  host.path = OpPath::reference;  // rows as stored: no panels
  host.pool = ctx.pool;
  MemoryBudget unbounded(std::numeric_limits<std::uint64_t>::max());
  CORVID_TRY(const Weight checked, cpu::prepare_weight(host, std::move(file), tensor, use, unbounded));
  auto weight = uploaded(ctx, checked.impl(), budget);
  if (!weight) return fail(Error(weight.error()).at_file(tensor.file).at_key(tensor.name));
  return weight;
}

Result<Weight> make_weight(const OpContext& ctx, std::span<const float> values, std::int64_t rows, std::int64_t cols, WeightUse use, MemoryBudget& budget) {
  OpContext host;
  host.precision = Precision::f32;
  host.path = OpPath::reference;  // rows as stored: no panels
  MemoryBudget unbounded(std::numeric_limits<std::uint64_t>::max());
  CORVID_TRY(const Weight made, cpu::make_weight(host, values, rows, cols, use, unbounded));
  return uploaded(ctx, made.impl(), budget);
}

}  // namespace corvid::device
