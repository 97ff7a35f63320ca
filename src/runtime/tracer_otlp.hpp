// The parts of the OTLP exporter: what a batch looks like, where it goes, and one exchange with the collector.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/runtime/tracer.hpp"

namespace corvid::otlp {

/// An ExportTraceServiceRequest as JSON (opentelemetry-proto 1.x: ids in hex, 64-bit numbers as strings).
Json request(const std::vector<SpanRecord>& spans, const OtlpOptions& options);
/// How many spans an ExportTraceServiceResponse says were refused, and why.
std::pair<std::int64_t, std::string> refused(std::string_view answer);

struct Endpoint {
  bool tls = true;
  std::string host;  ///< without the brackets of an IPv6 address
  int port = 443;
  std::string path;  ///< "/v1/traces"
  std::string name;  ///< for people
};
/// Errors: invalid_argument.
Result<Endpoint> parse_endpoint(std::string_view url, bool allow_plain_http);

/// A Retry-After header (RFC 9110, section 10.2.3): seconds or a date. nullopt where it is neither.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text, std::time_t now);

struct Answer {
  int status = 0;      ///< 0: none came
  std::string reason;  ///< what went wrong, for people
  std::string body, retry_after;
};

/// Sends batches one after another. post() from one thread, stop() from any.
class Poster {
 public:
  Poster(Endpoint endpoint, OtlpOptions options) : endpoint_(std::move(endpoint)), options_(std::move(options)) {}
  ~Poster() { release(); }
  Poster(const Poster&) = delete;
  Poster& operator=(const Poster&) = delete;

  Answer post(const std::string& body);
  /// Breaks off the exchange in flight; later ones do not begin.
  void stop();
  const Endpoint& endpoint() const noexcept { return endpoint_; }

 private:
  void watch(int socket);
  void release();

  const Endpoint endpoint_;
  const OtlpOptions options_;
  std::mutex mutex_;
  int socket_ = -1;  // a duplicate, so that the library may close its own at any time
  bool stopped_ = false;
};

}  // namespace corvid::otlp
