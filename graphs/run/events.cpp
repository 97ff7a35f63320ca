// What a run tells its reader, in the shapes that run.hpp documents.
#include "graphs/run/run.hpp"

namespace corvid {

void Run::event(StreamMode mode, Json data, TaskRun* task) {
  if (!shared_->wants(mode)) return;
  StreamEvent made{mode, ns_, step_, {}, {}, shared_->elapsed_us(), std::move(data)};
  if (task) {
    made.step = task->step();
    made.node = task->node();
    made.task_id = task->task_id();
  }
  std::lock_guard lock(shared_->emitted_mutex);
  shared_->emitted.push_back(std::move(made));
}

void Run::values_event(std::span<const Value> values, Json interrupts) {
  if (!shared_->wants(StreamMode::values)) return;
  std::vector<Value> seen;
  if (!outputs_.empty()) {
    seen.assign(values.begin(), values.end());
    for (std::uint32_t c = 0; c < seen.size(); ++c) {
      if (!outputs_[c]) seen[c] = Value();
    }
    values = seen;
  }
  auto state = StateView(*g_.schema, values).to_json();
  Json data = state ? std::move(*state) : Json{{"__error__", state.error().describe()}};
  if (!interrupts.is_null()) data["__interrupt__"] = std::move(interrupts);
  event(StreamMode::values, std::move(data));
}

// `all`: with what a subgraph does not hand back.
Json Run::update_json(const TaskOutcome& outcome, bool all) const {
  Json update;
  for (const auto& write : outcome.writes) {
    if (!all && !shown(write.channel)) continue;
    if (write.value.type() && write.value.type()->handle) continue;
    auto value = write.value.to_json();
    Json& entry = update[g_.schema->at(write.channel).name];
    entry = value ? std::move(*value) : Json(nullptr);
    if (write.overwrite) entry = {{"__overwrite__", std::move(entry)}};
  }
  return update;
}

void Run::task_started_event(TaskRun& task) {
  if (!shared_->wants(StreamMode::tasks) && !shared_->wants(StreamMode::debug)) return;
  auto input = task.state().to_json();
  Json triggers = Json::array();
  triggers.push_back(task.send ? std::string("__send__") : "branch:to:" + task.node());
  Json payload = {{"id", task.task_id()}, {"name", task.node()}, {"input", input ? std::move(*input) : Json(nullptr)}, {"triggers", std::move(triggers)}};
  event(StreamMode::tasks, payload, &task);
  if (shared_->wants(StreamMode::debug)) event(StreamMode::debug, {{"type", "task"}, {"step", task.step()}, {"payload", std::move(payload)}}, &task);
}

void Run::task_finished_event(TaskRun& task) {
  if (task.outcome.to_parent) return;                // the parent's node tells it
  if (task.status == TaskState::done && shared_->wants(StreamMode::updates)) {
    Json update = {{task.node(), update_json(task.outcome, false)}};
    if (task.restored || task.from_cache) update["__metadata__"] = {{"cached", true}};
    event(StreamMode::updates, std::move(update), &task);
  }
  if (task.restored || task.from_cache) return;      // nothing ran
  if (task.status == TaskState::interrupted) {
    Json list = Json::array();
    for (const auto& interrupt : task.interrupts) list.push_back({{"id", interrupt.id}, {"value", interrupt.value}});
    event(StreamMode::updates, {{"__interrupt__", list}});
    values_event(*values_, std::move(list));
  }
  if (!shared_->wants(StreamMode::tasks) && !shared_->wants(StreamMode::debug)) return;
  Json payload = {{"id", task.task_id()}, {"name", task.node()}, {"error", nullptr}, {"interrupts", Json::array()}, {"result", Json::object()}};
  if (task.error) payload["error"] = task.error->describe();
  for (const auto& interrupt : task.interrupts) payload["interrupts"].push_back({{"id", interrupt.id}, {"value", interrupt.value}});
  if (task.status == TaskState::done) {
    if (Json update = update_json(task.outcome, true); !update.is_null()) payload["result"] = std::move(update);
  }
  event(StreamMode::tasks, payload, &task);
  if (shared_->wants(StreamMode::debug)) event(StreamMode::debug, {{"type", "task_result"}, {"step", task.step()}, {"payload", std::move(payload)}}, &task);
}

void Run::checkpoint_event(const std::string& source) {
  if (!shared_->wants(StreamMode::checkpoints) && !shared_->wants(StreamMode::debug)) return;
  Json next = Json::array();
  for (const auto& send : frontier_.sends) next.push_back(g_.nodes[send.node].name);
  for (const auto node : frontier_.nodes) next.push_back(g_.nodes[node].name);
  auto values = StateView(*g_.schema, *values_).to_json();
  Json payload = {{"checkpoint_id", checkpoint_id()}, {"step", step_}, {"source", source}, {"next", std::move(next)},
                  {"values", values ? std::move(*values) : Json(nullptr)}};
  event(StreamMode::checkpoints, payload);
  if (shared_->wants(StreamMode::debug)) event(StreamMode::debug, {{"type", "checkpoint"}, {"step", step_}, {"payload", std::move(payload)}});
}

// A run that goes on shows first where it stands.
void Run::go_on_events(const std::string& source) {
  if (!events()) return;
  values_event(*values_);
  checkpoint_event(source);
}

boost::asio::awaitable<void> Run::flush_events() {
  if (!shared_->streams()) co_return;
  std::vector<StreamEvent> emitted;
  const auto take = [&] {
    std::lock_guard lock(shared_->emitted_mutex);
    emitted.clear();
    emitted.swap(shared_->emitted);
    return !emitted.empty();
  };
  co_await shared_->sending->send_async(true);
  while (take()) {
    for (auto& each : emitted) co_await shared_->events->send_async(std::move(each));
  }
  shared_->sending->try_receive();
}

}  // namespace corvid
