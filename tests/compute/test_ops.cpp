// One body over op × dtype × instruction set: the optimised members against the readable references.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "corvid/compute/ops.hpp"
#include "compute/op_support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

}  // namespace

TEST_CASE("linear agrees with its reference for every dtype, precision and instruction set") {
  Machine m;
  for (DType dtype : kMatrixTypes) {
    const std::int64_t cols = is_quantised(dtype) ? (traits(dtype).block_elements == 256 ? 512 : 160) : 173, rows = 37, n = 6;
    const auto bytes = m.stored(dtype, rows, cols);
    const auto x = m.floats(n * (cols + 3));
    ConstTensorView strided(x.data(), DType::f32, {n, cols});
    strided.strides[0] = cols + 3;
    const Weight bias = m.vector(m.floats(rows));
    const auto start = m.floats(n * rows);
    at_each_level([&] {
      for (Precision precision : {Precision::f32, Precision::fast}) {
        INFO("dtype " << traits(dtype).name << (precision == Precision::fast ? " fast" : " f32"));
        const Weight w = m.prepare(m.context(precision), dtype, rows, cols, bytes).value();
        auto y = start, expected = start;
        REQUIRE(ops::linear(m.context(precision), strided, w, bias, view(y, n, rows), true));
        REQUIRE(ops::linear(m.context(precision, OpPath::reference), strided, w, bias, view(expected, n, rows), true));
        CHECK(worst(y, expected) < (precision == Precision::fast ? 3e-2 : 1e-5));
      }
    });
  }
}

TEST_CASE("float matrices that may be rounded: near their reference, rows the same bits in any company, activations fused") {
  Machine m;
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const std::int64_t cols = 416, rows = 70, n = 37;
    const auto bytes = m.stored(dtype, rows, cols);
    const auto x = m.floats(n * cols);
    const Weight bias = m.vector(m.floats(rows));
    at_each_level([&] {
      INFO("dtype " << traits(dtype).name);
      const OpContext fast = m.context(Precision::fast), exact = m.context(Precision::f32);
      const Weight w = m.prepare(fast, dtype, rows, cols, bytes, WeightUse::rounded).value(), plain = m.prepare(exact, dtype, rows, cols, bytes, WeightUse::rounded).value();
      std::vector<float> y(static_cast<std::size_t>(n * rows)), expected = y, one(static_cast<std::size_t>(rows));
      REQUIRE(ops::linear_activation(m.context(Precision::fast, OpPath::reference), ops::Activation::gelu_erf, view(x, n, cols), w, bias, view(expected, n, rows)));
      REQUIRE(ops::linear_activation(exact, ops::Activation::gelu_erf, view(x, n, cols), plain, bias, view(y, n, rows)));
      CHECK(worst(y, expected) < 1e-5);
      REQUIRE(ops::linear_activation(fast, ops::Activation::gelu_erf, view(x, n, cols), w, bias, view(y, n, rows)));
      CHECK(worst(y, expected) < 4e-2);
      for (std::int64_t r = 0; r < n; r += 9) {
        REQUIRE(ops::linear_activation(m.context(Precision::fast, OpPath::optimised, false), ops::Activation::gelu_erf,
                                       ConstTensorView(x.data() + r * cols, DType::f32, {1, cols}), w, bias, view(one, 1, rows)));
        CHECK(std::equal(one.begin(), one.end(), y.begin() + static_cast<std::ptrdiff_t>(r * rows)));
      }
    });
  }
}

TEST_CASE("a float matrix that no scale of its blocks can hold is not rounded; NaN is refused as ever") {
  Machine m;
  at_each_level([&] {
    std::vector<float> values(32 * 64, 1.0f), x(64, 1.0f), y(32);
    values[70] = 1e7f;
    std::vector<std::byte> bytes(values.size() * 4);
    std::memcpy(bytes.data(), values.data(), bytes.size());
    const OpContext ctx = m.context(Precision::fast);
    const Weight w = m.prepare(ctx, DType::f32, 32, 64, bytes, WeightUse::rounded).value();
    REQUIRE(ops::linear(ctx, view(x, 1, 64), w, {}, view(y, 1, 32)));
    CHECK(y[0] == 64.0f);
    CHECK(y[1] == Approx(1e7f + 63.0f).epsilon(1e-2));
    values[70] = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data(), values.data(), bytes.size());
    const auto refused = m.prepare(ctx, DType::f32, 32, 64, bytes, WeightUse::rounded);
    REQUIRE(!refused);
    CHECK(refused.error().offset() == 1000u + 4 * 70);
  });
}

