// RowBitmap: which rows of an index may be returned. One bit a row; what filters and deletions are compiled to.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace corvid {

class RowBitmap {
 public:
  RowBitmap() = default;
  explicit RowBitmap(std::size_t rows, bool value = false) { resize(rows, value); }

  std::size_t rows() const noexcept { return rows_; }
  /// New rows get `value`.
  void resize(std::size_t rows, bool value = false) {
    const std::size_t old = rows_;
    words_.resize((rows + 63) / 64, 0);
    rows_ = rows;
    for (std::size_t r = old; value && r < rows; ++r) set(r);
    clear_tail();
  }
  bool test(std::size_t row) const noexcept { return row < rows_ && ((words_[row / 64] >> (row % 64)) & 1) != 0; }
  void set(std::size_t row) noexcept { words_[row / 64] |= std::uint64_t{1} << (row % 64); }
  void reset(std::size_t row) noexcept { words_[row / 64] &= ~(std::uint64_t{1} << (row % 64)); }
  std::size_t count() const noexcept {
    std::size_t n = 0;
    for (const auto word : words_) n += static_cast<std::size_t>(std::popcount(word));
    return n;
  }
  // Both bitmaps must have the same number of rows; the shorter one counts as zeros beyond its end.
  RowBitmap& operator&=(const RowBitmap& other) noexcept {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= i < other.words_.size() ? other.words_[i] : 0;
    return *this;
  }
  RowBitmap& operator|=(const RowBitmap& other) noexcept {
    for (std::size_t i = 0; i < words_.size() && i < other.words_.size(); ++i) words_[i] |= other.words_[i];
    clear_tail();
    return *this;
  }
  void flip() noexcept {
    for (auto& word : words_) word = ~word;
    clear_tail();
  }
  /// [ceil(rows/64)] words, bit r of word r/64; bits beyond the rows are zero.
  std::span<const std::uint64_t> words() const noexcept { return words_; }
  bool operator==(const RowBitmap&) const = default;

 private:
  void clear_tail() noexcept {
    if (rows_ % 64 != 0) words_.back() &= (std::uint64_t{1} << (rows_ % 64)) - 1;
  }
  std::vector<std::uint64_t> words_;
  std::size_t rows_ = 0;
};

}  // namespace corvid
