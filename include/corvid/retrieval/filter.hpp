// Filter: `type = "markdown" and not (page < 10 or year in (2023, 2024))`, compiled to a bitmap over rows.
//
//   CORVID_TRY(auto filter, Filter::parse(text));
//   RowBitmap allowed = filter.evaluate(columns);
//
//   expression := term { "or" term };  term := factor { "and" factor };  factor := "not" factor | "(" expression ")" | comparison
//   comparison := key ("=" | "!=" | "<" | "<=" | ">" | ">=") value | key "in" ( "(" | "[" ) value { "," value } ( ")" | "]" ) | key "in" value
//   key := a word of letters, digits, _ - . and bytes ≥ 0x80;  value := "string" with \" \\ \n \t | number | true | false
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/retrieval/row_bitmap.hpp"

namespace corvid {

using FilterValue = std::variant<bool, double, std::string>;

/// One key's values, dictionary-coded: a comparison looks at each distinct value once, then at each row's code.
struct FilterColumn {
  static constexpr std::uint32_t kMissing = 0xffffffffu;
  std::vector<FilterValue> values;         ///< distinct values
  std::vector<std::uint32_t> codes;        ///< [rows], or [offsets.back()]: index into values; kMissing = the row has none
  std::vector<std::uint32_t> offsets;      ///< empty: one code a row; else [rows + 1]: a row has several values (headings)
};

/// What a filter is evaluated over. Filled by a collection.
class FilterColumns {
 public:
  virtual ~FilterColumns() = default;
  virtual std::size_t rows() const = 0;
  /// Null where no row has the key. Borrowed until the columns change.
  virtual const FilterColumn* column(std::string_view key) const = 0;
};

/// Immutable; any thread.
class Filter {
 public:
  struct Node;
  /// Errors: bad_input with the byte offset (syntax), limit_exceeded (nesting beyond 64, more than 64 KiB). An empty text allows all.
  static Result<Filter> parse(std::string_view text);

  /// A row without the key satisfies no comparison, != included (`not key = value` takes those rows in). Of several values one that
  /// satisfies is enough, for != none may equal. A number is compared with a text as a number where the text is one, and is else
  /// unequal and unordered; texts are compared byte by byte.
  RowBitmap evaluate(const FilterColumns& columns) const;
  bool allows_all() const noexcept { return root_ == nullptr; }
  std::vector<std::string> keys() const;   ///< that the filter names, sorted, once each

 private:
  std::shared_ptr<const Node> root_;
};

}  // namespace corvid
