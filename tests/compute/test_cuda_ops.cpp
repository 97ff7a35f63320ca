// Every op of the CUDA backend against the readable references, over dtypes and shapes with odd sizes, single rows and batch edges.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "compute/op_support.hpp"
#include "corvid/compute/buffer.hpp"
#include "corvid/compute/ops.hpp"
#include "corvid/compute/stream.hpp"
#include "support/catch.hpp"
#include "support/cuda.hpp"

using namespace corvid;

namespace {

using test::kMatrixTypes;
using test::worst;

struct Gpu : test::Draws {
  explicit Gpu(Device device_) : Draws(11), device(device_), stream(Stream::open(device_).value()) {}
  Device device;
  std::shared_ptr<Stream> stream;
  MemoryBudget budget{std::uint64_t{8} << 30};
  std::vector<Buffer> kept;

  OpContext context(Precision precision = Precision::fast) {
    OpContext ctx;
    ctx.device = device;
    ctx.precision = precision;
    ctx.stream = stream.get();
    return ctx;
  }
  OpContext reference() {
    OpContext ctx;
    ctx.path = OpPath::reference;
    ctx.precision = Precision::f32;
    return ctx;
  }
  template <class T>
  TensorView put(const std::vector<T>& values, DType dtype, std::initializer_list<std::int64_t> shape) {
    kept.push_back(allocate(context(), values.size() * sizeof(T), budget, "test").value());
    REQUIRE(upload(context(), kept.back().data(), values.data(), values.size() * sizeof(T)));
    return kept.back().view(dtype, shape);
  }
  TensorView put(const std::vector<float>& v, std::initializer_list<std::int64_t> shape) { return put(v, DType::f32, shape); }
  TensorView put(const std::vector<std::int32_t>& v, std::initializer_list<std::int64_t> shape) { return put(v, DType::i32, shape); }
  std::vector<float> get(const TensorView& v) {
    std::vector<float> values(static_cast<std::size_t>(v.elements()));
    REQUIRE(download(context(), values.data(), v.data, values.size() * sizeof(float)));
    return values;
  }
  Weight prepare(const OpContext& ctx, DType dtype, std::int64_t rows, std::int64_t cols, const std::vector<std::byte>& bytes, WeightUse use = WeightUse::matrix) {
    TensorInfo info;
    info.name = "weight";
    info.dtype = dtype;
    info.shape = {rows, cols};
    info.bytes = bytes;
    return prepare_weight(ctx, nullptr, info, use, budget).value();
  }
  Weight vector(const OpContext& ctx, const std::vector<float>& values) {
    return make_weight(ctx, values, 1, static_cast<std::int64_t>(values.size()), WeightUse::vector, budget).value();
  }
};

ConstTensorView host(const std::vector<float>& v, std::initializer_list<std::int64_t> shape) { return ConstTensorView(v.data(), DType::f32, shape); }
TensorView host(std::vector<float>& v, std::initializer_list<std::int64_t> shape) { return TensorView(v.data(), DType::f32, shape); }
ConstTensorView host(const std::vector<std::int32_t>& v, std::initializer_list<std::int64_t> shape) { return ConstTensorView(v.data(), DType::i32, shape); }

// y = x · Wᵀ with a bias, and added to y, for each number of rows and both precisions.
void check_linear(Gpu& gpu, DType dtype, std::int64_t rows, std::int64_t cols, std::initializer_list<std::int64_t> batches) {
  const auto bytes = gpu.stored(dtype, rows, cols);
  const Weight expected_w = gpu.prepare(gpu.reference(), dtype, rows, cols, bytes);
  const auto bias = gpu.floats(rows);
  const Weight host_bias = gpu.vector(gpu.reference(), bias);
  for (Precision precision : {Precision::f32, Precision::fast}) {
    const OpContext ctx = gpu.context(precision);
    const Weight w = gpu.prepare(ctx, dtype, rows, cols, bytes), device_bias = gpu.vector(ctx, bias);
    REQUIRE(gpu.stream->plan(256, gpu.budget));
    for (std::int64_t n : batches) {
      INFO(traits(dtype).name << " [" << rows << ", " << cols << "] × " << n << (precision == Precision::fast ? " fast" : " f32"));
      const auto x = gpu.floats(n * (cols + 4)), start = gpu.floats(n * rows);
      ConstTensorView host_x(x.data(), DType::f32, {n, cols}), device_x = gpu.put(x, {n, cols + 4});
      host_x.strides[0] = device_x.strides[0] = cols + 4;
      device_x.shape[1] = cols;
      for (bool accumulate : {false, true}) {
        auto expected = start;
        REQUIRE(ops::linear(gpu.reference(), host_x, expected_w, accumulate ? Weight() : host_bias, host(expected, {n, rows}), accumulate));
        const TensorView y = gpu.put(start, {n, rows});
        REQUIRE(ops::linear(ctx, device_x, w, accumulate ? Weight() : device_bias, y, accumulate));
        if (n > 0) CHECK(worst(gpu.get(y), expected) < (precision == Precision::f32 ? 2e-5 : 3e-2));
      }
      gpu.kept.clear();
    }
  }
}

}  // namespace