TEST_CASE("a row of linear is the same bits whatever the number of rows and threads") {
  Machine m;
  for (DType dtype : kMatrixTypes) {
    const std::int64_t cols = is_quantised(dtype) ? (traits(dtype).block_elements == 256 ? 768 : 224) : 203, rows = 70, n = 13;
    const auto bytes = m.stored(dtype, rows, cols);
    const auto x = m.floats(n * cols);
    at_each_level([&] {
      for (Precision precision : {Precision::f32, Precision::fast}) {
        INFO("dtype " << traits(dtype).name << (precision == Precision::fast ? " fast" : " f32"));
        const Weight w = m.prepare(m.context(precision), dtype, rows, cols, bytes).value();
        std::vector<float> all(static_cast<std::size_t>(n * rows)), some = all;
        REQUIRE(ops::linear(m.context(precision), view(x, n, cols), w, {}, view(all, n, rows)));
        for (std::int64_t begin = 0, count = 1; begin < n; begin += count, count = std::min<std::int64_t>(count + 2, n - begin)) {
          REQUIRE(ops::linear(m.context(precision, OpPath::optimised, count % 3 == 0), view(x, n, cols).rows(begin, count), w, {},
                              view(some, n, rows).rows(begin, count)));
        }
        CHECK(std::memcmp(all.data(), some.data(), all.size() * sizeof(float)) == 0);
      }
    });
  }
}

// Shapes at the edges of tiles of 16 rows, groups of 16 activations, blocks of 32 and 256, and of what is quantised at a time.
TEST_CASE("block formats of odd shapes: the reference's values, and the same bits in every batch and beside other projections") {
  Machine m;
  struct Shape { std::int64_t rows, blocks, n; };
  for (DType dtype : kMatrixTypes) {
    if (!is_quantised(dtype)) continue;
    const auto block = static_cast<std::int64_t>(traits(dtype).block_elements);
    for (const Shape shape : {Shape{1, 1, 1}, Shape{15, 3, 2}, Shape{16, 1, 16}, Shape{17, 2, 17}, Shape{33, 5, 35}, Shape{5, 8192 / block, 70}}) {
      const std::int64_t rows = shape.rows, cols = shape.blocks * block, n = shape.n;
      INFO("dtype " << traits(dtype).name << " [" << rows << ", " << cols << "], " << n << " rows");
      const auto bytes = m.stored(dtype, rows, cols), other_bytes = m.stored(DType::q8_0, 20, cols);
      const OpContext ctx = m.context(Precision::fast), alone = m.context(Precision::fast, OpPath::optimised, false);
      const Weight w = m.prepare(ctx, dtype, rows, cols, bytes).value(), other = m.prepare(ctx, DType::q8_0, 20, cols, other_bytes).value();
      const Weight bias = m.vector(m.floats(rows));
      const auto x = m.floats(n * cols);
      std::vector<float> expected(static_cast<std::size_t>(n * rows)), all = expected, one(static_cast<std::size_t>(rows)), beside(static_cast<std::size_t>(n * 20)), beside_alone = beside;
      REQUIRE(ops::linear(m.context(Precision::fast, OpPath::reference), view(x, n, cols), w, bias, view(expected, n, rows)));
      at_each_level([&] {
        if (simd_level() == SimdLevel::scalar && n > 40) return;  // slow, and the same path as 35
        REQUIRE(ops::linear(ctx, view(x, n, cols), other, {}, view(beside_alone, n, 20)));
        const ops::Projection both[] = {{&other, nullptr, view(beside, n, 20)}, {&w, &bias, view(all, n, rows)}};
        REQUIRE(ops::linear_many(ctx, view(x, n, cols), both));
        CHECK(worst(all, expected) < 5e-2);
        CHECK(std::memcmp(beside.data(), beside_alone.data(), beside.size() * sizeof(float)) == 0);
        bool same = true;
        for (std::int64_t r = 0; r < n; r += 3) {
          REQUIRE(ops::linear(alone, view(x, n, cols).rows(r, 1), w, bias, view(one, 1, rows)));
          same = same && std::memcmp(one.data(), all.data() + r * rows, one.size() * sizeof(float)) == 0;
        }
        CHECK(same);
      });
    }
  }
}

