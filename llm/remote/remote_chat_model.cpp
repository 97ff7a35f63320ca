#include "corvid/llm/remote_chat_model.hpp"

#include <openssl/ssl.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "corvid/runtime/runtime.hpp"
#include "llm/remote/protocol.hpp"
#include "llm/remote/transfer.hpp"

namespace corvid {

using llm::RemoteConfig;
using llm::Transfer;

namespace {

namespace asio = boost::asio;

// A socket that does not connect yet cannot be broken off; it will be, a moment later.
void stop_soon(asio::io_context& io, const std::shared_ptr<Transfer>& transfer, FinishReason why) {
  if (transfer->stop(why)) return;
  auto timer = std::make_shared<asio::steady_timer>(io, std::chrono::milliseconds(10));
  timer->async_wait([&io, timer, transfer, why](const boost::system::error_code&) {
    if (!transfer->finished()) stop_soon(io, transfer, why);
  });
}

// Fires on the runtime's I/O thread, where alone its timer is touched.
class DeadlineTimer {
 public:
  DeadlineTimer(asio::io_context& io, std::chrono::steady_clock::time_point when, const std::shared_ptr<Transfer>& transfer)
      : io_(io), timer_(std::make_shared<asio::steady_timer>(io)) {
    std::weak_ptr<Transfer> weak = transfer;
    asio::post(io_, [timer = timer_, when, weak, &io] {
      timer->expires_at(when);
      timer->async_wait([timer, weak, &io](const boost::system::error_code& failure) {
        if (auto live = weak.lock(); live && !failure) stop_soon(io, live, FinishReason::deadline);
      });
    });
  }
  ~DeadlineTimer() {
    asio::post(io_, [timer = std::move(timer_)] { timer->cancel(); });
  }
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

 private:
  asio::io_context& io_;
  std::shared_ptr<asio::steady_timer> timer_;
};

class RemoteSource final : public EventStream::Source {
 public:
  RemoteSource(asio::io_context& io, std::shared_ptr<Transfer> transfer, const CancellationToken& token)
      : io_(io), transfer_(std::move(transfer)) {
    if (const auto when = token.deadline()) timer_ = std::make_unique<DeadlineTimer>(io_, *when, transfer_);
    std::weak_ptr<Transfer> weak = transfer_;
    subscription_ = token.on_cancel([weak, &io] {
      if (auto live = weak.lock()) stop_soon(io, live, FinishReason::cancelled);
    });
  }
  ~RemoteSource() override { stop_soon(io_, transfer_, FinishReason::cancelled); }

  asio::awaitable<std::optional<Result<GenerationEvent>>> next() override {
    if (done_) co_return std::nullopt;
    std::optional<GenerationEvent> event;
    if (!transfer_->stopped()) event = co_await transfer_->events().receive();
    co_return out(std::move(event));
  }
  std::optional<Result<GenerationEvent>> next_blocking() override {
    if (done_) return std::nullopt;
    std::optional<GenerationEvent> event;
    if (!transfer_->stopped()) event = transfer_->events().receive_blocking();
    return out(std::move(event));
  }
  void cancel() override { stop_soon(io_, transfer_, FinishReason::cancelled); }

 private:
  std::optional<Result<GenerationEvent>> out(std::optional<GenerationEvent> event) {
    if (event && !transfer_->stopped()) return Result<GenerationEvent>(std::move(*event));
    done_ = true;
    timer_.reset();
    return transfer_->last();
  }

  asio::io_context& io_;
  std::shared_ptr<Transfer> transfer_;
  std::unique_ptr<DeadlineTimer> timer_;
  std::shared_ptr<void> subscription_;
  bool done_ = false;
};

// The transfers' threads; each is joined.
class Workers {
 public:
  ~Workers() {
    for (auto& worker : list_) {
      while (!worker.transfer->stop(FinishReason::cancelled) && !worker.transfer->finished()) std::this_thread::yield();
      worker.thread.join();
    }
  }
  Status start(const std::shared_ptr<Transfer>& transfer) {
    std::lock_guard lock(mutex_);
    for (auto worker = list_.begin(); worker != list_.end();) {
      if (!worker->transfer->finished()) {
        ++worker;
        continue;
      }
      worker->thread.join();
      worker = list_.erase(worker);
    }
    list_.push_back({transfer, {}});
    try {
      list_.back().thread = std::thread([transfer] { transfer->run(); });
    } catch (const std::system_error& thrown) {
      list_.pop_back();
      return fail(Error::out_of_memory(std::string("no thread could be started for a request: ") + thrown.what()));
    }
    return {};
  }

