// RemoteChatModel against a TLS server in this process. Nothing here waits for a time to pass, except where a pause is what is tested.
#include <chrono>
#include <cstdlib>

#include "corvid/llm/remote_chat_model.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/wait.hpp"
#include "llm/remote/backoff.hpp"
#include "llm/remote/endpoint.hpp"
#include "llm/remote/protocol.hpp"
#include "llm/remote/sse.hpp"
#include "tests/llm/tls_endpoint.hpp"

using namespace corvid;
using test::TlsEndpoint;

namespace {

using std::chrono::milliseconds;

RemoteChatOptions options_for(const TlsEndpoint& endpoint) {
  RemoteChatOptions options;
  options.base_url = endpoint.url();
  options.model = "remote-model";
  options.ca_file = endpoint.ca_file();
  options.first_backoff = milliseconds(1);
  options.max_backoff = milliseconds(2);
  return options;
}

std::unique_ptr<RemoteChatModel> make(Runtime& runtime, RemoteChatOptions options) {
  auto model = RemoteChatModel::make(runtime, std::move(options));
  REQUIRE(model.has_value());
  return std::move(*model);
}

ChatRequest question() {
  ChatRequest request;
  request.messages = {Message::system("Be brief."), Message::user("Hi")};
  return request;
}

Result<GenerationResult> ask(Runtime& runtime, RemoteChatModel& model, ChatRequest request = question()) {
  auto stream = runtime.wait(model.chat(std::move(request)));
  if (!stream) return fail(stream.error());
  return gather_blocking(std::move(*stream));
}

Error error_of(Runtime& runtime, RemoteChatModel& model, ChatRequest request = question()) {
  auto result = ask(runtime, model, std::move(request));
  REQUIRE_FALSE(result.has_value());
  return result.error();
}

bool says(const Error& error, std::string_view text) { return error.describe().find(text) != std::string::npos; }

}  // namespace

TEST_CASE("remote: a streamed answer, its usage and the request that was sent") {
  Runtime runtime;
  TlsEndpoint endpoint;
  endpoint.handlers({test::whole(": hello\n\n" + test::text_chunk("Good") + test::text_chunk(" day\xc3\xa9") + test::ending())});
  auto options = options_for(endpoint);
  options.headers["X-Extra"] = "yes";
  options.context_tokens = 4096;
  const auto model = make(runtime, options);
  CHECK(model->name() == "remote-model");
  CHECK(model->context_tokens() == 4096u);
  auto request = question();
  request.sampling.temperature = 0.5f;
  request.sampling.top_p = 0.25f;
  request.sampling.presence_penalty = 0.5f;
  request.sampling.frequency_penalty = -0.5f;
  request.sampling.logit_bias = {{7, -2.0f}};
  request.sampling.seed = 42;
  request.max_tokens = 33;
  request.stop = {"END", "\n\n"};
  request.response_format = {ResponseFormat::Kind::json_schema, "point", Json{{"type", "object"}}};
  SECTION("from ordinary code") {
    const auto result = ask(runtime, *model, request);
    REQUIRE(result.has_value());
    CHECK(result->text == "Good day\xc3\xa9");
    CHECK(result->finish_reason == FinishReason::stop);
    CHECK(result->usage.prompt_tokens == 11);
    CHECK(result->usage.completion_tokens == 3);
    CHECK(result->usage.cached_tokens == 4);
  }
  SECTION("from a coroutine") {
    auto stream = runtime.wait(model->chat(request));
    REQUIRE(stream.has_value());
    const auto result = runtime.wait(gather(std::move(*stream)));
    REQUIRE(result.has_value());
    CHECK(result->text == "Good day\xc3\xa9");
  }
  const Json body = endpoint.body(0);
  CHECK(body["model"] == "remote-model");
  CHECK(body["stream"] == true);
  CHECK(body["stream_options"]["include_usage"] == true);
  CHECK(body["messages"][0] == Json{{"role", "system"}, {"content", "Be brief."}});
  CHECK(body["temperature"] == 0.5);
  CHECK(body["top_p"] == 0.25);
  CHECK(body["presence_penalty"] == 0.5);
  CHECK(body["frequency_penalty"] == -0.5);
  CHECK(body["logit_bias"] == Json{{"7", -2.0}});
  CHECK(body["seed"] == 42);
  CHECK(body["max_tokens"] == 33);
  CHECK(body["stop"] == Json{"END", "\n\n"});
  CHECK(body["response_format"]["type"] == "json_schema");
  CHECK(body["response_format"]["json_schema"]["name"] == "point");
  CHECK(endpoint.extra() == "yes");
  CHECK(endpoint.authorization().empty());
}