TEST_CASE("a tied table is gathered from and multiplied with") {
  Machine m;
  const std::int64_t rows = 35, cols = 64;
  const auto bytes = m.stored(DType::q8_0, rows, cols);
  TensorInfo info;
  info.dtype = DType::q8_0;
  info.shape = {rows, cols};
  info.bytes = bytes;
  const OpContext ctx = m.context(Precision::fast), reference = m.context(Precision::fast, OpPath::reference);
  const Weight table = prepare_weight(ctx, nullptr, info, WeightUse::tied, m.budget).value();
  CHECK(table.resident_bytes() == 48 * 64 * 34 / 32);
  std::vector<float> row(static_cast<std::size_t>(cols)), row_expected = row, y(static_cast<std::size_t>(rows)), expected = y;
  REQUIRE(ops::embedding(ctx, ints({34}), table, 1, view(row, 1, cols)));
  REQUIRE(ops::embedding(reference, ints({34}), table, 1, view(row_expected, 1, cols)));
  CHECK(worst(row, row_expected) < 1e-6);
  REQUIRE(ops::linear(ctx, view(row, 1, cols), table, {}, view(y, 1, rows)));
  REQUIRE(ops::linear(reference, view(row, 1, cols), table, {}, view(expected, 1, rows)));
  CHECK(worst(y, expected) < 3e-2);
}

TEST_CASE("embedding gathers and accumulates rows of every dtype") {
  Machine m;
  for (DType dtype : kMatrixTypes) {
    const std::int64_t cols = 256, rows = 9;
    const auto bytes = m.stored(dtype, rows, cols);  // mapped, not copied: outlives the weight
    const Weight table = m.prepare(m.context(Precision::fast), dtype, rows, cols, bytes).value();
    const std::vector<std::int32_t> ids{8, 0, 3, 3};
    const auto start = m.floats(4 * cols);
    at_each_level([&] {
      INFO(traits(dtype).name);
      auto y = start, expected = start;
      REQUIRE(ops::embedding(m.context(Precision::fast), ints(ids), table, 1.5f, view(y, 4, cols), true));
      REQUIRE(ops::embedding(m.context(Precision::fast, OpPath::reference), ints(ids), table, 1.5f, view(expected, 4, cols), true));
      CHECK(worst(y, expected) < 1e-6);
    });
  }
  const auto bytes = m.stored(DType::f32, 2, 4);
  const Weight table = m.prepare(m.context(Precision::f32), DType::f32, 2, 4, bytes).value();
  std::vector<float> y(4);
  CHECK_THROWS_AS(ops::embedding(m.context(Precision::f32), ints({2}), table, 1, view(y, 1, 4)), std::invalid_argument);
}

