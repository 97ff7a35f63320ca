#include <algorithm>
#include <limits>

#include "corvid/llm/fake_chat_model.hpp"
#include "corvid/llm/replay_chat_model.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/wait.hpp"
#include "llm/replay/generation_json.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

ChatRequest ask_for(const std::string& text) {
  ChatRequest request;
  request.messages = {Message::system("Be brief."), Message::user(text)};
  return request;
}

std::vector<Json> events_of(Runtime& runtime, ChatModel& model, ChatRequest request) {
  auto stream = runtime.wait(model.chat(std::move(request)));
  REQUIRE(stream.has_value());
  std::vector<Json> out;
  while (auto event = stream->next_blocking()) {
    REQUIRE(event->has_value());
    out.push_back(llm::event_json(**event));
  }
  return out;
}

std::vector<GenerationEvent> rich_answer() {
  GenerationEvent first, last;
  first.token = 7;
  first.text = "Gr\xc3\xbc\xc3\x9f\x65\n";
  first.logprob = -0.1f;
  first.top_logprobs = {{7, -0.1f}, {9, -std::numeric_limits<float>::infinity()}};
  last.tool_calls = {{"c1", "weather", Json{{"city", "Paris"}}}};
  last.finish_reason = FinishReason::tool_calls;
  last.usage = {11, 3, 4};
  last.timings.decode_ms = 12.345;
  return {first, last};
}