TEST_CASE("remote: every part of a message and tools are sent; tool calls are put together") {
  Runtime runtime;
  TlsEndpoint endpoint;
  const auto piece = [](Json call) { return test::sse(test::delta(Json{{"tool_calls", Json::array({std::move(call)})}})); };
  endpoint.handlers({test::whole(
      piece(Json{{"index", 0}, {"id", "c1"}, {"type", "function"}, {"function", {{"name", "weather"}, {"arguments", ""}}}}) +
      piece(Json{{"index", 0}, {"function", {{"arguments", "{\"city\":"}}}}) +
      piece(Json{{"index", 1}, {"id", "c2"}, {"type", "function"}, {"function", {{"name", "clock"}, {"arguments", "{}"}}}}) +
      piece(Json{{"index", 0}, {"function", {{"arguments", "\"Paris\"}"}}}}) + test::ending("tool_calls"))});
  const auto model = make(runtime, options_for(endpoint));
  ChatRequest request;
  request.messages = {Message{Role::user, {TextPart{"see"}, ImagePart{"image/png", {std::byte{1}}, {}}, ImagePart{"", {}, "https://a/b.png"},
                                           AudioPart{"audio/wav", {std::byte{3}}}}},
                      Message{Role::assistant, {ToolCallPart{"c0", "weather", Json{{"city", "Rome"}}}}},
                      Message{Role::tool, {ToolResultPart{"c0", "weather", "sunny", false}}}};
  request.tools = {{"weather", "Weather of a city", Json{{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}}},
                   {"clock", "The time", Json{{"type", "object"}}}};
  const auto result = ask(runtime, *model, request);
  REQUIRE(result.has_value());
  CHECK(result->finish_reason == FinishReason::tool_calls);
  REQUIRE(result->tool_calls.size() == 2);
  CHECK(result->tool_calls[0].id == "c1");
  CHECK(result->tool_calls[0].name == "weather");
  CHECK(result->tool_calls[0].arguments == Json{{"city", "Paris"}});
  CHECK(result->tool_calls[1].name == "clock");
  const Json body = endpoint.body(0);
  const Json& parts = body["messages"][0]["content"];
  REQUIRE(parts.size() == 4);
  CHECK(parts[1]["image_url"]["url"] == "data:image/png;base64,AQ==");
  CHECK(parts[2]["image_url"]["url"] == "https://a/b.png");
  CHECK(parts[3]["input_audio"] == Json{{"data", "Aw=="}, {"format", "wav"}});
  CHECK(body["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{\"city\":\"Rome\"}");
  CHECK(body["messages"][2]["role"] == "tool");
  CHECK(body["messages"][2]["tool_call_id"] == "c0");
  CHECK(body["messages"][2]["content"] == "sunny");
  REQUIRE(body["tools"].size() == 2);
  CHECK(body["tools"][0]["function"]["parameters"]["properties"]["city"]["type"] == "string");
}

TEST_CASE("remote: log probabilities, and an answer that is not streamed") {
  Runtime runtime;
  TlsEndpoint endpoint;
  const Json content = Json::array({Json{{"token", "Yes"}, {"id", 9}, {"logprob", -0.25}, {"top_logprobs", {{{"token", "Yes"}, {"id", 9}, {"logprob", -0.25}}, {{"token", "No"}, {"logprob", -1.5}}}}},
                                    Json{{"token", "."}, {"logprob", nullptr}, {"top_logprobs", Json::array()}}});
  Json answer{{"choices", {{{"index", 0}, {"message", {{"role", "assistant"}, {"content", "Yes."}}}, {"logprobs", {{"content", content}}}, {"finish_reason", "length"}}}},
              {"usage", {{"prompt_tokens", 5}, {"completion_tokens", 2}}}};
  endpoint.handlers({test::whole(dump_json(answer), "application/json; charset=utf-8")});
  const auto model = make(runtime, options_for(endpoint));
  auto request = question();
  request.sampling.logprobs = 2;
  const auto result = ask(runtime, *model, request);
  REQUIRE(result.has_value());
  CHECK(result->text == "Yes.");
  CHECK(result->finish_reason == FinishReason::length);
  REQUIRE(result->logprobs.size() == 2);
  CHECK(result->logprobs[0] == -0.25f);
  CHECK(std::isinf(result->logprobs[1]));
  REQUIRE(result->top_logprobs[0].size() == 2);
  CHECK(result->top_logprobs[0][0].id == 9);
  CHECK(result->top_logprobs[0][1].id == -1);
  CHECK(result->token_ids == std::vector<TokenId>{9});
  CHECK(endpoint.body(0)["top_logprobs"] == 2);
}

TEST_CASE("remote: overload is tried again, until the retries run out") {
  Runtime runtime;
  TlsEndpoint endpoint;
  const auto good = test::whole(test::text_chunk("ok") + test::ending());
  auto options = options_for(endpoint);
  options.max_retries = 2;
  SECTION("429, then an answer") {
    endpoint.handlers({test::refuse(429, R"({"error":{"message":"slow down"}})", "0"), good});
    const auto model = make(runtime, options);
    const auto result = ask(runtime, *model);
    REQUIRE(result.has_value());
    CHECK(result->text == "ok");
    CHECK(endpoint.requests() == 2);
  }
  SECTION("Retry-After is waited for") {
    endpoint.handlers({test::refuse(503, "{}", "1"), good});
    const auto model = make(runtime, options);
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(ask(runtime, *model).has_value());
    CHECK(std::chrono::steady_clock::now() - begin >= milliseconds(1000));
  }
  SECTION("503 for ever") {
    endpoint.handlers({test::refuse(503, R"({"error":{"message":"no room"}})")});
    const auto model = make(runtime, options);
    const Error error = error_of(runtime, *model);
    CHECK(error.code() == ErrorCode::rejected);
    CHECK(says(error, "503"));
    CHECK(says(error, "no room"));
    CHECK(says(error, "3 attempts"));
    CHECK(endpoint.requests() == 3);
  }
  SECTION("a Retry-After beyond the limit, or beyond the deadline, is not waited for") {
    endpoint.handlers({test::refuse(429, "{}", "3600")});
    auto model = make(runtime, options);
    CHECK(error_of(runtime, *model).code() == ErrorCode::rejected);
    CHECK(endpoint.requests() == 1);
    options.max_retry_after = milliseconds(10'000'000);
    model = make(runtime, options);
    CancellationSource source;
    source.set_deadline(std::chrono::steady_clock::now() + std::chrono::seconds(600));
    auto request = question();
    request.cancellation = source.token();
    CHECK(error_of(runtime, *model, request).code() == ErrorCode::deadline_exceeded);
    CHECK(endpoint.requests() == 2);
  }
  SECTION("another refusal is not") {
    endpoint.handlers({test::refuse(400, R"({"error":"bad model"})")});
    const auto model = make(runtime, options);
    const Error error = error_of(runtime, *model);
    CHECK(error.code() == ErrorCode::rejected);
    CHECK(says(error, "bad model"));
    CHECK(endpoint.requests() == 1);
  }
  SECTION("a redirect is not followed") {
    endpoint.handlers({[](const httplib::Request&, httplib::Response& response) { response.set_redirect("https://elsewhere/"); }});
    const auto model = make(runtime, options);
    const Error error = error_of(runtime, *model);
    CHECK(error.code() == ErrorCode::rejected);
    CHECK(says(error, "https://elsewhere/"));
    CHECK(endpoint.requests() == 1);
  }
}

TEST_CASE("remote: no connection is a network error, after retries") {
  Runtime runtime;
  RemoteChatOptions options;
  {
    TlsEndpoint gone;
    options = options_for(gone);
    options.ca_file.clear();
  }
  options.max_retries = 1;
  const auto model = make(runtime, options);
  const Error error = error_of(runtime, *model);
  CHECK(error.code() == ErrorCode::network);
  CHECK(says(error, "2 attempts"));
}

TEST_CASE("remote: a cut stream and a damaged one are typed errors, after the whole events") {
  Runtime runtime;
  TlsEndpoint endpoint;
  const auto model = make(runtime, options_for(endpoint));
  const auto outcome = [&](const TlsEndpoint::Handler& handler, std::string& text) {
    endpoint.handlers({handler});
    auto stream = runtime.wait(model->chat(question()));
    REQUIRE(stream.has_value());
    text.clear();
    while (true) {
      auto event = stream->next_blocking();
      REQUIRE(event.has_value());
      if (!*event) {
        CHECK_FALSE(stream->next_blocking().has_value());
        return event->error();
      }
      REQUIRE_FALSE((*event)->finish_reason.has_value());
      text += (*event)->text;
    }
  };
  std::string text;
  SECTION("the connection breaks inside a chunked body") {
    const auto cut = [](const httplib::Request&, httplib::Response& response) {
      response.set_chunked_content_provider("text/event-stream", [](std::size_t offset, httplib::DataSink& sink) {
        if (offset > 0) return false;
        const std::string part = test::text_chunk("half");
        return sink.write(part.data(), part.size());
      });
    };
    CHECK(outcome(cut, text).code() == ErrorCode::network);
    CHECK(text == "half");
  }
  SECTION("the body ends without a finish reason") {
    CHECK(outcome(test::whole(test::text_chunk("half")), text).code() == ErrorCode::network);
    CHECK(text == "half");
    CHECK(outcome(test::whole(test::text_chunk("half") + "data: [DONE]\n\n"), text).code() == ErrorCode::network);
  }
  SECTION("JSON damage, with its place in the body") {
    const std::string good = test::text_chunk("one");
    const Error error = outcome(test::whole(good + "data: {\"choices\": oops}\n\n"), text);
    CHECK(error.code() == ErrorCode::bad_input);
    CHECK(text == "one");
    REQUIRE(error.offset().has_value());
    const std::size_t data = good.size() + 6;
    CHECK(*error.offset() >= data + 10);
    CHECK(*error.offset() <= data + 14);
  }
  SECTION("JSON that is another protocol's") {
    for (const char* wrong : {"[]", "{}", R"({"choices":{}})", R"({"choices":[1]})", R"({"choices":[{"delta":5}]})",
                              R"({"choices":[{"delta":{"content":7}}]})", R"({"choices":[{"delta":{},"finish_reason":"because"}]})",
                              R"({"choices":[{"delta":{"tool_calls":[{"index":-1}]}}]})"}) {
      CHECK(outcome(test::whole("data: " + std::string(wrong) + "\n\n"), text).code() == ErrorCode::bad_input);
    }
    CHECK(outcome(test::whole(R"(data: {"choices":[{"delta":{"tool_calls":[{"index":999999}]}}]})" "\n\n"), text).code() == ErrorCode::limit_exceeded);
  }
  SECTION("tool calls whose arguments are no object") {
    for (const char* wrong : {"{\"a\":", "5"}) {
      const Json call{{"index", 0}, {"id", "c"}, {"function", {{"name", "f"}, {"arguments", wrong}}}};
      const auto body = test::sse(test::delta(Json{{"tool_calls", Json::array({call})}})) + test::ending("tool_calls");
      CHECK(outcome(test::whole(body), text).code() == ErrorCode::bad_input);
    }
  }
  SECTION("the endpoint reports an error midway") {
    const Error error = outcome(test::whole(test::text_chunk("one") + "data: {\"error\":{\"message\":\"overheated\"}}\n\n"), text);
    CHECK(error.code() == ErrorCode::rejected);
    CHECK(says(error, "overheated"));
    CHECK(text == "one");
  }
}

TEST_CASE("remote: sizes are limited, and a page that is no answer is said to be one") {
  Runtime runtime;
  TlsEndpoint endpoint;
  auto options = options_for(endpoint);
  options.max_answer_bytes = 2000;
  options.max_event_bytes = 500;
  const auto model = make(runtime, options);
  endpoint.handlers({test::whole(test::text_chunk(std::string(600, 'x')))});
  CHECK(error_of(runtime, *model).code() == ErrorCode::limit_exceeded);
  std::string many;
  for (int i = 0; i < 100; ++i) many += test::text_chunk("token");
  endpoint.handlers({test::whole(many + test::ending())});
  CHECK(error_of(runtime, *model).key() == "max_answer_bytes");
  endpoint.handlers({test::whole("<html></html>", "text/html")});
  const Error page = error_of(runtime, *model);
  CHECK(page.code() == ErrorCode::bad_input);
  CHECK(page.key() == "base_url");
}

TEST_CASE("remote: certificates are verified, the host's name included") {
  Runtime runtime;
  SECTION("self-signed and not trusted") {
    TlsEndpoint endpoint;
    auto options = options_for(endpoint);
    options.ca_file.clear();
    const auto model = make(runtime, options);
    const Error error = error_of(runtime, *model);
    CHECK(error.code() == ErrorCode::network);
    CHECK(says(error, "not trusted"));
    CHECK(says(error, "ca_file"));
    CHECK(endpoint.requests() == 0);
  }
  SECTION("another's certificate is trusted") {
    TlsEndpoint endpoint, other;
    auto options = options_for(endpoint);
    options.ca_file = other.ca_file();
    const auto model = make(runtime, options);
    CHECK(error_of(runtime, *model).code() == ErrorCode::network);
    CHECK(endpoint.requests() == 0);
  }
  SECTION("trusted, for another host") {
    TlsEndpoint endpoint("DNS:elsewhere.example");
    const auto model = make(runtime, options_for(endpoint));
    const Error error = error_of(runtime, *model);
    CHECK(error.code() == ErrorCode::network);
    CHECK(says(error, "another host"));
    CHECK(endpoint.requests() == 0);
  }
  SECTION("by address") {
    TlsEndpoint endpoint;
    endpoint.handlers({test::whole(test::text_chunk("ok") + test::ending())});
    auto options = options_for(endpoint);
    options.base_url = endpoint.url("127.0.0.1");
    const auto model = make(runtime, options);
    CHECK(ask(runtime, *model).has_value());
  }
}

TEST_CASE("remote: the key comes from a file or a variable and is in no error") {
  Runtime runtime;
  TlsEndpoint endpoint;
  test::TempDir folder;
  const std::string key = "sk-very-secret-123";
  test::write_file(folder / "key", "  " + key + "\n");
  endpoint.handlers({test::whole(test::text_chunk("ok") + test::ending()), test::refuse(401, R"({"error":{"message":"wrong key sk-very-secret-123"}})")});
  auto options = options_for(endpoint);
  SECTION("file") { options.api_key_file = folder / "key"; }
  SECTION("variable") {
    ::setenv("CORVID_TEST_REMOTE_KEY", key.c_str(), 1);
    options.api_key_env = "CORVID_TEST_REMOTE_KEY";
  }
  const auto model = make(runtime, options);
  REQUIRE(ask(runtime, *model).has_value());
  CHECK(endpoint.authorization() == "Bearer " + key);
  const Error error = error_of(runtime, *model);
  CHECK(error.code() == ErrorCode::rejected);
  CHECK(says(error, "401"));
  CHECK(says(error, "wrong key [key]"));
  CHECK_FALSE(says(error, key));
}

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
  CHECK(llm::parse_endpoint("HTTPS://[::1]:8443/v1/", false)->name == "https://[::1]:8443/v1/chat/completions");
  CHECK(llm::parse_endpoint("http://127.0.0.1:8080", false)->path == "/chat/completions");
  CHECK(llm::parse_endpoint("http://example.com", true)->port == 80);
}

