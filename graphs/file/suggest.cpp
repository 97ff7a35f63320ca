#include "graphs/file/suggest.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace corvid::detail {
namespace {

constexpr std::size_t kLongestName = 64;  // nobody mistypes longer ones by two letters

std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1), before, last;
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before = std::exchange(last, row);
    row[0] = i;
    for (std::size_t k = 1; k <= b.size(); ++k) {
      row[k] = std::min({last[k] + 1, row[k - 1] + 1, last[k - 1] + (a[i - 1] == b[k - 1] ? 0 : 1)});
      if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) row[k] = std::min(row[k], before[k - 2] + 1);  // swapped letters
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view name, const std::vector<std::string>& known) {
  if (name.size() > kLongestName) return {};
  std::size_t best = name.size() <= 3 ? 1 : 2;
  std::string found;
  for (const auto& each : known) {
    if (each.size() > kLongestName) continue;
    const std::size_t gap = each.size() > name.size() ? each.size() - name.size() : name.size() - each.size();
    if (gap > best) continue;
    if (const auto distance = edits(name, each); distance < best || (distance == best && found.empty())) {
      best = distance;
      found = each;
    }
  }
  return found;
}

std::string suggestion(std::string_view name, const std::vector<std::string>& known) {
  if (const auto near = nearest(name, known); !near.empty()) return "; did you mean \"" + near + "\"?";
  if (known.empty() || known.size() > 24) return {};
  std::string list;
  for (std::size_t i = 0; i < known.size(); ++i) list += (i == 0 ? "" : i + 1 == known.size() ? " and " : ", ") + known[i];
  return "; there " + std::string(known.size() == 1 ? "is " : "are ") + list;
}

std::size_t bad_utf8(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (at(i) & 0xc0) == 0x80; };
  for (std::size_t i = 0; i < text.size();) {
    const auto c = at(i);
    if (c < 0x80)
      ++i;
    else if (c >= 0xc2 && c < 0xe0 && tail(i + 1))
      i += 2;
    else if (c >= 0xe0 && c < 0xf0 && tail(i + 1) && tail(i + 2) && (c != 0xe0 || at(i + 1) >= 0xa0) && (c != 0xed || at(i + 1) < 0xa0))
      i += 3;
    else if (c >= 0xf0 && c < 0xf5 && tail(i + 1) && tail(i + 2) && tail(i + 3) && (c != 0xf0 || at(i + 1) >= 0x90) &&
             (c != 0xf4 || at(i + 1) < 0x90))
      i += 4;
    else
      return i;
  }
  return std::string_view::npos;
}

}  // namespace corvid::detail
