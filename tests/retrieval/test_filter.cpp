// Filters: every operator against a plain evaluation of each row, and syntax errors with their places.
#include <map>
#include <random>

#include "corvid/retrieval/filter.hpp"
#include "support/catch.hpp"

using namespace corvid;

namespace {

struct Columns final : FilterColumns {
  std::size_t n = 0;
  std::map<std::string, FilterColumn, std::less<>> all;
  std::size_t rows() const override { return n; }
  const FilterColumn* column(std::string_view key) const override {
    const auto found = all.find(key);
    return found == all.end() ? nullptr : &found->second;
  }
};

// Rows 0…n-1: number = row (absent on every 7th), word of row % 5, flag = row % 2, headings {"H<row%3>", "All"}.
Columns make_columns(std::size_t n) {
  Columns c;
  c.n = n;
  auto &number = c.all["number"], &word = c.all["word"], &flag = c.all["flag"], &heading = c.all["heading"], &digits = c.all["digits"];
  for (std::size_t i = 0; i < n; ++i) number.values.push_back(static_cast<double>(i)), digits.values.push_back(std::to_string(i));
  for (const char* w : {"ant", "bee", "cat", "dog", "e\"e"}) word.values.push_back(std::string(w));
  flag.values = {false, true};
  heading.values = {std::string("H0"), std::string("H1"), std::string("H2"), std::string("All")};
  heading.offsets.push_back(0);
  for (std::size_t i = 0; i < n; ++i) {
    number.codes.push_back(i % 7 == 6 ? FilterColumn::kMissing : static_cast<std::uint32_t>(i));
    digits.codes.push_back(static_cast<std::uint32_t>(i));
    word.codes.push_back(static_cast<std::uint32_t>(i % 5));
    flag.codes.push_back(static_cast<std::uint32_t>(i % 2));
    heading.codes.push_back(static_cast<std::uint32_t>(i % 3));
    heading.codes.push_back(3);
    heading.offsets.push_back(static_cast<std::uint32_t>(heading.codes.size()));
  }
  return c;
}

template <class F>
void check(const char* text, const Columns& columns, F expected) {
  INFO(text);
  const auto filter = Filter::parse(text);
  if (!filter) UNSCOPED_INFO(filter.error().describe());
  REQUIRE(filter);
  const auto rows = filter->evaluate(columns);
  REQUIRE(rows.rows() == columns.n);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < columns.n; ++i) wrong += rows.test(i) != expected(i);
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("filter: each operator, at selectivities from none to all", "[retrieval]") {
  const auto c = make_columns(1000);
  const auto has = [](std::size_t i) { return i % 7 != 6; };
  check("", c, [](std::size_t) { return true; });
  for (const int limit : {-1, 0, 1, 3, 10, 100, 500, 900, 998, 999, 2000}) {
    const auto l = static_cast<long>(limit);
    const std::string v = std::to_string(limit);
    check(("number < " + v).c_str(), c, [&](std::size_t i) { return has(i) && static_cast<long>(i) < l; });
    check(("number <= " + v).c_str(), c, [&](std::size_t i) { return has(i) && static_cast<long>(i) <= l; });
    check(("number > " + v).c_str(), c, [&](std::size_t i) { return has(i) && static_cast<long>(i) > l; });
    check(("number >= " + v).c_str(), c, [&](std::size_t i) { return has(i) && static_cast<long>(i) >= l; });
    check(("number = " + v).c_str(), c, [&](std::size_t i) { return has(i) && static_cast<long>(i) == l; });
    check(("number != " + v).c_str(), c, [&](std::size_t i) { return has(i) && static_cast<long>(i) != l; });
    check(("not number != " + v).c_str(), c, [&](std::size_t i) { return !has(i) || static_cast<long>(i) == l; });
    check(("digits < " + v).c_str(), c, [&](std::size_t i) { return static_cast<long>(i) < l; });
  }
  check("word = \"bee\"", c, [](std::size_t i) { return i % 5 == 1; });
  check("word != \"bee\"", c, [](std::size_t i) { return i % 5 != 1; });
  check("word < \"cat\"", c, [](std::size_t i) { return i % 5 < 2; });
  check("word >= \"cat\"", c, [](std::size_t i) { return i % 5 >= 2; });
  check("word = \"e\\\"e\"", c, [](std::size_t i) { return i % 5 == 4; });
  check("word in (\"ant\", \"dog\")", c, [](std::size_t i) { return i % 5 == 0 || i % 5 == 3; });
  check("word in [\"ant\"]", c, [](std::size_t i) { return i % 5 == 0; });
  check("word in \"ant\"", c, [](std::size_t i) { return i % 5 == 0; });
  check("number in (1, 2, 3, 6, 1e3)", c, [](std::size_t i) { return i >= 1 && i <= 3; });
  check("word = 3", c, [](std::size_t) { return false; });
  check("word != 3", c, [](std::size_t) { return true; });
  check("flag = true", c, [](std::size_t i) { return i % 2 == 1; });
  check("heading = \"H1\"", c, [](std::size_t i) { return i % 3 == 1; });
  check("heading = \"All\"", c, [](std::size_t) { return true; });
  check("heading != \"H1\"", c, [](std::size_t i) { return i % 3 != 1; });
  check("absent = 1", c, [](std::size_t) { return false; });
  check("absent != 1", c, [](std::size_t) { return false; });
  check("not absent = 1", c, [](std::size_t) { return true; });
  check("word = \"ant\" or word = \"bee\" and flag = true", c, [](std::size_t i) { return i % 5 == 0 || (i % 5 == 1 && i % 2 == 1); });
  check("(word = \"ant\" or word = \"bee\") and flag = true", c, [](std::size_t i) { return i % 5 < 2 && i % 2 == 1; });
  check("not (word = \"ant\" or flag = true) and not number > 100", c, [&](std::size_t i) { return i % 5 != 0 && i % 2 == 0 && (!has(i) || i <= 100); });
}

TEST_CASE("filter: syntax errors are bad_input with the byte", "[retrieval]") {
  for (const auto& [text, offset] : std::map<std::string, std::uint64_t>{{"=", 0}, {"a", 1}, {"a =", 3}, {"a = \"x", 4}, {"a = 1 b", 6}, {"(a = 1", 6}, {"a = 1 and", 9}, {"a ! 1", 2}, {"a in (1,", 8}, {"a = x", 4}}) {
    INFO(text);
    const auto filter = Filter::parse(text);
    REQUIRE_FALSE(filter);
    CHECK(filter.error().code() == ErrorCode::bad_input);
    REQUIRE(filter.error().offset());
    CHECK(*filter.error().offset() == offset);
  }
  std::string deep = std::string(100, '(') + "a = 1" + std::string(100, ')');
  CHECK(Filter::parse(deep).error().code() == ErrorCode::limit_exceeded);
  CHECK(Filter::parse(std::string(70'000, ' ')).error().code() == ErrorCode::limit_exceeded);
  CHECK(Filter::parse("a = 1 and b in (2) or not a < 3")->keys() == std::vector<std::string>{"a", "b"});
}
