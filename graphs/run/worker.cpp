#include "corvid/graphs/worker.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <atomic>

#include "corvid/runtime/offload.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/run/history.hpp"

namespace corvid {
namespace {

boost::asio::awaitable<void> sleep(std::chrono::milliseconds time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

Result<Input> input_of(const Bytes& stored) {
  CORVID_TRY(Json json, decode_json(stored));
  if (!json.is_object() || !json.contains("input")) return fail(Error::bad_input("a queued run's input is damaged"));
  if (json["input"].is_null()) return Input(Continue{});
  return Input(std::move(json["input"]));
}

// Keeps a claim while its run lasts; where it is lost, the run is cancelled: another worker has it.
struct Claim {
  std::atomic<bool> over{false}, lost{false};
  CancellationSource cancel;
};

boost::asio::awaitable<void> keep_claim(Runtime& runtime, WorkQueue& queue, std::string run_id, std::string owner, std::chrono::milliseconds ttl, std::shared_ptr<Claim> claim) {
  auto next = std::chrono::steady_clock::now() + ttl / 3;
  while (!claim->over) {
    co_await sleep(std::min(std::chrono::milliseconds(50), ttl / 6 + std::chrono::milliseconds(1)));
    if (claim->over || std::chrono::steady_clock::now() < next) continue;
    auto renew = [&queue, run_id, owner, ttl] { return queue.renew(run_id, owner, ttl.count()); };
    const auto kept = co_await offload(runtime, std::move(renew));
    if (!kept && kept.error().code() == ErrorCode::conflict) {
      claim->lost = true;
      claim->cancel.cancel();
      co_return;
    }
    next = std::chrono::steady_clock::now() + ttl / 3;
  }
}

}  // namespace

Bytes queued_input(const Json& state) { return encode_json({{"input", state}}); }
Bytes queued_continue() { return encode_json({{"input", nullptr}}); }

Task<WorkerReport> work(Runtime& runtime, WorkQueue& queue, WorkerOptions options) {
  if (!options.graphs) co_return fail(Error::invalid_argument("a worker must be told where its graphs are (WorkerOptions::graphs)"));
  const std::string owner = options.owner.empty() ? "worker-" + random_id() : options.owner;
  WorkerReport report;
  while (true) {
    if (auto alive = options.cancellation.check(); !alive) co_return report;
    std::optional<ClaimedRun> claimed;
    auto take = [&]() -> Status {
      CORVID_TRY(claimed, queue.claim(owner, options.ttl.count()));
      return {};
    };
    CORVID_CO_TRY_STATUS(co_await offload(runtime, std::move(take)));
    if (!claimed) {
      if (options.until_empty) {
        QueueCounts counts;
        auto count = [&]() -> Status {
          CORVID_TRY(counts, queue.counts());
          return {};
        };
        CORVID_CO_TRY_STATUS(co_await offload(runtime, std::move(count)));
        if (counts.waiting == 0 && counts.running == 0) co_return report;
      }
      co_await sleep(options.pause);
      continue;
    }
    const QueuedRun& run = claimed->run;
    if (claimed->attempt > 1) ++report.taken_over;
    auto claim = std::make_shared<Claim>();
    claim->cancel = CancellationSource(options.cancellation);
    auto keeper = keep_claim(runtime, queue, run.run_id, owner, options.ttl, claim);
    boost::asio::co_spawn(runtime.io_context(), std::move(keeper), boost::asio::detached);   // ends with the claim

    Result<RunResult> result = fail(Error::internal("not run"));
    auto graph = options.graphs(run.graph);
    auto input = input_of(run.input);
    if (!graph) result = fail(std::move(graph).error());
    else if (!input) result = fail(std::move(input).error());
    else {
      // The lease first: a worker that died may still hold it, and then the run is left until it has run out.
      const std::string run_owner = owner + "/" + run.run_id + "/" + std::to_string(claimed->attempt);
      const auto saver = (*graph)->options().checkpointer;
      if (saver) {
        auto lease = [&] { return saver->lease(run.thread_id, {LeaseChange::Kind::acquire, run_owner, options.ttl.count()}); };
        auto leased = co_await offload(runtime, std::move(lease));
        while (!leased && leased.error().code() == ErrorCode::conflict && !claim->lost && options.cancellation.check()) {
          co_await sleep(options.pause);
          auto again = [&] { return saver->lease(run.thread_id, {LeaseChange::Kind::acquire, run_owner, options.ttl.count()}); };
          leased = co_await offload(runtime, std::move(again));
        }
        if (!leased && (claim->lost || options.cancellation.cancelled())) {
          claim->over = true;
          continue;
        }
        if (!leased) {
          claim->over = true;
          co_return fail(std::move(leased).error());
        }
      }
      RunConfig config = options.config;
      config.thread_id = run.thread_id;
      config.run_id = run.run_id;
      config.owner = run_owner;
      config.lease_ttl = options.ttl;
      config.cancellation = claim->cancel.token();
      Input start = std::move(*input);
      if (claimed->attempt > 1 && !std::holds_alternative<Continue>(start)) {
        // What the worker before this one stored for this run is gone on from; where it stored nothing, the input is still to be taken.
        std::optional<LoadedCheckpoint> stored;
        auto look = [&]() -> Status {
          if (saver) {
            CORVID_TRY(stored, saver->get(run.thread_id, {}));
          }
          return {};
        };
        auto looked = co_await offload(runtime, std::move(look));
        bool ours = false;
        if (looked && stored) {
          if (auto body = decode_json(stored->record.body); body && body->is_object() && body->contains("metadata")) {
            const auto& metadata = (*body)["metadata"];
            ours = metadata.is_object() && metadata.contains("run_id") && metadata["run_id"] == run.run_id;
          }
        }
        if (ours) start = Input(Continue{});
      }
      result = co_await (*graph)->invoke(runtime, std::move(start), std::move(config));
    }
    claim->over = true;
    if (claim->lost || options.cancellation.cancelled()) continue;   // the claim expires, or is another's
    std::string status = result ? std::string(to_string(result->status)) : "failed: " + result.error().describe();
    auto finish = [&] { return queue.finish(run.run_id, owner, status); };
    auto finished = co_await offload(runtime, std::move(finish));
    if (!finished && finished.error().code() != ErrorCode::conflict) co_return fail(std::move(finished).error());
    if (!finished) continue;
    if (!result) ++report.failed;
    else if (result->status == RunStatus::done) ++report.done;
    else ++report.interrupted;
    if (options.on_finished) options.on_finished(run, result);
  }
}

}  // namespace corvid
