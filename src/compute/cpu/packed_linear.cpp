#include "cpu/packed_linear.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#include "cpu/dense_kernels.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

// Blocks that each thread quantises for itself, on its stack: cheaper than to meet before the products.
constexpr std::size_t kOwnBlocks = 256;
// Activation blocks that are in use at once: half of a core's second cache, or of a small one's.
constexpr std::size_t kSharedBytes = std::size_t{1} << 20;
// Of one row's weights: what a thread takes at once of its share.
constexpr std::size_t kPieceBytes = std::size_t{32} << 10;

// Tiles of one call of a product.
constexpr std::size_t kStepTiles = 2;

// Groups of up to kGroupRows rows from `first` on, one after another: block b of group g's row r is at[(g * kGroupRows * blocks) + b * rows_of(g) + r].
struct Activations {
  ActivationBlock* at;
  std::size_t first, rows, blocks;

  std::size_t groups() const { return (rows + kGroupRows - 1) / kGroupRows; }
  std::size_t rows_of(std::size_t g) const { return std::min(kGroupRows, rows - g * kGroupRows); }
  ActivationBlock* group(std::size_t g) const { return at + g * kGroupRows * blocks; }

  void quantise(const PackedKernels& k, const ConstTensorView& x, std::size_t row) const {
    const std::size_t g = row / kGroupRows;
    k.quantise(detail::row_at(x, static_cast<std::int64_t>(first + row)), blocks * kBlockColumns, rows_of(g), group(g) + row % kGroupRows);
  }
};

void store(const DenseKernels& k, const PackedProduct& p, std::size_t tile, std::size_t tiles, const Activations& a, std::size_t g, const float* values) {
  const std::size_t column = tile * kTileRows, width = tiles * kTileRows, columns = std::min(width, p.w->rows - column);
  float* out = p.y.as<float>() + static_cast<std::int64_t>(a.first + g * kGroupRows) * p.y.stride(0) + column;
  for (std::size_t r = 0; r < a.rows_of(g); ++r, values += width, out += p.y.stride(0)) {
    k.finish(values, p.bias ? p.bias + column : nullptr, p.act, p.accumulate, columns, out);
  }
}

// Tiles [begin, end) of all products in their order, against every group.
void multiply(const PackedKernels& k, std::span<const PackedProduct> products, const Activations& a, std::size_t begin, std::size_t end) {
  alignas(64) float values[kGroupRows * kTileRows * kStepTiles];
  const DenseKernels& finish = dense_kernels();
  std::size_t before = 0;
  for (const PackedProduct& p : products) {
    const std::size_t tiles = p.w->tiles();
    const std::size_t last = std::min(end, before + tiles);
    for (std::size_t t = std::max(begin, before), some; t < last; t += some) {
      some = std::min(kStepTiles, last - t);
      for (std::size_t g = 0; g < a.groups(); ++g) {
        k.product[p.w->format](p.w->tile(t - before), some, p.w->layout, a.group(g), a.rows_of(g), values);
        store(finish, p, t - before, some, a, g, values);
      }
    }
    before += tiles;
  }
}

// Each thread's part of the tiles, in one run of memory; who has done its own helps the others.
class Shares {
 public:
  Shares(std::size_t n, std::size_t threads, std::size_t grain) : count_(std::min(threads, kMost)), grain_(grain) {
    for (std::size_t i = 0; i < count_; ++i) {
      parts_[i].next.store(n * i / count_, std::memory_order_relaxed);
      parts_[i].end = n * (i + 1) / count_;
    }
  }
  template <class Body>
  void work(std::size_t thread, Body&& body) {
    for (std::size_t i = 0; i < count_; ++i) {
      Part& part = parts_[(thread + i) % count_];
      while (part.next.load(std::memory_order_relaxed) < part.end) {
        const std::size_t begin = part.next.fetch_add(grain_, std::memory_order_relaxed);
        if (begin < part.end) body(begin, std::min(begin + grain_, part.end));
      }
    }
  }

 private:
  static constexpr std::size_t kMost = 32;
  struct alignas(64) Part {
    std::atomic<std::size_t> next;
    std::size_t end;
  };
  Part parts_[kMost];
  std::size_t count_, grain_;
};

template <class Body>
void for_shares(const OpContext& ctx, std::size_t n, std::size_t grain, Body&& body) {
  const std::size_t threads = thread_count(ctx);
  if (threads == 1 || n <= grain) return body(std::size_t{0}, n);
  Shares shares(n, threads, grain);
  ctx.pool->run([&](int thread, int) { shares.work(static_cast<std::size_t>(thread), body); });
}

void few_rows(const OpContext& ctx, const PackedKernels& k, const ConstTensorView& x, std::span<const PackedProduct> products, std::size_t rows, std::size_t blocks, std::size_t tiles, std::size_t grain) {
  const auto whole = [&](auto&& each) {
    alignas(64) ActivationBlock own[kOwnBlocks];
    const Activations a{own, 0, rows, blocks};
    for (std::size_t r = 0; r < rows; ++r) a.quantise(k, x, r);
    each(a);
  };
  const std::size_t threads = thread_count(ctx);
  if (threads == 1 || tiles <= grain) return whole([&](const Activations& a) { multiply(k, products, a, 0, tiles); });
  Shares shares(tiles, threads, grain);
  ctx.pool->run([&](int thread, int) {
    whole([&](const Activations& a) {
      shares.work(static_cast<std::size_t>(thread), [&](std::size_t begin, std::size_t end) { multiply(k, products, a, begin, end); });
    });
  });
}

}  // namespace

void packed_linear(const OpContext& ctx, ConstTensorView x, std::span<const PackedProduct> products) {
  const PackedKernels& k = packed_kernels();
  const auto rows = static_cast<std::size_t>(x.dim(0));
  const std::size_t blocks = products.front().w->layout.blocks;
  std::size_t tiles = 0, tile_bytes = 0;
  for (const PackedProduct& p : products) {
    tiles += p.w->tiles();
    tile_bytes = std::max(tile_bytes, p.w->layout.tile_bytes);
  }
  const std::size_t grain = std::max(rows > 1 ? kStepTiles : 1, kPieceBytes / (tile_bytes * rows) / kStepTiles * kStepTiles);
  if (rows <= kGroupRows && rows * blocks <= kOwnBlocks) return few_rows(ctx, k, x, products, rows, blocks, tiles, grain);

  const std::size_t group_bytes = kGroupRows * blocks * sizeof(ActivationBlock);
  const std::size_t most = std::max<std::size_t>(1, kSharedBytes / group_bytes) * kGroupRows;  // rows
  const std::size_t wanted = std::min(rows, most) * blocks;
  std::unique_ptr<ActivationBlock[]> own;
  void* memory = ctx.scratch.data();
  std::size_t room = ctx.scratch.size();
  auto* at = static_cast<ActivationBlock*>(std::align(alignof(ActivationBlock), wanted * sizeof(ActivationBlock), memory, room));
  if (!at) {
    own.reset(new ActivationBlock[wanted]);
    at = own.get();
  }
  for (std::size_t first = 0; first < rows; first += most) {
    const Activations a{at, first, std::min(most, rows - first), blocks};
    for_threads(ctx, a.rows, grain_for(blocks * kBlockColumns), [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) a.quantise(k, x, r);
    });
    for_shares(ctx, tiles, grain, [&](std::size_t begin, std::size_t end) { multiply(k, products, a, begin, end); });
  }
}

}  // namespace corvid::cpu
