// TensorView: borrowed memory with a dtype, a shape and a device. Owns nothing.
//
//   TensorView x = TensorView::of(buffer, {tokens, width});   // [tokens, width] f32, host
//
// Row-major; the last dimension is contiguous, outer dimensions may be strided (a slice of a wider row).
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>

#include "corvid/tensor/device.hpp"
#include "corvid/tensor/dtype.hpp"

namespace corvid {

namespace detail {
template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<std::int8_t> { static constexpr DType value = DType::i8; };
template <> struct DTypeOf<std::uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<std::int32_t> { static constexpr DType value = DType::i32; };
template <> struct DTypeOf<std::int64_t> { static constexpr DType value = DType::i64; };
}  // namespace detail

/// A view over `Void` = void (writable) or const void. At most four dimensions.
template <class Void>
struct BasicTensorView {
  static constexpr int kMaxRank = 4;

  Void* data = nullptr;
  DType dtype = DType::f32;
  Device device{};
  int rank = 0;
  std::array<std::int64_t, kMaxRank> shape{};    ///< outermost first
  std::array<std::int64_t, kMaxRank> strides{};  ///< in elements; strides[rank-1] == 1

  BasicTensorView() = default;
  BasicTensorView(Void* data_, DType dtype_, std::initializer_list<std::int64_t> shape_, Device device_ = {})
      : data(data_), dtype(dtype_), device(device_) {
    for (auto extent : shape_) shape[static_cast<std::size_t>(rank++)] = extent;
    std::int64_t step = 1;
    for (int i = rank - 1; i >= 0; --i) {
      strides[static_cast<std::size_t>(i)] = step;
      step *= shape[static_cast<std::size_t>(i)];
    }
  }
  template <class T>
  static BasicTensorView of(std::span<T> values, std::initializer_list<std::int64_t> shape_) {
    BasicTensorView view(values.data(), detail::DTypeOf<std::remove_const_t<T>>::value, shape_);
    assert(view.elements() <= static_cast<std::int64_t>(values.size()));
    return view;
  }
  /// A writable view converts to a read-only one.
  template <class Other>
    requires(std::is_const_v<Void> && !std::is_const_v<Other>)
  BasicTensorView(const BasicTensorView<Other>& other)  // NOLINT: implicit like T* to const T*
      : data(other.data), dtype(other.dtype), device(other.device), rank(other.rank), shape(other.shape),
        strides(other.strides) {}

  std::int64_t dim(int i) const { return shape[static_cast<std::size_t>(i < 0 ? rank + i : i)]; }
  std::int64_t stride(int i) const { return strides[static_cast<std::size_t>(i < 0 ? rank + i : i)]; }
  std::int64_t elements() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[static_cast<std::size_t>(i)];
    return n;
  }
  bool contiguous() const {
    std::int64_t step = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (dim(i) != 1 && stride(i) != step) return false;
      step *= dim(i);
    }
    return true;
  }
  /// Rows [begin, begin + count) of the outermost dimension. Plain dtypes only.
  BasicTensorView rows(std::int64_t begin, std::int64_t count) const {
    BasicTensorView view = *this;
    using Byte = std::conditional_t<std::is_const_v<Void>, const std::byte, std::byte>;
    view.data = static_cast<Byte*>(data) + begin * strides[0] * static_cast<std::int64_t>(traits(dtype).block_bytes);
    view.shape[0] = count;
    return view;
  }
  /// The elements as T; host memory of dtype T only.
  template <class T>
  auto* as() const {
    using Ptr = std::conditional_t<std::is_const_v<Void>, const T, T>*;
    assert(device.is_cpu());
    return static_cast<Ptr>(data);
  }
};

using TensorView = BasicTensorView<void>;
using ConstTensorView = BasicTensorView<const void>;

}  // namespace corvid
