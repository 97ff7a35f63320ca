// Exact search: the rows stream through once for all queries, 64 at a time; each thread keeps a small heap a query, merged at the end.
#include <algorithm>
#include <atomic>
#include <bit>
#include <limits>
#include <vector>

#include "corvid/compute/simd.hpp"
#include "cpu/optimised.hpp"
#include "cpu/scan_kernels.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

const ScanTable& scan_kernels() noexcept {
  switch (simd_level()) {
#if defined(__x86_64__)
    case SimdLevel::avx2:
    case SimdLevel::avxvnni: return kAvx2Scan;
    case SimdLevel::avx512: return kAvx512Scan;
    case SimdLevel::avx512vnni:
    case SimdLevel::avx512bf16: return kAvx512VnniScan;
#elif defined(__aarch64__)
    case SimdLevel::neon:
    case SimdLevel::dotprod:
    case SimdLevel::i8mm: return kNeonScan;
#endif
    default: return kScalarScan;
  }
}

namespace {

// Coding 64 rows costs about as much as scoring them for this many queries.
constexpr std::size_t kScreenFrom = 16;
// The screen adds eight bit products up in 32 bits.
constexpr std::size_t kScreenDimensions = 65536;

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

// What every thread reads.
struct Scan {
  const ScanTable& kernel;
  ConstTensorView vectors;
  const std::uint64_t* allowed;       // a bit each row, or null
  std::size_t d, n, rows, k;
  std::vector<const float*> queries;  // [n]
  std::vector<ScreenedQuery> coded;   // [n], or empty: no screen
  std::vector<std::int8_t> codes;
  // The worst score that any thread's full heap of the query has: less cannot be among the best.
  std::vector<std::atomic<float>> floors;

  const void* row(std::size_t r) const {
    const auto at = static_cast<std::int64_t>(r) * vectors.stride(0);
    return static_cast<const std::byte*>(vectors.data) + at * (vectors.dtype == DType::f16 ? 2 : 4);
  }
  bool half() const { return vectors.dtype == DType::f16; }
};

// What one thread writes; allocated before the loop, whose bodies must not throw.
struct Worker {
  std::vector<Candidate> items;      // [n, k]
  std::vector<Heap> heaps;           // [n]
  std::vector<float> floors;         // [n]
  std::vector<float> scores;         // [n or 1, kScanRows]
  std::vector<std::uint64_t> masks;  // [n]
  std::vector<std::uint8_t> codes;
  ScreenedRows coded{};

  explicit Worker(const Scan& scan)
      : items(scan.n * scan.k), heaps(scan.n), floors(scan.n), scores((scan.coded.empty() ? scan.n : 1) * kScanRows), masks(scan.coded.empty() ? 0 : scan.n),
        codes(scan.coded.empty() ? 0 : (scan.d + 3) / 4 * 4 * kScanRows) {
    for (std::size_t i = 0; i < scan.n; ++i) heaps[i].items = items.data() + i * scan.k;
    coded.codes = codes.data();
  }

  void offer(Scan& scan, std::size_t q, const std::size_t* rows, const float* scores_of, std::uint64_t mask) {
    Heap& heap = heaps[q];
    for (; mask; mask &= mask - 1) {
      const auto i = static_cast<std::size_t>(std::countr_zero(mask));
      heap.offer(scan.k, {scores_of[i], static_cast<std::int64_t>(rows[i])});
    }
    if (heap.size < scan.k) return;
    const float mine = heap.items[0].score;
    if (!(mine > floors[q])) return;
    floors[q] = mine;
    float shared = scan.floors[q].load(std::memory_order_relaxed);
    while (mine > shared && !scan.floors[q].compare_exchange_weak(shared, mine, std::memory_order_relaxed)) {}
  }

