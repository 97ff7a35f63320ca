#include "src/base/http_url.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace corvid {
namespace {

constexpr std::int64_t kMostRetrySeconds = 1'000'000'000;

bool take_scheme(std::string_view& url, std::string_view scheme) {
  const auto same = [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b + 32) : b); };
  if (url.size() < scheme.size() || !std::equal(scheme.begin(), scheme.end(), url.begin(), same)) return false;
  url.remove_prefix(scheme.size());
  return true;
}

bool loopback(std::string_view host) { return host == "localhost" || host == "::1" || host.substr(0, 4) == "127."; }

bool host_character(char c, bool v6) {
  const bool digit = c >= '0' && c <= '9';
  if (v6) return digit || c == ':' || c == '.' || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  return digit || c == '.' || c == '-' || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::optional<std::int64_t> number(std::string_view text, std::int64_t lowest, std::int64_t highest) {
  std::int64_t value = 0;
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
  when.tm_year = static_cast<int>(*year) - 1900;
  when.tm_mon = static_cast<int>(month / 3);
  when.tm_mday = static_cast<int>(*day);
  when.tm_hour = static_cast<int>(*hour);
  when.tm_min = static_cast<int>(*minute);
  when.tm_sec = static_cast<int>(*second);
  return timegm(&when);
}

}  // namespace

Result<HttpUrl> parse_http_url(std::string_view url, bool allow_plain_http, const HttpUrlWords& words) {
  const auto wrong = [&](const std::string& what) { return fail(Error::invalid_argument(words.needs + ": " + what).at_key(words.key)); };
  HttpUrl out;
  if (!take_scheme(url, "https://")) {
    if (!take_scheme(url, "http://")) return wrong("it begins with neither https:// nor http://");
    out.tls = false;
    out.port = 80;
  }
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f) return wrong("it has a space, a control character or one beyond ASCII");
    if (c == '?' || c == '#') return wrong("it has a query or fragment");
  }
  const std::string_view authority = url.substr(0, url.find('/'));
  if (authority.find('@') != std::string_view::npos) return wrong("a key belongs into " + words.secrets + ", not into the URL");
  std::string_view host = authority, port;
  const bool v6 = !authority.empty() && authority.front() == '[';
  if (v6) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return wrong("']' is missing");
    host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
  } else if (const std::size_t colon = authority.find(':'); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (host.empty()) return wrong("the host is missing");
  if (!std::all_of(host.begin(), host.end(), [&](char c) { return host_character(c, v6); })) return wrong("the host has a character that no host has");
  if (!port.empty()) {
    const auto read = port.front() == ':' ? number(port.substr(1), 1, 65535) : std::nullopt;
    if (!read) return wrong("the port must be 1 … 65535");
    out.port = static_cast<int>(*read);
  }
  out.host = host;
  out.authority = authority;
  out.path = url.substr(authority.size());
  if (!out.tls && !allow_plain_http && !loopback(out.host)) {
    return fail(Error::invalid_argument("http to " + out.host + " would send " + words.sends + " readable over the network; use https, or " + words.leave)
                    .at_key(words.key));
  }
  return out;
}

std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::time_t now) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (const auto seconds = number(text, 0, INT64_MAX)) return std::chrono::seconds(std::min(*seconds, kMostRetrySeconds));
  if (const auto when = http_date(text)) return std::chrono::seconds(std::clamp<std::int64_t>(*when - now, 0, kMostRetrySeconds));
  return std::nullopt;
}

}  // namespace corvid
