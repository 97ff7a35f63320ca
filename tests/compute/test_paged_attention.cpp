// Attention over pages in parts: every shape of heads, borders of parts and pages, windows, ragged batches. The optimised member against
// the reference, and against itself: alone or in a batch, with any number of threads, keys transposed or not, all bit for bit.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "compute/op_support.hpp"
#include "corvid/compute/ops.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

struct Span { std::int32_t first, rows; };  // of one sequence: rows at positions first, first + 1, …

// Sequences whose keys and values of all positions are in pages of one pool, in mixed order; positions that no row sees are NaN, and
// pages of such positions only are none.
struct Pages {
  std::int64_t kv_heads, d, page_tokens, pages = 0, most = 0;
  DType dtype;
  std::vector<std::int32_t> offsets{0}, positions, table;
  std::vector<std::byte> k, k_turned, v;

  Pages(Machine& m, const std::vector<Span>& spans, std::int64_t kv_heads_, std::int64_t d_, std::int64_t page_tokens_, DType dtype_, int window)
      : kv_heads(kv_heads_), d(d_), page_tokens(page_tokens_), dtype(dtype_) {
    for (const Span& s : spans) {
      offsets.push_back(offsets.back() + s.rows);
      for (std::int32_t r = 0; r < s.rows; ++r) positions.push_back(s.first + r);
      most = std::max<std::int64_t>(most, (s.first + s.rows + page_tokens - 1) / page_tokens);
    }
    pages = most * static_cast<std::int64_t>(spans.size());
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
    std::shuffle(order.begin(), order.end(), m.random);
    table = order;
    const std::int64_t n = pages * kv_heads * page_tokens * d;
    auto keys = m.floats(n, 0.5f), values = m.floats(n);
    for (std::size_t s = 0; s < spans.size(); ++s) {
      const std::int64_t seen = window > 0 ? std::max(0, spans[s].first - window + 1) : 0;
      for (std::int64_t at = 0; at < most * page_tokens; ++at) {
        const std::int64_t page = order[s * static_cast<std::size_t>(most) + static_cast<std::size_t>(at / page_tokens)];
        if (at >= seen && at < spans[s].first + spans[s].rows) continue;
        for (std::int64_t h = 0; h < kv_heads; ++h) {
          const std::int64_t row = ((page * kv_heads + h) * page_tokens + at % page_tokens) * d;
          std::fill_n(keys.begin() + row, d, std::numeric_limits<float>::quiet_NaN());
          std::fill_n(values.begin() + row, d, std::numeric_limits<float>::quiet_NaN());
        }
      }
      for (std::int64_t p = 0; p < seen / page_tokens; ++p) table[s * static_cast<std::size_t>(most) + static_cast<std::size_t>(p)] = -1;
    }
    auto turned = keys;
    for (std::int64_t b = 0; b < pages * kv_heads; ++b) {
      for (std::int64_t t = 0; t < page_tokens; ++t) {
        for (std::int64_t e = 0; e < d; ++e) turned[static_cast<std::size_t>((b * d + e) * page_tokens + t)] = keys[static_cast<std::size_t>((b * page_tokens + t) * d + e)];
      }
    }
    k = store(keys);
    k_turned = store(turned);
    v = store(values);
  }

  std::vector<std::byte> store(const std::vector<float>& values) const {
    std::vector<std::byte> bytes(values.size() * traits(dtype).block_bytes);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t half = float_to_half(values[i]);
      if (dtype == DType::f32) std::memcpy(bytes.data() + 4 * i, &values[i], 4);
      else std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return bytes;
  }
  ops::PagedKv kv(bool transposed) {
    const TensorView values(v.data(), dtype, {pages, kv_heads, page_tokens, d});
    if (transposed) return {TensorView(k_turned.data(), dtype, {pages, kv_heads, d, page_tokens}), values, true};
    return {TensorView(k.data(), dtype, {pages, kv_heads, page_tokens, d}), values};
  }
  ops::RaggedRows rows() const {
    return {ints(offsets), ints(positions), ConstTensorView(table.data(), DType::i32, {static_cast<std::int64_t>(offsets.size()) - 1, most})};
  }
};

struct Shape { std::int64_t group, d; };

}  // namespace