TEST_CASE("cuda: linear agrees with its reference for every dtype, precision and number of rows", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  for (DType dtype : kMatrixTypes) {
    Gpu gpu(*device);
    const bool super = traits(dtype).block_elements == 256;
    for (std::int64_t cols : is_quantised(dtype) ? std::vector<std::int64_t>{super ? 256 : 32, super ? 768 : 224} : std::vector<std::int64_t>{1, 173, 256}) {
      for (std::int64_t rows : {1, 37, 136}) check_linear(gpu, dtype, rows, cols, {0, 1, 3, 5, 16, 17, 64, 65, 131});
    }
  }
}

TEST_CASE("cuda: long rows, whose products several warps share", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  for (DType dtype : kMatrixTypes) {
    Gpu gpu(*device);
    for (std::int64_t cols : is_quantised(dtype) ? std::vector<std::int64_t>{traits(dtype).block_elements == 256 ? 4352 : 4128} : std::vector<std::int64_t>{4096, 4099}) {
      check_linear(gpu, dtype, 37, cols, {1, 3, 16});
    }
  }
}

TEST_CASE("cuda: embedding and gather_rows", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  Gpu gpu(*device);
  for (DType dtype : kMatrixTypes) {
    for (std::int64_t cols : is_quantised(dtype) ? std::vector<std::int64_t>{traits(dtype).block_elements, 512} : std::vector<std::int64_t>{1, 131, 512}) {
      const std::int64_t rows = 9;
      const auto bytes = gpu.stored(dtype, rows, cols);
      const Weight expected_table = gpu.prepare(gpu.reference(), dtype, rows, cols, bytes, WeightUse::lookup);
      const Weight table = gpu.prepare(gpu.context(Precision::f32), dtype, rows, cols, bytes, WeightUse::lookup);
      for (const auto& ids : std::vector<std::vector<std::int32_t>>{{8, 0, 3, 3}, {7}}) {
        const auto n = static_cast<std::int64_t>(ids.size());
        const auto start = gpu.floats(n * cols);
        for (bool accumulate : {false, true}) {
          INFO(traits(dtype).name << " of " << cols);
          auto expected = start;
          REQUIRE(ops::embedding(gpu.reference(), host(ids, {n}), expected_table, 1.5f, host(expected, {n, cols}), accumulate));
          const TensorView y = gpu.put(start, {n, cols});
          REQUIRE(ops::embedding(gpu.context(), gpu.put(ids, {n}), table, 1.5f, y, accumulate));
          CHECK(worst(gpu.get(y), expected) < 1e-6);
        }
      }
    }
  }
  const auto x = gpu.floats(7 * 131);
  const std::vector<std::int32_t> rows{6, 0, 6};
  std::vector<float> expected(3 * 131);
  REQUIRE(ops::gather_rows(gpu.reference(), host(rows, {3}), host(x, {7, 131}), host(expected, {3, 131})));
  const TensorView y = gpu.put(expected, {3, 131});
  REQUIRE(ops::gather_rows(gpu.context(), gpu.put(rows, {3}), gpu.put(x, {7, 131}), y));
  CHECK(gpu.get(y) == expected);
}

