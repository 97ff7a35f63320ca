// Tracer, Span: what happened when, as OpenTelemetry sees it. Nothing is recorded and nothing leaves the machine unless one is made.
//
//   auto span = tracer->start("invoke_workflow review", traceparent);
//   span->attribute("gen_ai.operation.name", "invoke_workflow");
//   …                                                    // the span ends when the object goes
//
// Names and attributes follow OpenTelemetry's gen_ai conventions: tracer_names.hpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"

namespace corvid {

class Runtime;

/// One piece of work. Members from one thread at a time; destroying it ends it. It may outlive its tracer, and is then not delivered. At most
/// 128 attributes and 128 events are kept, and 32 KiB of a text.
class Span {
 public:
  virtual ~Span() = default;
  virtual void attribute(std::string_view key, Json value) = 0;       ///< string, number, boolean, or a list of one of these
  virtual void event(std::string_view name, Json attributes = {}) = 0;
  virtual void fail(std::string_view what) = 0;                       ///< status ERROR with this description
  /// W3C trace context of this span: the parent of others, here or in another process.
  virtual const std::string& traceparent() const noexcept = 0;
};

/// Thread-safe.
class Tracer {
 public:
  virtual ~Tracer() = default;
  /// `traceparent` empty or not W3C: a trace of its own.
  virtual std::unique_ptr<Span> start(std::string_view name, std::string_view traceparent = {}) = 0;
  /// Waits until what has ended is delivered, at most so long. Errors: deadline_exceeded, network (what could not be delivered, counted).
  virtual Status flush(std::chrono::milliseconds patience) = 0;
};

/// Reads a W3C traceparent. nullopt where it is not one.
struct TraceParent {
  std::string trace_id, span_id;                                      ///< lower-case hex, 32 and 16 digits, not all zero
  bool sampled = true;                                                ///< what the caller decided; spans below an unsampled one are not exported
};
std::optional<TraceParent> parse_traceparent(std::string_view text);
std::string format_traceparent(const TraceParent& parent);            ///< version 00

/// A span as it ended.
struct SpanRecord {
  std::string trace_id, span_id, parent_id;                           ///< lower-case hex; parent empty at the root
  std::string name;
  std::int64_t start_ns = 0, end_ns = 0;                              ///< Unix time
  Json attributes = Json::object();
  struct Event { std::string name; std::int64_t at_ns = 0; Json attributes; };
  std::vector<Event> events;
  bool failed = false;
  std::string failure;
};

/// Keeps the spans of this process, for tests and for a trace as text.
class MemoryTracer : public Tracer {
 public:
  static std::shared_ptr<MemoryTracer> make(std::size_t most_spans = 100'000);   ///< older ones go first
  virtual std::vector<SpanRecord> spans() const = 0;                             ///< by start
};

/// One line a span, indented below its parent: milliseconds since the first, duration, name, main attributes, failure.
std::string trace_text(const std::vector<SpanRecord>& spans);

/// OTLP over HTTP with JSON bodies (opentelemetry-proto, /v1/traces). Sends in batches from a thread of its own; what cannot be delivered
/// is dropped and counted in the runtime's metrics, never waited for by the work: tracing.spans_sent, tracing.spans_dropped,
/// tracing.requests_failed. An answer 429, 502, 503 or 504 is tried once more, after its Retry-After or a second, at most five. The tracer's
/// end waits at most two seconds for what is queued, and then, where a name is being resolved, for the resolver.
struct OtlpOptions {
  std::string endpoint;                                               ///< http://host:4318 or https://…; /v1/traces is added where there is no path
  std::vector<std::pair<std::string, std::string>> headers;
  std::string service_name = "corvid";
  std::size_t batch = 512, queue = 8192;                              ///< spans
  std::chrono::milliseconds interval{1'000};
  std::chrono::milliseconds timeout{10'000};                          ///< for a connection, and for each silence of the collector
  std::filesystem::path ca_file;                                      ///< PEM, for a collector with a certificate of your own; empty: the system's
  bool allow_plain_http = false;                                      ///< http to another machine: spans and headers are readable on the way
  std::vector<std::pair<std::string, std::string>> resource;          ///< further attributes of the resource
};
/// Errors: invalid_argument (endpoint, a header that is none).
Result<std::shared_ptr<Tracer>> make_otlp_tracer(Runtime& runtime, OtlpOptions options);
/// From OpenTelemetry's variables; null where no endpoint is set, OTEL_SDK_DISABLED is true or OTEL_TRACES_EXPORTER is none. Read are
/// OTEL_EXPORTER_OTLP_ENDPOINT (v1/traces is added), and for each of ENDPOINT (as it is), HEADERS, TIMEOUT, CERTIFICATE, INSECURE and PROTOCOL
/// first OTEL_EXPORTER_OTLP_TRACES_…, then OTEL_EXPORTER_OTLP_…; OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. The protocol is OTLP over HTTP
/// with JSON, which collectors take where they take http/protobuf. Errors: invalid_argument (key: the variable), unsupported (grpc).
Result<std::shared_ptr<Tracer>> tracer_from_environment(Runtime& runtime);

}  // namespace corvid
