// An OTLP collector on a local port that keeps what it is sent.
#pragma once

#include <httplib.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "corvid/base/json.hpp"
#include "support/catch.hpp"

namespace corvid::test {

class Collector {
 public:
  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;

  explicit Collector(std::unique_ptr<httplib::Server> server = std::make_unique<httplib::Server>()) : server_(std::move(server)) {
    server_->set_keep_alive_max_count(1);
    server_->Post("/.*", [this](const httplib::Request& request, httplib::Response& response) {
      Handler handler;
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
        handler = handlers_.empty() ? Handler() : handlers_[std::min(requests_.size(), handlers_.size()) - 1];
        changed_.notify_all();
      }
      response.set_content("{}", "application/json");
      if (handler) handler(request, response);
    });
    port_ = server_->bind_to_any_port("127.0.0.1");
    REQUIRE(port_ > 0);
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
  }
  ~Collector() {
    server_->stop();
    thread_.join();
  }

  /// The n-th request goes to the n-th handler, all later ones to the last.
  void handlers(std::vector<Handler> handlers) {
    std::lock_guard lock(mutex_);
    handlers_ = std::move(handlers);
  }
  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::size_t requests() const {
    std::lock_guard lock(mutex_);
    return requests_.size();
  }
  void wait_for(std::size_t requests) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return requests_.size() >= requests; }));
  }
  httplib::Request request(std::size_t n) const {
    std::lock_guard lock(mutex_);
    REQUIRE(n < requests_.size());
    return requests_[n];
  }
  Json body(std::size_t n) const { return *parse_json(request(n).body); }
  /// Of one request, or of all together.
  std::size_t spans(std::size_t n) const { return body(n)["resourceSpans"][0]["scopeSpans"][0]["spans"].size(); }
  std::size_t spans() const {
    std::size_t sum = 0;
    for (std::size_t n = 0; n < requests(); ++n) sum += spans(n);
    return sum;
  }

 private:
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Handler> handlers_;
  std::vector<httplib::Request> requests_;
};

}  // namespace corvid::test
