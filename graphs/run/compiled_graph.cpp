// CompiledGraph's and RunStream's members: each makes a Run, or reads a thread.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <algorithm>
#include <atomic>
#include <exception>
#include <stdexcept>

#include "corvid/runtime/offload.hpp"
#include "corvid/runtime/wait.hpp"
#include "graphs/run/run.hpp"

namespace corvid {

namespace {

constexpr std::array<std::string_view, 7> kModeNames{"values", "updates", "messages", "custom", "checkpoints", "tasks", "debug"};

}  // namespace

std::string_view to_string(StreamMode mode) noexcept { return kModeNames[static_cast<std::size_t>(mode)]; }

Result<StreamMode> stream_mode_from_string(std::string_view name) {
  for (std::size_t i = 0; i < kModeNames.size(); ++i) {
    if (kModeNames[i] == name) return static_cast<StreamMode>(i);
  }
  return fail(Error::not_found("no stream mode \"" + std::string(name) + "\"; there are values, updates, messages, custom, checkpoints, tasks and debug"));
}

std::string_view to_string(RunStatus status) noexcept {
  switch (status) {
    case RunStatus::done: return "done";
    case RunStatus::interrupted: return "interrupted";
    case RunStatus::drained: return "drained";
  }
  return "done";
}

DrainSwitch::DrainSwitch() : state_(std::make_shared<std::atomic<bool>>(false)) {}
void DrainSwitch::request_drain() noexcept { static_cast<std::atomic<bool>*>(state_.get())->store(true); }
bool DrainSwitch::requested() const noexcept { return static_cast<std::atomic<bool>*>(state_.get())->load(); }

CompiledGraph::CompiledGraph(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
CompiledGraph::~CompiledGraph() = default;
const std::string& CompiledGraph::name() const noexcept { return impl_->options.name; }
const std::shared_ptr<const Schema>& CompiledGraph::schema() const noexcept { return impl_->schema; }
const CompileOptions& CompiledGraph::options() const noexcept { return impl_->options; }
const std::string& CompiledGraph::graph_signature() const noexcept { return impl_->signature; }
const Json& CompiledGraph::shape() const noexcept { return impl_->shape; }

std::vector<std::string> CompiledGraph::nodes() const {
  std::vector<std::string> names;
  for (const auto& node : impl_->nodes) names.push_back(node.name);
  return names;
}

namespace {

std::shared_ptr<RunShared> share(Runtime& runtime, const CompiledGraph& graph, RunConfig config) {
  const bool cancellable = config.cancellation.deadline().has_value() || config.cancellation.cancelled() || config.cancellation.cancellable();
  auto shared = std::make_shared<RunShared>(runtime, std::move(config));
  shared->cancellable = cancellable;
  shared->saver_blocks = graph.options().checkpointer && graph.options().checkpointer->blocks();
  shared->saver = graph.options().checkpointer;
  shared->tracer = graph.options().tracer;
  if (shared->config.run_id.empty() && (shared->saver || shared->tracer)) shared->config.run_id = random_id();
  return shared;
}

// How long a run may hold a thread of the blocking pool before others get their turn.
constexpr auto kSlice = std::chrono::milliseconds(5);

bool all_in_place(const CompiledGraph::Impl& graph) {
  return std::all_of(graph.in_place.begin(), graph.in_place.end(), [](char each) { return each != 0; });
}

// Nothing that such a run awaits is ended by another thread: its loop may live and end with an executor of its own.
bool stays_here(const CompiledGraph::Impl& graph, const RunShared& shared) {
  return all_in_place(graph) && !shared.streams() && !(shared.saver && shared.config.durability == Durability::async);
}

Result<RunResult> result_of(Result<RunOutcome> outcome) {
  if (!outcome) return fail(std::move(outcome).error());
  if (outcome->to_parent) return fail(Error::invalid_argument("a command for the parent graph was given by a graph that has none"));
  return std::move(outcome->result);
}

// A run that stores or tells something.
Task<RunResult> run_watched(std::shared_ptr<const CompiledGraph> graph, std::shared_ptr<RunShared> shared, Input input) {
  std::shared_ptr<CommitLine> line;
  if (shared->saver && shared->config.durability == Durability::async) line = std::make_shared<CommitLine>(shared->runtime, shared->saver, shared->config.async_commits);
  Run run(shared, std::move(graph), std::string(), std::move(line));
  Result<RunOutcome> outcome = RunOutcome{};
  if (shared->saver_blocks && !shared->loop_blocks) {
    // The loop goes where it may wait for the disk: one change of threads a run, not one a commit.
    shared->loop_blocks = true;
    auto body = run.start(std::move(input));
    outcome = co_await boost::asio::co_spawn(shared->runtime.blocking_pool(), std::move(body), boost::asio::use_awaitable);
  } else {
    outcome = co_await run.start(std::move(input));
  }
  co_return result_of(std::move(outcome));
}

// What is left of a run that began lightly.
Task<RunResult> run_on(std::unique_ptr<Run> run) {
  auto outcome = co_await run->go_on();
  co_return result_of(std::move(outcome));
}

// A light run as far as its nodes run in place, mostly to its end: then it was no more than this call. Else `rest` is left to be run.
std::optional<Result<RunResult>> run_lightly(const std::shared_ptr<const CompiledGraph>& graph, const std::shared_ptr<RunShared>& shared, Input& input,
                                             std::unique_ptr<Run>& rest) {
  if (all_in_place(graph->impl())) {
    Run run(shared, graph, std::string(), nullptr);
    if (auto ended = run.start_lightly(input)) return result_of(std::move(*ended));
    rest = std::make_unique<Run>(std::move(run));   // it takes long, and others get their turn
    return std::nullopt;
  }
  rest = std::make_unique<Run>(shared, graph, std::string(), nullptr);
  if (auto ended = rest->start_lightly(input)) return result_of(std::move(*ended));
  return std::nullopt;
}

Task<RunResult> run_graph(std::shared_ptr<const CompiledGraph> graph, std::shared_ptr<RunShared> shared, Input input) {
  try {
    if (!Run::light(*shared)) {
      auto watched = run_watched(std::move(graph), std::move(shared), std::move(input));
      co_return co_await std::move(watched);
    }
    std::unique_ptr<Run> rest;
    if (auto ended = run_lightly(graph, shared, input, rest)) co_return std::move(*ended);
    auto on = run_on(std::move(rest));
    co_return co_await std::move(on);
  } catch (const std::bad_alloc&) {
    co_return fail(Error::out_of_memory("no memory left in the run"));
  }
}

// A run that stays_here(), on the threads that give it time, one after another; they may wait for the disk.
class RunHere {
 public:
  RunHere(std::shared_ptr<const CompiledGraph> graph, std::shared_ptr<RunShared> shared, Input input) : executor_(1), busy_(boost::asio::make_work_guard(executor_)) {
    shared->loop_blocks = true;
    auto body = [](std::shared_ptr<const CompiledGraph> of, std::shared_ptr<RunShared> with, Input start, std::optional<Result<RunResult>>* out) -> boost::asio::awaitable<void> {
      out->emplace(co_await run_graph(std::move(of), std::move(with), std::move(start)));
    };
    auto task = body(std::move(graph), std::move(shared), std::move(input), &result_);
    boost::asio::co_spawn(executor_, std::move(task), [this](std::exception_ptr error) {
      thrown_ = error;
      busy_.reset();
    });
  }

  bool over() const { return !busy_.owns_work(); }
  void run() { executor_.run(); }
  void run_for(std::chrono::steady_clock::duration time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!over() && std::chrono::steady_clock::now() < end) executor_.run_one();   // until the loop yields
  }
  /// Once over. Throws what the run threw.
  Result<RunResult> take() {
    if (thrown_) std::rethrow_exception(thrown_);
    return std::move(*result_);
  }

 private:
  boost::asio::io_context executor_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> busy_;
  std::optional<Result<RunResult>> result_;
  std::exception_ptr thrown_;
};

Task<RunResult> run_on_pool(std::shared_ptr<const CompiledGraph> graph, std::shared_ptr<RunShared> shared, Input input) {
  auto& runtime = shared->runtime;
  try {
    RunHere here(std::move(graph), std::move(shared), std::move(input));
    while (!here.over()) {
      auto slice = [&here]() -> Status {
        here.run_for(kSlice);
        return {};
      };
      (void)co_await offload(runtime, std::move(slice));
    }
    co_return here.take();
  } catch (const std::bad_alloc&) {
    co_return fail(Error::out_of_memory("no memory left in the run"));
  }
}

}  // namespace

Task<RunResult> CompiledGraph::invoke(Runtime& runtime, Input input, RunConfig config) const {
  auto shared = share(runtime, *this, std::move(config));
  if (shared->saver_blocks && stays_here(*impl_, *shared)) return run_on_pool(shared_from_this(), std::move(shared), std::move(input));
  return run_graph(shared_from_this(), std::move(shared), std::move(input));
}

// Where all nodes run in place the loop runs on the calling thread, which may wait for the disk: no change of threads.
Result<RunResult> CompiledGraph::invoke_blocking(Runtime& runtime, Input input, RunConfig config) const {
  try {
    auto shared = share(runtime, *this, std::move(config));
    if (!stays_here(*impl_, *shared)) return runtime.wait(run_graph(shared_from_this(), std::move(shared), std::move(input)));
    if (runtime.io_context().get_executor().running_in_this_thread()) {
      throw std::logic_error("invoke_blocking on the I/O thread would hold it up: co_await invoke instead");
    }
    RunHere here(shared_from_this(), std::move(shared), std::move(input));
    here.run();
    return here.take();
  } catch (const std::bad_alloc&) {
    return fail(Error::out_of_memory("no memory left to start the run"));
  }
}

// ---- streams

struct RunStream::Impl {
  explicit Impl(std::size_t buffer) : events(buffer), ended(1) {}
  Channel<StreamEvent> events;
  Channel<bool> ended;
  std::mutex mutex;
  std::optional<Result<RunResult>> result;
  CancellationSource cancel;

