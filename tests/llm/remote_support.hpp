// Asking a TlsEndpoint.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "corvid/llm/remote_chat_model.hpp"
#include "corvid/runtime/runtime.hpp"
#include "corvid/runtime/wait.hpp"
#include "tests/llm/tls_endpoint.hpp"

namespace corvid::test {

using std::chrono::milliseconds;

inline RemoteChatOptions options_for(const TlsEndpoint& endpoint) {
  RemoteChatOptions options;
  options.base_url = endpoint.url();
  options.model = "remote-model";
  options.ca_file = endpoint.ca_file();
  options.first_backoff = milliseconds(1);
  options.max_backoff = milliseconds(2);
  return options;
}

inline std::unique_ptr<RemoteChatModel> make(Runtime& runtime, RemoteChatOptions options) {
  auto model = RemoteChatModel::make(runtime, std::move(options));
  REQUIRE(model.has_value());
  return std::move(*model);
}

inline ChatRequest question() {
  ChatRequest request;
  request.messages = {Message::system("Be brief."), Message::user("Hi")};
  return request;
}

inline Result<GenerationResult> ask(Runtime& runtime, RemoteChatModel& model, ChatRequest request = question()) {
  auto stream = runtime.wait(model.chat(std::move(request)));
  if (!stream) return fail(stream.error());
  return gather_blocking(std::move(*stream));
}

inline Error error_of(Runtime& runtime, RemoteChatModel& model, ChatRequest request = question()) {
  auto result = ask(runtime, model, std::move(request));
  REQUIRE_FALSE(result.has_value());
  return result.error();
}

inline bool says(const Error& error, std::string_view text) { return error.describe().find(text) != std::string::npos; }

}  // namespace corvid::test
