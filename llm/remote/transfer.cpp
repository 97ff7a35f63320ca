#include "llm/remote/transfer.hpp"

#include <exception>
#include <random>

#include "corvid/runtime/runtime.hpp"
#include "llm/remote/attempt.hpp"
#include "llm/remote/backoff.hpp"

namespace corvid::llm {

namespace {

std::uint64_t random_seed() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}

}  // namespace

Transfer::Transfer(std::shared_ptr<const RemoteConfig> config, Json body, CancellationToken token)
    : config_(std::move(config)), body_(std::move(body)), token_(std::move(token)), random_(random_seed()) {}

std::optional<FinishReason> Transfer::stopped() const {
  std::lock_guard lock(mutex_);
  return stopped_;
}

bool Transfer::stop(FinishReason why) {
  {
    std::lock_guard lock(mutex_);
    if (last_) return true;
    if (!stopped_) stopped_ = why;
    stop_changed_.notify_all();
  }
  started_.close();
  events_.close();
  return socket_.stop();
}

Result<GenerationEvent> Transfer::last() const {
  std::lock_guard lock(mutex_);
  if (last_) return *last_;
  GenerationEvent event;
  event.finish_reason = stopped_.value_or(FinishReason::cancelled);
  return event;
}

void Transfer::begin() {
  begun_ = true;
  Status ok;
  started_.try_send(ok);
}

void Transfer::finish(Result<GenerationEvent> end) {
  if (!end) end = fail(without_key(std::move(end.error()), config_->key));
  {
    std::lock_guard lock(mutex_);
    if (stopped_ || last_) return;
    last_ = std::move(end);
  }
  if (!begun_ && !*last_) {
    Status failed = fail((*last_).error());
    started_.try_send(failed);
  }
  started_.close();
  events_.close();
}

bool Transfer::pause(std::chrono::milliseconds length) {
  std::unique_lock lock(mutex_);
  return !stop_changed_.wait_for(lock, length, [&] { return stopped_.has_value(); });
}

void Transfer::work() {
  const RemoteChatOptions& options = config_->options;
  const std::string body = dump_json(body_);
  for (int retry = 0;; ++retry) {
    AttemptRun run(*this, body);
    Attempt attempt = run.run();
    if (stopped() || attempt.status) return;
    Error error = std::move(attempt.status).error();
    if (!attempt.again || begun_) return finish(fail(std::move(error)));
    if (retry >= options.max_retries) {
      if (retry == 0) return finish(fail(std::move(error)));
      return finish(fail(Error(error.code(), error.message() + " (given up after " + std::to_string(retry + 1) + " attempts)").at_key(error.key())));
    }
    if (attempt.retry_after && *attempt.retry_after > options.max_retry_after) return finish(fail(std::move(error)));
    const auto wait = attempt.retry_after ? *attempt.retry_after : backoff(options, retry, random_);
    if (const auto deadline = token_.deadline(); deadline && *deadline - Clock::now() < wait) {
      return finish(fail(Error::deadline_exceeded("the next attempt would come after the caller's deadline").caused_by(std::move(error))));
    }
    config_->runtime->log(LogLevel::info, "remote", without_key(error.message(), config_->key) + "; tried again in " + std::to_string(wait.count()) + " ms");
    if (!pause(wait)) return;
  }
}

void Transfer::run() noexcept {
  block_sigpipe();
  try {
    work();
  } catch (const std::exception& thrown) {
    finish(fail(Error::internal(std::string("the exchange with the endpoint failed: ") + thrown.what())));
  }
  socket_.release();
  started_.close();
  events_.close();
  finished_.store(true, std::memory_order_release);
}

}  // namespace corvid::llm
