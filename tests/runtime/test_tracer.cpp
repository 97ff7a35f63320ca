#include <set>
#include <thread>

#include "corvid/runtime/tracer.hpp"
#include "corvid/runtime/tracer_names.hpp"
#include "src/runtime/tracer_otlp.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace std::chrono_literals;

namespace {

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kSpan[] = "b7ad6b7169203331";

SpanRecord record(std::string id, std::string parent, std::string name, std::int64_t start_us, std::int64_t end_us) {
  SpanRecord span;
  span.trace_id = kTrace;
  span.span_id = std::move(id);
  span.parent_id = std::move(parent);
  span.name = std::move(name);
  span.start_ns = 1'700'000'000'000'000'000 + start_us * 1000;
  span.end_ns = 1'700'000'000'000'000'000 + end_us * 1000;
  return span;
}

}  // namespace

TEST_CASE("traceparent: read and written as W3C says", "[tracer]") {
  const std::string text = std::string("00-") + kTrace + "-" + kSpan + "-01";
  const auto read = parse_traceparent(text);
  REQUIRE(read);
  CHECK(read->trace_id == kTrace);
  CHECK(read->span_id == kSpan);
  CHECK(read->sampled);
  CHECK(format_traceparent(*read) == text);
  const std::string head = text.substr(0, 53);
  CHECK_FALSE(parse_traceparent(head + "00")->sampled);
  CHECK(parse_traceparent(head + "03")->sampled);
  CHECK(parse_traceparent(head + "ff")->sampled);
  CHECK_FALSE(parse_traceparent(head + "fe")->sampled);
  CHECK(parse_traceparent("cc" + text.substr(2) + "-more"));  // a later version
  CHECK(parse_traceparent("cc" + text.substr(2)));
  CHECK_FALSE(parse_traceparent("cc" + text.substr(2) + "more"));
  CHECK_FALSE(parse_traceparent(text + "-more"));  // not of version 00
  CHECK_FALSE(parse_traceparent("ff" + text.substr(2)));
  CHECK_FALSE(parse_traceparent(""));
  CHECK_FALSE(parse_traceparent(text.substr(0, 54)));
  CHECK_FALSE(parse_traceparent("00-" + std::string(32, '0') + "-" + kSpan + "-01"));
  CHECK_FALSE(parse_traceparent(std::string("00-") + kTrace + "-" + std::string(16, '0') + "-01"));
  CHECK_FALSE(parse_traceparent("00-0AF7651916CD43DD8448EB211C80319C-" + std::string(kSpan) + "-01"));
  CHECK_FALSE(parse_traceparent("00_" + text.substr(3)));
}

