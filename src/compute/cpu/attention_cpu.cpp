// Causal attention over pages. All query heads of a key head, of up to kTileRows rows, meet the keys together, in parts of kPart positions
// that begin at multiples of it; each part has its own softmax, and the parts are merged in order (Dao et al. 2023, section 3.1). What a
// row computes depends on its position alone: other rows of a tile only add terms that are exactly zero. Where tasks are few (decoding),
// threads share the parts. Few queries meet keys and values where they lie, in f16; for many those of a part become f32 once, which is
// exact: both compute the same.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "cpu/dense_kernels.hpp"
#include "cpu/dense_scratch.hpp"
#include "cpu/optimised.hpp"
#include "op_checks.hpp"

namespace corvid::cpu {

namespace {

// Positions of a part: a part's keys (64 wide, in f16) take 32 KiB.
constexpr std::int64_t kPart = 256;
// Query rows times heads of a tile: enough that repacking the keys is a small part, few enough that the scores of a part stay in L2.
constexpr std::int64_t kTileRows = 84;
// From so many queries on, f16 is widened once a part: a conversion costs a product two of the instructions of which a row takes one.
constexpr std::size_t kWidenFrom = 15;
constexpr std::size_t kColumns = 2 * kPanel;  // of values that are widened at once
constexpr std::int64_t kAhead = 2;            // pages

// Rows [row, row + rows) of one sequence, for one key head.
struct Task {
  std::int64_t sequence, row, rows, head;
  std::int64_t first, last;  // positions that any of the rows sees
  std::size_t unit;          // of its first part, where threads share parts
};

// What a part, or several merged ones, says of one query: its softmax's largest score and sum, the weighted sum of values apart.
struct Partial { float top, sum; };

struct Problem {
  const DenseKernels& kernel;
  const ops::AttentionParams& params;
  const ops::RaggedRows& rows;
  ConstTensorView q;
  ops::PagedKv kv;
  TensorView y;
  std::int64_t group;  // query heads of a key head

  std::size_t d() const { return static_cast<std::size_t>(q.dim(2)); }
  std::size_t width() const { return (d() + kPanel - 1) / kPanel * kPanel; }
  std::size_t queries(const Task& task) const { return static_cast<std::size_t>(task.rows * group); }
  std::int64_t position(std::int64_t row) const { return rows.positions.as<const std::int32_t>()[row]; }
  std::int64_t first_seen(std::int64_t at) const { return params.window > 0 ? std::max<std::int64_t>(0, at - params.window + 1) : 0; }

  static constexpr std::size_t kScoreStride = kPart + kPanel;  // an odd number of cache lines
  std::size_t room(std::size_t n) const {
    return Pieces::room<float>(n * d()) + Pieces::room<float>(static_cast<std::size_t>(kPart) * width()) + Pieces::room<float>(n * kScoreStride) +
           2 * Pieces::room<float>(n * width()) + 2 * Pieces::room<Partial>(n);
  }
  std::int64_t page_tokens() const { return kv.v.dim(2); }
  std::int64_t left_of_page(std::int64_t at) const { return page_tokens() - at % page_tokens(); }
  bool panels_in_place() const { return kv.k_transposed && page_tokens() % std::int64_t{kPanel} == 0; }

  template <class T>
  const T* head_of(const TensorView& t, const Task& task, std::int64_t at) const {
    const std::int64_t page = rows.page_table.as<const std::int32_t>()[task.sequence * rows.page_table.stride(0) + at / page_tokens()];
    return static_cast<const T*>(t.data) + page * t.stride(0) + task.head * t.stride(1);
  }
  template <class T>
  const T* key(const Task& task, std::int64_t at) const { return head_of<T>(kv.k, task, at) + at % page_tokens() * kv.k.stride(kv.k_transposed ? 3 : 2); }
  template <class T>
  const T* value(const Task& task, std::int64_t at) const { return head_of<T>(kv.v, task, at) + at % page_tokens() * kv.v.stride(2); }

