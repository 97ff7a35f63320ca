// PagePool: the KV memory of one device in fixed-size, reference-counted pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/compute/buffer.hpp"
#include "corvid/compute/ops/attention.hpp"
#include "corvid/runtime/memory_budget.hpp"

namespace corvid::llm {

using PageId = std::int32_t;

struct PageShape {
  std::int64_t layers = 0, kv_heads = 0, page_tokens = 0, head_dim = 0;
  DType dtype = DType::f16;
  std::size_t bytes_per_side() const;  ///< K or V of one layer's page
  std::size_t bytes() const { return bytes_per_side() * 2 * static_cast<std::size_t>(layers); }
};

/// On the CPU, address space for all pages is reserved at once; memory is touched, and drawn from the budget (tag "kv"), as pages are
/// first used. On a device all of it is allocated at once. Thread-safe but for the contents of pages.
class PagePool {
 public:
  /// Errors: out_of_memory.
  static Result<std::shared_ptr<PagePool>> make(const OpContext& ctx, const PageShape& shape, std::int64_t max_pages, MemoryBudget& budget);
  ~PagePool();

  /// A page with one reference. Errors: out_of_memory when the pool or the budget is exhausted.
  Result<PageId> acquire();
  void retain(PageId page);
  void release(PageId page);  ///< the last reference frees it
  bool shared(PageId page) const;
  Status copy(PageId from, PageId to);
  std::int64_t free_pages() const;

  ops::PagedKv layer(std::int64_t index) const;
  /// K or V of one layer's page to the host and from it; bytes_per_side() bytes, [kv_heads, page_tokens, head_dim] wherever the pool is.
  Status read(std::int64_t layer, bool value, PageId page, std::span<std::byte> to) const;
  Status write(std::int64_t layer, bool value, PageId page, std::span<const std::byte> from);
  const PageShape& shape() const noexcept { return shape_; }

 private:
  PagePool(const OpContext& ctx, const PageShape& shape, std::int64_t max_pages) : ctx_(ctx), shape_(shape), max_pages_(max_pages) {}
  std::byte* side(std::int64_t layer, bool value, PageId page) const;
  bool transposed(bool value) const { return !value && ctx_.device.is_cpu(); }  // as the CPU's attention reads keys where they lie
  OpContext ctx_;
  Buffer on_device_;
  PageShape shape_;
  std::int64_t max_pages_ = 0;
  std::byte* memory_ = nullptr;  // [layers][k, v][pages][kv_heads, page_tokens, head_dim]; keys on the CPU [kv_heads, head_dim, page_tokens]
  std::size_t mapped_bytes_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::int32_t> references_;
  std::vector<PageId> free_;
  PageId next_ = 0;  // pages from here on were never used
  Reservation held_;
};

}  // namespace corvid::llm