namespace {

class AnyToken final : public TokenConstraint {
 public:
  Status mask(std::vector<bool>& allowed) override {
    allowed.assign(allowed.size(), true);
    return {};
  }
  Status advance(TokenId) override { return {}; }
  std::unique_ptr<TokenConstraint> fork() const override { return std::make_unique<AnyToken>(); }
  std::vector<std::byte> save() const override { return {}; }
};

}  // namespace

TEST_CASE("remote: what the protocol cannot carry is unsupported") {
  Runtime runtime;
  TlsEndpoint endpoint;
  endpoint.handlers({test::refuse(400, R"({"error":{"message":"unknown parameter: min_p"}})")});
  auto options = options_for(endpoint);
  auto model = make(runtime, options);
  auto request = question();
  request.constraint = std::make_shared<AnyToken>();
  CHECK(error_of(runtime, *model, request).code() == ErrorCode::unsupported);
  request = question();
  request.sampling.min_p = 0.1f;
  CHECK(error_of(runtime, *model, request).key() == "min_p");
  CHECK(endpoint.requests() == 0);
  options.extended_sampling = true;
  model = make(runtime, options);
  const Error error = error_of(runtime, *model, request);
  CHECK(error.code() == ErrorCode::unsupported);
  CHECK(error.key() == "min_p");
  CHECK(endpoint.body(0).contains("min_p"));
  request = question();
  request.messages.clear();
  CHECK(error_of(runtime, *model, request).code() == ErrorCode::invalid_argument);
}