TEST_CASE("cuda: norms, activations, rope and pooling", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  Gpu gpu(*device);
  const OpContext ctx = gpu.context(), reference = gpu.reference();
  for (std::int64_t d : {1, 7, 64, 131, 384, 385, 640, 1024, 1025, 4096}) {
    for (std::int64_t n : {1, 5, 70000}) {
      if (n * d > 10'000'000) continue;
      INFO("width " << d << ", " << n << " rows");
      const auto x = gpu.floats(n * d, 3), up = gpu.floats(n * d), gain = gpu.floats(d), bias = gpu.floats(d);
      const Weight host_gain = gpu.vector(reference, gain), host_bias = gpu.vector(reference, bias), w_gain = gpu.vector(ctx, gain), w_bias = gpu.vector(ctx, bias);
      std::vector<float> expected(x.size());
      const TensorView dx = gpu.put(x, {n, d}), dup = gpu.put(up, {n, d}), y = gpu.put(x, {n, d});
      REQUIRE(ops::rms_norm(ctx, dx, w_gain, 1e-5f, y, 1));
      REQUIRE(ops::rms_norm(reference, host(x, {n, d}), host_gain, 1e-5f, host(expected, {n, d}), 1));
      CHECK(worst(gpu.get(y), expected) < 1e-5);
      if (d > 1) {
        REQUIRE(ops::layer_norm(ctx, dx, w_gain, w_bias, 1e-5f, y));
        REQUIRE(ops::layer_norm(reference, host(x, {n, d}), host_gain, host_bias, 1e-5f, host(expected, {n, d})));
        CHECK(worst(gpu.get(y), expected) < 1e-4);
      }
      for (auto act : {ops::Activation::silu, ops::Activation::gelu_erf, ops::Activation::gelu_tanh, ops::Activation::relu}) {
        INFO("activation " << int(act));
        REQUIRE(ops::gated_activation(ctx, act, dx, dup, y));
        REQUIRE(ops::gated_activation(reference, act, host(x, {n, d}), host(up, {n, d}), host(expected, {n, d})));
        CHECK(worst(gpu.get(y), expected) < 1e-5);
        REQUIRE(ops::activation(ctx, act, dx, y));
        REQUIRE(ops::activation(reference, act, host(x, {n, d}), host(expected, {n, d})));
        CHECK(worst(gpu.get(y), expected) < 1e-5);
      }
      expected = up;
      REQUIRE(ops::add(reference, host(x, {n, d}), host(expected, {n, d})));
      REQUIRE(ops::add(ctx, dx, dup));
      CHECK(worst(gpu.get(dup), expected) < 1e-6);
      if (n == 5) {
        const std::vector<std::int32_t> offsets{0, 1, 5};
        for (auto pooling : {ops::Pooling::mean, ops::Pooling::cls, ops::Pooling::last, ops::Pooling::max}) {
          std::vector<float> pooled(static_cast<std::size_t>(2 * d));
          const TensorView p = gpu.put(pooled, {2, d});
          REQUIRE(ops::pool_rows(reference, pooling, host(offsets, {3}), host(x, {n, d}), host(pooled, {2, d})));
          REQUIRE(ops::pool_rows(ctx, pooling, gpu.put(offsets, {3}), dx, p));
          CHECK(worst(gpu.get(p), pooled) < 1e-5);
          REQUIRE(ops::l2_normalise(reference, host(pooled, {2, d})));
          REQUIRE(ops::l2_normalise(ctx, p));
          CHECK(worst(gpu.get(p), pooled) < 1e-5);
        }
      }
      gpu.kept.clear();
    }
  }
  for (auto pairing : {ops::RopePairing::interleaved, ops::RopePairing::halves}) {
    for (bool table : {false, true}) {
      ops::RopeParams params;
      params.pairing = pairing;
      params.dims = 32;
      params.base = 500000;
      params.magnitude = 1.1f;
      const std::vector<float> frequencies = [] { std::vector<float> f(16); for (std::size_t i = 0; i < 16; ++i) f[i] = std::pow(10000.0f, -static_cast<float>(i) / 16); return f; }();
      const std::vector<std::int32_t> positions{0, 1, 4095, 131072};
      const auto x = gpu.floats(4 * 3 * 48);
      auto expected = x;
      ops::RopeParams on_device = params;
      if (table) {
        params.inverse_frequencies = host(frequencies, {16});
        on_device.inverse_frequencies = gpu.put(frequencies, {16});
      }
      REQUIRE(ops::rope(gpu.reference(), params, host(positions, {4}), host(expected, {4, 3, 48})));
      const TensorView y = gpu.put(x, {4, 3, 48});
      REQUIRE(ops::rope(gpu.context(), on_device, gpu.put(positions, {4}), y));
      CHECK(worst(gpu.get(y), expected) < 1e-5);
    }
  }
  // A norm of each head, in place, as in models that normalise queries and keys.
  for (std::int64_t tokens : {1, 5, 131}) {
    const auto x = gpu.floats(tokens * 3 * 64), gain = gpu.floats(64);
    auto expected = x;
    REQUIRE(ops::rms_norm(reference, host(x, {tokens, 3, 64}), gpu.vector(reference, gain), 1e-6f, host(expected, {tokens, 3, 64})));
    const TensorView y = gpu.put(x, {tokens, 3, 64});
    REQUIRE(ops::rms_norm(ctx, y, gpu.vector(ctx, gain), 1e-6f, y));
    CHECK(worst(gpu.get(y), expected) < 1e-5);
  }
  const TensorView zero = gpu.put(std::vector<float>(8, 0.0f), {2, 4});
  REQUIRE(ops::l2_normalise(gpu.context(), zero));
  CHECK(gpu.get(zero) == std::vector<float>(8, 0.0f));
}

