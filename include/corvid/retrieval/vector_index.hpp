// VectorIndex: the nearest vectors by inner product, among allowed rows.
//
//   CORVID_TRY(auto index, make_exact_index(runtime.memory(), 384));
//   CORVID_TRY_STATUS(index->add(ids, vectors));                  // vectors [ids, 384] f32
//   CORVID_TRY(auto hits, index->search(context, queries, 10));   // one list a query
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/compute/op_context.hpp"
#include "corvid/retrieval/lexical_index.hpp"
#include "corvid/retrieval/row_bitmap.hpp"
#include "corvid/runtime/memory_budget.hpp"
#include "corvid/tensor/tensor_view.hpp"

namespace corvid {

/// Many readers or one writer at a time: the owner serialises add() and remove() against search().
class VectorIndex {
 public:
  virtual ~VectorIndex() = default;
  virtual std::uint32_t dimension() const noexcept = 0;
  virtual std::size_t rows() const noexcept = 0;                         ///< deleted ones included
  virtual std::span<const std::int64_t> ids() const noexcept = 0;        ///< [rows], in the order of add()
  virtual const RowBitmap& live() const noexcept = 0;                    ///< [rows], 0 = deleted
  /// [rows, dimension] f32 or f16 as stored, on the index's device, valid until the next add().
  virtual ConstTensorView vectors() const noexcept = 0;

  /// Room for this many rows in all, in one allocation. Errors: out_of_memory (budget, tag "index"), limit_exceeded.
  virtual Status reserve(std::size_t rows) = 0;
  /// Appends rows: vectors [ids, dimension] f32, host, copied. Errors: invalid_argument (dimension, NaN or Inf), out_of_memory.
  virtual Status add(std::span<const std::int64_t> ids, ConstTensorView vectors) = 0;
  /// Marks rows deleted by id; ids that are not there are ignored. Returns how many were there.
  virtual std::size_t remove(std::span<const std::int64_t> ids) = 0;
  /// The k best live, allowed rows of each query [n, dimension] f32, best first, equal scores by lower row. `allowed` [rows] or null.
  /// Errors: invalid_argument (dimension, size of `allowed`), those of ops::scan_top_k.
  virtual Result<std::vector<std::vector<ScoredId>>> search(const OpContext& ctx, ConstTensorView queries, std::size_t k,
                                                            const RowBitmap* allowed = nullptr) const = 0;
};

/// Every row is compared: recall 1.0 at any selectivity. One contiguous slab in host memory, `storage` f32 or f16: halves take half the
/// memory and time to read, and round each element to 11 bits (then add() refuses numbers beyond ±65504). Errors: invalid_argument, unsupported.
Result<std::unique_ptr<VectorIndex>> make_exact_index(MemoryBudget& budget, std::uint32_t dimension, DType storage = DType::f32);

}  // namespace corvid
