// Parameters and rows in PostgreSQL's binary format: nothing is quoted, escaped or built into SQL.
#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"

namespace corvid::postgres {

/// Bound parameters of one statement, $1 first. Text and bytes are borrowed until the statement has been sent; numbers and arrays kept.
class Params {
 public:
  Params() = default;
  Params(Params&&) = default;
  Params& operator=(Params&&) = default;
  Params(const Params&) = delete;  // would borrow from the original

  Params& text(std::string_view value);
  Params& integer(std::int64_t value);              ///< int8
  Params& bytes(std::span<const std::byte> value);  ///< bytea
  // One row each of a statement that reads unnest($1, $2, …).
  Params& texts(const std::vector<std::string_view>& values);
  Params& integers(const std::vector<std::int64_t>& values);
  Params& byte_strings(const std::vector<std::optional<std::span<const std::byte>>>& values);  ///< nullopt: NULL

  /// Errors: invalid_argument (a NUL byte in a text), limit_exceeded (a message over 1 GiB).
  Status check() const;
  int size() const { return static_cast<int>(types_.size()); }
  const Oid* types() const { return types_.data(); }
  const char* const* values() const { return values_.data(); }
  const int* lengths() const { return lengths_.data(); }

 private:
  void add(Oid type, const void* data, std::size_t size);
  template <class F>
  void array(Oid type, Oid element, std::size_t count, F&& append);

  std::vector<Oid> types_;
  std::vector<const char*> values_;
  std::vector<int> lengths_;
  std::deque<std::string> owned_;  // a deque: what is added later must not move what values_ points to
  std::size_t total_ = 0;
  bool nul_ = false;
};

/// A statement's result. Columns are borrowed from it.
class Rows {
 public:
  Rows() = default;
  explicit Rows(PGresult* result) : result_(result) {}

  int size() const { return result_ ? PQntuples(result_.get()) : 0; }
  bool empty() const { return size() == 0; }
  std::int64_t affected() const;
  bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  std::int64_t integer(int row, int column) const;  ///< int2, int4, int8 or bool
  std::string_view text(int row, int column) const;
  std::string string(int row, int column) const { return std::string(text(row, column)); }
  Bytes bytes(int row, int column) const;
  std::vector<std::string> texts(int row, int column) const;
  std::vector<std::int64_t> integers(int row, int column) const;

 private:
  struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  std::unique_ptr<PGresult, Clear> result_;
};

}  // namespace corvid::postgres