  void look(Scan& scan, const std::size_t* rows, const void* const* data, std::size_t count) {
    for (std::size_t q = 0; q < scan.n; ++q) floors[q] = std::max(floors[q], scan.floors[q].load(std::memory_order_relaxed));
    const bool half = scan.half();
    if (scan.coded.empty()) {
      scan.kernel.score(scan.queries.data(), scan.n, data, count, half, scan.d, scores.data());
      for (std::size_t q = 0; q < scan.n; ++q) {
        const float* mine = scores.data() + q * kScanRows;
        if (const std::uint64_t mask = scan.kernel.reaches(mine, count, floors[q])) offer(scan, q, rows, mine, mask);
      }
      return;
    }
    scan.kernel.screen_rows(data, count, half, scan.d, &coded);
    scan.kernel.screen(coded, scan.coded.data(), floors.data(), scan.n, scan.d, masks.data());
    const std::uint64_t present = count == kScanRows ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    const void* chosen[kScanRows];
    float dots[kScanRows];
    std::size_t ids[kScanRows];
    for (std::size_t q = 0; q < scan.n; ++q) {
      std::uint64_t mask = masks[q] & present;
      if (!mask) continue;
      std::size_t m = 0;
      for (; mask; mask &= mask - 1, ++m) {
        const auto i = static_cast<std::size_t>(std::countr_zero(mask));
        chosen[m] = data[i];
        ids[m] = rows[i];
      }
      scan.kernel.score(scan.queries.data() + q, 1, chosen, m, half, scan.d, dots);
      if (const std::uint64_t reached = scan.kernel.reaches(dots, m, floors[q])) offer(scan, q, ids, dots, reached);
    }
  }

  // Rows [begin, end); begin is a multiple of kScanRows.
  void run(Scan& scan, std::size_t begin, std::size_t end) {
    std::size_t rows[kScanRows], count = 0;
    const void* data[kScanRows];
    for (std::size_t r = begin; r < end; r += kScanRows) {
      const std::size_t here = std::min(kScanRows, end - r);
      std::uint64_t word = scan.allowed ? scan.allowed[r / kScanRows] : ~std::uint64_t{0};
      if (here < kScanRows) word &= (std::uint64_t{1} << here) - 1;
      for (; word; word &= word - 1) {  // what is left over of one word waits for the next
        const std::size_t row = r + static_cast<std::size_t>(std::countr_zero(word));
        rows[count] = row;
        data[count] = scan.row(row);
        if (++count == kScanRows) {
          look(scan, rows, data, count);
          count = 0;
        }
      }
    }
    if (count) look(scan, rows, data, count);
  }
};

}  // namespace

void scan_top_k(const OpContext& ctx, ConstTensorView queries, ConstTensorView vectors, ConstTensorView allowed, TensorView row_ids,
                TensorView scores) {
  Scan scan{scan_kernels(), vectors, static_cast<const std::uint64_t*>(allowed.data), static_cast<std::size_t>(queries.dim(1)),
            static_cast<std::size_t>(queries.dim(0)), static_cast<std::size_t>(vectors.dim(0)), 0, {}, {}, {}, {}};
  const auto wanted = static_cast<std::size_t>(row_ids.dim(1));
  scan.k = std::min(wanted, scan.rows);
  scan.queries.resize(scan.n);
  for (std::size_t i = 0; i < scan.n; ++i) scan.queries[i] = detail::row_at(queries, static_cast<std::int64_t>(i));
  scan.floors = std::vector<std::atomic<float>>(scan.n);
  for (auto& floor : scan.floors) floor.store(-std::numeric_limits<float>::infinity(), std::memory_order_relaxed);
  if (scan.kernel.screen && scan.n >= kScreenFrom && scan.d <= kScreenDimensions) {
    const std::size_t padded = (scan.d + 3) / 4 * 4;
    scan.codes.resize(scan.n * padded);
    scan.coded.resize(scan.n);
    for (std::size_t i = 0; i < scan.n; ++i) scan.kernel.screen_query(scan.queries[i], scan.d, scan.codes.data() + i * padded, &scan.coded[i]);
  }
  std::vector<Worker> workers;
  workers.reserve(thread_count(ctx));
  for (std::size_t t = 0; t < thread_count(ctx); ++t) {
    workers.emplace_back(scan);
    std::fill(workers.back().floors.begin(), workers.back().floors.end(), -std::numeric_limits<float>::infinity());
  }
  const std::size_t grain = (grain_for(scan.d * scan.n / 4) + kScanRows - 1) / kScanRows * kScanRows;
  for_threads(ctx, scan.k ? scan.rows : 0, grain, [&](std::size_t thread, std::size_t begin, std::size_t end) { workers[thread].run(scan, begin, end); });
  std::vector<Candidate> merged;
  for (std::size_t i = 0; i < scan.n; ++i) {
    merged.clear();
    for (const Worker& worker : workers) merged.insert(merged.end(), worker.heaps[i].items, worker.heaps[i].items + worker.heaps[i].size);
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