TEST_CASE("remote: cancellation, deadlines and dropping end a transfer that would never end") {
  Runtime runtime;
  TlsEndpoint endpoint;
  test::Gate never, asked;
  // One event, then silence until the test is over.
  endpoint.handlers({[&](const httplib::Request&, httplib::Response& response) {
    response.set_chunked_content_provider("text/event-stream", [&](std::size_t offset, httplib::DataSink& sink) {
      if (offset > 0) {
        never.wait();
        return false;
      }
      const std::string part = test::text_chunk("first");
      return sink.write(part.data(), part.size());
    });
  }});
  {
    const auto model = make(runtime, options_for(endpoint));
    CancellationSource source;
    auto request = question();
    request.cancellation = source.token();
    const auto first = [&](EventStream& stream) {
      auto event = stream.next_blocking();
      REQUIRE((event && *event));
      CHECK((*event)->text == "first");
    };
    const auto end = [](EventStream& stream) {
      auto event = stream.next_blocking();
      REQUIRE((event && *event && (*event)->finish_reason));
      CHECK((*event)->text.empty());
      CHECK_FALSE(stream.next_blocking().has_value());
      return *(*event)->finish_reason;
    };
    auto stream = runtime.wait(model->chat(request));
    REQUIRE(stream.has_value());
    first(*stream);
    source.cancel();
    CHECK(end(*stream) == FinishReason::cancelled);
    CHECK(runtime.wait(model->chat(request)).error().code() == ErrorCode::cancelled);

    stream = runtime.wait(model->chat(question()));
    first(*stream);
    stream->cancel();
    CHECK(end(*stream) == FinishReason::cancelled);

    CancellationSource late;
    request.cancellation = late.token();
    late.set_deadline(std::chrono::steady_clock::now() + milliseconds(1500));
    stream = runtime.wait(model->chat(request));
    if (stream) {  // else the deadline passed before the answer began, on a machine that slow
      auto event = stream->next_blocking();
      while (event && *event && !(*event)->finish_reason) event = stream->next_blocking();
      REQUIRE((event && *event));
      CHECK(*(*event)->finish_reason == FinishReason::deadline);
    } else {
      CHECK(stream.error().code() == ErrorCode::deadline_exceeded);
    }

    stream = runtime.wait(model->chat(question()));
    first(*stream);
    { const EventStream dropped = std::move(*stream); }
    stream = runtime.wait(model->chat(question()));
    first(*stream);
  }  // the model goes with a stream that is still open
  never.open();
}

