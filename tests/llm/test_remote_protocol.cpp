// The remote model's parts that need no server: options, pauses, server-sent events, the protocol's two directions.
#include <chrono>
#include <random>

#include "corvid/llm/remote_chat_model.hpp"
#include "corvid/runtime/runtime.hpp"
#include "llm/remote/backoff.hpp"
#include "llm/remote/endpoint.hpp"
#include "llm/remote/protocol.hpp"
#include "llm/remote/sse.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using std::chrono::milliseconds;

TEST_CASE("remote: options that cannot be are refused") {
  Runtime runtime;
  test::TempDir folder;
  RemoteChatOptions good;
  good.base_url = "https://localhost:1/v1";
  good.model = "m";
  REQUIRE(RemoteChatModel::make(runtime, good).has_value());
  const auto code = [&](auto change) {
    auto options = good;
    change(options);
    auto made = RemoteChatModel::make(runtime, options);
    REQUIRE_FALSE(made.has_value());
    return made.error().code();
  };
  for (const char* url : {"", "localhost", "ftp://x", "https://", "https://a b", "https://user:pass@host", "https://host:0", "https://host:99999",
                          "https://host:1x", "https://host/?q", "https://[::1", "http://example.com/v1", "https://host\r\nX: y"}) {
    CHECK(code([&](auto& o) { o.base_url = url; }) == ErrorCode::invalid_argument);
  }
  CHECK(code([](auto& o) { o.model.clear(); }) == ErrorCode::invalid_argument);
  CHECK(code([](auto& o) { o.headers["X"] = "a\r\nb"; }) == ErrorCode::invalid_argument);
  CHECK(code([](auto& o) { o.extra_body = Json::array(); }) == ErrorCode::invalid_argument);
  CHECK(code([](auto& o) { o.read_timeout = milliseconds(0); }) == ErrorCode::invalid_argument);
  CHECK(code([](auto& o) { o.api_key_env = "CORVID_TEST_NOT_SET"; }) == ErrorCode::not_found);
  CHECK(code([&](auto& o) { o.api_key_file = folder / "none"; }) == ErrorCode::not_found);
  CHECK(code([&](auto& o) { o.ca_file = folder / "none"; }) == ErrorCode::not_found);
  test::write_file(folder / "bad", "two words\n");
  CHECK(code([&](auto& o) { o.api_key_file = folder / "bad"; }) == ErrorCode::invalid_argument);
  CHECK(code([&](auto& o) { o.ca_file = folder / "bad"; }) == ErrorCode::bad_input);
  test::write_file(folder / "empty", "\n");
  CHECK(code([&](auto& o) { o.api_key_file = folder / "empty"; }) == ErrorCode::invalid_argument);
  CHECK(llm::parse_endpoint("HTTPS://[::1]:8443/v1/", false)->name() == "https://[::1]:8443/v1/chat/completions");
  CHECK(llm::parse_endpoint("http://127.0.0.1:8080", false)->path == "/chat/completions");
  CHECK(llm::parse_endpoint("http://example.com", true)->port == 80);
}