TEST_CASE("norms, activations, rope and pooling agree with their references") {
  Machine m;
  const OpContext fast = m.context(Precision::fast), reference = m.context(Precision::fast, OpPath::reference);
  at_each_level([&] {
    for (std::int64_t d : {1, 7, 64, 131}) {
      INFO("width " << d);
      const std::int64_t n = 5;
      const auto x = m.floats(n * d, 3), up = m.floats(n * d);
      const Weight gain = m.vector(m.floats(d)), bias = m.vector(m.floats(d));
      auto y = x, expected = x;
      REQUIRE(ops::rms_norm(fast, view(y, n, d), gain, 1e-5f, view(y, n, d), 1));  // in place
      REQUIRE(ops::rms_norm(reference, view(x, n, d), gain, 1e-5f, view(expected, n, d), 1));
      CHECK(worst(y, expected) < 1e-5);
      if (d > 1) {
        REQUIRE(ops::layer_norm(fast, view(x, n, d), gain, bias, 1e-5f, view(y, n, d)));
        REQUIRE(ops::layer_norm(reference, view(x, n, d), gain, bias, 1e-5f, view(expected, n, d)));
        CHECK(worst(y, expected) < 1e-5);
      }
      for (auto act : {ops::Activation::silu, ops::Activation::gelu_erf, ops::Activation::gelu_tanh, ops::Activation::relu}) {
        INFO("activation " << int(act));
        REQUIRE(ops::gated_activation(fast, act, view(x, n, d), view(up, n, d), view(y, n, d)));
        REQUIRE(ops::gated_activation(reference, act, view(x, n, d), view(up, n, d), view(expected, n, d)));
        CHECK(worst(y, expected) < 1e-5);
        REQUIRE(ops::activation(fast, act, view(x, n, d), view(y, n, d)));
        REQUIRE(ops::activation(reference, act, view(x, n, d), view(expected, n, d)));
        CHECK(worst(y, expected) < 1e-5);
      }
      const std::vector<std::int32_t> offsets{0, 1, 5};
      for (auto pooling : {ops::Pooling::mean, ops::Pooling::cls, ops::Pooling::last, ops::Pooling::max}) {
        std::vector<float> a(static_cast<std::size_t>(2 * d)), b = a;
        REQUIRE(ops::pool_rows(fast, pooling, ints(offsets), view(x, n, d), view(a, 2, d)));
        REQUIRE(ops::pool_rows(reference, pooling, ints(offsets), view(x, n, d), view(b, 2, d)));
        CHECK(worst(a, b) < 1e-5);
      }
    }
    for (auto pairing : {ops::RopePairing::interleaved, ops::RopePairing::halves}) {
      ops::RopeParams params;
      params.pairing = pairing;
      params.dims = 32;
      params.magnitude = 1.1f;
      const std::vector<std::int32_t> positions{0, 5, 131072};
      auto y = m.floats(3 * 2 * 48), expected = y;
      REQUIRE(ops::rope(fast, params, ints(positions), view(y, 3, 2, 48)));
      REQUIRE(ops::rope(reference, params, ints(positions), view(expected, 3, 2, 48)));
      CHECK(worst(y, expected) < 1e-6);
    }
  });
  std::vector<float> zero(8, 0.0f);
  zero[4] = 3;
  zero[5] = 4;
  REQUIRE(ops::l2_normalise(fast, view(zero, 2, 4)));
  CHECK(zero[0] == 0);
  CHECK(zero[4] == Approx(0.6));
}

