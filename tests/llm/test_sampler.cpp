// Sampler, stop strings, messages, gather.
#include <algorithm>
#include <cmath>
#include <limits>

#include "corvid/llm/fake_chat_model.hpp"
#include "corvid/llm/message.hpp"
#include "corvid/runtime/wait.hpp"
#include "llm/sampling/sampler.hpp"
#include "llm/sampling/stop_matcher.hpp"
#include "support/catch.hpp"

using namespace corvid;
using llm::Sampler;
using llm::StopMatcher;

namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, 0.0f, -1.0f};

Sampler make(const SamplingParams& params) { return std::move(*Sampler::make(params, 5)); }

TokenId pick(Sampler& sampler, std::vector<TokenId> history = {}) {
  auto logits = kLogits;
  auto token = sampler.sample(logits, history, nullptr);
  REQUIRE(token.has_value());
  return token->id;
}

// How often each token is drawn.
std::vector<double> frequencies(const SamplingParams& params) {
  auto sampler = make(params);
  std::vector<double> out(5);
  for (int i = 0; i < 20000; ++i) out[static_cast<std::size_t>(pick(sampler))] += 1.0 / 20000;
  return out;
}

}  // namespace

TEST_CASE("greedy, penalties, bias and log probabilities") {
  SamplingParams params;
  auto greedy = make(params);
  CHECK(pick(greedy) == 1);
  params.repetition_penalty = 2.0f;
  auto repeats = make(params);
  CHECK(pick(repeats, {1}) == 2);
  params.penalty_window = 1;
  auto window = make(params);
  CHECK(pick(window, {1, 4}) == 1);
  params = {};
  params.presence_penalty = 1.5f;
  auto presence = make(params);
  CHECK(pick(presence, {1}) == 2);
  params = {};
  params.frequency_penalty = 0.6f;
  auto frequency = make(params);
  CHECK(pick(frequency, {1}) == 1);
  CHECK(pick(frequency, {1, 1}) == 2);
  params = {};
  params.logit_bias = {{4, 10.0f}};
  params.logprobs = 2;
  auto biased = make(params);
  auto logits = kLogits;
  auto token = biased.sample(logits, {}, nullptr);
  REQUIRE(token.has_value());
  CHECK(token->id == 4);
  double sum = 0;
  for (const float x : kLogits) sum += std::exp(x);
  CHECK(*token->logprob == Approx(-1.0 - std::log(sum)));  // of the raw logits
  REQUIRE(token->top_logprobs.size() == 2);
  CHECK(token->top_logprobs[0].id == 1);
  CHECK(token->top_logprobs[1].logprob == Approx(2.0 - std::log(sum)));
}

TEST_CASE("drawing follows the truncated distribution") {
  const auto expect = [](const SamplingParams& params, std::vector<TokenId> kept) {
    double sum = 0;
    for (const TokenId id : kept) sum += std::exp(kLogits[static_cast<std::size_t>(id)] / params.temperature);
    const auto seen = frequencies(params);
    for (TokenId id = 0; id < 5; ++id) {
      const bool in = std::find(kept.begin(), kept.end(), id) != kept.end();
      const double wanted = in ? std::exp(kLogits[static_cast<std::size_t>(id)] / params.temperature) / sum : 0;
      CHECK(std::abs(seen[static_cast<std::size_t>(id)] - wanted) < 0.015);
    }
  };
  SamplingParams params;
  params.temperature = 1.0f;
  params.seed = 7;
  expect(params, {0, 1, 2, 3, 4});
  params.temperature = 2.0f;
  expect(params, {0, 1, 2, 3, 4});
  params.top_k = 2;
  expect(params, {1, 2});
  params = {};
  params.temperature = 1.0f;
  params.top_p = 0.8f;  // 0.636, 0.234, 0.086, …
  expect(params, {1, 2});
  params = {};
  params.temperature = 1.0f;
  params.min_p = 0.13f;  // e^-2 = 0.135 stays, e^-3 = 0.05 goes
  expect(params, {0, 1, 2});
}

