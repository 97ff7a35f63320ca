// The tasks of one superstep, side by side: starting, retrying, timing out, giving up, and storing each as it finishes.
#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/system/system_error.hpp>
#include <cmath>

#include "corvid/base/hash.hpp"
#include "corvid/runtime/offload.hpp"
#include "corvid/runtime/tracer_names.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/run/run.hpp"

namespace corvid {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

// How long a task that was told to stop may take before the run goes on without it. A plain function can only be asked; what awaits
// (a process ends within its own grace of 2 s) is given longer.
constexpr milliseconds kFunctionGrace{250}, kCoroutineGrace{5'000};

bool worth_retrying(const RetryPolicy& policy, const Error& error) {
  if (policy.retry_on) return policy.retry_on(error);
  switch (error.code()) {
    case ErrorCode::io:
    case ErrorCode::network:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::rejected:
    case ErrorCode::out_of_memory: return true;
    default: return false;
  }
}

milliseconds pause_before(const RetryPolicy& policy, const std::string& task_id, int failed_attempts) {
  double ms = static_cast<double>(policy.initial_interval.count()) * std::pow(policy.backoff_factor, failed_attempts - 1);
  ms = std::min(ms, static_cast<double>(policy.max_interval.count()));
  if (policy.jitter) {
    const auto digest = sha256(task_id + "#" + std::to_string(failed_attempts));
    ms *= 0.5 + (digest[0] * 256 + digest[1]) / 65536.0;
  }
  return milliseconds(static_cast<std::int64_t>(ms));
}

}  // namespace

Error error_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const boost::system::system_error& e) {
    if (e.code() == boost::asio::error::operation_aborted) return Error::cancelled("what the node awaited was cancelled");
    return Error::io(std::string("the node's I/O failed: ") + e.what());
  } catch (const std::bad_alloc&) {
    return Error::out_of_memory("no memory left in the node");
  } catch (const std::exception& e) {
    return Error::internal(std::string("the node threw an exception: ") + e.what());
  } catch (...) {
    return Error::internal("the node threw something that is no exception");
  }
}

boost::asio::awaitable<RunOutcome> Run::child_run(std::shared_ptr<TaskRun> task) {
  const NodeDef& def = task->def();
  const auto& child_graph = def.subgraph;
  std::vector<ChannelWrite> values;
  const StateView& view = task->state();
  std::optional<Error> error;
  for (std::uint32_t c = 0; c < child_graph->schema()->size() && !error; ++c) {
    const auto& channel = child_graph->schema()->at(c);
    const Value* value = view.find(channel.name);
    if (!value) {
      if (!view.extra() || !view.extra()->contains(channel.name)) continue;
      auto made = channel.type->from_json((*view.extra())[channel.name]);
      if (made) values.push_back({c, std::move(*made), false});
      else error = std::move(made).error().at_key(channel.name);
      continue;
    }
    auto converted = convert(*value, channel);
    if (converted) values.push_back({c, std::move(*converted), false});
    else error = std::move(converted).error();
  }
  if (error) throw *error;
  std::string ns = ns_.empty() ? task->node() : ns_ + "|" + task->node();
  if (def.subgraph_checkpoints != SubgraphCheckpoints::own) ns += ":" + task->task_id();
  Run child(shared_, child_graph, std::move(ns), line_);
  std::string caller = task->task_id();
  auto ended = co_await child.start_child(std::move(values), std::move(caller), def);
  co_await child.flush_events();
  if (!ended) throw std::move(ended).error();
  co_return std::move(*ended);
}

Status Run::start_task(Active& active) {
  Status launched;
  try {
    launched = launch(active);
  } catch (const std::bad_alloc&) {
    launched = fail(Error::out_of_memory("no memory left to start a task"));
  }
  if (!launched) active.task->status = TaskState::stopped;   // nothing will come of it
  return launched;
}