TEST_CASE("paged attention agrees with its reference, and a row does not depend on the batch") {
  Machine m;
  const std::int64_t heads = 6, kv_heads = 2, page_tokens = 16, pages = 12;
  for (DType dtype : {DType::f32, DType::f16}) {
    for (std::int64_t d : {8, 24, 64}) {
      const std::int64_t n = 40 + 1;
      std::vector<std::byte> k_bytes(static_cast<std::size_t>(pages * kv_heads * page_tokens * d * 4)), v_bytes = k_bytes;
      ops::PagedKv kv{TensorView(k_bytes.data(), dtype, {pages, kv_heads, page_tokens, d}), TensorView(v_bytes.data(), dtype, {pages, kv_heads, page_tokens, d})};
      const std::vector<std::int32_t> offsets{0, 40, 40, 41}, table{3, 0, 7, 1, 2, 2, 5, 4, 4};
      std::vector<std::int32_t> positions(41);
      for (int i = 0; i < 40; ++i) positions[static_cast<std::size_t>(i)] = i;
      positions[40] = 0;
      const ops::RaggedRows rows{ints(offsets), ints(positions), ConstTensorView(table.data(), DType::i32, {3, 3})};
      auto k = m.floats(n * kv_heads * d), v = m.floats(n * kv_heads * d), q = m.floats(n * heads * d);
      at_each_level([&] {
        INFO(traits(dtype).name << " head_dim " << d);
        const OpContext fast = m.context(Precision::fast), reference = m.context(Precision::fast, OpPath::reference);
        REQUIRE(ops::kv_append(reference, rows, view(k, n, kv_heads, d), view(v, n, kv_heads, d), kv));
        const auto k_expected = k_bytes;
        REQUIRE(ops::kv_append(fast, rows, view(k, n, kv_heads, d), view(v, n, kv_heads, d), kv));
        CHECK(k_bytes == k_expected);
        for (int window : {0, 9}) {
          ops::AttentionParams params;
          params.scale = 1 / std::sqrt(float(d));
          params.window = window;
          params.logit_softcap = window ? 20.0f : 0.0f;
          std::vector<float> y(q.size()), expected(q.size()), alone(static_cast<std::size_t>(heads * d));
          REQUIRE(ops::paged_attention(fast, params, rows, view(q, n, heads, d), kv, view(y, n, heads, d)));
          REQUIRE(ops::paged_attention(reference, params, rows, view(q, n, heads, d), kv, view(expected, n, heads, d)));
          CHECK(worst(y, expected) < 1e-5);
          const std::vector<std::int32_t> one{0, 1}, position{33};
          const ops::RaggedRows row{ints(one), ints(position), ConstTensorView(table.data(), DType::i32, {1, 3})};
          REQUIRE(ops::paged_attention(m.context(Precision::fast, OpPath::optimised, false), params, row, view(q, n, heads, d).rows(33, 1), kv, view(alone, 1, heads, d)));
          CHECK(std::memcmp(alone.data(), y.data() + 33 * heads * d, alone.size() * sizeof(float)) == 0);
        }
        std::vector<float> y(q.size()), expected(q.size());
        const auto kk = m.floats(n * heads * d), vv = m.floats(n * heads * d);
        const ConstTensorView kview(kk.data(), DType::f32, {n, heads, d}), vview(vv.data(), DType::f32, {n, heads, d});
        REQUIRE(ops::encoder_attention(fast, 0.3f, ints(offsets), view(q, n, heads, d), kview, vview, view(y, n, heads, d)));
        REQUIRE(ops::encoder_attention(reference, 0.3f, ints(offsets), view(q, n, heads, d), kview, vview, view(expected, n, heads, d)));
        CHECK(worst(y, expected) < 1e-5);
      });
    }
  }
}

TEST_CASE("products of float matrices: blocks of rows and columns, activations, and no row knows its block") {
  Machine m;
  const std::int64_t cols = 77, rows = 83, n = 239;
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const auto bytes = m.stored(dtype, rows, cols);
    const auto x = m.floats(n * cols);
    const Weight bias = m.vector(m.floats(rows));
    at_each_level([&] {
      for (Precision precision : {Precision::f32, Precision::fast}) {
        INFO("dtype " << traits(dtype).name << (precision == Precision::fast ? " fast" : " f32"));
        const Weight w = m.prepare(m.context(precision), dtype, rows, cols, bytes).value();
        std::vector<float> y(static_cast<std::size_t>(n * rows)), expected = y, alone(static_cast<std::size_t>(rows)), plain = y;
        for (auto act : {ops::Activation::gelu_erf, ops::Activation::silu, ops::Activation::relu}) {
          REQUIRE(ops::linear_activation(m.context(precision), act, view(x, n, cols), w, bias, view(y, n, rows)));
          REQUIRE(ops::linear_activation(m.context(precision, OpPath::reference), act, view(x, n, cols), w, bias, view(expected, n, rows)));
          CHECK(worst(y, expected) < (precision == Precision::fast ? 4e-2 : 1e-5));
        }
        REQUIRE(ops::linear(m.context(precision), view(x, n, cols), w, bias, view(plain, n, rows)));
        for (std::int64_t row : {0, 13, 111, 112, 238}) {
          REQUIRE(ops::linear(m.context(precision), view(x, n, cols).rows(row, 1), w, bias, view(alone, 1, rows)));
          CHECK(std::memcmp(alone.data(), plain.data() + row * rows, alone.size() * sizeof(float)) == 0);
        }
      }
    });
  }
}

