#include <charconv>
#include <cstdlib>

#include "corvid/runtime/tracer.hpp"

namespace corvid {
namespace {

// OpenTelemetry: a variable that is set and empty counts as not set.
std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? value : "";
}

struct Found {
  std::string name, value;
};
Found exporter_variable(const std::string& what) {
  std::string name = "OTEL_EXPORTER_OTLP_TRACES_" + what;
  if (auto value = variable(name); !value.empty()) return {std::move(name), std::move(value)};
  name = "OTEL_EXPORTER_OTLP_" + what;
  return {name, variable(name)};
}

bool is(std::string_view value, std::string_view word) {
  return value.size() == word.size() &&
         std::equal(word.begin(), word.end(), value.begin(), [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const auto read = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
    if (read.ec != std::errc() || read.ptr != text.data() + i + 3) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

// "key=value,key=value", values percent-encoded (W3C Baggage without its properties). No message repeats a value: it may be a key.
Result<std::vector<std::pair<std::string, std::string>>> pairs(const Found& found) {
  std::vector<std::pair<std::string, std::string>> out;
  std::string_view rest = found.value;
  while (!rest.empty()) {
    const auto part = trimmed(rest.substr(0, rest.find(',')));
    rest.remove_prefix(std::min(rest.size(), rest.find(',') == std::string_view::npos ? rest.size() : rest.find(',') + 1));
    if (part.empty()) continue;
    const auto equal = part.find('=');
    const auto name = trimmed(part.substr(0, equal));
    auto value = equal == std::string_view::npos ? std::nullopt : percent_decoded(trimmed(part.substr(equal + 1)));
    if (name.empty() || !value)
      return fail(Error::invalid_argument(found.name + " must be key=value,… with values percent-encoded").at_key(found.name));
    out.emplace_back(name, std::move(*value));
  }
  return out;
}

}  // namespace

Result<std::shared_ptr<Tracer>> tracer_from_environment(Runtime& runtime) {
  if (is(variable("OTEL_SDK_DISABLED"), "true") || is(variable("OTEL_TRACES_EXPORTER"), "none")) return std::shared_ptr<Tracer>();
  OtlpOptions options;
  const Found endpoint = exporter_variable("ENDPOINT");
  if (endpoint.value.empty()) return std::shared_ptr<Tracer>();
  options.endpoint = endpoint.value;
  if (endpoint.name == "OTEL_EXPORTER_OTLP_ENDPOINT") {
    while (!options.endpoint.empty() && options.endpoint.back() == '/') options.endpoint.pop_back();
    options.endpoint += "/v1/traces";
  }
  if (const Found protocol = exporter_variable("PROTOCOL"); is(protocol.value, "grpc")) {
    return fail(Error::unsupported("spans are sent over HTTP, not gRPC: set " + protocol.name +
                                   " to http/json and the endpoint to the collector's HTTP port, 4318")
                    .at_key(protocol.name));
  }
  CORVID_TRY(options.headers, pairs(exporter_variable("HEADERS")));
  CORVID_TRY(options.resource, pairs({"OTEL_RESOURCE_ATTRIBUTES", variable("OTEL_RESOURCE_ATTRIBUTES")}));
  for (const auto& [name, value] : options.resource) {
    if (name == "service.name") options.service_name = value;
  }
  if (auto name = variable("OTEL_SERVICE_NAME"); !name.empty()) options.service_name = std::move(name);
  if (const Found timeout = exporter_variable("TIMEOUT"); !timeout.value.empty()) {
    int ms = 0;
    const char* end = timeout.value.data() + timeout.value.size();
    const auto read = std::from_chars(timeout.value.data(), end, ms);
    if (read.ec != std::errc() || read.ptr != end || ms <= 0)
      return fail(Error::invalid_argument(timeout.name + " must be a number of milliseconds above 0").at_key(timeout.name));
    options.timeout = std::chrono::milliseconds(ms);
  }
  options.ca_file = exporter_variable("CERTIFICATE").value;
  options.allow_plain_http = is(exporter_variable("INSECURE").value, "true");
  auto tracer = make_otlp_tracer(runtime, std::move(options));
  if (!tracer) {
    const std::string& key = tracer.error().key();
    return fail(Error(tracer.error().code(), tracer.error().message())
                    .at_key(key == "headers" ? exporter_variable("HEADERS").name : endpoint.name));
  }
  return tracer;
}

}  // namespace corvid