Status Run::launch(Active& active) {
  TaskRun& task = *active.task;
  const NodeDef& def = task.def();
  ++active.attempt;
  task.begin_attempt(active.attempt);
  task.status = TaskState::running;
  active.started = Clock::now();
  active.retry_at.reset();
  CORVID_TRY_STATUS(task.open_view());
  if (shared_->tracer) {
    task.span = shared_->tracer->start("node " + task.node(), span_ ? std::string_view(span_->traceparent()) : std::string_view(shared_->config.trace_parent));
    task.span->attribute(trace_names::kNode, task.node());
    task.span->attribute(trace_names::kStep, task.step());
    task.span->attribute(trace_names::kAttempt, active.attempt);
  }
  auto self = active.task;
  auto completions = completions_;
  auto& io = shared_->runtime.io_context();
  if (def.subgraph) {
    auto body = child_run(self);
    auto done = [self, completions](std::exception_ptr thrown, RunOutcome outcome) {
      if (!thrown) {
        completions->push({self, NodeResult{}, std::move(outcome)});
        return;
      }
      try {
        std::rethrow_exception(thrown);
      } catch (const Error& error) {
        completions->push({self, fail(error), std::nullopt});
      } catch (...) {
        completions->push({self, fail(error_of(std::current_exception())), std::nullopt});
      }
    };
    if (shared_->saver_blocks) boost::asio::co_spawn(shared_->runtime.blocking_pool(), std::move(body), std::move(done));
    else boost::asio::co_spawn(io, std::move(body), std::move(done));
  } else if (def.coroutine) {
    auto done = [self, completions](std::exception_ptr thrown, Result<NodeResult> result) {
      if (thrown) result = fail(error_of(thrown));
      completions->push({self, std::move(result), std::nullopt});
    };
    auto body = def.coroutine(task);
    if (shared_->cancellable || def.options.timeout.run.count() != 0 || def.options.timeout.idle.count() != 0 || (task.send && task.send->timeout)) {
      task.strand.emplace(boost::asio::make_strand(boost::asio::any_io_executor(io.get_executor())));
      boost::asio::co_spawn(*task.strand, std::move(body), boost::asio::bind_cancellation_slot(task.signal.slot(), std::move(done)));
    } else {
      boost::asio::co_spawn(io, std::move(body), std::move(done));
    }
  } else if (def.options.run_on == RunOn::executor) {
    completions->push({self, call_guarded([&] { return def.function(task); }), std::nullopt});
  } else {
    task.on_pool = true;
    auto work = [self, completions, function = &def.function, graph = graph_] {
      completions->push({self, call_guarded([&] { return (*function)(*self); }), std::nullopt});
    };
    // Not by post_blocking(), whose threads look for the next job: with it a fan-out of 100 took 1.1 to 1.3 ms in place of .4 to .8 and a chain of
    // 3 81 to 104 us in place of 48 to 53 (2 cores, 2026-11). Who looks takes a core from who works.
    boost::asio::post(shared_->runtime.blocking_pool(), std::move(work));
  }
  return {};
}

void Run::start_handler(Active& active, Error error) {
  active.handling = true;
  active.failure = error;
  active.started = Clock::now();
  active.stop_reason.reset();
  auto self = active.task;
  auto completions = completions_;
  self->begin_attempt(active.attempt);
  self->status = TaskState::running;
  auto work = [self, completions, error = std::move(error), graph = graph_] {
    completions->push({self, call_guarded([&] { return self->def().options.error_handler(*self, error); }), std::nullopt});
  };
  if (self->def().options.run_on == RunOn::executor) {
    work();
  } else {
    self->on_pool = true;
    boost::asio::post(shared_->runtime.blocking_pool(), std::move(work));
  }
}