  void end(Result<RunResult> with) {
    {
      std::lock_guard lock(mutex);
      result = std::move(with);
    }
    events.close();
    ended.close();
  }
  Result<RunResult> take() {
    std::lock_guard lock(mutex);
    if (!result) return fail(Error::invalid_argument("a stream's result can be taken once"));
    auto taken = std::move(*result);
    result.reset();
    return taken;
  }
};

RunStream::RunStream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
RunStream::RunStream(RunStream&&) noexcept = default;
RunStream& RunStream::operator=(RunStream&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
RunStream::~RunStream() {
  if (!impl_) return;
  impl_->events.close();
  impl_->cancel.cancel();
}
boost::asio::awaitable<std::optional<StreamEvent>> RunStream::next() { return impl_->events.receive(); }
std::optional<StreamEvent> RunStream::next_blocking() { return impl_->events.receive_blocking(); }
void RunStream::cancel() { impl_->cancel.cancel(); }

Task<RunResult> RunStream::result() {
  auto impl = impl_;
  co_await impl->ended.receive();
  co_return impl->take();
}

Result<RunResult> RunStream::result_blocking() {
  impl_->ended.receive_blocking();
  return impl_->take();
}

RunStream CompiledGraph::stream(Runtime& runtime, Input input, RunConfig config, std::vector<StreamMode> modes, std::size_t buffer) const {
  auto impl = std::make_shared<RunStream::Impl>(buffer);
  impl->cancel = CancellationSource(config.cancellation);
  config.cancellation = impl->cancel.token();
  auto shared = share(runtime, *this, std::move(config));
  shared->events = impl->events;
  shared->sending.emplace(1);
  shared->started = std::chrono::steady_clock::now();
  for (const auto mode : modes) shared->wanted[static_cast<std::size_t>(mode)] = true;
  auto body = [](std::shared_ptr<const CompiledGraph> graph, std::shared_ptr<RunShared> with, Input start, std::shared_ptr<RunStream::Impl> out) -> boost::asio::awaitable<void> {
    Result<RunResult> result = fail(Error::internal("the run did not end"));
    try {
      result = co_await run_graph(std::move(graph), std::move(with), std::move(start));
    } catch (const std::bad_alloc&) {
      result = fail(Error::out_of_memory("no memory left in the run"));
    } catch (const std::exception& thrown) {
      result = fail(Error::internal(std::string("a defect in the graph runtime: ") + thrown.what()));
    }
    out->end(std::move(result));
  };
  auto task = body(shared_from_this(), std::move(shared), std::move(input), impl);
  boost::asio::co_spawn(runtime.io_context(), std::move(task), boost::asio::detached);   // its end is in the stream
  return RunStream(std::move(impl));
}

}  // namespace corvid