  // Where to read from two pages after the keys, or values, of `at`: a part's keys come first, then its values, then the next part's.
  template <class T>
  const T* ahead(const Task& task, std::int64_t at, std::int64_t low, std::int64_t high, bool values) const {
    const std::int64_t first = low / page_tokens(), pages = (high - 1) / page_tokens() + 1 - first;
    std::int64_t i = at / page_tokens() - first + (values ? pages : 0) + kAhead;
    const bool to_values = i >= pages && i < 2 * pages;
    if (i >= pages) i -= pages;
    const std::int64_t to = (first + i) * page_tokens() + at % page_tokens();
    if (to > task.last) return nullptr;
    return to_values ? value<T>(task, to) : key<T>(task, to);
  }

  // The queries of a task, [rows * group][d].
  void gather(const Task& task, float* to) const {
    for (std::int64_t r = 0; r < task.rows; ++r) {
      for (std::int64_t g = 0; g < group; ++g, to += d()) std::copy_n(detail::row_at(q, (task.row + r) * q.dim(1) + task.head * group + g), d(), to);
    }
  }

  template <class T>
  void multiply(const float* a, std::size_t lda, std::size_t n, const T* b, std::size_t row, std::size_t panel, std::size_t count, std::size_t depth, bool add, float* to, std::size_t ldo, const T* ahead = nullptr) const {
    (sizeof(T) == 2 ? kernel.product_half : kernel.product_f32)(a, lda, n, {b, row, panel, count, ahead}, depth, add, to, ldo);
  }

  // Scores of the keys [base, base + blocks * kPanel), of which those outside of [low, high) are anything. `packed` has room for a part.
  template <class T>
  void scores(const Task& task, std::int64_t base, std::int64_t low, std::int64_t high, std::size_t blocks, const float* query, void* packed, float* s) const {
    const std::size_t n = queries(task), depth = d();
    if (!panels_in_place()) {
      T* const panels = static_cast<T*>(packed);
      for (std::size_t b = 0; b < blocks; ++b) pack<T>(task, base + static_cast<std::int64_t>(b * kPanel), low, high, panels + b * kPanel * depth);
      return multiply(query, depth, n, panels, kPanel, kPanel * depth, blocks, depth, false, s, kScoreStride);
    }
    const auto row = static_cast<std::size_t>(kv.k.stride(2));
    const std::int64_t end = base + static_cast<std::int64_t>(blocks * kPanel);
    for (std::int64_t at = base; at < end;) {
      const std::int64_t count = std::min(left_of_page(at), end - at);
      const auto some = static_cast<std::size_t>(count);
      const T* keys = key<T>(task, at);
      float* const to = s + (at - base);
      at += count;
      if constexpr (sizeof(T) == 2) {
        if (n >= kWidenFrom) {
          float* const panels = static_cast<float*>(packed);
          kernel.widen_half(keys, row, depth, some, panels, some);
          multiply(query, depth, n, panels, some, kPanel, some / kPanel, depth, false, to, kScoreStride);
          continue;
        }
      }
      multiply(query, depth, n, keys, row, kPanel, some / kPanel, depth, false, to, kScoreStride, ahead<T>(task, at - count, base, high, false));
    }
  }

  // Keys [first, first + kPanel), zeros outside of [low, high), to a panel.
  template <class T>
  void pack(const Task& task, std::int64_t first, std::int64_t low, std::int64_t high, T* panel) const {
    const T* keys[kPanel];
    for (std::size_t i = 0; i < kPanel; ++i) {
      const std::int64_t at = first + static_cast<std::int64_t>(i);
      keys[i] = at < low || at >= high ? nullptr : key<T>(task, at);
      if (kv.k_transposed) {
        for (std::size_t e = 0; e < d(); ++e) panel[e * kPanel + i] = keys[i] ? keys[i][static_cast<std::int64_t>(e) * kv.k.stride(2)] : T{};
      }
    }
    if (kv.k_transposed) return;
    if constexpr (sizeof(T) == 2) kernel.transpose_half(keys, d(), panel);
    else kernel.transpose_f32(keys, d(), panel);
  }

