// WeightArena: memory in which the weights of one model lie behind one another, on huge pages where the system has them.
//
//   WeightArena arena;
//   ctx.arena = &arena;   // then prepare_weight(ctx, …)
//
// A step reads all weights once; small pages would cost it a fifth of the memory's speed.
#pragma once

#include <cstddef>
#include <memory>

namespace corvid {

/// Not thread-safe. May be destroyed before the weights: each keeps its piece of the arena.
class WeightArena {
 public:
  /// 64-byte aligned, not initialised; null where the system has no memory left. Not budgeted here.
  std::shared_ptr<std::byte> allocate(std::size_t bytes);

 private:
  std::shared_ptr<std::byte> chunk_;
  std::size_t used_ = 0, size_ = 0;
};

}  // namespace corvid