void Run::stop_task(Active& active, Error reason, Clock::time_point now) {
  if (active.stop_reason) return;
  active.stop_reason = std::move(reason);
  const bool waits = active.task->def().coroutine || active.task->def().subgraph;
  active.give_up_at = now + (waits ? kCoroutineGrace : kFunctionGrace);
  active.task->stop_attempt();
  if (active.task->strand) {
    auto emit = [task = active.task] { task->signal.emit(boost::asio::cancellation_type::terminal); };
    boost::asio::post(*active.task->strand, std::move(emit));
  }
}

void Run::finish_task(Active& active) {
  TaskRun& task = *active.task;
  if (task.span) {
    if (task.error && task.status == TaskState::failed) {
      task.span->attribute(trace_names::kErrorType, std::string(to_string(task.error->code())));
      task.span->fail(task.error->message());
    }
    if (task.status == TaskState::interrupted) task.span->event("interrupted");
    task.span.reset();
  }
  task_finished_event(task);
}

void Run::attempt_failed(Active& active, Error error) {
  TaskRun& task = *active.task;
  const auto& options = task.def().options;
  const bool run_over = shared_->cancellable && !shared_->config.cancellation.check();
  if (!run_over && !active.handling) {
    if (options.retry && active.attempt < options.retry->max_attempts && worth_retrying(*options.retry, error)) {
      shared_->runtime.log(LogLevel::info, "graphs", "attempt " + std::to_string(active.attempt) + " of node \"" + task.node() + "\" failed: " + error.describe());
      const auto pause = pause_before(*options.retry, task.task_id(), active.attempt);
      // A fresh task: a plain function that was given up may still hold the old one.
      auto again = std::make_shared<TaskRun>(*shared_, g_, ns_, task.step(), task.node_index(), checkpoint_id(), task.questions());
      again->send = task.send;
      again->send_index = task.send_index;
      again->own();
      again->look_at(std::shared_ptr<const std::vector<Value>>(values_));
      again->cache_key = task.cache_key;
      again->starts = task.starts;
      if (task.span) {
        task.span->fail(error.message());
        task.span.reset();
      }
      for (auto& slot : tasks_) {
        if (slot == active.task) slot = again;
      }
      active.task = std::move(again);
      active.stop_reason.reset();
      active.retry_at = Clock::now() + pause;
      return;
    }
    if (options.error_handler) {
      start_handler(active, std::move(error));
      return;
    }
  }
  task.status = TaskState::failed;
  task.error = std::move(error).at_key(task.node());
  finish_task(active);
}

void Run::complete(Active& active, Completion completion) {
  TaskRun& task = *active.task;
  if (completion.child) {
    auto& child = *completion.child;
    if (child.result.status == RunStatus::interrupted) {
      task.status = TaskState::interrupted;
      task.interrupts = std::move(child.result.interrupts);
      return finish_task(active);
    }
    if (child.result.status == RunStatus::drained) {
      task.status = TaskState::stopped;
      return finish_task(active);
    }
    NodeResult result;
    if (child.to_parent) {
      auto& values = child.to_parent->values;
      auto writes = writes_by_name(*g_.schema, values.is_null() ? Json::object() : std::move(values), nullptr);
      if (!writes) return attempt_failed(active, std::move(writes).error());
      result.writes = std::move(*writes);
      result.go_to_targets = std::move(child.to_parent->route);
    } else {
      const auto& child_schema = *child.result.schema;
      for (std::uint32_t c = 0; c < child_schema.size(); ++c) {
        const auto here = g_.schema->find(child_schema.at(c).name);
        const auto& outputs = task.def().subgraph_outputs;
        const bool out = outputs.empty() || std::find(outputs.begin(), outputs.end(), child_schema.at(c).name) != outputs.end();
        if (out && here != Schema::npos && child.result.values[c]) result.writes.push_back({here, child.result.values[c], false});
      }
    }
    completion.result = std::move(result);
  }
  if (task.asked()) {
    task.status = TaskState::interrupted;
    for (const auto& question : task.questions_asked()) {
      auto interrupt = read_interrupt(question);
      if (interrupt) task.interrupts.push_back(std::move(*interrupt));
    }
    return finish_task(active);
  }
  if (!completion.result) {
    Error error = std::move(completion.result).error();
    if (active.stop_reason && (error.code() == ErrorCode::cancelled || error.code() == ErrorCode::deadline_exceeded)) error = std::move(*active.stop_reason);
    if (error.code() == ErrorCode::interrupted) error = Error::internal("a node returned \"interrupted\" without having asked anything");
    return attempt_failed(active, std::move(error));
  }
  // A result that comes although the task was told to stop counts for nothing: what the caller was told is what happened.
  if (active.stop_reason) return attempt_failed(active, std::move(*active.stop_reason));
  TaskOutcome outcome;
  auto made = make_outcome(g_, task.node_index(), *values_, std::move(*completion.result), outcome, active.handling ? Edges::unless_commanded : Edges::lead);
  if (!made) return attempt_failed(active, std::move(made).error());
  task.outcome = std::move(outcome);
  task.status = TaskState::done;
  finish_task(active);
}