  // out[i] = the values of [low, high) by the terms of query i, those of `low` first in s. `packed` has room for a part.
  template <class T>
  void weigh(const Task& task, std::int64_t low, std::int64_t high, const float* s, void* packed, float* out) const {
    const std::size_t n = queries(task), count = static_cast<std::size_t>(high - low);
    const auto stride = static_cast<std::size_t>(kv.v.stride(2));
    const auto each_page = [&](auto&& body) {  // body(values, how many, first)
      for (std::int64_t at = low; at < high;) {
        const std::int64_t some = std::min(left_of_page(at), high - at);
        body(value<T>(task, at), static_cast<std::size_t>(some), at);
        at += some;
      }
    };
    if (d() % kPanel == 0 && (sizeof(T) == 4 || n < kWidenFrom)) {  // values lie as a right operand wants them
      return each_page([&](const T* values, std::size_t some, std::int64_t at) {
        multiply(s + (at - low), kScoreStride, n, values, stride, kPanel, d() / kPanel, some, at > low, out, width(), ahead<T>(task, at, low, high, true));
      });
    }
    // A few columns at a time stay in the first cache.
    for (std::size_t column = 0; column < width(); column += kColumns) {
      const std::size_t columns = std::min(kColumns, width() - column), wanted = std::min(columns, d() - column);
      float* to = static_cast<float*>(packed);
      each_page([&](const T* values, std::size_t some, std::int64_t) {
        if constexpr (sizeof(T) == 2) {
          kernel.widen_half(values + column, stride, some, wanted, to, columns);
        } else {
          for (std::size_t i = 0; i < some; ++i) std::fill(std::copy_n(values + i * stride + column, wanted, to + i * columns), to + (i + 1) * columns, 0.0f);
        }
        to += some * columns;
      });
      multiply(s, kScoreStride, n, static_cast<const float*>(packed), columns, kPanel, columns / kPanel, count, false, out + column, width());
    }
  }

  // One part of a task: partial[i] of each query, and its values' sum in out[i][width]. A query that sees nothing there gets sum 0.
  template <class T>
  void part(const Task& task, std::int64_t index, const float* query, void* packed, float* s, Partial* partial, float* out) const {
    const std::int64_t low = std::max(task.first, index * kPart), high = std::min(task.last + 1, (index + 1) * kPart);
    const std::int64_t base = low / std::int64_t{kPanel} * std::int64_t{kPanel};
    const std::size_t blocks = static_cast<std::size_t>(high - base + std::int64_t{kPanel} - 1) / kPanel;
    scores<T>(task, base, low, high, blocks, query, packed, s);
    for (std::int64_t r = 0; r < task.rows; ++r) {
      const std::int64_t at = position(task.row + r), from = std::max(first_seen(at), low) - base, to = std::min(at + 1, high) - base;
      for (std::int64_t g = 0; g < group; ++g) {
        const auto i = static_cast<std::size_t>(r * group + g);
        float* const terms = s + i * kScoreStride;
        partial[i] = {0, 0};
        if (from < to) partial[i].top = kernel.softmax_terms(terms, static_cast<std::size_t>(from), static_cast<std::size_t>(to), blocks * kPanel, params.scale, params.logit_softcap, &partial[i].sum);
        else std::fill_n(terms, blocks * kPanel, 0.0f);
      }
    }
    weigh<T>(task, low, high, s + (low - base), packed, out);
  }

  // Adds a part to what came before it.
  void merge(std::size_t n, const Partial* partial, const float* out, Partial* total, float* sum) const {
    for (std::size_t i = 0; i < n; ++i) {
      const Partial& p = partial[i];
      Partial& t = total[i];
      if (p.sum == 0) continue;
      const float* from = out + i * width();
      float* to = sum + i * width();
      if (t.sum == 0) {
        t = p;
        std::copy_n(from, width(), to);
        continue;
      }
      const float top = std::max(t.top, p.top), a = std::exp(t.top - top), b = std::exp(p.top - top);
      kernel.merge_rows(from, a, b, width(), to);
      t = {top, t.sum * a + p.sum * b};
    }
  }