TEST_CASE("memory tracer: parents, attributes, events, failures", "[tracer]") {
  auto tracer = MemoryTracer::make();
  {
    auto root = tracer->start("invoke_workflow review", "nonsense");
    auto child = tracer->start("chat small", root->traceparent());
    child->attribute(trace_names::kInputTokens, 11);
    child->attribute(trace_names::kInputTokens, 12);
    child->attribute("long", std::string(100'000, 'x'));
    child->event("first token", {{"ms", 4}});
    child->fail("cut off");
    const auto parsed = parse_traceparent(child->traceparent());
    REQUIRE(parsed);
    CHECK(parsed->trace_id == parse_traceparent(root->traceparent())->trace_id);
  }
  const auto spans = tracer->spans();
  REQUIRE(spans.size() == 2);
  const auto& root = spans[0].name == "chat small" ? spans[1] : spans[0];
  const auto& child = spans[0].name == "chat small" ? spans[0] : spans[1];
  CHECK(root.parent_id.empty());
  CHECK(child.parent_id == root.span_id);
  CHECK(child.trace_id == root.trace_id);
  CHECK(child.attributes[trace_names::kInputTokens] == 12);
  CHECK(child.attributes["long"].get<std::string>().size() == 32u << 10);
  REQUIRE(child.events.size() == 1);
  CHECK(child.events[0].attributes == Json{{"ms", 4}});
  CHECK(child.events[0].at_ns >= child.start_ns);
  CHECK(child.end_ns >= child.start_ns);
  CHECK(child.failed);
  CHECK(child.failure == "cut off");
  CHECK_FALSE(root.failed);
  CHECK(tracer->flush(0ms));
}

TEST_CASE("memory tracer: a parent elsewhere, the newest spans kept, a span that outlives it", "[tracer]") {
  auto tracer = MemoryTracer::make(3);
  for (int i = 0; i < 5; ++i) tracer->start("n" + std::to_string(i), std::string("00-") + kTrace + "-" + kSpan + "-00");
  auto spans = tracer->spans();
  REQUIRE(spans.size() == 3);
  CHECK(spans[0].name == "n2");
  CHECK(spans[0].trace_id == kTrace);
  CHECK(spans[0].parent_id == kSpan);
  auto late = tracer->start("late");
  tracer.reset();
  late->attribute("still", true);
  late.reset();
}

TEST_CASE("tracers are thread-safe, ids do not repeat", "[tracer]") {
  auto tracer = MemoryTracer::make();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) tracer->start("n")->attribute("i", i);
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<std::string> ids, traces;
  for (const auto& span : tracer->spans()) {
    ids.insert(span.span_id);
    traces.insert(span.trace_id);
    CHECK(parse_traceparent("00-" + span.trace_id + "-" + span.span_id + "-01"));
  }
  CHECK(ids.size() == 2000);
  CHECK(traces.size() == 2000);
}

TEST_CASE("a trace as text", "[tracer]") {
  auto root = record("01", "", "invoke_workflow review", 0, 2500);
  root.attributes[trace_names::kOperationName] = trace_names::kInvokeWorkflow;
  root.attributes[trace_names::kConversationId] = "thread 1";
  auto chat = record("03", "02", "chat small", 1000, 2250);
  chat.attributes[trace_names::kInputTokens] = 11;
  chat.attributes[trace_names::kFinishReasons] = Json{"stop"};
  chat.attributes["http.other"] = "not shown";
  auto tool = record("04", "01", "execute_tool search", 2300, 2400);
  tool.failed = true;
  tool.failure = "no\nnetwork";
  tool.attributes[trace_names::kErrorType] = "network";
  const std::vector<SpanRecord> spans{tool, chat, record("02", "01", "corvid node", 500, 2290), root,
                                      record("05", "99", "of another process", 2450, 2460)};
  CHECK(trace_text(spans) ==
        "     0.000 ms      2.500 ms  invoke_workflow review conversation.id=\"thread 1\"\n"
        "     0.500 ms      1.790 ms    corvid node\n"
        "     1.000 ms      1.250 ms      chat small response.finish_reasons=[\"stop\"] usage.input_tokens=11\n"
        "     2.300 ms      0.100 ms    execute_tool search error.type=network  FAILED: \"no\\nnetwork\"\n"
        "     2.450 ms      0.010 ms  of another process\n");
  CHECK(trace_text({}).empty());
  // Damaged: parents in a circle, and a span that is its own.
  const std::vector<SpanRecord> circle{record("01", "02", "a", 0, 1), record("02", "01", "b", 1, 2), record("03", "03", "c", 2, 3)};
  const auto text = trace_text(circle);
  CHECK(std::count(text.begin(), text.end(), '\n') == 3);
}

TEST_CASE("OTLP as JSON: hex ids, times as strings, typed attributes", "[tracer]") {
  auto span = record("0102030405060708", kSpan, "chat small", 0, 1);
  span.attributes = {{"s", "text"},    {"i", 7}, {"d", 0.5}, {"b", true}, {"l", {"a", "b"}}, {"big", 18446744073709551615u},
                     {"o", {{"k", 1}}}};
  span.events.push_back({"first token", span.start_ns + 5, {{"n", 1}}});
  span.failed = true;
  span.failure = "cut off";
  OtlpOptions options;
  options.service_name = "tests";
  options.resource = {{"deployment.environment", "ci"}};
  const Json body = otlp::request({span, record("02", "", "root", 0, 1)}, options);
  const Json& resource = body["resourceSpans"][0]["resource"]["attributes"];
  CHECK(resource == Json{{{"key", "deployment.environment"}, {"value", {{"stringValue", "ci"}}}},
                         {{"key", "service.name"}, {"value", {{"stringValue", "tests"}}}}});
  CHECK(body["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"] == "corvid");
  const Json& out = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
  CHECK(out["traceId"] == kTrace);
  CHECK(out["spanId"] == "0102030405060708");
  CHECK(out["parentSpanId"] == kSpan);
  CHECK(out["startTimeUnixNano"] == "1700000000000000000");
  CHECK(out["endTimeUnixNano"] == "1700000000000001000");
  CHECK(out["kind"] == 1);
  CHECK(out["status"] == Json{{"code", 2}, {"message", "cut off"}});
  CHECK(out["events"][0]["timeUnixNano"] == "1700000000000000005");
  CHECK(out["events"][0]["attributes"][0]["value"] == Json{{"intValue", "1"}});
  std::map<std::string, Json> values;
  for (const auto& each : out["attributes"]) values[each["key"]] = each["value"];
  CHECK(values["s"] == Json{{"stringValue", "text"}});
  CHECK(values["i"] == Json{{"intValue", "7"}});
  CHECK(values["d"] == Json{{"doubleValue", 0.5}});
  CHECK(values["b"] == Json{{"boolValue", true}});
  CHECK(values["l"] == Json{{"arrayValue", {{"values", {{{"stringValue", "a"}}, {{"stringValue", "b"}}}}}}});
  CHECK(values["big"].contains("doubleValue"));
  CHECK(values["o"] == Json{{"stringValue", "{\"k\":1}"}});
  CHECK_FALSE(body["resourceSpans"][0]["scopeSpans"][0]["spans"][1].contains("parentSpanId"));
}