TEST_CASE("cuda: paged and encoder attention", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  const std::int64_t heads = 6, kv_heads = 2, page_tokens = 16, pages = 12;
  for (DType dtype : {DType::f32, DType::f16}) {
    for (std::int64_t d : {8, 24, 64, 96, 128, 256}) {
      Gpu gpu(*device);
      const std::int64_t n = 41;
      const std::vector<std::int32_t> offsets{0, 40, 40, 41}, table{3, 0, 7, 1, 2, 2, 5, 4, 4};
      std::vector<std::int32_t> positions(41);
      for (int i = 0; i < 40; ++i) positions[static_cast<std::size_t>(i)] = i;
      positions[40] = 0;
      const std::size_t kv_bytes = static_cast<std::size_t>(pages * kv_heads * page_tokens * d) * (dtype == DType::f32 ? 4 : 2);
      std::vector<std::byte> k_bytes(kv_bytes), v_bytes(kv_bytes);
      const ops::PagedKv kv{TensorView(k_bytes.data(), dtype, {pages, kv_heads, page_tokens, d}), TensorView(v_bytes.data(), dtype, {pages, kv_heads, page_tokens, d})};
      const ops::RaggedRows rows{host(offsets, {4}), host(positions, {n}), host(table, {3, 3})};
      const TensorView dk = gpu.put(k_bytes, dtype, {pages, kv_heads, page_tokens, d}), dv = gpu.put(v_bytes, dtype, {pages, kv_heads, page_tokens, d});
      const ops::RaggedRows drows{gpu.put(offsets, {4}), gpu.put(positions, {n}), gpu.put(table, {3, 3})};
      const auto k = gpu.floats(n * kv_heads * d), v = gpu.floats(n * kv_heads * d), q = gpu.floats(n * heads * d);
      INFO(traits(dtype).name << " head_dim " << d);
      REQUIRE(ops::kv_append(gpu.reference(), rows, host(k, {n, kv_heads, d}), host(v, {n, kv_heads, d}), kv));
      REQUIRE(ops::kv_append(gpu.context(), drows, gpu.put(k, {n, kv_heads, d}), gpu.put(v, {n, kv_heads, d}), {dk, dv}));
      std::vector<std::byte> back(kv_bytes);
      REQUIRE(download(gpu.context(), back.data(), dk.data, kv_bytes));
      CHECK(back == k_bytes);
      REQUIRE(download(gpu.context(), back.data(), dv.data, kv_bytes));
      CHECK(back == v_bytes);
      const TensorView dq = gpu.put(q, {n, heads, d}), y = gpu.put(q, {n, heads, d});
      std::vector<float> expected(q.size());
      for (int window : {0, 9}) {
        ops::AttentionParams params;
        params.scale = 1 / std::sqrt(float(d));
        params.window = window;
        params.logit_softcap = window ? 20.0f : 0.0f;
        REQUIRE(ops::paged_attention(gpu.reference(), params, rows, host(q, {n, heads, d}), kv, host(expected, {n, heads, d})));
        REQUIRE(ops::paged_attention(gpu.context(), params, drows, dq, {dk, dv}, y));
        // Over f16 pages many rows go through tiles that round to f16; a row alone never does.
        CHECK(worst(gpu.get(y), expected) < (dtype == DType::f32 ? 1e-5 : 5e-3));
        // A row alone, as in decoding.
        const std::vector<std::int32_t> one{0, 1}, position{33};
        const ops::RaggedRows row{gpu.put(one, {2}), gpu.put(position, {1}), gpu.put(table, {1, 3})};
        const auto together = dtype == DType::f32 ? gpu.get(y) : expected;
        const TensorView alone = gpu.put(std::vector<float>(static_cast<std::size_t>(heads * d)), {1, heads, d});
        REQUIRE(ops::paged_attention(gpu.context(), params, row, dq.rows(33, 1), {dk, dv}, alone));
        const auto lonely = gpu.get(alone);
        if (dtype == DType::f32) CHECK(std::equal(lonely.begin(), lonely.end(), together.begin() + 33 * heads * d));
        CHECK(worst(lonely, std::vector<float>(together.begin() + 33 * heads * d, together.begin() + 34 * heads * d)) < 1e-5);
      }
      const auto kk = gpu.floats(n * heads * d), vv = gpu.floats(n * heads * d);
      for (Precision precision : {Precision::f32, Precision::fast}) {
        // Tiles take these head sizes, in f16: the reference is given what they see, so that the bound is on the arithmetic alone.
        const bool tiled = precision == Precision::fast && d >= 64;
        const auto seen = [&](std::vector<float> x, float scale) {
          for (float& e : x) e = tiled ? half_to_float(float_to_half(e * scale)) : e;
          return x;
        };
        REQUIRE(ops::encoder_attention(gpu.reference(), tiled ? 1.0f : 0.3f, host(offsets, {4}), host(seen(q, 0.3f), {n, heads, d}), host(seen(kk, 1), {n, heads, d}),
                                       host(seen(vv, 1), {n, heads, d}), host(expected, {n, heads, d})));
        REQUIRE(ops::encoder_attention(gpu.context(precision), 0.3f, drows.row_offsets, dq, gpu.put(kk, {n, heads, d}), gpu.put(vv, {n, heads, d}), y));
        CHECK(worst(gpu.get(y), expected) < (tiled ? 2e-3 : 1e-5));
      }
    }
  }
}