// Before anything of the superstep starts: tasks whose earlier start is unknown, results in the cache, starts to be made durable.
Task<void> Run::prepare_tasks() {
  Commit starting = new_commit();
  for (auto& task : tasks_) {
    if (task->status == TaskState::done) continue;
    const auto& options = task->def().options;
    if (options.cache) {
      CORVID_CO_TRY(auto hit, co_await cached(*task));
      if (hit) {
        std::vector<std::string> notes;
        CORVID_CO_TRY(task->outcome, decode_outcome(g_, *hit, notes));
        task->status = TaskState::done;
        task->from_cache = true;
        task_finished_event(*task);
        continue;
      }
    }
    if (options.effect != SideEffect::at_most_once || !stores()) continue;
    if (task->starts > 0) {
      const std::string id = task->interrupt_id("unknown " + std::to_string(task->starts));
      const auto answer = history_->questions().answers.find(id);
      if (answer == history_->questions().answers.end()) {
        InterruptRecord record;
        record.id = id;
        record.thread_id = shared_->config.thread_id;
        record.ns = ns_;
        record.checkpoint_id = checkpoint_id();
        record.task_id = task->task_id();
        record.node = task->node();
        record.asked_ms = unix_ms();
        const Json question = {{"question", "\"" + task->node() + "\" was running when the process ended, and may or may not have taken effect. What happened?"},
                               {"node", task->node()}};
        const Json schema = {{"type", "object"},
                             {"properties", {{"action", {{"enum", {"retry", "skip", "result"}}}}, {"update", {{"type", "object"}}}}},
                             {"required", {"action"}},
                             {"additionalProperties", false}};
        record.body = encode_json({{"value", question}, {"response_schema", schema}, {"kind", "unknown"}});
        CORVID_CO_TRY(auto interrupt, read_interrupt(record));
        task->interrupts.push_back(std::move(interrupt));
        task->ask(std::move(record));
        task->status = TaskState::interrupted;
        task_finished_event(*task);
        continue;
      }
      const Json& said = answer->second.value;
      const auto said_action = said.is_object() ? said.find("action") : said.end();
      const std::string action = said_action != said.end() && said_action->is_string() ? said_action->get<std::string>() : "";
      if (action == "skip" || action == "result") {
        NodeResult result;
        if (action == "result" && said.contains("update")) {
          CORVID_CO_TRY(result.writes, writes_by_name(*g_.schema, said["update"], nullptr));
        }
        CORVID_CO_TRY_STATUS(make_outcome(g_, task->node_index(), *values_, std::move(result), task->outcome));
        task->status = TaskState::done;
        continue;
      }
      if (action != "retry") co_return fail(Error::bad_input("the answer about \"" + task->node() + "\" must say retry, skip or result").at_key(id));
    }
    ++task->starts;
    starting.writes.push_back(history_->started_write(*task));
  }
  if (!starting.writes.empty()) {
    if (line_) CORVID_CO_TRY_STATUS(co_await line_->drain());
    history_->has_tasks();
    CORVID_CO_TRY_STATUS(co_await store_now(std::move(starting)));
  }
  co_return Status{};
}

