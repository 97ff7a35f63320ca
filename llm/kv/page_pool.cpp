#include "llm/kv/page_pool.hpp"

#include <sys/mman.h>

#include <cstring>

namespace corvid::llm {

namespace {

// [blocks, rows, cols] of elements of `width` bytes to [blocks, cols, rows].
void transpose(const std::byte* from, std::byte* to, std::size_t blocks, std::size_t rows, std::size_t cols, std::size_t width) {
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < cols; ++c) std::memcpy(to + ((b * cols + c) * rows + r) * width, from + ((b * rows + r) * cols + c) * width, width);
    }
  }
}

}  // namespace

std::size_t PageShape::bytes_per_side() const {
  return static_cast<std::size_t>(kv_heads * page_tokens * head_dim) * traits(dtype).block_bytes;
}

Result<std::shared_ptr<PagePool>> PagePool::make(const OpContext& ctx, const PageShape& shape, std::int64_t max_pages, MemoryBudget& budget) {
  auto pool = std::shared_ptr<PagePool>(new PagePool(ctx, shape, max_pages));
  pool->references_.assign(static_cast<std::size_t>(max_pages), 0);
  if (!ctx.device.is_cpu()) {
    CORVID_TRY(pool->on_device_, allocate(ctx, shape.bytes() * static_cast<std::size_t>(max_pages), budget, "kv"));
    pool->memory_ = pool->on_device_.data();
    return pool;
  }
  pool->mapped_bytes_ = shape.bytes() * static_cast<std::size_t>(max_pages);
  void* memory = mmap(nullptr, pool->mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return fail(Error::out_of_memory("no address space for " + std::to_string(pool->mapped_bytes_) + " bytes of KV pages; take a smaller context"));
  pool->memory_ = static_cast<std::byte*>(memory);
  CORVID_TRY(pool->held_, budget.reserve(0, "kv"));
  return pool;
}

PagePool::~PagePool() {
  if (memory_ && ctx_.device.is_cpu()) munmap(memory_, mapped_bytes_);
}

Result<PageId> PagePool::acquire() {
  std::lock_guard lock(mutex_);
  PageId page;
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
  } else {
    if (next_ >= max_pages_) return fail(Error::out_of_memory("all " + std::to_string(max_pages_) + " KV pages are in use; finish or release sequences, or raise the KV budget"));
    if (ctx_.device.is_cpu()) CORVID_TRY_STATUS(held_.resize(held_.bytes() + shape_.bytes()));
    page = next_++;
  }
  references_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void PagePool::retain(PageId page) {
  std::lock_guard lock(mutex_);
  ++references_[static_cast<std::size_t>(page)];
}

void PagePool::release(PageId page) {
  std::lock_guard lock(mutex_);
  if (--references_[static_cast<std::size_t>(page)] == 0) free_.push_back(page);
}

bool PagePool::shared(PageId page) const {
  std::lock_guard lock(mutex_);
  return references_[static_cast<std::size_t>(page)] > 1;
}

std::int64_t PagePool::free_pages() const {
  std::lock_guard lock(mutex_);
  return max_pages_ - next_ + static_cast<std::int64_t>(free_.size());
}

std::byte* PagePool::side(std::int64_t layer, bool value, PageId page) const {
  const std::size_t bytes = shape_.bytes_per_side();
  return memory_ + (static_cast<std::size_t>(layer * 2 + (value ? 1 : 0)) * static_cast<std::size_t>(max_pages_) + static_cast<std::size_t>(page)) * bytes;
}

Status PagePool::copy(PageId from, PageId to) {
  for (std::int64_t l = 0; l < shape_.layers; ++l) {
    for (const bool value : {false, true}) CORVID_TRY_STATUS(corvid::copy(ctx_, side(l, value, to), side(l, value, from), shape_.bytes_per_side()));
  }
  return {};
}

Status PagePool::read(std::int64_t layer, bool value, PageId page, std::span<std::byte> to) const {
  if (!transposed(value)) return download(ctx_, to.data(), side(layer, value, page), to.size());
  transpose(side(layer, value, page), to.data(), static_cast<std::size_t>(shape_.kv_heads), static_cast<std::size_t>(shape_.head_dim), static_cast<std::size_t>(shape_.page_tokens), traits(shape_.dtype).block_bytes);
  return {};
}

Status PagePool::write(std::int64_t layer, bool value, PageId page, std::span<const std::byte> from) {
  if (!transposed(value)) return upload(ctx_, side(layer, value, page), from.data(), from.size());
  transpose(from.data(), side(layer, value, page), static_cast<std::size_t>(shape_.kv_heads), static_cast<std::size_t>(shape_.page_tokens), static_cast<std::size_t>(shape_.head_dim), traits(shape_.dtype).block_bytes);
  return {};
}

ops::PagedKv PagePool::layer(std::int64_t index) const {
  const auto view = [&](bool value) {
    const bool turned = transposed(value);
    return TensorView(side(index, value, 0), shape_.dtype,
                      {max_pages_, shape_.kv_heads, turned ? shape_.head_dim : shape_.page_tokens, turned ? shape_.page_tokens : shape_.head_dim}, ctx_.device);
  };
  return {view(false), view(true), transposed(false)};
}

}  // namespace corvid::llm
