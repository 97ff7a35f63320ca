#include "llm/remote/backoff.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace corvid::llm {

namespace {

std::optional<int> number(std::string_view text, int lowest, int highest) {
  int value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size() || value < lowest || value > highest) return std::nullopt;
  return value;
}

// "Sun, 06 Nov 1994 08:49:37 GMT", the one form that is still sent. strptime would read it by the process's locale.
std::optional<std::time_t> http_date(std::string_view text) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") return std::nullopt;
  if (text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':') return std::nullopt;
  const std::size_t month = kMonths.find(text.substr(8, 3));
  const auto day = number(text.substr(5, 2), 1, 31), year = number(text.substr(12, 4), 1970, 9999);
  const auto hour = number(text.substr(17, 2), 0, 23), minute = number(text.substr(20, 2), 0, 59), second = number(text.substr(23, 2), 0, 60);
  if (month == std::string_view::npos || month % 3 != 0 || !day || !year || !hour || !minute || !second) return std::nullopt;
  std::tm when{};
  when.tm_year = *year - 1900;
  when.tm_mon = static_cast<int>(month / 3);
  when.tm_mday = *day;
  when.tm_hour = *hour;
  when.tm_min = *minute;
  when.tm_sec = *second;
  return timegm(&when);
}

}  // namespace

std::chrono::milliseconds backoff(const RemoteChatOptions& options, int retry, Random& random) {
  const auto most = std::max<std::int64_t>(options.max_backoff.count(), 0);
  auto pause = std::clamp<std::int64_t>(options.first_backoff.count(), 0, most);
  for (int i = 0; i < retry && pause < most; ++i) pause = pause > most / 2 ? most : pause * 2;
  return std::chrono::milliseconds(pause / 2 + static_cast<std::int64_t>(static_cast<double>(pause - pause / 2) * random.uniform()));
}

std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::time_t now) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  std::int64_t seconds = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (read.ec == std::errc() && read.ptr == text.data() + text.size()) {
    if (seconds < 0) return std::nullopt;
    return std::chrono::milliseconds(std::min<std::int64_t>(seconds, 1'000'000'000) * 1000);
  }
  if (const auto when = http_date(text)) return std::chrono::milliseconds(std::max<std::int64_t>(*when - now, 0) * 1000);
  return std::nullopt;
}

}  // namespace corvid::llm