 private:
  struct Worker { std::shared_ptr<Transfer> transfer; std::thread thread; };
  std::mutex mutex_;
  std::list<Worker> list_;
};

Status check_options(const RemoteChatOptions& options) {
  const auto invalid = [](const char* key, const std::string& what) { return fail(Error::invalid_argument(std::string(key) + " " + what).at_key(key)); };
  if (options.model.empty()) return invalid("model", "must name the endpoint's model");
  if (options.max_tokens_key.empty()) return invalid("max_tokens_key", "must not be empty");
  if (!options.extra_body.is_object()) return invalid("extra_body", "must be a JSON object");
  if (options.max_retries < 0) return invalid("max_retries", "must be at least 0");
  if (options.max_answer_bytes == 0) return invalid("max_answer_bytes", "must be at least 1");
  if (options.max_event_bytes == 0) return invalid("max_event_bytes", "must be at least 1");
  const std::pair<const char*, std::chrono::milliseconds> times[] = {{"connect_timeout", options.connect_timeout}, {"read_timeout", options.read_timeout}, {"write_timeout", options.write_timeout}};
  for (const auto& [key, time] : times) {
    if (time.count() <= 0) return invalid(key, "must be above 0");
  }
  for (const auto& [name, value] : options.headers) {
    const bool bad_name = name.empty() || name.find_first_of(" \t\r\n:") != std::string::npos;
    if (bad_name || value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) return invalid("headers", "have a name or value that HTTP cannot carry");
  }
  return {};
}

Status check_ca_file(const std::filesystem::path& path) {
  if (path.empty()) return {};
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) return fail(Error::not_found("the file of certificates to trust is not there").at_file(path.string()).at_key("ca_file"));
  const std::unique_ptr<X509_STORE, void (*)(X509_STORE*)> store(X509_STORE_new(), X509_STORE_free);
  if (!store) return fail(Error::out_of_memory("no certificate store could be made"));
  if (X509_STORE_load_locations(store.get(), path.c_str(), nullptr) != 1) {
    return fail(Error::bad_input("the file of certificates to trust has no certificate in PEM form").at_file(path.string()).at_key("ca_file"));
  }
  return {};
}

}  // namespace

struct RemoteChatModel::State {
  std::shared_ptr<const RemoteConfig> config;
  Workers workers;
};

RemoteChatModel::RemoteChatModel(std::unique_ptr<State> state) : state_(std::move(state)) {}
RemoteChatModel::~RemoteChatModel() = default;

Result<std::unique_ptr<RemoteChatModel>> RemoteChatModel::make(Runtime& runtime, RemoteChatOptions options) {
  CORVID_TRY_STATUS(check_options(options));
  auto config = std::make_shared<RemoteConfig>();
  config->runtime = &runtime;
  CORVID_TRY(config->endpoint, llm::parse_endpoint(options.base_url, options.allow_plain_http));
  CORVID_TRY(config->key, llm::read_key(options));
  CORVID_TRY_STATUS(check_ca_file(options.ca_file));
  config->options = std::move(options);
  auto state = std::make_unique<State>();
  state->config = std::move(config);
  return std::unique_ptr<RemoteChatModel>(new RemoteChatModel(std::move(state)));
}

Task<EventStream> RemoteChatModel::chat(ChatRequest request) {
  CORVID_CO_TRY_STATUS(request.cancellation.check());
  CORVID_CO_TRY(auto body, llm::request_body(request, state_->config->options));
  auto transfer = std::make_shared<Transfer>(state_->config, std::move(body), request.cancellation);
  CORVID_CO_TRY_STATUS(state_->workers.start(transfer));
  auto source = std::make_unique<RemoteSource>(state_->config->runtime->io_context(), transfer, request.cancellation);
  const auto started = co_await transfer->started().receive();
  if (!started) {
    if (transfer->stopped() == FinishReason::deadline) co_return fail(Error::deadline_exceeded("the caller's deadline passed before the endpoint answered"));
    co_return fail(Error::cancelled("cancelled before the endpoint answered"));
  }
  if (!*started) co_return fail(started->error());
  co_return EventStream(std::move(source));
}

std::string_view RemoteChatModel::name() const noexcept { return state_->config->options.model; }

std::optional<std::uint64_t> RemoteChatModel::context_tokens() const noexcept {
  const std::uint64_t tokens = state_->config->options.context_tokens;
  return tokens == 0 ? std::nullopt : std::optional(tokens);
}

}  // namespace corvid