TEST_CASE("paged attention of every shape of heads: as the reference, and the same alone, in a batch, with any number of threads") {
  Machine m;
  ComputePool two(2);
  const std::int64_t kv_heads = 2;
  // Depths on and beside the borders of parts (256) and pages; several rows across a border; a sequence without rows; the first position.
  const std::vector<Span> spans{{254, 5}, {601, 1}, {0, 0}, {511, 1}, {512, 1}, {0, 33}, {767, 2}, {0, 1}, {16, 1}};
  const Shape shapes[] = {{1, 64}, {2, 64}, {3, 64}, {4, 64}, {7, 64}, {8, 64}, {3, 96}, {4, 128}, {1, 128}, {4, 256}, {7, 128}, {3, 24}};
  for (const Shape& shape : shapes) {
    for (int window : {0, 257}) {
      const DType dtype = shape.d == 96 && window ? DType::f32 : DType::f16;
      const std::int64_t page_tokens = shape.d == 128 ? 16 : shape.group == 8 ? 24 : 32, heads = shape.group * kv_heads;
      INFO("group " << shape.group << ", head_dim " << shape.d << ", window " << window << ", pages of " << page_tokens);
      Pages pages(m, spans, kv_heads, shape.d, page_tokens, dtype, window);
      const std::int64_t n = pages.offsets.back();
      const auto q = m.floats(n * heads * shape.d);
      const ConstTensorView queries(q.data(), DType::f32, {n, heads, shape.d});
      ops::AttentionParams params;
      params.scale = 1 / std::sqrt(float(shape.d));
      params.window = window;
      std::vector<float> expected(q.size()), y(q.size()), alone(static_cast<std::size_t>(heads * shape.d));
      REQUIRE(ops::paged_attention(m.context(Precision::fast, OpPath::reference), params, pages.rows(), queries, pages.kv(false), view(expected, n, heads, shape.d)));
      std::fill(y.begin(), y.end(), 0.0f);
      REQUIRE(ops::paged_attention(m.context(Precision::fast, OpPath::reference), params, pages.rows(), queries, pages.kv(true), view(y, n, heads, shape.d)));
      CHECK(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)) == 0);
      at_each_level([&] {
        std::vector<float> first(q.size());
        REQUIRE(ops::paged_attention(m.context(Precision::fast), params, pages.rows(), queries, pages.kv(true), view(first, n, heads, shape.d)));
        CHECK(worst(first, expected) < 1e-5);
        for (bool transposed : {false, true}) {
          for (ComputePool* pool : {static_cast<ComputePool*>(nullptr), &two, &m.pool}) {
            OpContext ctx = m.context(Precision::fast);
            ctx.pool = pool;
            std::fill(y.begin(), y.end(), 0.0f);
            REQUIRE(ops::paged_attention(ctx, params, pages.rows(), queries, pages.kv(transposed), view(y, n, heads, shape.d)));
            CHECK(std::memcmp(y.data(), first.data(), y.size() * sizeof(float)) == 0);
            for (std::size_t s = 0; s < spans.size(); ++s) {
              if (spans[s].rows == 0) continue;
              const std::int32_t row = pages.offsets[s + 1] - 1;
              const std::vector<std::int32_t> one{0, 1}, position{pages.positions[static_cast<std::size_t>(row)]};
              const ops::RaggedRows single{ints(one), ints(position), ConstTensorView(pages.table.data() + s * static_cast<std::size_t>(pages.most), DType::i32, {1, pages.most})};
              REQUIRE(ops::paged_attention(ctx, params, single, queries.rows(row, 1), pages.kv(transposed), view(alone, 1, heads, shape.d)));
              CHECK(std::memcmp(alone.data(), first.data() + row * heads * shape.d, alone.size() * sizeof(float)) == 0);
            }
          }
        }
      });
    }
  }
}

TEST_CASE("transposed keys are appended as others are") {
  Machine m;
  const std::int64_t kv_heads = 3, page_tokens = 32, n = 75;
  for (DType dtype : {DType::f16, DType::f32}) {
    for (std::int64_t d : {24, 64, 96}) {
      const std::vector<std::int32_t> offsets{0, 70, 70, 75}, table{4, 0, 3, 5, 1, 2, 6, 7, 8};
      std::vector<std::int32_t> positions(static_cast<std::size_t>(n));
      for (std::int32_t i = 0; i < n; ++i) positions[static_cast<std::size_t>(i)] = i < 70 ? i + 3 : i - 70 + 29;
      const ops::RaggedRows rows{ints(offsets), ints(positions), ConstTensorView(table.data(), DType::i32, {3, 3})};
      const auto k = m.floats(n * kv_heads * d), v = m.floats(n * kv_heads * d);
      const auto elements = static_cast<std::size_t>(9 * kv_heads * page_tokens * d), bytes = elements * traits(dtype).block_bytes;
      std::vector<std::byte> plain(bytes), turned(bytes), turned_reference(bytes), values(bytes), back(bytes);
      const TensorView to_values(values.data(), dtype, {9, kv_heads, page_tokens, d});
      const ConstTensorView from_k(k.data(), DType::f32, {n, kv_heads, d}), from_v(v.data(), DType::f32, {n, kv_heads, d});
      REQUIRE(ops::kv_append(m.context(Precision::fast, OpPath::reference), rows, from_k, from_v, {TensorView(plain.data(), dtype, {9, kv_heads, page_tokens, d}), to_values}));
      REQUIRE(ops::kv_append(m.context(Precision::fast, OpPath::reference), rows, from_k, from_v, {TensorView(turned_reference.data(), dtype, {9, kv_heads, d, page_tokens}), to_values, true}));
      const std::size_t width = traits(dtype).block_bytes;
      for (std::size_t b = 0; b < static_cast<std::size_t>(9 * kv_heads); ++b) {
        for (std::size_t t = 0; t < static_cast<std::size_t>(page_tokens); ++t) {
          for (std::size_t e = 0; e < static_cast<std::size_t>(d); ++e) {
            const std::size_t at = b * static_cast<std::size_t>(page_tokens * d);
            std::memcpy(back.data() + (at + t * static_cast<std::size_t>(d) + e) * width, turned_reference.data() + (at + e * static_cast<std::size_t>(page_tokens) + t) * width, width);
          }
        }
      }
      CHECK(back == plain);
      at_each_level([&] {
        std::fill(turned.begin(), turned.end(), std::byte{});
        REQUIRE(ops::kv_append(m.context(Precision::fast), rows, from_k, from_v, {TensorView(turned.data(), dtype, {9, kv_heads, d, page_tokens}), to_values, true}));
        CHECK(turned == turned_reference);
      });
    }
  }
}