std::size_t lines_of(const std::filesystem::path& file) {
  const std::string text = test::read_file(file);
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("replay: what was recorded comes again, event by event") {
  Runtime runtime;
  test::TempDir folder;
  const auto file = folder / "talk.jsonl";
  auto fake = std::make_shared<FakeChatModel>("small");
  fake->events(rich_answer());
  fake->reply("one two");
  fake->fail_with(Error::rejected("too much").at_key("messages"));
  fake->reply("a second time");
  std::vector<std::vector<Json>> wanted;
  {
    auto recorder = ReplayChatModel::record(file, fake);
    REQUIRE(recorder.has_value());
    CHECK((*recorder)->name() == "small");
    wanted.push_back(events_of(runtime, **recorder, ask_for("weather")));
    wanted.push_back(events_of(runtime, **recorder, ask_for("count")));
    CHECK(runtime.wait((*recorder)->chat(ask_for("fail"))).error().code() == ErrorCode::rejected);
  }
  {
    auto recorder = ReplayChatModel::record(file, fake);  // goes on in the same file
    REQUIRE(recorder.has_value());
    wanted.push_back(events_of(runtime, **recorder, ask_for("count")));
  }
  CHECK(lines_of(file) == 5);
  for (int run = 0; run < 2; ++run) {
    auto replay = ReplayChatModel::open(file);
    REQUIRE(replay.has_value());
    CHECK((*replay)->name() == "small");
    const Error error = runtime.wait((*replay)->chat(ask_for("fail"))).error();
    CHECK(error.code() == ErrorCode::rejected);
    CHECK(error.message() == "too much");
    CHECK(error.key() == "messages");
    CHECK(events_of(runtime, **replay, ask_for("count")) == wanted[1]);
    CHECK(events_of(runtime, **replay, ask_for("weather")) == wanted[0]);
    CHECK(events_of(runtime, **replay, ask_for("count")) == wanted[2]);
    CHECK(runtime.wait((*replay)->chat(ask_for("count"))).error().code() == ErrorCode::not_found);
  }
  ReplayOptions options;
  options.repeat = true;
  auto replay = ReplayChatModel::open(file, options);
  CHECK(events_of(runtime, **replay, ask_for("count")) == wanted[1]);
  for (int i = 0; i < 3; ++i) CHECK(events_of(runtime, **replay, ask_for("count")) == wanted[2]);
  CHECK(ReplayChatModel::record(file, std::make_shared<FakeChatModel>("other")).error().code() == ErrorCode::conflict);
}

TEST_CASE("replay: a request that was not recorded says what differs") {
  Runtime runtime;
  test::TempDir folder;
  const auto file = folder / "talk.jsonl";
  auto fake = std::make_shared<FakeChatModel>();
  {
    auto recorder = ReplayChatModel::record(file, fake);
    REQUIRE(recorder.has_value());
    auto empty = ReplayChatModel::open(file);
    REQUIRE(empty.has_value());
    CHECK(runtime.wait((*empty)->chat(ask_for("hello"))).error().code() == ErrorCode::not_found);
    fake->reply("x");
    fake->reply("y");
    events_of(runtime, **recorder, ask_for("hello"));
    events_of(runtime, **recorder, ask_for("farewell"));
  }
  auto replay = ReplayChatModel::open(file);
  REQUIRE(replay.has_value());
  const auto error = [&](ChatRequest request) { return runtime.wait((*replay)->chat(std::move(request))).error(); };
  Error found = error(ask_for("hullo"));
  CHECK(found.code() == ErrorCode::not_found);
  CHECK(found.key() == "/messages/1/content");
  CHECK(found.message().find("\"hullo\"") != std::string::npos);
  auto request = ask_for("hello");
  request.sampling.temperature = 0.5f;
  found = error(request);
  CHECK(found.key() == "/sampling/temperature");
  CHECK(found.message().find("asked was 0.5") != std::string::npos);
  request = ask_for("hello");
  request.tools = {{"clock", "The time", Json::object()}};
  CHECK(error(request).key() == "/tools/0");
  request = ask_for("hello");
  request.messages.push_back(Message::assistant("more"));
  CHECK(error(request).key() == "/messages/2");
  request = ask_for("hello");
  request.stop = {"END"};
  CHECK(error(request).key() == "/stop/0");
  CHECK(events_of(runtime, **replay, ask_for("hello")).size() == 2);  // still there
}

TEST_CASE("replay: streams that were cut off are not recorded; replayed ones can be cancelled") {
  Runtime runtime;
  test::TempDir folder;
  const auto file = folder / "talk.jsonl";
  auto fake = std::make_shared<FakeChatModel>();
  for (int i = 0; i < 3; ++i) fake->reply("one two three");
  {
    auto recorder = ReplayChatModel::record(file, fake);
    auto stream = runtime.wait((*recorder)->chat(ask_for("a")));
    REQUIRE(stream->next_blocking().has_value());
    { const EventStream dropped = std::move(*stream); }
    stream = runtime.wait((*recorder)->chat(ask_for("a")));
    stream->cancel();
    CHECK(gather_blocking(std::move(*stream))->finish_reason == FinishReason::cancelled);
    CHECK(lines_of(file) == 1);
    auto last = runtime.wait((*recorder)->chat(ask_for("a")));
    recorder->reset();  // a stream may outlive the model
    CHECK(runtime.wait(gather(std::move(*last)))->text == "one two three");
    CHECK(lines_of(file) == 2);
  }
  ReplayOptions options;
  options.repeat = true;
  auto replay = ReplayChatModel::open(file, options);
  REQUIRE(replay.has_value());
  CancellationSource source;
  auto request = ask_for("a");
  request.cancellation = source.token();
  auto stream = runtime.wait((*replay)->chat(request));
  CHECK((*stream->next_blocking())->text == "one");
  source.cancel();
  auto end = stream->next_blocking();
  CHECK((*end)->finish_reason == FinishReason::cancelled);
  CHECK_FALSE(stream->next_blocking().has_value());
  CHECK(runtime.wait((*replay)->chat(request)).error().code() == ErrorCode::cancelled);
}

TEST_CASE("replay: damage is found, with its line and byte") {
  Runtime runtime;
  test::TempDir folder;
  const auto file = folder / "talk.jsonl";
  auto fake = std::make_shared<FakeChatModel>();
  fake->events(rich_answer());
  fake->reply("two");
  {
    auto recorder = ReplayChatModel::record(file, fake);
    events_of(runtime, **recorder, ask_for("a"));
    events_of(runtime, **recorder, ask_for("b"));
  }
  const std::string good = test::read_file(file);
  const std::size_t second = good.find('\n') + 1, third = good.find('\n', second) + 1;
  const auto error_of = [&](const std::string& text) {
    test::write_file(file, text);
    auto opened = ReplayChatModel::open(file);
    REQUIRE_FALSE(opened.has_value());
    CHECK(opened.error().file() == file.string());
    REQUIRE(opened.error().offset().has_value());
    return opened.error();
  };
  for (std::size_t size = 0; size < good.size(); ++size) {
    if (size == second || size == third) continue;  // cut between lines: a shorter recording
    const Error error = error_of(good.substr(0, size));
    CHECK(error.code() == ErrorCode::bad_input);
    CHECK(error.message().find("line " + std::string(size < second ? "1" : size < third ? "2" : "3")) != std::string::npos);
    CHECK(*error.offset() == (size < second ? 0 : size < third ? second : third));
  }
  std::string text = good;
  text[third + 5] = '\x01';
  const Error error = error_of(text);
  CHECK(error.code() == ErrorCode::bad_input);
  CHECK(error.message().find("line 3") != std::string::npos);
  CHECK(*error.offset() >= third);
  CHECK(*error.offset() <= third + 7);
  const std::string header = good.substr(0, second);
  for (const char* line : {"[]", "{}", R"({"request":5,"events":[{"finish_reason":"stop"}]})", R"({"request":{}})", R"({"request":{},"events":[]})",
                           R"({"request":{},"events":[5]})", R"({"request":{},"events":[{"text":"a"}]})", R"({"request":{},"events":[{"finish_reason":"why"}]})",
                           R"({"request":{},"events":[{"finish_reason":"stop"},{"finish_reason":"stop"}]})", R"({"request":{},"events":[{"token":1e99,"finish_reason":"stop"}]})",
                           R"({"request":{},"events":[{"tool_calls":[{}],"finish_reason":"stop"}]})", R"({"request":{},"events":[{"usage":{"prompt_tokens":-1},"finish_reason":"stop"}]})",
                           R"({"request":{},"events":[{"odd":1,"finish_reason":"stop"}]})", R"({"request":{},"error":{"code":"odd","message":""}})",
                           R"({"request":{},"events":[{"finish_reason":"stop"}],"error":{"code":"io","message":""}})"}) {
    CHECK(error_of(header + line + "\n").code() == ErrorCode::bad_input);
  }
  CHECK(error_of("{}\n").code() == ErrorCode::bad_input);
  CHECK(error_of(R"({"format":"corvid-replay","version":2,"model":"m"})" "\n").code() == ErrorCode::unsupported);
  test::write_file(file, good);
  ReplayOptions options;
  options.max_bytes = good.size() - 1;
  CHECK(ReplayChatModel::open(file, options).error().code() == ErrorCode::limit_exceeded);
  CHECK(ReplayChatModel::open(folder / "none").error().code() == ErrorCode::not_found);
  CHECK(ReplayChatModel::record(folder / "none" / "talk.jsonl", fake).error().code() == ErrorCode::io);
  test::write_file(file, good.substr(0, good.size() - 1));
  CHECK(ReplayChatModel::record(file, fake).error().code() == ErrorCode::bad_input);
}
