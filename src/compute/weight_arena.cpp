#include "corvid/compute/weight_arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

namespace corvid {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kChunk = std::size_t{64} << 20;  // addresses; a page is taken when it is first written

}  // namespace

std::shared_ptr<std::byte> WeightArena::allocate(std::size_t bytes) {
  if (bytes > SIZE_MAX - 2 * kHugePage) return nullptr;
  const std::size_t size = (bytes + 63) / 64 * 64;
  if (size > size_ - used_) {
    const std::size_t wanted = std::max(kChunk, (size + kHugePage - 1) / kHugePage * kHugePage), mapped = wanted + kHugePage;
    void* const memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    const auto start = (reinterpret_cast<std::uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
    chunk_ = std::shared_ptr<std::byte>(reinterpret_cast<std::byte*>(start), [memory, mapped](std::byte*) { ::munmap(memory, mapped); });
    ::madvise(chunk_.get(), wanted, MADV_HUGEPAGE);  // a wish
    used_ = 0;
    size_ = wanted;
  }
  std::byte* const piece = chunk_.get() + used_;
  used_ += size;
  return {chunk_, piece};
}

}  // namespace corvid
