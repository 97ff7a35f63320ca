// RemoteChatModel against a TLS server in this process: what goes wrong, and what is stopped. Nothing here waits for a time to pass,
// except where a pause is what is tested.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/llm/remote_support.hpp"

using namespace corvid;
using namespace corvid::test;

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
  SECTION("a body that is not streamed is shorter than it said") {
    const auto cut = [](const httplib::Request&, httplib::Response& response) {
      response.set_content_provider(500, "application/json", [](std::size_t offset, std::size_t, httplib::DataSink& sink) {
        if (offset > 0) return false;
        const std::string part = "{\"choices\":[";
        return sink.write(part.data(), part.size());
      });
    };
    const Error error = outcome(cut, text);
    CHECK(error.code() == ErrorCode::network);
    CHECK(says(error, "cut off"));
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
    std::string calls;
    for (int i = 0; i < 300; ++i) calls += test::sse(test::delta(Json{{"tool_calls", Json::array({Json{{"index", i * 1'000'000}}})}}));
    CHECK(outcome(test::whole(calls), text).code() == ErrorCode::limit_exceeded);
    CHECK(outcome(test::whole(test::sse(test::delta(Json{{"tool_calls", Json::array({Json{{"index", 3}}})}})) + test::ending("tool_calls")), text).code() == ErrorCode::bad_input);
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

namespace {

// A port where connections are taken and nothing is said.
class SilentPort {
 public:
  SilentPort() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_, 16) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentPort() { ::close(listener_); }
  std::string url() const { return "https://127.0.0.1:" + std::to_string(port_) + "/v1"; }
  /// A connection whose client has begun its handshake.
  int accept_client() const {
    const int client = ::accept(listener_, nullptr, nullptr);
    char byte = 0;
    if (client >= 0 && ::recv(client, &byte, 1, MSG_PEEK) != 1) return -1;
    return client;
  }

 private:
  int listener_;
  int port_ = 0;
};

}  // namespace

TEST_CASE("remote: a handshake that fails is tried again; one that never ends can be cancelled") {
  Runtime runtime;
  SilentPort port;
  RemoteChatOptions options;
  options.base_url = port.url();
  options.model = "m";
  options.first_backoff = milliseconds(1);
  options.max_retries = 2;
  options.connect_timeout = options.read_timeout = options.write_timeout = milliseconds(3'600'000);
  SECTION("closed each time") {
    const auto model = make(runtime, options);
    std::thread server([&] {
      for (int i = 0; i < 3; ++i) ::close(port.accept_client());
    });
    const Error error = error_of(runtime, *model);
    server.join();
    CHECK(error.code() == ErrorCode::network);
    CHECK(says(error, "3 attempts"));
  }
  SECTION("cancelled, and the model destroyed") {
    auto model = make(runtime, options);
    CancellationSource source;
    auto request = question();
    request.cancellation = source.token();
    int client = -1;
    std::thread server([&] {
      client = port.accept_client();
      source.cancel();
    });
    CHECK(error_of(runtime, *model, request).code() == ErrorCode::cancelled);
    server.join();
    model.reset();  // waits for the transfer, whose timeouts are an hour away
    ::close(client);
  }
}

TEST_CASE("remote: cancellation at any moment") {
  Runtime runtime;
  TlsEndpoint endpoint;
  std::string body;
  for (int i = 0; i < 100; ++i) body += test::text_chunk("x");
  endpoint.handlers({test::whole(body + test::ending())});
  const auto model = make(runtime, options_for(endpoint));
  for (int i = 0; i < 30; ++i) {
    CancellationSource source;
    auto request = question();
    request.cancellation = source.token();
    std::thread canceller([&] {
      for (int n = 0; n < i * i * 10; ++n) std::this_thread::yield();
      source.cancel();
    });
    const auto result = ask(runtime, *model, request);
    canceller.join();
    if (!result) CHECK(result.error().code() == ErrorCode::cancelled);
    else if (result->finish_reason == FinishReason::stop) CHECK(result->text.size() == 100);
    else CHECK(result->finish_reason == FinishReason::cancelled);
  }
}
