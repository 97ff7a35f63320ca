// RemoteChatModel against a TLS server in this process: what is sent and what comes back.
#include <cmath>
#include <cstdlib>

#include "tests/llm/remote_support.hpp"

using namespace corvid;
using namespace corvid::test;

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
  // In the answer's stream too, and in what is said of damage.
  for (const std::string& body : {"data: {\"error\":{\"message\":\"" + key + "\"}}\n\n", test::sse(test::delta(Json::object(), key)), "data: " + key + "\n\n"}) {
    endpoint.handlers({test::whole(body)});
    const Error told = error_of(runtime, *model);
    CHECK_FALSE(told.describe().empty());
    CHECK_FALSE(says(told, key));
  }
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
