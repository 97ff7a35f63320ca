#include "llm/remote/attempt.hpp"

#include <httplib.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "corvid/runtime/runtime.hpp"
#include "llm/remote/backoff.hpp"

namespace corvid::llm {

namespace {

constexpr std::size_t kMaxRefusalBytes = std::size_t{64} << 10;

bool begins_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

struct Client {
  std::unique_ptr<httplib::ClientImpl> http;
  httplib::SSLClient* tls = nullptr;  // the same object, where it is one
  long verified() const { return tls ? tls->get_openssl_verify_result() : X509_V_OK; }
};

Client make_client(const RemoteConfig& config) {
  const HttpUrl& endpoint = config.endpoint;
  if (!endpoint.tls) return {std::make_unique<httplib::ClientImpl>(endpoint.host, endpoint.port), nullptr};
  auto client = std::make_unique<httplib::SSLClient>(endpoint.host, endpoint.port);
  client->enable_server_certificate_verification(true);
  if (!config.options.ca_file.empty()) client->set_ca_cert_path(config.options.ca_file.string());
  if (SSL_CTX* context = client->ssl_context()) SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  auto* tls = client.get();
  return {std::move(client), tls};
}

}  // namespace

void AttemptRun::fill(httplib::Request& request) {
  const RemoteConfig& config = *t_.config_;
  request.method = "POST";
  request.path = config.endpoint.path;
  request.body = body_;
  request.headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream, application/json"},
                     {"Accept-Encoding", "identity"}, {"User-Agent", "corvid"}};
  if (!config.key.empty()) request.headers.emplace("Authorization", "Bearer " + config.key);
  for (const auto& [name, value] : config.options.headers) {
    request.headers.erase(name);
    request.headers.emplace(name, value);
  }
  request.response_handler = [this](const httplib::Response& response) { return headers(response); };
  request.content_receiver = [this](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
    return bytes(std::string_view(data, size));
  };
}

