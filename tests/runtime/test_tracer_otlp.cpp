#include <sys/socket.h>

#include <cstdlib>
#include <thread>

#include "collector.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/tracer.hpp"
#include "llm/tls_endpoint.hpp"
#include "src/runtime/tracer_otlp.hpp"

using namespace corvid;
using namespace corvid::test;
using namespace std::chrono_literals;

namespace {

OtlpOptions to(const Collector& collector) {
  OtlpOptions options;
  options.endpoint = collector.url();
  options.interval = 10ms;
  return options;
}

std::int64_t metric(Runtime& runtime, const char* name) { return runtime.metrics().at(name).value(); }

Collector::Handler answer(int status, std::string retry_after = {}, std::string body = "{}") {
  return [=](const httplib::Request&, httplib::Response& response) {
    response.status = status;
    if (!retry_after.empty()) response.set_header("Retry-After", retry_after);
    response.set_content(body, "application/json");
  };
}

// A variable for the length of a test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

}  // namespace

TEST_CASE("OTLP: spans arrive with the headers asked for", "[otlp]") {
  Collector collector;
  Runtime runtime;
  OtlpOptions options = to(collector);
  options.headers = {{"X-Key", "secret"}, {"User-Agent", "tests"}};
  auto tracer = *make_otlp_tracer(runtime, options);
  tracer->start("chat small")->attribute("gen_ai.usage.input_tokens", 3);
  REQUIRE(tracer->flush(30s));
  REQUIRE(collector.requests() == 1);
  const auto request = collector.request(0);
  CHECK(request.path == "/v1/traces");
  CHECK(request.get_header_value("Content-Type") == "application/json");
  CHECK(request.get_header_value("X-Key") == "secret");
  CHECK(request.get_header_value("User-Agent") == "tests");
  const Json span = collector.body(0)["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
  CHECK(span["name"] == "chat small");
  CHECK(span["traceId"].get<std::string>().size() == 32);
  CHECK(span["attributes"][0]["value"]["intValue"] == "3");
  CHECK(metric(runtime, "tracing.spans_sent") == 1);
  CHECK(metric(runtime, "tracing.spans_dropped") == 0);
}

TEST_CASE("OTLP: batches, and what the caller did not sample stays here", "[otlp]") {
  Collector collector;
  Runtime runtime;
  OtlpOptions options = to(collector);
  options.batch = 10;
  options.interval = 1h;  // full batches and flush() alone send
  auto tracer = *make_otlp_tracer(runtime, options);
  for (int i = 0; i < 25; ++i) tracer->start("n");
  tracer->start("not sampled", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
  REQUIRE(tracer->flush(30s));
  CHECK(collector.requests() >= 3);
  CHECK(collector.spans() == 25);
  for (std::size_t n = 0; n < collector.requests(); ++n) CHECK(collector.spans(n) <= 10);
}

TEST_CASE("OTLP: the end of the tracer sends what is left", "[otlp]") {
  Collector collector;
  Runtime runtime;
  OtlpOptions options = to(collector);
  options.interval = 1h;
  auto tracer = *make_otlp_tracer(runtime, options);
  for (int i = 0; i < 3; ++i) tracer->start("n");
  auto late = tracer->start("late");
  tracer.reset();
  late.reset();
  CHECK(collector.spans() == 3);
}

TEST_CASE("OTLP: a dead collector costs spans, not work", "[otlp]") {
  std::string gone;
  {
    Collector collector;
    gone = collector.url();
  }
  std::atomic<int> said{0};
  RuntimeOptions with_log;
  with_log.log = [&](LogLevel level, std::string_view component, std::string_view) {
    said += level == LogLevel::warn && component == "tracing";
  };
  Runtime runtime(with_log);
  OtlpOptions options;
  options.endpoint = gone;
  options.interval = 5ms;
  auto tracer = *make_otlp_tracer(runtime, options);
  for (int i = 0; i < 50; ++i) tracer->start("n");
  const auto status = tracer->flush(30s);
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::network);
  tracer->start("n");
  CHECK_FALSE(tracer->flush(30s));
  CHECK(metric(runtime, "tracing.spans_dropped") == 51);
  CHECK(metric(runtime, "tracing.spans_sent") == 0);
  CHECK(metric(runtime, "tracing.requests_failed") >= 2);
  CHECK(said == 1);
}

TEST_CASE("OTLP: a collector that hangs fills the queue and holds nobody", "[otlp]") {
  Gate gate;
  Collector collector;
  collector.handlers({[&](const httplib::Request&, httplib::Response&) { gate.wait(); }});
  Runtime runtime;
  OtlpOptions options = to(collector);
  options.batch = 4;
  options.queue = 8;
  auto tracer = *make_otlp_tracer(runtime, options);
  for (int i = 0; i < 4; ++i) tracer->start("n");
  collector.wait_for(1);
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) tracer->start("n");
  CHECK(metric(runtime, "tracing.spans_dropped") == 92);
  CHECK(tracer->flush(1ms).error().code() == ErrorCode::deadline_exceeded);
  tracer.reset();  // breaks the exchange off after its patience
  CHECK(std::chrono::steady_clock::now() - before < 20s);
  CHECK(metric(runtime, "tracing.spans_dropped") == 104);
  gate.open();
}

