#include "memory_reserve.hpp"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>

namespace corvid {
namespace {

std::mutex mutex;  // of the three below
int users = 0;
std::size_t size = 0;
std::new_handler before = nullptr;

std::atomic<bool> kept{false};
std::atomic<void*> block{nullptr};

void give_back() {
  if (void* held = block.exchange(nullptr)) {
    std::free(held);
    return;  // operator new tries again
  }
  if (before) return before();
  throw std::bad_alloc();
}

}  // namespace

MemoryReserve::MemoryReserve(std::size_t bytes) : takes_part_(bytes > 0) {
  if (!takes_part_) return;
  std::lock_guard lock(mutex);
  if (users++ > 0) return;
  size = bytes;
  block.store(std::malloc(size));
  before = std::set_new_handler(give_back);
  kept.store(true);
}

MemoryReserve::~MemoryReserve() {
  if (!takes_part_) return;
  std::lock_guard lock(mutex);
  if (--users > 0) return;
  kept.store(false);
  if (std::get_new_handler() == give_back) std::set_new_handler(before);
  std::free(block.exchange(nullptr));
}

bool MemoryReserve::whole() noexcept {
  if (!kept.load(std::memory_order_relaxed) || block.load(std::memory_order_relaxed)) return true;
  std::lock_guard lock(mutex);
  if (!kept.load() || block.load()) return true;
  block.store(std::malloc(size));
  return block.load() != nullptr;
}

}  // namespace corvid
