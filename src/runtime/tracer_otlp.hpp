// The parts of the OTLP exporter: what a batch looks like, where it goes, and one exchange with the collector.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/runtime/tracer.hpp"
#include "src/base/http_url.hpp"

namespace corvid::otlp {

/// An ExportTraceServiceRequest as JSON (opentelemetry-proto 1.x: ids in hex, 64-bit numbers as strings).
Json request(const std::vector<SpanRecord>& spans, const OtlpOptions& options);
/// How many spans an ExportTraceServiceResponse says were refused, and why.
std::pair<std::int64_t, std::string> refused(std::string_view answer);

/// Where spans go: the URL with /v1/traces where it names no path. Errors: invalid_argument.
Result<HttpUrl> parse_endpoint(std::string_view url, bool allow_plain_http);

struct Answer {
  int status = 0;      ///< 0: none came
  std::string reason;  ///< what went wrong, for people
  std::string body, retry_after;
};

/// Sends batches one after another. post() from one thread, stop() from any.
class Poster {
 public:
  Poster(HttpUrl endpoint, OtlpOptions options) : endpoint_(std::move(endpoint)), options_(std::move(options)) {}
  ~Poster() { release(); }
  Poster(const Poster&) = delete;
  Poster& operator=(const Poster&) = delete;

  Answer post(const std::string& body);
  /// Breaks off the exchange in flight; later ones do not begin.
  void stop();
  const HttpUrl& endpoint() const noexcept { return endpoint_; }

 private:
  void watch(int socket);
  void release();

  const HttpUrl endpoint_;
  const OtlpOptions options_;
  std::mutex mutex_;
  int socket_ = -1;  // a duplicate, so that the library may close its own at any time
  bool stopped_ = false;
};

}  // namespace corvid::otlp
