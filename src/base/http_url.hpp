// Where an HTTP service is, and what its Retry-After says: for all that speak to one.
#pragma once

#include <chrono>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "corvid/base/result.hpp"

namespace corvid {

struct HttpUrl {
  bool tls = true;
  std::string host;       ///< without the brackets of an IPv6 address
  int port = 443;
  std::string path;       ///< "" or "/…", as it was written
  std::string authority;  ///< "host:port", as it was written

  /// "https://host:port/path", for people.
  std::string name() const { return (tls ? "https://" : "http://") + authority + path; }
};

/// How errors speak of a URL.
struct HttpUrlWords {
  std::string key;      ///< the setting's name
  std::string needs;    ///< "base_url must be \"https://host[:port][/path]\""
  std::string secrets;  ///< where a key belongs instead: "a header"
  std::string sends;    ///< what plain http would show to the network: "prompts and the key"
  std::string leave;    ///< how plain http is allowed: "allow plain http"
};

/// "http(s)://host[:port][/path]". Errors: invalid_argument at the key: anything else, a user name or key in it, a query, or http to
/// another machine without `allow_plain_http`.
Result<HttpUrl> parse_http_url(std::string_view url, bool allow_plain_http, const HttpUrlWords& words);

/// A Retry-After header: seconds, or an HTTP date (RFC 9110, section 10.2.3) against `now`; at most 10^9 s. nullopt where it is neither.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::time_t now);

}  // namespace corvid