Task<std::optional<Json>> Run::cached(TaskRun& task) {
  const auto& policy = *task.def().options.cache;
  std::string key;
  if (policy.key) {
    CORVID_CO_TRY(key, policy.key(task.state()));
  } else {
    CORVID_CO_TRY(const Json input, task.state().to_json());
    const auto bytes = encode_json(input);
    key = to_hex(sha256(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
  }
  task.cache_key = g_.options.name + "/" + task.node() + "/" + key;
  std::optional<Bytes> found;
  const auto now = unix_ms();
  if (shared_->saver) {
    std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) -> Status {
      CORVID_TRY(found, saver.cache_get(task.cache_key, now));
      return {};
    };
    CORVID_CO_TRY_STATUS(co_await call_saver(std::move(call)));
  } else {
    std::lock_guard lock(g_.cache->mutex);
    const auto at = g_.cache->entries.find(task.cache_key);
    if (at != g_.cache->entries.end() && (at->second.second == 0 || at->second.second > now)) found = at->second.first;
  }
  if (!found) co_return std::optional<Json>();
  CORVID_CO_TRY(Json stored, decode_json(*found));
  co_return std::optional<Json>(std::move(stored));
}

Task<void> Run::keep_in_cache(TaskRun& task) {
  CORVID_CO_TRY(const Bytes bytes, encode_outcome(g_, task.outcome));
  const auto ttl = task.def().options.cache->ttl.count();
  const std::int64_t expires = ttl == 0 ? 0 : unix_ms() + ttl;
  if (shared_->saver) {
    std::function<Status(Checkpointer&)> call = [&](Checkpointer& saver) { return saver.cache_put(task.cache_key, bytes, expires); };
    CORVID_CO_TRY_STATUS(co_await call_saver(std::move(call)));
  } else {
    std::lock_guard lock(g_.cache->mutex);
    g_.cache->entries[task.cache_key] = {bytes, expires};
  }
  co_return Status{};
}

// Results that came in while others still run, in one commit.
Task<void> Run::store_finished(bool last) {
  Commit commit = new_commit();
  std::vector<TaskRun*> storing;
  for (auto& task : tasks_) {
    if (task->status != TaskState::done) continue;
    if (!task->cache_key.empty() && !task->from_cache) {
      CORVID_CO_TRY_STATUS(co_await keep_in_cache(*task));
      task->cache_key.clear();
    }
    if (last || task->stored || !stores() || shared_->config.durability == Durability::exit) continue;
    CORVID_CO_TRY(auto write, history_->result_write(*task));
    commit.writes.push_back(std::move(write));
    storing.push_back(task.get());
  }
  if (commit.writes.empty()) co_return Status{};
  history_->has_tasks();
  CORVID_CO_TRY_STATUS(co_await store(std::move(commit), false));
  for (auto* task : storing) task->stored = true;
  co_return Status{};
}

// It cannot be killed. What it does from here on is discarded, and its thread stays counted.
void Run::give_up(Active& active) {
  shared_->abandoned.fetch_add(1);
  shared_->runtime.metrics().at("graphs.abandoned_functions").add(1);
  shared_->runtime.log(LogLevel::warn, "graphs", "node \"" + active.task->node() + "\" does not stop; the run goes on without it");
  active.task->status = TaskState::stopped;
}

Task<void> Run::run_tasks() {
  std::optional<Error> failure;
  try {
    auto ended = co_await run_active();
    if (ended) co_return Status{};
    failure = std::move(ended).error();
  } catch (const std::bad_alloc&) {
    failure = Error::out_of_memory("no memory left in the run");
  }
  // The run fails by itself, not by a task: those that still run use what goes with it.
  co_await stop_active(*failure);
  co_return fail(std::move(*failure));
}

boost::asio::awaitable<void> Run::stop_active(Error reason) {
  while (true) {
    std::vector<Completion> done;
    {
      std::lock_guard lock(completions_->mutex);
      done.swap(completions_->done);
    }
    for (const auto& completion : done) completion.task->status = TaskState::stopped;
    const auto now = Clock::now();
    std::optional<Clock::time_point> wake;
    for (auto& active : active_) {
      if (active.task->status != TaskState::running) continue;
      stop_task(active, reason, now);
      if (now >= active.give_up_at) give_up(active);
      else wake = wake ? std::min(*wake, active.give_up_at) : active.give_up_at;
    }
    if (!wake) co_return;
    co_await completions_->notifier.wait(wake);
  }
}

Task<void> Run::run_active() {
  if (!completions_) completions_ = std::make_shared<Completions>();
  active_.clear();
  std::vector<std::shared_ptr<TaskRun>> waiting;
  // Sends start before the nodes that edges triggered; their writes are joined after those.
  const auto sends_first = [](const auto& a, const auto& b) { return (a->send != nullptr) > (b->send != nullptr); };
  std::vector<std::shared_ptr<TaskRun>> in_order(tasks_);
  std::stable_sort(in_order.begin(), in_order.end(), sends_first);
  for (auto& task : in_order) {
    CORVID_CO_TRY_STATUS(task->open_view());
    task_started_event(*task);
  }
  for (auto& task : in_order) {
    if (task->restored) task_finished_event(*task);
  }
  CORVID_CO_TRY_STATUS(co_await prepare_tasks());
  for (auto& task : in_order) {
    if (task->status == TaskState::planned) waiting.push_back(task);
  }
  co_await flush_events();                          // before nodes on the pool can tell anything
  std::shared_ptr<void> subscription;
  if (shared_->cancellable) {
    subscription = shared_->config.cancellation.on_cancel([completions = completions_] { completions->notifier.notify(); });
  }
  std::size_t next = 0, running = 0;
  const std::size_t limit = shared_->config.max_concurrency > 0 ? static_cast<std::size_t>(shared_->config.max_concurrency) : waiting.size() + 1;
  bool run_over = false;
  active_.reserve(waiting.size());                  // completions are matched by task, but starting must not move what runs
  std::vector<Completion> done;                     // it and the one that tasks fill take turns: a task that ends need not allocate
  done.reserve(waiting.size());
  {
    std::lock_guard lock(completions_->mutex);
    completions_->done.reserve(waiting.size());
  }
  const auto over = [&](const Active& active) {
    const auto status = active.task->status;
    return status != TaskState::running && !active.retry_at;
  };
  while (true) {
    auto now = Clock::now();
    const auto room = [&] {
      const auto abandoned = static_cast<std::size_t>(std::max(0, shared_->abandoned.load()));
      return running + (shared_->config.max_concurrency > 0 ? abandoned : 0) < limit || running == 0;
    };
    for (auto& active : active_) {
      if (active.retry_at && *active.retry_at <= now && room() && !run_over) {
        ++running;
        CORVID_CO_TRY_STATUS(start_task(active));
      }
    }
    while (next < waiting.size() && room() && !run_over) {
      active_.push_back(Active{});
      active_.back().task = waiting[next++];
      ++running;
      CORVID_CO_TRY_STATUS(start_task(active_.back()));
    }
    co_await flush_events();

    std::optional<Clock::time_point> wake;
    const auto wake_at = [&](Clock::time_point when) { wake = wake ? std::min(*wake, when) : when; };
    bool unfinished = next < waiting.size() && !run_over;
    for (const auto& active : active_) {
      if (over(active)) continue;
      if (active.retry_at && run_over) continue;
      unfinished = true;
      if (active.retry_at) {
        wake_at(*active.retry_at);
        continue;
      }
      if (active.stop_reason) {
        wake_at(active.give_up_at);
        continue;
      }
      const auto& timeout = active.task->def().options.timeout;
      const auto limit_run = active.task->send && active.task->send->timeout ? *active.task->send->timeout : timeout.run;
      if (limit_run.count() > 0) wake_at(active.started + limit_run);
      if (timeout.idle.count() > 0) wake_at(active.task->last_beat() + timeout.idle);
    }
    if (!unfinished) break;
    if (lease_held_) wake_at(lease_renewed_ + shared_->config.lease_ttl / 3);
    if (shared_->cancellable && !run_over) {
      if (const auto deadline = shared_->config.cancellation.deadline()) wake_at(*deadline);
    }
    if (shared_->streams()) wake_at(now + milliseconds(20));   // what nodes emit on the executor goes out soon
    co_await completions_->notifier.wait(wake);

    done.clear();
    {
      std::lock_guard lock(completions_->mutex);
      done.swap(completions_->done);
    }
    for (auto& completion : done) {
      const auto at = std::find_if(active_.begin(), active_.end(), [&](const Active& a) { return a.task == completion.task && a.task->status == TaskState::running; });
      if (at == active_.end()) {                    // given up long ago
        shared_->abandoned.fetch_sub(1);
        shared_->runtime.metrics().at("graphs.abandoned_functions").add(-1);
        continue;
      }
      --running;
      complete(*at, std::move(completion));
      if (at->task->status == TaskState::running) ++running;   // its error handler
    }
    now = Clock::now();
    if (shared_->cancellable && !run_over) {
      if (auto alive = shared_->config.cancellation.check(); !alive) {
        run_over = true;
        for (auto& active : active_) {
          if (active.task->status == TaskState::running) stop_task(active, alive.error(), now);
        }
      }
    }
    for (auto& active : active_) {
      if (active.task->status != TaskState::running) continue;
      const auto& timeout = active.task->def().options.timeout;
      const auto limit_run = active.task->send && active.task->send->timeout ? *active.task->send->timeout : timeout.run;
      if (!active.stop_reason && limit_run.count() > 0 && now >= active.started + limit_run) {
        stop_task(active, Error::deadline_exceeded("the node ran longer than its timeout of " + std::to_string(limit_run.count()) + " ms"), now);
      }
      if (!active.stop_reason && timeout.idle.count() > 0 && now >= active.task->last_beat() + timeout.idle) {
        stop_task(active, Error::deadline_exceeded("the node gave no sign of life for its idle timeout of " + std::to_string(timeout.idle.count()) + " ms"), now);
      }
      if (active.stop_reason && now >= active.give_up_at) {
        --running;
        give_up(active);
        Error reason = std::move(*active.stop_reason);
        active.stop_reason.reset();
        attempt_failed(active, std::move(reason));
        if (active.task->status == TaskState::running) ++running;
      }
    }
    if (lease_held_ && now >= lease_renewed_ + shared_->config.lease_ttl / 3) {
      if (auto renewed = co_await renew_lease(); !renewed) {
        for (auto& active : active_) {
          if (active.task->status == TaskState::running) active.task->stop_attempt();
        }
        lease_held_ = false;                        // another owns the thread now
        co_return fail(std::move(renewed).error());
      }
    }
    const bool all_done = next == waiting.size() && std::all_of(active_.begin(), active_.end(), over);
    CORVID_CO_TRY_STATUS(co_await store_finished(all_done));
  }
  for (auto& active : active_) {
    if (active.retry_at && active.task->status == TaskState::planned) active.task->status = TaskState::stopped;
  }
  CORVID_CO_TRY_STATUS(co_await store_finished(true));
  co_return Status{};
}

}  // namespace corvid