  void write(const Task& task, const Partial* total, const float* sum) const {
    for (std::int64_t r = 0; r < task.rows; ++r) {
      for (std::int64_t g = 0; g < group; ++g) {
        const auto i = static_cast<std::size_t>(r * group + g);
        kernel.scale_rows(sum + i * width(), 1.0f / total[i].sum, d(), detail::row_at(y, (task.row + r) * y.dim(1) + task.head * group + g));
      }
    }
  }
};

std::int64_t first_part(const Task& task) { return task.first / kPart; }
std::size_t parts_of(const Task& task) { return static_cast<std::size_t>(task.last / kPart - first_part(task) + 1); }

template <class T>
void attend(const OpContext& ctx, const Problem& problem, const std::vector<Task>& tasks, std::size_t units, std::size_t most, std::size_t keys) {
  const std::size_t width = problem.width();
  // About 20 cycles a key and key head when decoding: what is over in a few microseconds is not worth a second thread.
  const std::size_t grain = 1 + 1024 * units / (keys + 1);
  if (ctx.pool && tasks.size() < 4 * thread_count(ctx) && units > tasks.size() && units > grain) {
    thread_local Scratch shared;
    Pieces pieces(shared.get<std::byte>(Pieces::room<Partial>(units * most) + Pieces::room<float>(units * most * width)));
    auto* partials = pieces.take<Partial>(units * most);
    auto* sums = pieces.take<float>(units * most * width);
    for_threads(ctx, units, 1, [&](std::size_t, std::size_t begin, std::size_t end) {
      thread_local Scratch scratch;
      Pieces own(scratch.get<std::byte>(problem.room(most)));
      auto* query = own.take<float>(most * problem.d());
      auto* packed = own.take<float>(static_cast<std::size_t>(kPart) * width);
      auto* s = own.take<float>(most * Problem::kScoreStride);
      const Task* gathered = nullptr;
      for (std::size_t unit = begin; unit < end; ++unit) {
        const Task* task = &*std::prev(std::upper_bound(tasks.begin(), tasks.end(), unit, [](std::size_t u, const Task& t) { return u < t.unit; }));
        if (task != gathered) problem.gather(*task, query);
        gathered = task;
        problem.part<T>(*task, first_part(*task) + static_cast<std::int64_t>(unit - task->unit), query, packed, s, partials + unit * most, sums + unit * most * width);
      }
    });
    for (const Task& task : tasks) {
      const std::size_t n = problem.queries(task);
      Partial* total = partials + task.unit * most;
      float* sum = sums + task.unit * most * width;
      for (std::size_t p = 1; p < parts_of(task); ++p) problem.merge(n, total + p * most, sum + p * most * width, total, sum);
      problem.write(task, total, sum);
    }
    return;
  }
  for_threads(ctx, tasks.size(), 1 + 1024 * tasks.size() / (keys + 1), [&](std::size_t, std::size_t begin, std::size_t end) {
    thread_local Scratch scratch;
    Pieces own(scratch.get<std::byte>(problem.room(most)));
    auto* query = own.take<float>(most * problem.d());
    auto* packed = own.take<float>(static_cast<std::size_t>(kPart) * width);
    auto* s = own.take<float>(most * Problem::kScoreStride);
    auto* out = own.take<float>(most * width);
    auto* sum = own.take<float>(most * width);
    auto* partial = own.take<Partial>(most);
    auto* total = own.take<Partial>(most);
    for (std::size_t t = begin; t < end; ++t) {
      const Task& task = tasks[t];
      const std::size_t n = problem.queries(task);
      problem.gather(task, query);
      std::fill_n(total, n, Partial{0, 0});
      for (std::size_t p = 0; p < parts_of(task); ++p) {
        problem.part<T>(task, first_part(task) + static_cast<std::int64_t>(p), query, packed, s, partial, out);
        problem.merge(n, partial, out, total, sum);
      }
      problem.write(task, total, sum);
    }
  });
}

}  // namespace

void kv_append(const OpContext& ctx, const ops::RaggedRows& rows, ConstTensorView k, ConstTensorView v, ops::PagedKv kv) {
  const DenseKernels& kernel = dense_kernels();
  const auto* offsets = rows.row_offsets.as<const std::int32_t>();
  const std::int64_t heads = k.dim(1), page_tokens = kv.v.dim(2), sequences = rows.row_offsets.dim(0) - 1;
  const auto d = static_cast<std::size_t>(k.dim(2)), n = static_cast<std::size_t>(k.dim(0));
  const auto put = [&](const float* from, const TensorView& to, std::int64_t at) {
    if (to.dtype == DType::f16) kernel.f32_to_half(from, d, static_cast<std::uint16_t*>(to.data) + at);
    else std::copy_n(from, d, static_cast<float*>(to.data) + at);
  };
  const auto spread = [&](const float* from, std::int64_t at) {
    const auto step = static_cast<std::size_t>(kv.k.stride(2));
    if (kv.k.dtype == DType::f32) {
      for (std::size_t i = 0; i < d; ++i) static_cast<float*>(kv.k.data)[static_cast<std::size_t>(at) + i * step] = from[i];
      return;
    }
    std::uint16_t half[64];
    for (std::size_t i = 0; i < d; i += std::size(half)) {
      const std::size_t some = std::min(std::size(half), d - i);
      kernel.f32_to_half(from + i, some, half);
      std::uint16_t* to = static_cast<std::uint16_t*>(kv.k.data) + static_cast<std::size_t>(at) + i * step;
      for (std::size_t j = 0; j < some; ++j) to[j * step] = half[j];
    }
  };
  for_threads(ctx, n, grain_for(d * static_cast<std::size_t>(heads)), [&](std::size_t, std::size_t begin, std::size_t end) {
    std::int64_t owner = std::upper_bound(offsets, offsets + sequences + 1, static_cast<std::int32_t>(begin)) - offsets - 1;
    for (std::size_t r = begin; r < end; ++r) {
      while (static_cast<std::size_t>(offsets[owner + 1]) <= r) ++owner;
      const std::int64_t position = rows.positions.as<const std::int32_t>()[r];
      const std::int64_t page = rows.page_table.as<const std::int32_t>()[owner * rows.page_table.stride(0) + position / page_tokens];
      const std::int64_t slot = position % page_tokens;
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t row = static_cast<std::int64_t>(r) * heads + h, head = page * kv.k.stride(0) + h * kv.k.stride(1);
        if (kv.k_transposed) spread(detail::row_at(k, row), head + slot);
        else put(detail::row_at(k, row), kv.k, head + slot * kv.k.stride(2));
        put(detail::row_at(v, row), kv.v, page * kv.v.stride(0) + h * kv.v.stride(1) + slot * kv.v.stride(2));
      }
    }
  });
}

