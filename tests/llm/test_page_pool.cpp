// A pool of pages keeps the CPU's keys transposed, and shows them to the outside as everywhere: what is saved on one device loads on another.
#include <cstdint>
#include <cstring>
#include <vector>

#include "llm/kv/page_pool.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::llm;

TEST_CASE("pages are written and read as [kv_heads, page_tokens, head_dim], however they lie") {
  PageShape shape;
  shape.layers = 2;
  shape.kv_heads = 3;
  shape.page_tokens = 32;
  shape.head_dim = 24;
  MemoryBudget budget{std::uint64_t{1} << 30};
  const OpContext ctx;
  const auto pool = PagePool::make(ctx, shape, 4, budget).value();
  const PageId first = pool->acquire().value(), page = pool->acquire().value(), copied = pool->acquire().value();
  REQUIRE(first != page);
  std::vector<std::uint16_t> from(shape.bytes_per_side() / 2), to(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::uint16_t>(i);
  const auto bytes = std::as_bytes(std::span(from));
  for (const bool value : {false, true}) {
    REQUIRE(pool->write(1, value, page, bytes));
    REQUIRE(pool->read(1, value, page, std::as_writable_bytes(std::span(to))));
    CHECK(to == from);
  }
  REQUIRE(pool->copy(page, copied));
  REQUIRE(pool->read(1, false, copied, std::as_writable_bytes(std::span(to))));
  CHECK(to == from);
  const ops::PagedKv kv = pool->layer(1);
  REQUIRE(kv.k_transposed);
  const auto* k = kv.k.as<const std::uint16_t>();
  const auto* v = kv.v.as<const std::uint16_t>();
  for (std::int64_t h : {0, 2}) {
    for (std::int64_t t : {0, 5, 31}) {
      for (std::int64_t e : {0, 7, 23}) {
        const std::uint16_t expected = from[static_cast<std::size_t>((h * 32 + t) * 24 + e)];
        CHECK(k[page * kv.k.stride(0) + h * kv.k.stride(1) + e * kv.k.stride(2) + t * kv.k.stride(3)] == expected);
        CHECK(v[page * kv.v.stride(0) + h * kv.v.stride(1) + t * kv.v.stride(2) + e * kv.v.stride(3)] == expected);
      }
    }
  }
}
