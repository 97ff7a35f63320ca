#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <new>
#include <string>
#include <unordered_map>

#include "corvid/compute/ops/scan.hpp"
#include "corvid/retrieval/vector_index.hpp"

namespace corvid {
namespace {

class ExactIndex final : public VectorIndex {
 public:
  ExactIndex(Reservation reservation, std::uint32_t dimension, DType storage)
      : reservation_(std::move(reservation)), dimension_(dimension), half_(storage == DType::f16) {}

  std::uint32_t dimension() const noexcept override { return dimension_; }
  std::size_t rows() const noexcept override { return ids_.size(); }
  std::span<const std::int64_t> ids() const noexcept override { return ids_; }
  const RowBitmap& live() const noexcept override { return live_; }
  ConstTensorView vectors() const noexcept override {
    const void* data = half_ ? static_cast<const void*>(halves_.data()) : floats_.data();
    return ConstTensorView(data, half_ ? DType::f16 : DType::f32, {static_cast<std::int64_t>(ids_.size()), static_cast<std::int64_t>(dimension_)});
  }

  Status reserve(std::size_t rows) override {
    if (rows <= capacity_) return {};
    const std::uint64_t row_bytes = std::uint64_t{dimension_} * (half_ ? sizeof(std::uint16_t) : sizeof(float)) + sizeof(std::int64_t) + kMapBytes;
    if (rows > std::numeric_limits<std::size_t>::max() / 2 / row_bytes) {
      return fail(Error::limit_exceeded("an index of " + std::to_string(rows) + " vectors is larger than memory can be"));
    }
    // Both slabs live while the rows move.
    const std::uint64_t old_bytes = reservation_.bytes();
    CORVID_TRY_STATUS(reservation_.resize(old_bytes + rows * row_bytes));
    try {
      if (half_) halves_.reserve(rows * dimension_);
      else floats_.reserve(rows * dimension_);
      ids_.reserve(rows);
      row_of_.reserve(rows);
    } catch (const std::bad_alloc&) {
      CORVID_TRY_STATUS(reservation_.resize(old_bytes));
      return fail(Error::out_of_memory("no memory for an index of " + std::to_string(rows) + " vectors"));
    }
    capacity_ = rows;
    return reservation_.resize(rows * row_bytes);
  }

  Status add(std::span<const std::int64_t> ids, ConstTensorView vectors) override {
    if (ids.empty()) return {};
    if (vectors.rank != 2 || vectors.dtype != DType::f32 || !vectors.device.is_cpu() || vectors.dim(0) != static_cast<std::int64_t>(ids.size()) ||
        vectors.dim(1) != static_cast<std::int64_t>(dimension_)) {
      return fail(Error::invalid_argument("the index takes f32 vectors of dimension " + std::to_string(dimension_)));
    }
    for (std::int64_t r = 0; r < vectors.dim(0); ++r) {
      const float* row = vectors.as<const float>() + r * vectors.stride(0);
      if (!std::all_of(row, row + dimension_, [](float x) { return std::isfinite(x); })) {
        return fail(Error::invalid_argument("vector of id " + std::to_string(ids[static_cast<std::size_t>(r)]) + " holds NaN or infinity"));
      }
      if (half_ && !std::all_of(row, row + dimension_, [](float x) { return std::abs(x) <= kLargestHalf; })) {
        return fail(Error::invalid_argument("vector of id " + std::to_string(ids[static_cast<std::size_t>(r)]) + " holds a number larger than f16 can; store f32"));
      }
    }
    if (ids_.size() + ids.size() > capacity_) {
      CORVID_TRY_STATUS(reserve(std::max(ids_.size() + ids.size(), capacity_ + capacity_ / 2)));
    }
    for (std::int64_t r = 0; r < vectors.dim(0); ++r) {
      const float* row = vectors.as<const float>() + r * vectors.stride(0);
      if (half_) std::transform(row, row + dimension_, std::back_inserter(halves_), float_to_half);
      else floats_.insert(floats_.end(), row, row + dimension_);
      const std::int64_t id = ids[static_cast<std::size_t>(r)];
      if (const auto old = row_of_.find(id); old != row_of_.end()) live_.reset(old->second);  // added again: the newer row counts
      row_of_[id] = ids_.size();
      ids_.push_back(id);
    }
    live_.resize(ids_.size(), true);
    return {};
  }

