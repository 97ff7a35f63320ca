#include "graphs/run/task.hpp"

#include <span>

#include "corvid/base/hash.hpp"
#include "graphs/persist/codec.hpp"

namespace corvid {
namespace {

// What nodes may emit on the executor before the loop takes it: a node that never waits could fill memory otherwise.
constexpr std::size_t kMostEmitted = 65'536;

}  // namespace

TaskRun::TaskRun(RunShared& shared, const CompiledGraph::Impl& graph, const std::string& ns, std::int64_t step, std::uint32_t node,
                 const std::string& checkpoint_id, std::shared_ptr<const Questions> questions)
    : shared_(&shared), graph_(graph), ns_(&ns), step_(step), node_(node), checkpoint_id_(&checkpoint_id), questions_(std::move(questions)) {}

void TaskRun::own() {
  if (ns_ == &own_ns_) return;
  own_shared_ = shared_->shared_from_this();
  own_ns_ = *ns_;
  own_checkpoint_id_ = *checkpoint_id_;
  ns_ = &own_ns_;
  checkpoint_id_ = &own_checkpoint_id_;
  if (!send) return;
  own_send_ = *send;
  send = &*own_send_;
}

std::string TaskRun::path() const { return send ? "send:" + std::to_string(send_index) + ":" + node() : "node:" + node(); }

Status TaskRun::open_view() {
  if (view_) return {};
  std::span<const Value> values = send ? std::span<const Value>(send->values) : values_;
  if (graph_.any_model_state) {
    own_.assign(values.begin(), values.end());
    for (auto& value : own_) {
      if (!value || !value.type()->fork) continue;
      CORVID_TRY(value, value.type()->fork(value.data()));
    }
    values = own_;
  }
  view_.emplace(*graph_.schema, values, send && !send->extra.is_null() ? &send->extra : nullptr);
  return {};
}

void TaskRun::begin_attempt(int number) {
  attempt_ = number;
  next_question_ = 0;
  asked_.clear();
  source_.emplace(shared_->config.cancellation);
  heartbeat();
}

void TaskRun::stop_attempt() {
  if (source_) source_->cancel();
}

std::chrono::steady_clock::time_point TaskRun::last_beat() const {
  return std::chrono::steady_clock::time_point(std::chrono::steady_clock::duration(last_beat_.load(std::memory_order_relaxed)));
}

const std::string& TaskRun::task_id() {
  if (task_id_.empty()) task_id_ = make_task_id(*checkpoint_id_, *ns_, step_, path());
  return task_id_;
}

CancellationToken TaskRun::cancellation() const { return source_ ? source_->token() : shared_->config.cancellation; }

void TaskRun::heartbeat() noexcept { last_beat_.store(std::chrono::steady_clock::now().time_since_epoch().count(), std::memory_order_relaxed); }

void TaskRun::push(StreamMode mode, Json data) {
  heartbeat();
  if (!shared_->wants(mode)) return;
  if (!ns_->empty() && !shared_->config.subgraph_events && mode != StreamMode::messages) return;
  StreamEvent event{mode, *ns_, step_, node(), task_id(), shared_->elapsed_us(), std::move(data)};
  if (on_pool) {
    shared_->events->send(std::move(event));
    return;
  }
  std::lock_guard lock(shared_->emitted_mutex);
  if (shared_->emitted.size() < kMostEmitted) shared_->emitted.push_back(std::move(event));
}

std::string TaskRun::interrupt_id(std::string_view what) {
  const auto digest = sha256(task_id() + "|" + std::string(what));
  return to_hex(std::span(digest).first(16));
}

Result<AnsweredInterrupt> TaskRun::question(Json value, const InterruptOptions& options) {
  if (!shared_->saver || shared_->config.thread_id.empty() || !questions_) {
    return fail(Error::invalid_argument("a node can only wait for a person in a graph with a checkpointer, in a run with a thread_id").at_key(node()));
  }
  const std::string id = interrupt_id(std::to_string(next_question_++));
  if (const auto at = questions_->answers.find(id); at != questions_->answers.end()) return at->second;
  if (const auto at = questions_->open.find(id); at != questions_->open.end()) {
    if (at->second.expires_ms != 0 && at->second.expires_ms <= unix_ms()) {
      return fail(Error::deadline_exceeded("the question was not answered before it expired").at_key(id));
    }
    asked_.push_back(at->second);
    return fail(Error::interrupted("waits for an answer").at_key(id));
  }
  InterruptRecord record;
  record.id = id;
  record.thread_id = thread_id();
  record.ns = *ns_;
  record.checkpoint_id = *checkpoint_id_;
  record.task_id = task_id();
  record.node = node();
  record.asked_ms = unix_ms();
  record.expires_ms = options.expires_in ? record.asked_ms + options.expires_in->count() : 0;
  record.body = encode_json({{"value", std::move(value)}, {"response_schema", options.response_schema}, {"kind", options.kind}});
  asked_.push_back(std::move(record));
  return fail(Error::interrupted("waits for an answer").at_key(id));
}

Result<Json> TaskRun::interrupt(Json value, const InterruptOptions& options) {
  CORVID_TRY(auto answer, question(std::move(value), options));
  return std::move(answer.value);
}

Result<Json> TaskRun::interrupt_decision(Json value, const InterruptOptions& options) {
  CORVID_TRY(auto answer, question(std::move(value), options));
  return Json{{"decision", answer.decision}, {"value", std::move(answer.value)}, {"by", answer.by}};
}

const std::string& TaskRun::trace_parent() const noexcept { return span ? span->traceparent() : shared_->config.trace_parent; }

std::string make_task_id(std::string_view checkpoint_id, std::string_view ns, std::int64_t step, std::string_view path) {
  std::string text;
  for (const auto part : {checkpoint_id, ns, path}) {
    text += std::to_string(part.size());
    text += ':';
    text += part;
  }
  text += std::to_string(step);
  const auto digest = sha256(text);
  return to_hex(std::span(digest).first(16));
}

Result<Interrupt> read_interrupt(const InterruptRecord& record) {
  const std::string place = record.id.empty() ? "a question without an id" : record.id;
  auto decoded = decode_json(record.body);
  if (!decoded) return fail(std::move(decoded).error().at_key(place));
  Json body = std::move(*decoded);
  if (!body.is_object() || !body.contains("value") || !body.contains("response_schema") || !body.contains("kind") || !body["kind"].is_string()) {
    return fail(Error::bad_input("a stored question is damaged").at_key(place));
  }
  Interrupt interrupt{record.id, record.node, record.task_id, record.ns, std::move(body["value"]), std::move(body["response_schema"]), body["kind"].get<std::string>(), record.asked_ms, record.expires_ms};
  return interrupt;
}

NodeResult& NodeResult::set(const NodeContext& context, std::string_view channel, Json value) & {
  const Schema& schema = context.state().schema();
  const auto index = schema.find(channel);
  if (index == Schema::npos) {
    if (!error) error = Error::invalid_argument("the graph's state has no channel of this name").at_key(std::string(channel));
    return *this;
  }
  auto converted = schema.at(index).type->from_json(value);
  if (!converted) {
    if (!error) error = std::move(converted).error().at_key(std::string(channel));
    return *this;
  }
  writes.push_back({index, std::move(*converted), false});
  return *this;
}

NodeResult& NodeResult::set_all(const NodeContext& context, Json values) & {
  if (!values.is_object()) {
    if (!error) error = Error::bad_input("a node's update must be an object of channels, not a " + std::string(values.type_name()));
    return *this;
  }
  for (auto& [name, value] : values.items()) set(context, name, std::move(value));
  return *this;
}

}  // namespace corvid
