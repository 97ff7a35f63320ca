// What a run stores, by durability, and the lease that lets it.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include "corvid/runtime/channel.hpp"
#include "corvid/runtime/offload.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/run/run.hpp"

namespace corvid {

struct CommitLine::State {
  State(Runtime& on, std::shared_ptr<Checkpointer> into, std::size_t capacity) : runtime(on), saver(std::move(into)), waiting(capacity), finished(1) {}
  Runtime& runtime;
  std::shared_ptr<Checkpointer> saver;
  Channel<std::optional<Commit>> waiting;           // nullopt: say when everything before it is stored
  Channel<bool> finished;
  std::mutex mutex;
  std::optional<Error> error;

  Status status() {
    std::lock_guard lock(mutex);
    return error ? Status(fail(*error)) : Status();
  }

  // However it ends, those who wait for it must hear of it.
  static boost::asio::awaitable<void> work(std::shared_ptr<State> state) {
    try {
      co_await store_all(state);
    } catch (const std::exception&) {
      std::lock_guard lock(state->mutex);
      state->error = Error::out_of_memory("no memory left to store the run");
    }
    state->waiting.close();
    state->finished.close();
  }

  static boost::asio::awaitable<void> store_all(std::shared_ptr<State> state) {
    while (true) {
      auto next = co_await state->waiting.receive();
      if (!next) break;
      if (!next->has_value()) {
        co_await state->finished.send_async(true);
        continue;
      }
      if (!state->status()) continue;               // what comes after a lost commit must not be stored
      auto job = [state, commit = std::move(**next)]() -> Status { return state->saver->commit(commit); };
      auto stored = co_await offload(state->runtime, std::move(job));
      if (!stored) {
        std::lock_guard lock(state->mutex);
        state->error = std::move(stored).error();
      }
    }
  }
};

CommitLine::CommitLine(Runtime& runtime, std::shared_ptr<Checkpointer> saver, std::size_t capacity)
    : state_(std::make_shared<State>(runtime, std::move(saver), capacity)) {
  auto work = State::work(state_);
  boost::asio::co_spawn(runtime.io_context(), std::move(work), boost::asio::detached);   // it keeps errors in its state
}

CommitLine::~CommitLine() { state_->waiting.close(); }

boost::asio::awaitable<Status> CommitLine::push(Commit commit) {
  const auto state = state_;
  std::optional<Commit> next(std::move(commit));
  co_await state->waiting.send_async(std::move(next));
  co_return state->status();
}

boost::asio::awaitable<Status> CommitLine::drain() {
  const auto state = state_;
  std::optional<Commit> mark;
  co_await state->waiting.send_async(std::move(mark));
  co_await state->finished.receive();
  co_return state->status();
}

boost::asio::awaitable<Status> CommitLine::finish() {
  const auto state = state_;
  state->waiting.close();
  while (co_await state->finished.receive()) {
  }
  co_return state->status();
}

Task<void> Run::call_saver(std::function<Status(Checkpointer&)> call) {
  if (shared_->loop_blocks || !shared_->saver->blocks()) co_return call(*shared_->saver);
  auto job = [saver = shared_->saver, call = std::move(call)]() -> Status { return call(*saver); };
  co_return co_await offload(shared_->runtime, std::move(job));
}

Task<std::optional<LoadedCheckpoint>> Run::load(std::string id) {
  std::optional<LoadedCheckpoint> loaded;
  std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) -> Status {
    CORVID_TRY(loaded, saver.get(shared_->config.thread_id, ns_, id));
    return {};
  };
  CORVID_CO_TRY_STATUS(co_await call_saver(std::move(call)));
  co_return loaded;
}

// `final`: nothing of this run comes after it, so the lease goes back with it.
Task<void> Run::store(Commit commit, bool final) {
  if (final && root_) {
    if (line_) CORVID_CO_TRY_STATUS(co_await line_->drain());
    commit.lease.kind = LeaseChange::Kind::release;
    co_return co_await store_now(std::move(commit));
  }
  const bool input = commit.checkpoint && (commit.checkpoint->source == "input" || commit.checkpoint->source == "fork");
  if (shared_->config.durability == Durability::sync || input || !line_) co_return co_await store_now(std::move(commit));
  commit.thread_id = shared_->config.thread_id;
  if (root_) commit.lease = {LeaseChange::Kind::keep, owner_, shared_->config.lease_ttl.count()};
  lease_renewed_ = std::chrono::steady_clock::now();
  co_return co_await line_->push(std::move(commit));
}

Task<void> Run::store_now(Commit commit) {
  commit.thread_id = shared_->config.thread_id;
  if (root_) {
    commit.lease.owner = owner_;
    commit.lease.ttl_ms = shared_->config.lease_ttl.count();
    if (!lease_held_) {
      // Whoever only stores and leaves takes the lease and gives it back in one transaction: that it was free is what counts.
      commit.lease.kind = LeaseChange::Kind::acquire;
    } else if (commit.lease.kind == LeaseChange::Kind::none) {
      commit.lease.kind = LeaseChange::Kind::keep;
    }
  }
  const auto kind = commit.lease.kind;
  if (shared_->loop_blocks || !shared_->saver->blocks()) {
    CORVID_CO_TRY_STATUS(shared_->saver->commit(commit));
  } else {
    auto job = [saver = shared_->saver, &commit]() -> Status { return saver->commit(commit); };
    CORVID_CO_TRY_STATUS(co_await offload(shared_->runtime, std::move(job)));
  }
  if (root_) {
    lease_held_ = kind != LeaseChange::Kind::release;
    lease_renewed_ = std::chrono::steady_clock::now();
  }
  co_return Status{};
}

Task<void> Run::renew_lease() {
  const LeaseChange change{LeaseChange::Kind::keep, owner_, shared_->config.lease_ttl.count()};
  std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) { return saver.lease(shared_->config.thread_id, change); };
  CORVID_CO_TRY_STATUS(co_await call_saver(std::move(call)));
  lease_renewed_ = std::chrono::steady_clock::now();
  co_return Status{};
}

Task<void> Run::release_lease() {
  lease_held_ = false;
  const LeaseChange change{LeaseChange::Kind::release, owner_, 0};
  std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) { return saver.lease(shared_->config.thread_id, change); };
  co_return co_await call_saver(std::move(call));
}

}  // namespace corvid