  std::size_t remove(std::span<const std::int64_t> ids) override {
    std::size_t removed = 0;
    for (const auto id : ids) {
      const auto at = row_of_.find(id);
      if (at == row_of_.end()) continue;
      live_.reset(at->second);
      row_of_.erase(at);
      ++removed;
    }
    return removed;
  }

  Result<std::vector<std::vector<ScoredId>>> search(const OpContext& ctx, ConstTensorView queries, std::size_t k,
                                                    const RowBitmap* allowed) const override {
    if (queries.rank != 2 || queries.dtype != DType::f32 || queries.dim(1) != static_cast<std::int64_t>(dimension_)) {
      return fail(Error::invalid_argument("queries must be f32 vectors of dimension " + std::to_string(dimension_)));
    }
    if (allowed && allowed->rows() != rows()) {
      return fail(Error::invalid_argument("the bitmap has " + std::to_string(allowed->rows()) + " rows, the index " + std::to_string(rows())));
    }
    const auto n = static_cast<std::size_t>(queries.dim(0));
    std::vector<std::vector<ScoredId>> out(n);
    k = std::min(k, rows());
    if (n == 0 || k == 0) return out;
    RowBitmap bits = live_;
    if (allowed) bits &= *allowed;
    const std::vector<std::uint64_t> words(bits.words().begin(), bits.words().end());
    std::vector<std::int64_t> found(n * k);
    std::vector<float> scores(n * k);
    const auto rows_k = static_cast<std::int64_t>(k);
    const ConstTensorView allowed_view(words.data(), DType::i64, {static_cast<std::int64_t>(words.size())});
    CORVID_TRY_STATUS(ops::scan_top_k(ctx, queries, vectors(), allowed_view, TensorView::of(std::span(found), {queries.dim(0), rows_k}),
                                      TensorView::of(std::span(scores), {queries.dim(0), rows_k})));
    for (std::size_t q = 0; q < n; ++q) {
      for (std::size_t i = q * k; i < (q + 1) * k && found[i] >= 0; ++i) {
        out[q].push_back({ids_[static_cast<std::size_t>(found[i])], scores[i]});
      }
    }
    return out;
  }

 private:
  static constexpr float kLargestHalf = 65504.0f;
  static constexpr std::uint64_t kMapBytes = 40;  // a hash node and its bucket, about
  Reservation reservation_;
  std::uint32_t dimension_;
  std::size_t capacity_ = 0;
  bool half_;
  std::vector<float> floats_;                     // [rows, dimension], or halves_
  std::vector<std::uint16_t> halves_;
  std::vector<std::int64_t> ids_;                 // [rows]
  std::unordered_map<std::int64_t, std::size_t> row_of_;
  RowBitmap live_;
};

}  // namespace

Result<std::unique_ptr<VectorIndex>> make_exact_index(MemoryBudget& budget, std::uint32_t dimension, DType storage) {
  if (dimension == 0 || dimension > 65536) return fail(Error::invalid_argument("an index has 1 to 65536 dimensions, not " + std::to_string(dimension)));
  if (storage != DType::f32 && storage != DType::f16) {
    return fail(Error::unsupported("an exact index stores f32 or f16, not " + std::string(traits(storage).name)));
  }
  CORVID_TRY(Reservation reservation, budget.reserve(0, "index"));
  return std::unique_ptr<VectorIndex>(std::make_unique<ExactIndex>(std::move(reservation), dimension, storage));
}

}  // namespace corvid
