// MemoryReserve: memory that is given back when an allocation fails. One a process, since it works through the new-handler.
//
// Code that may not throw (a coroutine that suspends, a queue that wakes another thread) cannot end with out_of_memory. It gets its few
// bytes from here, and whoever runs asks whole() at a point where ending is possible.
#pragma once

#include <cstddef>

namespace corvid {

class MemoryReserve {
 public:
  explicit MemoryReserve(std::size_t bytes);  // 0: takes no part
  ~MemoryReserve();
  MemoryReserve(const MemoryReserve&) = delete;
  MemoryReserve& operator=(const MemoryReserve&) = delete;

  static bool whole() noexcept;  // there, or there again; true where none is kept

 private:
  bool takes_part_;
};

}  // namespace corvid
