#include "graphs/define/duration.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

namespace corvid {

Result<std::chrono::milliseconds> read_duration(const Json& value) {
  using std::chrono::milliseconds;
  constexpr double kMost = 1e12;  // thirty years
  const auto wrong = [] {
    return Error::bad_input("a duration is a number of seconds or a text such as \"250ms\", \"30s\", \"5m\", \"2h\", \"1d\"");
  };
  double amount = 0, unit = 1000;
  if (value.is_number()) {
    amount = value.get<double>();
  } else if (value.is_string()) {
    const std::string_view text = value.get_ref<const std::string&>();
    const auto read = std::from_chars(text.data(), text.data() + text.size(), amount);
    const std::string_view rest(read.ptr, static_cast<std::size_t>(text.data() + text.size() - read.ptr));
    static constexpr std::array<std::pair<std::string_view, double>, 5> units{
        {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
    bool known = false;
    for (const auto& [name, factor] : units)
      if (rest == name) unit = factor, known = true;
    if (read.ec != std::errc() || !known) return fail(wrong());
  } else {
    return fail(wrong());
  }
  const double total = amount * unit;
  if (!(total >= 0 && total <= kMost)) return fail(Error::bad_input("a duration is between 0 and 30 years"));
  return milliseconds(static_cast<std::int64_t>(std::llround(total)));
}

std::string write_duration(std::chrono::milliseconds duration) {
  const auto count = duration.count();
  return count % 1000 == 0 ? std::to_string(count / 1000) + "s" : std::to_string(count) + "ms";
}

}  // namespace corvid
