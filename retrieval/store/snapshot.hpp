// Snapshot: what searching needs of a collection in memory: vectors, filter columns, and where each row came from.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "corvid/retrieval/filter.hpp"
#include "corvid/retrieval/vector_index.hpp"
#include "corvid/runtime/memory_budget.hpp"
#include "corvid/storage/database.hpp"

namespace corvid::retrieval {

class Snapshot final : public FilterColumns {
 public:
  /// Reads a collection inside the caller's transaction. Rows are chunks by ascending id.
  /// Errors: bad_input (a damaged row, named), out_of_memory.
  static Result<std::shared_ptr<const Snapshot>> load(Database& db, std::int64_t collection, std::int64_t generation, std::uint32_t dimension, DType storage,
                                                      MemoryBudget& budget);

  std::size_t rows() const override { return begins_.size(); }
  const FilterColumn* column(std::string_view key) const override;

  std::int64_t generation() const { return generation_; }
  const VectorIndex& vectors() const { return *vectors_; }
  /// The row of a chunk's id; rows() when it is not there.
  std::size_t row_of(std::int64_t id) const;
  const std::string& source(std::size_t row) const { return sources_[source_of_[row]]; }
  std::uint64_t begin(std::size_t row) const { return begins_[row]; }

 private:
  std::int64_t generation_ = -1;
  std::unique_ptr<VectorIndex> vectors_;
  std::vector<std::string> sources_;
  std::vector<std::uint32_t> source_of_;
  std::vector<std::uint64_t> begins_;
  std::map<std::string, FilterColumn, std::less<>> columns_;
};

}  // namespace corvid::retrieval
