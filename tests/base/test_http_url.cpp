#include "src/base/http_url.hpp"

#include "support/catch.hpp"

using namespace corvid;
using std::chrono::milliseconds;

TEST_CASE("http: a service's URL, or what is wrong with it") {
  const HttpUrlWords words{"url", "it must be a URL", "a header", "secrets", "allow it"};
  const auto url = parse_http_url("HTTPS://[::1]:8443/v1/", false, words);
  REQUIRE(url);
  CHECK(url->tls);
  CHECK(url->host == "::1");
  CHECK(url->port == 8443);
  CHECK(url->path == "/v1/");
  CHECK(url->name() == "https://[::1]:8443/v1/");
  CHECK(parse_http_url("http://127.0.0.1", false, words)->port == 80);
  CHECK(parse_http_url("http://a.example", true, words)->path.empty());
  CHECK(parse_http_url("http://a.example", false, words).error().message().find("secrets readable over the network") != std::string::npos);
  for (const char* wrong : {"", "a.example", "ftp://a", "https://", "https://a:0", "https://a:65536", "https://a:+1", "https://a:", "https://u@a", "https://a/?q", "https://a b",
                            "https://[::1", "https://[::1]x", "https://a\r\n", "https://a!b"}) {
    INFO(wrong);
    const auto refused = parse_http_url(wrong, true, words);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::invalid_argument);
    CHECK(refused.error().key() == "url");
  }
}

TEST_CASE("http: Retry-After as seconds or a date") {
  CHECK(parse_retry_after("120", 0) == milliseconds(120'000));
  CHECK(parse_retry_after(" 0 ", 0) == milliseconds(0));
  CHECK(parse_retry_after("9000000000000", 0) == std::chrono::seconds(1'000'000'000));
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111770) == milliseconds(7000));
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111800) == milliseconds(0));
  for (const char* wrong : {"", "-1", "soon", "1.5", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 08x49:37 GMT", "99999999999999999999"}) {
    CHECK_FALSE(parse_retry_after(wrong, 0).has_value());
  }
}
