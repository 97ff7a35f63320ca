// The one file of the module that sees the HTTP library.
#include <fcntl.h>
#include <httplib.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tracer_otlp.hpp"

namespace corvid::otlp {
namespace {

constexpr std::size_t kMaxAnswerBytes = std::size_t{64} << 10;

std::string unanswered(httplib::Error error, long verified) {
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout:
      return "no connection: does the collector run?";
    case httplib::Error::SSLConnection:
      return "the TLS handshake failed";
    case httplib::Error::SSLServerVerification:
      if (verified == X509_V_OK) return "the certificate is for another host";
      return std::string("the certificate is not trusted: ") + X509_verify_cert_error_string(verified);
    case httplib::Error::Read:
      return "the collector closed the connection or was silent for too long";
    default:
      return "the exchange failed: " + httplib::to_string(error);
  }
}

}  // namespace

Result<HttpUrl> parse_endpoint(std::string_view url, bool allow_plain_http) {
  static const HttpUrlWords kWords{"endpoint", "the collector's endpoint must be \"http(s)://host[:port][/path]\"", "a header", "spans and headers",
                                   "allow plain http (OTEL_EXPORTER_OTLP_INSECURE=true)"};
  CORVID_TRY(auto out, parse_http_url(url, allow_plain_http, kWords));
  if (out.path.empty() || out.path == "/") out.path = "/v1/traces";
  return out;
}

void Poster::watch(int socket) {
  const int copy = ::fcntl(socket, F_DUPFD_CLOEXEC, 0);
  std::lock_guard lock(mutex_);
  if (socket_ >= 0) ::close(socket_);
  socket_ = copy;
  if (stopped_ && socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
}

void Poster::release() {
  std::lock_guard lock(mutex_);
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void Poster::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
}

Answer Poster::post(const std::string& body) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return {0, "the tracer ended", {}, {}};
  }
  std::unique_ptr<httplib::ClientImpl> client;
  httplib::SSLClient* tls = nullptr;
  if (endpoint_.tls) {
    auto made = std::make_unique<httplib::SSLClient>(endpoint_.host, endpoint_.port);
    made->enable_server_certificate_verification(true);
    if (!options_.ca_file.empty()) made->set_ca_cert_path(options_.ca_file.string());
    if (SSL_CTX* context = made->ssl_context()) SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    tls = made.get();
    client = std::move(made);
  } else {
    client = std::make_unique<httplib::ClientImpl>(endpoint_.host, endpoint_.port);
  }
  if (!client->is_valid()) return {0, "no TLS context could be made", {}, {}};
  client->set_connection_timeout(options_.timeout);
  client->set_read_timeout(options_.timeout);
  client->set_write_timeout(options_.timeout);
  client->set_follow_location(false);
  client->set_keep_alive(false);
  client->set_socket_options([this](int socket) { watch(socket); });

  Answer answer;
  httplib::Request request;
  request.method = "POST";
  request.path = endpoint_.path;
  request.body = body;
  request.headers = {
      {"Content-Type", "application/json"}, {"Accept", "application/json"}, {"Accept-Encoding", "identity"}, {"User-Agent", "corvid"}};
  for (const auto& [name, value] : options_.headers) {
    request.headers.erase(name);
    request.headers.emplace(name, value);
  }
  request.response_handler = [&answer](const httplib::Response& response) {
    answer.status = response.status;
    answer.retry_after = response.get_header_value("Retry-After").substr(0, 100);
    return true;
  };
  request.content_receiver = [&answer](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
    answer.body.append(data, std::min(size, kMaxAnswerBytes - answer.body.size()));
    return answer.body.size() < kMaxAnswerBytes;
  };
  httplib::Response response;
  httplib::Error error = httplib::Error::Success;
  client->send(request, response, error);
  release();
  if (answer.status == 0) {
    answer.reason = unanswered(error, tls ? tls->get_openssl_verify_result() : X509_V_OK);
  } else if (answer.status < 200 || answer.status > 299) {
    answer.reason = "the collector answered " + std::to_string(answer.status);
  }
  return answer;
}

}  // namespace corvid::otlp
