// A filter of any text, evaluated over rows whose columns hold every kind of value: no more rows than there are, twice the same.
#include <cstdlib>
#include <map>
#include <string>

#include "corvid/retrieval/filter.hpp"

namespace {

struct Rows final : corvid::FilterColumns {
  Rows() {
    constexpr auto kNone = corvid::FilterColumn::kMissing;
    columns["a"] = {{1.0, -2.5, std::string("1"), std::string("x"), true}, {0, 1, 2, 3, 4, kNone}, {}};
    columns["type"] = {{std::string("markdown"), std::string("html"), std::string("")}, {0, 1, 2, 0, kNone, 1}, {}};
    columns["page"] = {{3.0, 10.0, 2023.0}, {0, 1, 2, 2, 1, kNone}, {}};
    columns["heading"] = {{std::string("one"), std::string("two"), 1.0}, {0, 1, 2, 0, 2}, {0, 2, 2, 3, 4, 5, 5}};
  }
  std::size_t rows() const override { return 6; }
  const corvid::FilterColumn* column(std::string_view key) const override {
    const auto at = columns.find(key);
    return at == columns.end() ? nullptr : &at->second;
  }
  std::map<std::string, corvid::FilterColumn, std::less<>> columns;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Rows rows;
  const auto filter = corvid::Filter::parse({reinterpret_cast<const char*>(data), size});
  if (!filter) return 0;
  const auto allowed = filter->evaluate(rows), again = filter->evaluate(rows);
  if (allowed.count() > rows.rows() || allowed.count() != again.count()) std::abort();
  if (filter->keys().size() > size) std::abort();
  return 0;
}