TEST_CASE("OTLP: an overloaded collector is asked once more", "[otlp]") {
  Collector collector;
  collector.handlers({answer(503, "0"), answer(200), answer(429, "0"), answer(503, "0"), answer(503, "1000"), answer(400), answer(200)});
  Runtime runtime;
  auto tracer = *make_otlp_tracer(runtime, to(collector));
  tracer->start("first");
  CHECK(tracer->flush(30s));
  CHECK(collector.requests() == 2);
  tracer->start("refused twice");
  CHECK_FALSE(tracer->flush(30s));
  CHECK(collector.requests() == 4);
  tracer->start("told to wait too long");
  CHECK_FALSE(tracer->flush(30s));
  CHECK(collector.requests() == 5);
  tracer->start("refused for good");
  CHECK_FALSE(tracer->flush(30s));
  CHECK(collector.requests() == 6);
  tracer->start("taken");
  CHECK(tracer->flush(30s));
  CHECK(metric(runtime, "tracing.spans_sent") == 2);
  CHECK(metric(runtime, "tracing.spans_dropped") == 3);
}

TEST_CASE("OTLP: spans refused in part are counted", "[otlp]") {
  Collector collector;
  collector.handlers({answer(200, {}, R"({"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}})")});
  Runtime runtime;
  OtlpOptions options = to(collector);
  options.interval = 1h;
  auto tracer = *make_otlp_tracer(runtime, options);
  for (int i = 0; i < 5; ++i) tracer->start("n");
  const auto status = tracer->flush(30s);
  REQUIRE_FALSE(status);
  CHECK(status.error().message().find("too old") != std::string::npos);
  CHECK(metric(runtime, "tracing.spans_sent") == 3);
  CHECK(metric(runtime, "tracing.spans_dropped") == 2);
}

TEST_CASE("OTLP over TLS: a certificate is trusted only where it is given", "[otlp]") {
  TempDir folder;
  const Certificate certificate("DNS:localhost,IP:127.0.0.1");
  certificate.write(folder / "ca.pem");
  Collector collector(std::make_unique<httplib::SSLServer>(certificate.x509.get(), certificate.key.get()));
  Runtime runtime;
  OtlpOptions options = to(collector);
  options.endpoint = "https://localhost:" + std::to_string(collector.port());
  auto tracer = *make_otlp_tracer(runtime, options);
  tracer->start("n");
  const auto status = tracer->flush(30s);
  REQUIRE_FALSE(status);
  CHECK(status.error().message().find("not trusted") != std::string::npos);
  CHECK(collector.requests() == 0);
  options.ca_file = folder / "ca.pem";
  tracer = *make_otlp_tracer(runtime, options);
  tracer->start("n");
  CHECK(tracer->flush(30s));
  CHECK(collector.requests() == 1);
}