TEST_CASE("paged attention over several parts: alone, shared by threads, in a batch, with a window") {
  Machine m;
  const std::int64_t heads = 4, kv_heads = 2, d = 32, n = 700;
  for (DType dtype : {DType::f32, DType::f16}) {
    for (std::int64_t page_tokens : {16, 24}) {
      const std::int64_t pages = (n + page_tokens - 1) / page_tokens;
      std::vector<std::byte> k_bytes(static_cast<std::size_t>(pages * kv_heads * page_tokens * d * 4)), v_bytes = k_bytes;
      ops::PagedKv kv{TensorView(k_bytes.data(), dtype, {pages, kv_heads, page_tokens, d}), TensorView(v_bytes.data(), dtype, {pages, kv_heads, page_tokens, d})};
      std::vector<std::int32_t> table(static_cast<std::size_t>(pages)), positions(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::int32_t>((i * 5 + 3) % table.size());
      if (table.size() % 5 == 0) std::iota(table.begin(), table.end(), 0);
      std::iota(positions.begin(), positions.end(), 0);
      const std::vector<std::int32_t> offsets{0, static_cast<std::int32_t>(n)}, one{0, 1};
      const ops::RaggedRows rows{ints(offsets), ints(positions), ConstTensorView(table.data(), DType::i32, {1, pages})};
      auto k = m.floats(n * kv_heads * d), v = m.floats(n * kv_heads * d), q = m.floats(n * heads * d, 2);
      at_each_level([&] {
        INFO(traits(dtype).name << ", pages of " << page_tokens);
        const OpContext fast = m.context(Precision::fast);
        REQUIRE(ops::kv_append(fast, rows, view(k, n, kv_heads, d), view(v, n, kv_heads, d), kv));
        for (int window : {0, 300}) {
          ops::AttentionParams params;
          params.scale = 0.2f;
          params.window = window;
          std::vector<float> y(q.size()), expected(q.size()), alone(static_cast<std::size_t>(heads * d));
          REQUIRE(ops::paged_attention(fast, params, rows, view(q, n, heads, d), kv, view(y, n, heads, d)));
          REQUIRE(ops::paged_attention(m.context(Precision::fast, OpPath::reference), params, rows, view(q, n, heads, d), kv, view(expected, n, heads, d)));
          CHECK(worst(y, expected) < 1e-5);
          for (std::int32_t row : {0, 255, 256, 299, 611, 699}) {
            const std::vector<std::int32_t> position{row};
            const ops::RaggedRows single{ints(one), ints(position), ConstTensorView(table.data(), DType::i32, {1, pages})};
            for (bool parallel : {false, true}) {
              REQUIRE(ops::paged_attention(m.context(Precision::fast, OpPath::optimised, parallel), params, single, view(q, n, heads, d).rows(row, 1), kv, view(alone, 1, heads, d)));
              CHECK(std::memcmp(alone.data(), y.data() + row * heads * d, alone.size() * sizeof(float)) == 0);
            }
          }
        }
      });
    }
  }
}

TEST_CASE("encoder attention with rounded products stays near its reference, and a sequence does not know the others") {
  Machine m;
  const std::int64_t heads = 3, n = 97;
  const std::vector<std::int32_t> offsets{0, 41, 42, 97}, last{0, 55};
  for (std::int64_t d : {8, 32, 40}) {
    const auto q = m.floats(n * heads * d), k = m.floats(n * heads * d), v = m.floats(n * heads * d);
    const auto cube = [&](const std::vector<float>& values) { return ConstTensorView(values.data(), DType::f32, {n, heads, d}); };
    at_each_level([&] {
      std::vector<float> y(q.size()), expected(q.size()), alone(static_cast<std::size_t>(55 * heads * d));
      const OpContext fast = m.context(Precision::fast);
      REQUIRE(ops::encoder_attention(fast, 0.3f, ints(offsets), cube(q), cube(k), cube(v), view(y, n, heads, d), true));
      REQUIRE(ops::encoder_attention(m.context(Precision::fast, OpPath::reference), 0.3f, ints(offsets), cube(q), cube(k), cube(v), view(expected, n, heads, d)));
      CHECK(worst(y, expected) < 6e-2);
      REQUIRE(ops::encoder_attention(fast, 0.3f, ints(last), cube(q).rows(42, 55), cube(k).rows(42, 55), cube(v).rows(42, 55), view(alone, 55, heads, d), true));
      CHECK(std::memcmp(alone.data(), y.data() + 42 * heads * d, alone.size() * sizeof(float)) == 0);
    });
  }
}

TEST_CASE("scan_top_k returns the exact best allowed rows with ties by lower row") {
  Machine m;
  const std::int64_t rows = 777, d = 40, queries = 3, k = 10;
  auto v = m.floats(rows * d);
  std::copy_n(v.begin() + 5 * d, d, v.begin() + 600 * d);  // a tie
  auto q = m.floats(queries * d);
  std::copy_n(v.begin() + 5 * d, d, q.begin());
  std::vector<std::uint16_t> halves(v.size());
  std::transform(v.begin(), v.end(), halves.begin(), float_to_half);
  std::vector<std::int64_t> everything, none(13, 0), some(13, 0);
  for (std::int64_t r : {5, 64, 600, 776}) some[static_cast<std::size_t>(r / 64)] |= std::int64_t(std::uint64_t{1} << (r % 64));
  at_each_level([&] {
    for (bool half : {false, true}) {
      for (const auto* bits : {&everything, &none, &some}) {
        const ConstTensorView allowed = bits->empty() ? ConstTensorView{} : ConstTensorView(bits->data(), DType::i64, {13});
        const ConstTensorView vectors = half ? ConstTensorView(halves.data(), DType::f16, {rows, d}) : ConstTensorView(v.data(), DType::f32, {rows, d});
        std::vector<std::int64_t> ids(queries * k), expected_ids(queries * k);
        std::vector<float> scores(queries * k), expected(queries * k);
        REQUIRE(ops::scan_top_k(m.context(Precision::fast), view(q, queries, d), vectors, allowed, TensorView(ids.data(), DType::i64, {queries, k}), view(scores, queries, k)));
        REQUIRE(ops::scan_top_k(m.context(Precision::fast, OpPath::reference), view(q, queries, d), vectors, allowed, TensorView(expected_ids.data(), DType::i64, {queries, k}), view(expected, queries, k)));
        CHECK(ids == expected_ids);
        for (std::size_t i = 0; i < scores.size(); ++i) CHECK((scores[i] == expected[i] || scores[i] == Approx(expected[i]).epsilon(1e-4)));
      }
    }
  });
}

TEST_CASE("scan_top_k: neither the batch, nor its screen, nor the threads change a result") {
  Machine m;
  for (const std::int64_t d : {1, 3, 40, 129, 384}) {
    const std::int64_t rows = 700, queries = 41, k = 7;
    auto v = m.floats(rows * d), q = m.floats(queries * d);
    for (std::int64_t i = 0; i < d; ++i) v[static_cast<std::size_t>(600 * d + i)] = v[static_cast<std::size_t>(5 * d + i)];  // a tie
    std::fill_n(v.begin() + 9 * d, d, 0.0f);
    std::fill_n(v.begin() + 10 * d, d, 1e-38f);                                   // too small to be coded
    for (std::int64_t r = 100; r < 120; ++r) v[static_cast<std::size_t>(r * d)] = 1000;  // codes of the other elements are zero
    for (std::int64_t i = 0; i < d; ++i) v[static_cast<std::size_t>(130 * d + i)] *= 1e-4f;
    std::fill_n(q.begin() + 3 * d, d, 0.0f);
    std::vector<std::uint16_t> halves(v.size());
    std::transform(v.begin(), v.end(), halves.begin(), float_to_half);
    std::vector<std::int64_t> bits(11);
    for (auto& word : bits) word = static_cast<std::int64_t>((std::uint64_t{m.random()} << 32) | m.random());
    at_each_level([&] {
      for (const bool half : {false, true}) {
        for (const bool filtered : {false, true}) {
          const ConstTensorView vectors = half ? ConstTensorView(halves.data(), DType::f16, {rows, d}) : ConstTensorView(v.data(), DType::f32, {rows, d});
          const ConstTensorView allowed = filtered ? ConstTensorView(bits.data(), DType::i64, {11}) : ConstTensorView{};
          std::vector<std::int64_t> ids(queries * k), alone(queries * k), expected_ids(queries * k);
          std::vector<float> scores(queries * k), alone_scores(queries * k), expected(queries * k);
          const auto scan = [&](const OpContext& ctx, std::int64_t from, std::int64_t n, std::vector<std::int64_t>& to, std::vector<float>& to_scores) {
            const ConstTensorView asked(q.data() + from * d, DType::f32, {n, d});
            REQUIRE(ops::scan_top_k(ctx, asked, vectors, allowed, TensorView(to.data() + from * k, DType::i64, {n, k}), TensorView(to_scores.data() + from * k, DType::f32, {n, k})));
          };
          scan(m.context(Precision::fast), 0, queries, ids, scores);
          for (std::int64_t i = 0; i < queries; ++i) scan(m.context(Precision::fast, OpPath::optimised, false), i, 1, alone, alone_scores);
          CHECK(ids == alone);
          CHECK(std::memcmp(scores.data(), alone_scores.data(), scores.size() * sizeof(float)) == 0);
          scan(m.context(Precision::fast, OpPath::reference), 0, queries, expected_ids, expected);
          std::size_t found = 0, in_all = 0;
          for (std::size_t i = 0; i < scores.size(); ++i) {
            const auto list = expected_ids.begin() + static_cast<std::ptrdiff_t>(i / k * k);
            found += ids[i] < 0 || std::find(list, list + k, ids[i]) != list + k;
            ++in_all;
            CHECK((scores[i] == expected[i] || scores[i] == Approx(expected[i]).epsilon(1e-4).margin(1e-4)));
          }
          if (d > 3) CHECK(found >= in_all - 2 * static_cast<std::size_t>(k));  // the order among equals but for rounding, and of the zero query
        }
      }
    });
  }
}

TEST_CASE("weights are checked and budgeted") {
  Machine m;
  const OpContext ctx = m.context(Precision::fast);
  auto bytes = m.stored(DType::q4_1, 2, 64);
  const std::uint16_t nan = 0x7e00;
  std::memcpy(bytes.data() + 20 * 3 + 2, &nan, 2);
  const auto bad = m.prepare(ctx, DType::q4_1, 2, 64, bytes);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code() == ErrorCode::bad_input);
  CHECK(bad.error().offset() == 1000u + 60u);
  const auto sized = m.prepare(ctx, DType::q4_1, 3, 64, bytes);
  REQUIRE_FALSE(sized);
  CHECK(sized.error().code() == ErrorCode::bad_input);
  MemoryBudget small(64);
  const std::vector<float> values(100);
  const auto refused = make_weight(ctx, values, 10, 10, WeightUse::matrix, small);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::out_of_memory);
  OpContext cuda = ctx;
  cuda.device.kind = DeviceKind::cuda;
  const auto elsewhere = make_weight(cuda, values, 10, 10, WeightUse::matrix, m.budget);
  REQUIRE_FALSE(elsewhere);
  CHECK(elsewhere.error().code() == ErrorCode::unsupported);
  std::vector<float> x(10), y(10);
  const Weight w = make_weight(ctx, values, 10, 10, WeightUse::matrix, m.budget).value();
  CHECK_THROWS_AS(ops::linear(ctx, view(x, 1, 10), w, {}, view(y, 2, 5)), std::invalid_argument);
  std::vector<float> nothing;
  CHECK(ops::linear(ctx, view(nothing, 0, 10), w, {}, view(nothing, 0, 10)));
}
