// Exact search: vectors stream through once for all queries; each thread keeps a small heap a query, merged at the end.
#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "cpu/kernels.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

struct Candidate {
  float score;
  std::int64_t row;
};
// A total order, so that the result does not depend on which thread saw a row.
bool better(const Candidate& a, const Candidate& b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

// The k best so far; the worst on top.
struct Heap {
  Candidate* items;
  std::size_t size = 0;

  void offer(std::size_t k, Candidate c) {
    if (size < k) {
      items[size++] = c;
      std::push_heap(items, items + size, better);
    } else if (better(c, items[0])) {
      std::pop_heap(items, items + size, better);
      items[size - 1] = c;
      std::push_heap(items, items + size, better);
    }
  }
};

}  // namespace

void scan_top_k(const OpContext& ctx, ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids,
                TensorView scores) {
  const KernelTable& kernel = kernels();
  const auto d = static_cast<std::size_t>(queries.dim(1)), n = static_cast<std::size_t>(queries.dim(0));
  const auto rows = static_cast<std::size_t>(vectors.dim(0)), wanted = static_cast<std::size_t>(row_ids.dim(1)), k = std::min(wanted, rows);
  const bool half = vectors.dtype == DType::f16;
  const auto* words = static_cast<const std::int64_t*>(allowed.data);
  const std::size_t threads = thread_count(ctx);
  std::vector<const float*> inputs(n);
  for (std::size_t i = 0; i < n; ++i) inputs[i] = detail::row_at(queries, static_cast<std::int64_t>(i));
  std::vector<Candidate> items(threads * n * k);
  std::vector<Heap> heaps(threads * n);
  for (std::size_t i = 0; i < heaps.size(); ++i) heaps[i].items = items.data() + i * k;
  std::vector<float> scratch(threads * (n + d));
  for_threads(ctx, k ? rows : 0, std::max<std::size_t>(64, grain_for(d * n / 4)), [&](std::size_t thread, std::size_t begin, std::size_t end) {
    float* dots = scratch.data() + thread * (n + d);
    float* row = dots + n;
    Heap* mine = heaps.data() + thread * n;
    for (std::size_t r = begin; r < end; ++r) {
      if (words) {
        const auto word = static_cast<std::uint64_t>(words[r / 64]) >> (r % 64);
        if (word == 0) {
          r |= 63;  // nothing more in this word
          continue;
        }
        if (!(word & 1u)) continue;
      }
      const std::int64_t at = static_cast<std::int64_t>(r) * vectors.stride(0);
      const float* vector = row;
      if (half) kernel.half_to_f32(static_cast<const std::uint16_t*>(vectors.data) + at, d, row);
      else vector = static_cast<const float*>(vectors.data) + at;
      kernel.dot_f32(d, vector, d, 1, inputs.data(), n, dots);
      for (std::size_t i = 0; i < n; ++i) {
        if (mine[i].size < k || dots[i] >= mine[i].items[0].score) mine[i].offer(k, {dots[i], static_cast<std::int64_t>(r)});
      }
    }
  });
  std::vector<Candidate> merged;
  for (std::size_t i = 0; i < n; ++i) {
    merged.clear();
    for (std::size_t t = 0; t < threads; ++t) {
      const Heap& heap = heaps[t * n + i];
      merged.insert(merged.end(), heap.items, heap.items + heap.size);
    }
    std::sort(merged.begin(), merged.end(), better);
    auto* ids = row_ids.as<std::int64_t>() + static_cast<std::int64_t>(i) * row_ids.stride(0);
    float* out = detail::row_at(scores, static_cast<std::int64_t>(i));
    for (std::size_t j = 0; j < wanted; ++j) {
      ids[j] = j < merged.size() ? merged[j].row : -1;
      out[j] = j < merged.size() ? merged[j].score : -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace corvid::cpu