TEST_CASE("cuda: attention over long pieces that continue a sequence, with windows and softcaps", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  const std::int64_t heads = 4, kv_heads = 2, page_tokens = 32, pages = 24;
  for (std::int64_t d : {32, 64, 96, 128, 256}) {
    Gpu gpu(*device);
    // Three sequences: rows that begin at position 37, a whole one, and one row far in; borders inside tiles of 64.
    const std::vector<std::int32_t> offsets{0, 200, 270, 271};
    std::vector<std::int32_t> positions, table;
    for (int i = 0; i < 200; ++i) positions.push_back(37 + i);
    for (int i = 0; i < 70; ++i) positions.push_back(i);
    positions.push_back(100);
    for (int i = 0; i < 3 * 8; ++i) table.push_back((i * 7 + 3) % 24);
    const std::int64_t n = 271;
    const std::size_t size = static_cast<std::size_t>(pages * kv_heads * page_tokens * d);
    std::vector<std::uint16_t> k(size), v(size);
    for (auto* side : {&k, &v}) {
      const auto values = gpu.floats(static_cast<std::int64_t>(size));
      std::transform(values.begin(), values.end(), side->begin(), float_to_half);
    }
    const ops::PagedKv kv{TensorView(k.data(), DType::f16, {pages, kv_heads, page_tokens, d}), TensorView(v.data(), DType::f16, {pages, kv_heads, page_tokens, d})};
    const ops::PagedKv dkv{gpu.put(k, DType::f16, {pages, kv_heads, page_tokens, d}), gpu.put(v, DType::f16, {pages, kv_heads, page_tokens, d})};
    const ops::RaggedRows rows{host(offsets, {4}), host(positions, {n}), host(table, {3, 8})}, drows{gpu.put(offsets, {4}), gpu.put(positions, {n}), gpu.put(table, {3, 8})};
    const auto q = gpu.floats(n * heads * d);
    std::vector<float> expected(q.size());
    const TensorView dq = gpu.put(q, {n, heads, d}), y = gpu.put(expected, {n, heads, d});
    for (int window : {0, 1, 50}) {
      for (float softcap : {0.0f, 20.0f}) {
        INFO("head_dim " << d << " window " << window << " softcap " << softcap);
        ops::AttentionParams params;
        params.scale = 1 / std::sqrt(float(d));
        params.window = window;
        params.logit_softcap = softcap;
        REQUIRE(ops::paged_attention(gpu.reference(), params, rows, host(q, {n, heads, d}), kv, host(expected, {n, heads, d})));
        REQUIRE(ops::paged_attention(gpu.context(), params, drows, dq, dkv, y));
        CHECK(worst(gpu.get(y), expected) < 5e-3);
      }
    }
  }
}