TEST_CASE("remote: cancellation before the answer begins, and while a pause lasts") {
  Runtime runtime;
  TlsEndpoint endpoint;
  test::Gate never, asked;
  endpoint.handlers({[&](const httplib::Request&, httplib::Response& response) {
    asked.open();
    never.wait();
    response.status = 500;
  }, [&](const httplib::Request&, httplib::Response& response) {
    response.status = 503;
    response.set_header("Retry-After", "50");
    asked.open();
  }});
  const auto model = make(runtime, options_for(endpoint));
  CancellationSource source;
  auto request = question();
  request.cancellation = source.token();
  std::thread canceller([&] {
    asked.wait();
    source.cancel();
  });
  CHECK(error_of(runtime, *model, request).code() == ErrorCode::cancelled);
  canceller.join();
  never.open();

  CancellationSource second;
  request.cancellation = second.token();
  std::thread again([&] {
    while (endpoint.requests() < 2) std::this_thread::yield();
    second.cancel();
  });
  CHECK(error_of(runtime, *model, request).code() == ErrorCode::cancelled);
  again.join();
}

TEST_CASE("remote: eight requests at once, more events than a stream holds") {
  Runtime runtime;
  TlsEndpoint endpoint;
  endpoint.handlers({[](const httplib::Request& request, httplib::Response& response) {
    const Json body = *parse_json(request.body);
    const std::string word = body["messages"][0]["content"].get<std::string>();
    std::string out;
    for (int i = 0; i < 200; ++i) out += test::text_chunk(word);
    response.set_content(out + test::ending(), "text/event-stream");
  }});
  const auto model = make(runtime, options_for(endpoint));
  std::vector<EventStream> streams;
  for (int i = 0; i < 8; ++i) {
    ChatRequest request;
    request.messages = {Message::user(std::string(1, static_cast<char>('a' + i)))};
    auto stream = runtime.wait(model->chat(std::move(request)));
    REQUIRE(stream.has_value());
    streams.push_back(std::move(*stream));
  }
  for (int i = 0; i < 8; ++i) {
    const auto result = gather_blocking(std::move(streams[static_cast<std::size_t>(i)]));
    REQUIRE(result.has_value());
    CHECK(result->text == std::string(200, static_cast<char>('a' + i)));
  }
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
  CHECK(llm::parse_retry_after("120", 0) == milliseconds(120'000));
  CHECK(llm::parse_retry_after(" 0 ", 0) == milliseconds(0));
  CHECK(llm::parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111770) == milliseconds(7000));
  CHECK(llm::parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111800) == milliseconds(0));
  for (const char* wrong : {"", "-1", "soon", "1.5", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "99999999999999999999"}) {
    CHECK_FALSE(llm::parse_retry_after(wrong, 0).has_value());
  }
}
