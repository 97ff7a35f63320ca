// RemoteChatModel: an OpenAI-compatible endpoint (POST {base_url}/chat/completions), streamed.
//
//   RemoteChatOptions options;
//   options.base_url = "https://api.example.com/v1";
//   options.model = "some-model";
//   options.api_key_env = "EXAMPLE_API_KEY";
//   CORVID_TRY(auto model, RemoteChatModel::make(runtime, std::move(options)));
//
// TLS is verified against the system's certificates or `ca_file`, host name included. Redirects are not followed: the key would go
// with them. Overload (429), unavailability (503) and failed connections are tried again with growing, jittered pauses; once the
// endpoint has begun to answer nothing is repeated.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "corvid/base/json.hpp"
#include "corvid/llm/chat_model.hpp"

namespace corvid {

class Runtime;

struct RemoteChatOptions {
  std::string base_url;                              ///< "https://host[:port][/path]"; http only with allow_plain_http or to loopback
  std::string model;                                 ///< the endpoint's name of the model
  std::string api_key_env;                           ///< environment variable that holds the key; empty: none
  std::filesystem::path api_key_file;                ///< file that holds the key; not together with api_key_env
  std::filesystem::path ca_file;                     ///< PEM certificates to trust instead of the system's
  bool allow_plain_http = false;                     ///< http to other machines: prompts and key travel readable
  std::map<std::string, std::string> headers;        ///< more request headers
  Json extra_body = Json::object();                  ///< merged into the request's JSON (RFC 7396: null removes a key)
  bool extended_sampling = false;                    ///< send top_k, min_p, typical_p, repetition_penalty, which not all endpoints know
  std::string max_tokens_key = "max_tokens";         ///< some endpoints want "max_completion_tokens"
  std::uint64_t context_tokens = 0;                  ///< of the model, where known; 0: unknown

  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds read_timeout{120'000};   ///< longest silence of the endpoint, before its answer too
  std::chrono::milliseconds write_timeout{30'000};

  int max_retries = 4;                               ///< after the first attempt
  std::chrono::milliseconds first_backoff{500};      ///< doubles with every retry; half of each pause is random
  std::chrono::milliseconds max_backoff{20'000};
  std::chrono::milliseconds max_retry_after{60'000}; ///< a longer Retry-After is not waited for: the refusal is returned

  std::size_t max_answer_bytes = std::size_t{64} << 20;  ///< of the answer's body
  std::size_t max_event_bytes = std::size_t{8} << 20;    ///< of one streamed event
};

/// Thread-safe. Each request has a thread of its own until its stream ends, is cancelled or dropped; streams may outlive the model,
/// whose destruction cancels them. A deadline stops a transfer as long as the runtime's io_context runs. The key appears in no log line, error or metric; where an endpoint's message repeats it, it is replaced.
///
/// Log probabilities name tokens by text; TokenLogprob::id is the endpoint's "id" where it sends one, else -1.
class RemoteChatModel final : public ChatModel {
 public:
  /// Reads the key. Errors: invalid_argument (URL, options, an http URL to another machine, a key with control characters),
  /// not_found (variable, key file or CA file), bad_input (a CA file without certificates), io.
  static Result<std::unique_ptr<RemoteChatModel>> make(Runtime& runtime, RemoteChatOptions options);
  ~RemoteChatModel() override;

  /// Returns when the endpoint has begun to answer. Errors beside ChatModel's: rejected (with status and the endpoint's message),
  /// network (connection, TLS), bad_input (an answer that is not the protocol; the offset is of the answer's body), unsupported (a
  /// TokenConstraint, a sampling parameter outside the protocol or unknown to the endpoint), deadline_exceeded. The stream may end in
  /// network (cut off), bad_input, rejected or limit_exceeded.
  Task<EventStream> chat(ChatRequest request) override;
  std::string_view name() const noexcept override;
  std::optional<std::uint64_t> context_tokens() const noexcept override;

 private:
  struct State;
  explicit RemoteChatModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace corvid