TEST_CASE("OTLP: endpoints", "[otlp]") {
  const auto read = [](const char* url, bool plain = false) { return otlp::parse_endpoint(url, plain); };
  CHECK(read("http://localhost:4318")->name() == "http://localhost:4318/v1/traces");
  CHECK(read("https://a.example")->port == 443);
  CHECK(read("https://a.example/")->path == "/v1/traces");
  CHECK(read("HTTPS://a.example/otel/v1/traces")->path == "/otel/v1/traces");
  CHECK(read("http://[::1]:4318")->host == "::1");
  CHECK(read("http://collector:4318", true)->host == "collector");
  for (const char* wrong : {"", "localhost:4318", "ftp://a", "http://", "https://a:0", "https://a:99999", "https://a:x", "https://u:p@a",
                            "https://a/?q", "https://a b", "http://collector:4318", "http://[::1", "https://a\r\n"}) {
    INFO(wrong);
    const auto endpoint = read(wrong);
    REQUIRE_FALSE(endpoint);
    CHECK(endpoint.error().code() == ErrorCode::invalid_argument);
    CHECK(endpoint.error().key() == "endpoint");
  }
  Runtime runtime;
  OtlpOptions options;
  options.endpoint = "http://localhost:4318";
  options.headers = {{"X-Key", "a\r\nX-Other: b"}};
  const auto tracer = make_otlp_tracer(runtime, options);
  REQUIRE_FALSE(tracer);
  CHECK(tracer.error().describe().find("X-Other") == std::string::npos);
}

TEST_CASE("a tracer from the environment, or none", "[otlp]") {
  Collector collector;
  Runtime runtime;
  {
    auto none = tracer_from_environment(runtime);
    REQUIRE(none);
    CHECK(*none == nullptr);
  }
  Variable base("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url() + "/base/");
  {
    Variable disabled("OTEL_SDK_DISABLED", "TRUE");
    CHECK(*tracer_from_environment(runtime) == nullptr);
  }
  {
    Variable exporter("OTEL_TRACES_EXPORTER", "none");
    CHECK(*tracer_from_environment(runtime) == nullptr);
  }
  CHECK(collector.requests() == 0);
  {
    Variable name("OTEL_SERVICE_NAME", "tests"), resource("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,a=b%20c"),
        headers("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=a%3Db , X-Two=2");
    auto tracer = tracer_from_environment(runtime);
    REQUIRE(tracer);
    (*tracer)->start("n");
    REQUIRE((*tracer)->flush(30s));
    CHECK(collector.request(0).path == "/base/v1/traces");
    CHECK(collector.request(0).get_header_value("X-Key") == "a=b");
    CHECK(collector.request(0).get_header_value("X-Two") == "2");
    CHECK(collector.body(0)["resourceSpans"][0]["resource"]["attributes"] ==
          Json{{{"key", "a"}, {"value", {{"stringValue", "b c"}}}}, {{"key", "service.name"}, {"value", {{"stringValue", "tests"}}}}});
  }
  {
    Variable own("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url() + "/mine");
    auto tracer = *tracer_from_environment(runtime);
    tracer->start("n");
    REQUIRE(tracer->flush(30s));
    CHECK(collector.request(1).path == "/mine");
  }
  const auto refused = [&](const char* name, const char* value, ErrorCode code) {
    Variable variable(name, value);
    const auto tracer = tracer_from_environment(runtime);
    REQUIRE_FALSE(tracer);
    CHECK(tracer.error().code() == code);
    CHECK(tracer.error().key() == name);
  };
  refused("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://elsewhere:4318", ErrorCode::invalid_argument);
  refused("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", ErrorCode::unsupported);
  refused("OTEL_EXPORTER_OTLP_HEADERS", "nonsense", ErrorCode::invalid_argument);
  refused("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", ErrorCode::invalid_argument);
  refused("OTEL_EXPORTER_OTLP_HEADERS", "a=%0d%0aX-Other", ErrorCode::invalid_argument);
  refused("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", ErrorCode::invalid_argument);
  {
    Variable own("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://elsewhere:4318"), insecure("OTEL_EXPORTER_OTLP_INSECURE", "true");
    CHECK(tracer_from_environment(runtime));
  }
}