TEST_CASE("remote: server-sent events cut anywhere are the same events") {
  const std::string text = "\xef\xbb\xbf: comment\r\ndata: one\r\n\r\nevent: x\ndata:two\ndata: lines\n\n\n\rid: 5\r\rdata\n\ndata: unfinished\n";
  const std::vector<std::string> wanted = {"one", "two\nlines", ""};
  for (std::size_t size = 1; size <= text.size(); ++size) {
    llm::SseParser parser(100);
    std::vector<llm::SseEvent> events;
    for (std::size_t at = 0; at < text.size(); at += size) REQUIRE(parser.push(std::string_view(text).substr(at, size), events).has_value());
    REQUIRE(events.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(events[i].data == wanted[i]);
    CHECK(events[0].offset == text.find("one"));
    CHECK(events[1].offset == text.find("two"));
  }
  llm::SseParser parser(8);
  std::vector<llm::SseEvent> events;
  CHECK(parser.push("data: 123456789", events).error().code() == ErrorCode::limit_exceeded);
}

TEST_CASE("remote: pauses and Retry-After") {
  RemoteChatOptions options;
  options.first_backoff = milliseconds(100);
  options.max_backoff = milliseconds(1000);
  llm::Random random(1);
  for (int retry = 0; retry < 40; ++retry) {
    const std::int64_t full = retry < 4 ? 100LL << retry : 1000;
    const auto pause = llm::backoff(options, retry, random).count();
    CHECK(pause >= full / 2);
    CHECK(pause <= full);
  }
}

TEST_CASE("remote: a request's JSON") {
  RemoteChatOptions options;
  options.model = "m";
  ChatRequest request;
  request.messages = {Message::user("hi")};
  const auto body = [&] {
    const auto json = llm::request_body(request, options);
    REQUIRE(json.has_value());
    return *json;
  };
  const Json plain = body();
  for (const char* absent : {"top_p", "stop", "tools", "response_format", "logit_bias", "logprobs", "presence_penalty", "frequency_penalty", "top_k"}) {
    CHECK_FALSE(plain.contains(absent));
  }
  request.response_format.kind = ResponseFormat::Kind::json_object;
  CHECK(body()["response_format"] == Json{{"type", "json_object"}});
  options.max_tokens_key = "max_completion_tokens";
  options.extra_body = Json{{"seed", nullptr}, {"user", "u1"}, {"stream_options", {{"extra", 1}}}};
  const Json changed = body();
  CHECK(changed["max_completion_tokens"] == 512);
  CHECK_FALSE(changed.contains("max_tokens"));
  CHECK_FALSE(changed.contains("seed"));
  CHECK(changed["user"] == "u1");
  CHECK(changed["stream_options"] == Json{{"include_usage", true}, {"extra", 1}});
  // Two results of one turn are two messages there.
  request.messages = {Message{Role::tool, {ToolResultPart{"a", "f", "1", false}, ToolResultPart{"b", "g", "2", true}}}};
  const Json messages = body()["messages"];
  REQUIRE(messages.size() == 2);
  CHECK(messages[1] == Json{{"role", "tool"}, {"tool_call_id", "b"}, {"name", "g"}, {"content", "2"}});
  request.messages = {Message::user("hi")};
  request.sampling.penalty_window = 5;
  CHECK(llm::request_body(request, options).error().code() == ErrorCode::unsupported);
  request.sampling.penalty_window = -1;
  request.max_tokens = 0;
  CHECK(llm::request_body(request, options).error().code() == ErrorCode::invalid_argument);
}

TEST_CASE("remote: tool calls of endpoints that count wrongly, repeat the name, send objects or finish with stop") {
  const auto calls_of = [](const std::vector<Json>& pieces) {
    llm::AnswerReader reader;
    std::vector<GenerationEvent> events;
    for (const Json& piece : pieces) {
      const Json chunk{{"choices", {{{"delta", {{"tool_calls", Json::array({piece})}}}}}}};
      REQUIRE(reader.chunk(dump_json(chunk), 0, events).has_value());
    }
    REQUIRE(reader.chunk(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})", 0, events).has_value());
    auto last = reader.last();
    REQUIRE(last.has_value());
    CHECK(last->finish_reason == FinishReason::tool_calls);
    Json out = Json::array();
    for (const auto& call : last->tool_calls) out.push_back(Json::array({call.id, call.name, call.arguments}));
    return out;
  };
  const Json wanted = Json::array({Json::array({"a", "f", Json{{"x", 1}}}), Json::array({"b", "g", Json::object()})});
  CHECK(calls_of({Json{{"index", 0}, {"id", "a"}, {"function", {{"name", "f"}, {"arguments", "{\"x\":1}"}}}},
                  Json{{"index", 0}, {"id", "b"}, {"function", {{"name", "g"}, {"arguments", ""}}}}}) == wanted);
  CHECK(calls_of({Json{{"id", "a"}, {"function", {{"name", "f"}, {"arguments", {{"x", 1}}}}}}, Json{{"id", "b"}, {"function", {{"name", "g"}, {"arguments", nullptr}}}}}) == wanted);
  CHECK(calls_of({Json{{"index", 1}, {"id", "b"}, {"function", {{"name", "g"}}}}, Json{{"index", 0}, {"id", "a"}, {"function", {{"name", "f"}, {"arguments", "{\"x\""}}}},
                  Json{{"index", 0}, {"id", "a"}, {"function", {{"name", "f"}, {"arguments", ":1}"}}}}}) == wanted);
}

TEST_CASE("remote: refusals in an endpoint's own words") {
  CHECK(llm::refusal_text(R"({"error":{"message":"no\nroom"}})") == "no room");
  CHECK(llm::refusal_text(R"({"error":"full"})") == "full");
  CHECK(llm::refusal_text(R"({"message":"later"})") == "later");
  CHECK(llm::refusal_text("<html>502</html>") == "<html>502</html>");
  CHECK(llm::refusal_text("").empty());
  CHECK(llm::refusal_text(std::string(100'000, 'x')).size() == 2000);
}

TEST_CASE("remote: damaged answers give events or typed errors, never worse") {
  const std::string good =
      "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"logprobs\":{\"content\":[{\"token\":\"Hi\",\"logprob\":-0.5,\"top_logprobs\":[{\"token\":\"Hi\",\"logprob\":-0.5}]}]}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
  const auto read = [](const std::string& text, std::vector<GenerationEvent>& events) -> Result<GenerationEvent> {
    llm::SseParser parser(1000);
    llm::AnswerReader reader;
    std::vector<llm::SseEvent> parts;
    CORVID_TRY_STATUS(parser.push(text, parts));
    for (const auto& part : parts) CORVID_TRY_STATUS(reader.chunk(part.data, part.offset, events));
    return reader.last();
  };
  std::vector<GenerationEvent> events;
  const auto last = read(good, events);
  REQUIRE(last.has_value());
  CHECK(last->tool_calls.at(0).arguments == Json{{"a", 1}});
  CHECK(events.size() == 1);
  std::mt19937_64 random(7);
  std::size_t whole = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (std::uint64_t n = random() % 3 + 1; n > 0; --n) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, random() % 8); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 8)); break;
      }
    }
    events.clear();
    const auto result = read(text, events);
    whole += result.has_value() ? 1 : 0;
    if (result) continue;
    const ErrorCode code = result.error().code();
    const bool typed = code == ErrorCode::bad_input || code == ErrorCode::network || code == ErrorCode::rejected || code == ErrorCode::limit_exceeded;
    if (!typed) FAIL(result.error().describe());
  }
  CHECK(whole > 0);
}