TEST_CASE("a restored sampler draws on; damage and bad parameters are typed errors") {
  SamplingParams params;
  params.temperature = 1.0f;
  params.seed = 42;
  params.logit_bias = {{2, 0.5f}};
  auto first = make(params);
  for (int i = 0; i < 10; ++i) pick(first);
  const auto bytes = first.save();
  auto second = Sampler::restore(bytes);
  REQUIRE(second.has_value());
  for (int i = 0; i < 100; ++i) CHECK(pick(first) == pick(*second));
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(Sampler::restore(std::span(bytes).first(n)).has_value());
  params = {};
  params.top_p = 0;
  CHECK(Sampler::make(params, 5).error().code() == ErrorCode::invalid_argument);
  params = {};
  params.temperature = -1;
  CHECK(Sampler::make(params, 5).error().key() == "temperature");
  params = {};
  params.logit_bias = {{5, 1.0f}};
  CHECK_FALSE(Sampler::make(params, 5).has_value());
  auto greedy = make({});
  std::vector<float> bad(5, std::numeric_limits<float>::quiet_NaN());
  CHECK(greedy.sample(bad, {}, nullptr).error().code() == ErrorCode::internal);
}

TEST_CASE("stop strings are found however the text is cut") {
  const std::string text = "one two END three";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    auto matcher = StopMatcher::make({"END", "ENX", "two EXIT"});
    REQUIRE(matcher.has_value());
    std::string shown;
    bool stopped = false;
    for (std::size_t at = 0; at < text.size() && !stopped; at += size) {
      auto step = matcher->push(text.substr(at, size));
      shown += step.text;
      stopped = step.stopped;
    }
    CHECK(stopped);
    CHECK(shown == "one two ");
  }
  auto held = StopMatcher::make({"abc"});
  CHECK(held->push("xab").text == "x");
  CHECK(held->flush() == "ab");
  CHECK_FALSE(StopMatcher::make({""}).has_value());
}

TEST_CASE("messages go to the OpenAI shape and back") {
  Message call{Role::assistant, {ToolCallPart{"c1", "f", Json{{"x", 1}}}}};
  Message media{Role::user, {TextPart{"see"}, ImagePart{"image/png", {std::byte{1}, std::byte{2}}, {}}, AudioPart{"audio/wav", {std::byte{3}}}}};
  Message result{Role::tool, {ToolResultPart{"c1", "f", "42", true}}};
  for (const auto& message : {Message::user("hi"), call, media, result}) {
    const Json json = to_json(message);
    auto back = message_from_json(json);
    REQUIRE(back.has_value());
    CHECK(to_json(*back) == json);
  }
  CHECK(to_json(call)["tool_calls"][0]["function"]["arguments"] == "{\"x\":1}");
  CHECK(message_from_json(Json{{"role", "nobody"}}).error().code() == ErrorCode::bad_input);
  CHECK_FALSE(message_from_json(Json{{"role", "user"}, {"content", 5}}).has_value());
}

TEST_CASE("a fake model's stream is gathered") {
  Runtime runtime;
  FakeChatModel model;
  model.reply("one two three");
  model.call_tool({"c1", "f", Json::object()});
  ChatRequest request;
  request.messages = {Message::user("hi")};
  auto stream = runtime.wait(model.chat(request));
  REQUIRE(stream.has_value());
  auto result = gather_blocking(std::move(*stream));
  REQUIRE(result.has_value());
  CHECK(result->text == "one two three");
  auto second = runtime.wait(model.chat(request));
  auto called = runtime.wait(gather(std::move(*second)));
  REQUIRE(called.has_value());
  CHECK(called->finish_reason == FinishReason::tool_calls);
  CHECK(called->tool_calls.size() == 1);
  CHECK(runtime.wait(model.chat(request)).error().code() == ErrorCode::not_found);
  CHECK(model.requests().size() == 3);
}
