// Scratch of a thread that ops reuse from call to call: it grows to what the largest call needs and stays until the thread ends.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace corvid::cpu {

/// One grow-only piece, at 64 bytes. The contents do not survive get().
class Scratch {
 public:
  template <class T>
  T* get(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    if (bytes > bytes_) {
      memory_.reset();
      bytes_ = 0;
      memory_.reset(static_cast<std::byte*>(::operator new(bytes + bytes / 4, std::align_val_t{64})));
      bytes_ = bytes + bytes / 4;
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  struct Delete {
    void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Delete> memory_;
  std::size_t bytes_ = 0;
};

/// Cuts one piece of scratch into several, each at 64 bytes: ask for the sum of Pieces::room first.
class Pieces {
 public:
  explicit Pieces(std::byte* memory) : at_(memory) {}
  template <class T>
  static constexpr std::size_t room(std::size_t count) { return (count * sizeof(T) + 63) / 64 * 64; }
  template <class T>
  T* take(std::size_t count) {
    T* piece = reinterpret_cast<T*>(at_);
    at_ += room<T>(count);
    return piece;
  }

 private:
  std::byte* at_;
};

}  // namespace corvid::cpu
