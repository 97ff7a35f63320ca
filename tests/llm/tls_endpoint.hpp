// An endpoint of the chat completions protocol on a local port, over TLS, with certificates made for the test.
#pragma once

#include <httplib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "corvid/base/json.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

namespace corvid::test {

struct KeyFree { void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); } };
struct CertificateFree { void operator()(X509* certificate) const { X509_free(certificate); } };

// Self-signed, so that it is its own issuer: trusted where it is given as ca_file.
struct Certificate {
  explicit Certificate(const std::string& alternative_names) : key(EVP_EC_gen("P-256")), x509(X509_new()) {
    REQUIRE(key);
    X509_set_version(x509.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509.get()), 3600);
    X509_set_pubkey(x509.get(), key.get());
    X509_NAME* name = X509_get_subject_name(x509.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("corvid test"), -1, -1, 0);
    X509_set_issuer_name(x509.get(), name);
    add(NID_basic_constraints, "critical,CA:TRUE");
    add(NID_subject_alt_name, alternative_names);
    REQUIRE(X509_sign(x509.get(), key.get(), EVP_sha256()) > 0);
  }
  void write(const std::filesystem::path& path) const {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, x509.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    write_file(path, std::string_view(data, static_cast<std::size_t>(size)));
    BIO_free(bio);
  }
  std::unique_ptr<EVP_PKEY, KeyFree> key;
  std::unique_ptr<X509, CertificateFree> x509;

 private:
  void add(int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x509.get(), x509.get(), nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    REQUIRE(extension);
    X509_add_ext(x509.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }
};

// A gate that a handler waits at until the test opens it: order without clocks.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class TlsEndpoint {
 public:
  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;

  explicit TlsEndpoint(const std::string& alternative_names = "DNS:localhost,IP:127.0.0.1")
      : certificate_(alternative_names), server_(certificate_.x509.get(), certificate_.key.get()) {
    REQUIRE(server_.is_valid());
    certificate_.write(ca_file());
    server_.set_keep_alive_max_count(1);
    server_.Post("/v1/chat/completions", [this](const httplib::Request& request, httplib::Response& response) {
      Handler handler;
      {
        std::lock_guard lock(mutex_);
        bodies_.push_back(request.body);
        authorization_ = request.get_header_value("Authorization");
        extra_ = request.get_header_value("X-Extra");
        handler = handlers_.empty() ? Handler() : handlers_[std::min(bodies_.size(), handlers_.size()) - 1];
      }
      if (handler) handler(request, response);
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    REQUIRE(port_ > 0);
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~TlsEndpoint() {
    server_.stop();
    thread_.join();
  }

  /// The n-th request goes to the n-th handler, all later ones to the last.
  void handlers(std::vector<Handler> handlers) {
    std::lock_guard lock(mutex_);
    handlers_ = std::move(handlers);
  }
  std::string url(const std::string& host = "localhost") const { return "https://" + host + ":" + std::to_string(port_) + "/v1"; }
  std::filesystem::path ca_file() const { return folder_ / "ca.pem"; }
  std::size_t requests() const {
    std::lock_guard lock(mutex_);
    return bodies_.size();
  }
  Json body(std::size_t n) const {
    std::lock_guard lock(mutex_);
    REQUIRE(n < bodies_.size());
    return *parse_json(bodies_[n]);
  }
  std::string authorization() const {
    std::lock_guard lock(mutex_);
    return authorization_;
  }
  std::string extra() const {
    std::lock_guard lock(mutex_);
    return extra_;
  }

 private:
  TempDir folder_;
  Certificate certificate_;
  httplib::SSLServer server_;
  int port_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::vector<Handler> handlers_;
  std::vector<std::string> bodies_;
  std::string authorization_, extra_;
};

inline std::string sse(const Json& json) { return "data: " + dump_json(json) + "\n\n"; }
inline Json delta(Json content, Json finish = nullptr) {
  return Json{{"choices", Json::array({Json{{"index", 0}, {"delta", std::move(content)}, {"finish_reason", std::move(finish)}}})}};
}
inline std::string text_chunk(const std::string& text) { return sse(delta(Json{{"content", text}})); }
inline std::string ending(const std::string& reason = "stop") {
  return sse(delta(Json::object(), reason)) +
         sse(Json{{"choices", Json::array()}, {"usage", Json{{"prompt_tokens", 11}, {"completion_tokens", 3}, {"prompt_tokens_details", Json{{"cached_tokens", 4}}}}}}) +
         "data: [DONE]\n\n";
}
inline TlsEndpoint::Handler whole(std::string body, std::string type = "text/event-stream") {
  return [body, type](const httplib::Request&, httplib::Response& response) { response.set_content(body, type.c_str()); };
}
inline TlsEndpoint::Handler refuse(int status, std::string body = {}, std::string retry_after = {}) {
  return [=](const httplib::Request&, httplib::Response& response) {
    response.status = status;
    if (!retry_after.empty()) response.set_header("Retry-After", retry_after);
    response.set_content(body, "application/json");
  };
}

}  // namespace corvid::test