bool AttemptRun::headers(const httplib::Response& response) {
  if (t_.stopped()) return false;
  http_status_ = response.status;
  reason_ = response.reason.substr(0, 100);
  content_type_ = response.get_header_value("Content-Type").substr(0, 100);
  std::transform(content_type_.begin(), content_type_.end(), content_type_.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  retry_after_ = response.get_header_value("Retry-After");
  location_ = response.get_header_value("Location").substr(0, 500);
  if (http_status_ < 200 || http_status_ > 299) return true;
  if (begins_with(content_type_, "text/event-stream")) {
    kind_ = Kind::events;
  } else if (begins_with(content_type_, "application/json")) {
    kind_ = Kind::whole;
  } else {
    status_ = fail(Error::bad_input(t_.config_->endpoint.name() + " answered with the content type '" + content_type_ +
                                    "'; a chat endpoint gives text/event-stream or application/json: is base_url right?").at_key("base_url"));
    return false;
  }
  t_.begin();
  return true;
}

bool AttemptRun::bytes(std::string_view part) {
  if (t_.stopped()) return false;
  if (const auto live = t_.token_.check(); !live) {
    t_.stop(live.error().code() == ErrorCode::cancelled ? FinishReason::cancelled : FinishReason::deadline);
    return false;
  }
  if (kind_ == Kind::refusal) {
    text_ += part.substr(0, kMaxRefusalBytes - text_.size());
    return text_.size() < kMaxRefusalBytes;
  }
  const std::size_t most = t_.config_->options.max_answer_bytes;
  if (part.size() > most - received_) {
    status_ = fail(Error::limit_exceeded("the endpoint's answer is over max_answer_bytes, " + std::to_string(most)).at_key("max_answer_bytes"));
    return false;
  }
  received_ += part.size();
  if (kind_ == Kind::whole) {
    text_ += part;
    return true;
  }
  std::vector<SseEvent> events;
  status_ = sse_.push(part, events);  // events before the damage are whole and are shown
  for (const auto& event : events) {
    if (event.data == "[DONE]") {
      done_ = true;
      return false;
    }
    if (!chunk(event.data, event.offset)) return false;
  }
  return status_.has_value();
}

bool AttemptRun::chunk(std::string_view text, std::uint64_t offset) {
  std::vector<GenerationEvent> events;
  auto read = reader_.chunk(text, offset, events);
  for (auto& event : events) {
    if (t_.first_token_ == Transfer::Clock::time_point{}) t_.first_token_ = Transfer::Clock::now();
    if (!t_.events_.send(std::move(event))) return false;  // dropped or stopped
  }
  if (read) return true;
  status_ = fail(std::move(read.error()));
  return false;
}

Attempt AttemptRun::refusal() const {
  const RemoteConfig& config = *t_.config_;
  const std::string words = refusal_text(text_);
  std::string message = config.endpoint.name() + " answered " + std::to_string(http_status_) + (reason_.empty() ? "" : " " + reason_) +
                        (words.empty() ? "" : ": " + words);
  Attempt out;
  out.again = http_status_ == 429 || http_status_ == 503;
  if (out.again) out.retry_after = parse_retry_after(retry_after_, std::time(nullptr));
  if (http_status_ >= 300 && http_status_ < 400) {
    out.status = fail(Error::rejected(message + "; it points to '" + location_ + "', which is not followed: set base_url to the endpoint itself").at_key("base_url"));
    return out;
  }
  if (http_status_ == 401 || http_status_ == 403) {
    const auto& options = config.options;
    const std::string from = !options.api_key_env.empty() ? "the key in " + options.api_key_env
                             : !options.api_key_file.empty() ? "the key in " + options.api_key_file.string() : std::string();
    out.status = fail(Error::rejected(message + (from.empty() ? "; no key was sent: name api_key_env or api_key_file" : "; see " + from)));
    return out;
  }
  if (http_status_ == 400 || http_status_ == 422) {
    if (const std::string key = refused_parameter(t_.body_, words); !key.empty()) {
      out.status = fail(Error::unsupported("the endpoint does not take " + key + "; leave it off: " + message).at_key(key));
      return out;
    }
  }
  out.status = fail(Error::rejected(std::move(message)));
  return out;
}

Attempt AttemptRun::unanswered(int code, long verified) const {
  const auto error = static_cast<httplib::Error>(code);
  const std::string name = t_.config_->endpoint.name();
  const auto say = [&](std::string message, bool again) { return Attempt{fail(Error::network(std::move(message))), again, std::nullopt}; };
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout:
      return say("no connection to " + name + ": is the host's name right, does the endpoint run, is the network there?", true);
    case httplib::Error::SSLConnection: return say("no TLS connection to " + name + ": the handshake failed", true);
    case httplib::Error::SSLServerVerification:
      if (verified == X509_V_OK) return say("the certificate of " + name + " is for another host than '" + t_.config_->endpoint.host + "'", false);
      return say("the certificate of " + name + " is not trusted: " + X509_verify_cert_error_string(verified) +
                     "; where its issuer is your own, give its certificate as ca_file", false);
    case httplib::Error::SSLLoadingCerts: return say("the certificates to trust could not be loaded", false);
    case httplib::Error::Read: {
      const auto silence = std::to_string(t_.config_->options.read_timeout.count());
      return say(name + " closed the connection before it answered, or was silent for " + silence + " ms (read_timeout)", false);
    }
    case httplib::Error::Write: return say(name + " closed the connection before it had the request", true);
    default: return say("the exchange with " + name + " failed: " + httplib::to_string(error), false);
  }
}

Attempt AttemptRun::answered(bool cut) {
  if (!status_) return {std::move(status_), false, std::nullopt};
  if (kind_ == Kind::whole && !cut && !chunk(text_, 0)) return {std::move(status_), false, std::nullopt};
  auto last = reader_.last();
  if (!last) return {fail(std::move(last.error())), false, std::nullopt};
  const auto ms = [](auto from, auto to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
  const auto now = Transfer::Clock::now();
  if (t_.first_token_ == Transfer::Clock::time_point{}) t_.first_token_ = now;
  last->timings.first_token_ms = ms(t_.submitted_, t_.first_token_);
  last->timings.decode_ms = ms(t_.first_token_, now);
  t_.finish(std::move(*last));
  return {};
}

Attempt AttemptRun::run() {
  const RemoteChatOptions& options = t_.config_->options;
  const Client made = make_client(*t_.config_);
  httplib::ClientImpl* client = made.http.get();
  if (!client->is_valid()) return {fail(Error::internal("no TLS context could be made")), false, std::nullopt};
  client->set_connection_timeout(options.connect_timeout);
  client->set_read_timeout(options.read_timeout);
  client->set_write_timeout(options.write_timeout);
  client->set_follow_location(false);
  client->set_keep_alive(false);
  client->set_tcp_nodelay(true);
  client->set_socket_options([this](int socket) { t_.socket_.watch(socket); });
  httplib::Request request;
  fill(request);
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  const bool whole = client->send(request, response, error);
  t_.socket_.release();
  if (t_.stopped()) return {};
  if (!status_) return {std::move(status_), false, std::nullopt};
  if (http_status_ == 0) return unanswered(static_cast<int>(error), made.verified());
  return kind_ == Kind::refusal ? refusal() : answered(!whole && !done_);
}

}  // namespace corvid::llm