TEST_CASE("cuda: batches of no rows queue nothing and are no error", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) return;
  Gpu gpu(*device);
  const OpContext ctx = gpu.context();
  const std::int64_t d = 64;
  const auto rows = [&](std::initializer_list<std::int64_t> shape) { return TensorView(nullptr, DType::f32, shape, *device); };
  const TensorView none = rows({0, d}), none3 = rows({0, 2, d}), no_ids(nullptr, DType::i32, {0}, *device);
  const Weight matrix = gpu.prepare(ctx, DType::f16, d, d, gpu.stored(DType::f16, d, d)), gain = gpu.vector(ctx, gpu.floats(d));
  CHECK(ops::linear(ctx, none, matrix, gain, none));
  CHECK(ops::embedding(ctx, no_ids, matrix, 1, none));
  CHECK(ops::gather_rows(ctx, no_ids, gpu.put(gpu.floats(2 * d), {2, d}), none));
  CHECK(ops::rms_norm(ctx, none, gain, 1e-5f, none));
  CHECK(ops::layer_norm(ctx, none, gain, gain, 1e-5f, none));
  CHECK(ops::add(ctx, none, none));
  CHECK(ops::gated_activation(ctx, ops::Activation::silu, none, none, none));
  CHECK(ops::activation(ctx, ops::Activation::gelu_erf, none, none));
  ops::RopeParams rope;
  rope.dims = 64;
  CHECK(ops::rope(ctx, rope, no_ids, none3));
  const TensorView one = gpu.put(std::vector<std::int32_t>{0}, {1});
  CHECK(ops::pool_rows(ctx, ops::Pooling::mean, one, none, none));
  CHECK(ops::l2_normalise(ctx, none));
  const TensorView k = gpu.put(gpu.floats(2 * 2 * 16 * d), {2, 2, 16, d}), v = gpu.put(gpu.floats(2 * 2 * 16 * d), {2, 2, 16, d});
  const auto before = gpu.get(k);
  const ops::RaggedRows ragged{one, no_ids, TensorView(nullptr, DType::i32, {0, 1}, *device)};
  CHECK(ops::kv_append(ctx, ragged, none3, none3, {k, v}));
  ops::AttentionParams attention;
  attention.scale = 1;
  CHECK(ops::paged_attention(ctx, attention, ragged, none3, {k, v}, none3));
  CHECK(ops::encoder_attention(ctx, 1, one, none3, none3, none3, none3));
  CHECK(gpu.stream->wait());
  CHECK(gpu.get(k) == before);
}

TEST_CASE("cuda: what is not there is a typed error, and memory is given back", "[cuda]") {
  const auto device = test::cuda_device();
  if (!device) {
    const auto none = Stream::open({DeviceKind::cuda, 0});
    REQUIRE_FALSE(none);
    CHECK(none.error().code() == ErrorCode::unsupported);
    return;
  }
  const auto far = Stream::open({DeviceKind::cuda, 4096});
  REQUIRE_FALSE(far);
  CHECK(far.error().code() == ErrorCode::unsupported);
  Gpu gpu(*device);
  OpContext ctx = gpu.context();
  const auto x = gpu.put(gpu.floats(8), {2, 4});
  ctx.stream = nullptr;
  const auto adrift = ops::add(ctx, x, x);
  REQUIRE_FALSE(adrift);
  CHECK(adrift.error().code() == ErrorCode::unsupported);
  const auto scan = ops::scan_top_k(gpu.context(), x, x, {}, TensorView(nullptr, DType::i64, {2, 0}), TensorView(nullptr, DType::f32, {2, 0}));
  REQUIRE_FALSE(scan);
  CHECK(scan.error().code() == ErrorCode::unsupported);
  MemoryBudget huge(std::uint64_t{1} << 50);
  const auto refused = allocate(gpu.context(), std::uint64_t{1} << 44, huge, "test");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::out_of_memory);
  CHECK(huge.used_bytes() == 0);
  const auto y = gpu.put(gpu.floats(8), {2, 4});  // the device still works
  CHECK(ops::add(gpu.context(), x, y));
  CHECK(gpu.stream->wait());
}