void paged_attention(const OpContext& ctx, const ops::AttentionParams& params, const ops::RaggedRows& rows, ConstTensorView q,
                     ops::PagedKv kv, TensorView y) {
  const Problem problem{dense_kernels(), params, rows, q, kv, y, q.dim(1) / kv.v.dim(1)};
  const auto* offsets = rows.row_offsets.as<const std::int32_t>();
  const std::int64_t tile = std::max<std::int64_t>(1, kTileRows / problem.group);
  thread_local std::vector<Task> tasks;
  tasks.clear();
  std::size_t units = 0, most = 0, keys = 0;
  for (std::int64_t s = 0; s + 1 < rows.row_offsets.dim(0); ++s) {
    // Head by head: the next tile of rows finds the head's keys and values in the caches.
    for (std::int64_t h = 0; h < kv.v.dim(1); ++h) {
      for (std::int64_t row = offsets[s]; row < offsets[s + 1]; row += tile) {
        const std::int64_t some = std::min<std::int64_t>(tile, offsets[s + 1] - row);
        tasks.push_back({s, row, some, h, problem.first_seen(problem.position(row)), problem.position(row + some - 1), units});
        units += parts_of(tasks.back());
        most = std::max(most, problem.queries(tasks.back()));
        keys += static_cast<std::size_t>((tasks.back().last - tasks.back().first + 1) * std::max<std::int64_t>(1, some * problem.group / 8));
      }
    }
  }
  if (kv.k.dtype == DType::f16) attend<std::uint16_t>(ctx, problem, tasks, units, most, keys);
  else attend<float>(ctx, problem, tasks, units, most, keys);
}

}  // namespace corvid::cpu
