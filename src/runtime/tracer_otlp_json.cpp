#include <cmath>
#include <limits>

#include "tracer_otlp.hpp"

namespace corvid::otlp {
namespace {

// Protocol buffers as JSON: 64-bit integers are strings, and so are the doubles that JSON has no number for.
Json any_value(const Json& value) {
  if (value.is_string()) return {{"stringValue", value}};
  if (value.is_boolean()) return {{"boolValue", value}};
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return {{"doubleValue", value.get<double>()}};
  }
  if (value.is_number_integer()) return {{"intValue", std::to_string(value.get<std::int64_t>())}};
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isnan(number)) return {{"doubleValue", "NaN"}};
    if (std::isinf(number)) return {{"doubleValue", number > 0 ? "Infinity" : "-Infinity"}};
    return {{"doubleValue", number}};
  }
  if (value.is_array()) {
    Json values = Json::array();
    for (const auto& element : value) values.push_back(any_value(element));
    return {{"arrayValue", {{"values", std::move(values)}}}};
  }
  if (value.is_object()) return {{"stringValue", dump_json(value)}};  // attributes of spans have no maps
  return Json::object();
}

Json key_values(const Json& attributes) {
  Json list = Json::array();
  if (!attributes.is_object()) return list;
  for (const auto& [key, value] : attributes.items()) list.push_back({{"key", key}, {"value", any_value(value)}});
  return list;
}

Json span_json(const SpanRecord& span) {
  Json out{{"traceId", span.trace_id},
           {"spanId", span.span_id},
           {"name", span.name},
           {"kind", 1},  // SPAN_KIND_INTERNAL
           {"startTimeUnixNano", std::to_string(span.start_ns)},
           {"endTimeUnixNano", std::to_string(span.end_ns)},
           {"attributes", key_values(span.attributes)}};
  if (!span.parent_id.empty()) out["parentSpanId"] = span.parent_id;
  if (!span.events.empty()) {
    Json events = Json::array();
    for (const auto& event : span.events) {
      events.push_back({{"name", event.name}, {"timeUnixNano", std::to_string(event.at_ns)}, {"attributes", key_values(event.attributes)}});
    }
    out["events"] = std::move(events);
  }
  out["status"] = span.failed ? Json{{"code", 2}, {"message", span.failure}} : Json::object();  // STATUS_CODE_ERROR
  return out;
}

}  // namespace

Json request(const std::vector<SpanRecord>& spans, const OtlpOptions& options) {
  Json resource = Json::object();
  for (const auto& [key, value] : options.resource) resource[key] = value;
  resource["service.name"] = options.service_name;
  Json list = Json::array();
  for (const auto& span : spans) list.push_back(span_json(span));
  Json scope{{"scope", {{"name", "corvid"}}}, {"spans", std::move(list)}};
  Json whole{{"resource", {{"attributes", key_values(resource)}}}, {"scopeSpans", Json::array({std::move(scope)})}};
  return {{"resourceSpans", Json::array({std::move(whole)})}};
}

std::pair<std::int64_t, std::string> refused(std::string_view answer) {
  const auto read = parse_json(answer);
  if (!read || !read->is_object()) return {0, {}};
  const auto partial = read->find("partialSuccess");
  if (partial == read->end() || !partial->is_object()) return {0, {}};
  std::int64_t count = 0;
  if (const auto spans = partial->find("rejectedSpans"); spans != partial->end()) {
    if (spans->is_number_integer()) count = spans->get<std::int64_t>();
    if (spans->is_string()) count = std::strtoll(spans->get_ref<const std::string&>().c_str(), nullptr, 10);
  }
  const auto message = partial->find("errorMessage");
  const bool said = message != partial->end() && message->is_string();
  return {count, said ? message->get<std::string>().substr(0, 500) : std::string()};
}

}  // namespace corvid::otlp
