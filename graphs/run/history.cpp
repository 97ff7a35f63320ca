#include "graphs/run/history.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <unordered_map>

#include "graphs/persist/cbor_writer.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/run/thread_state.hpp"

namespace corvid {

Status write_send_tasks(CborWriter& out, const CompiledGraph::Impl& graph, const std::vector<SendTask>& sends);
Result<std::vector<SendTask>> decode_send_tasks(const CompiledGraph::Impl& graph, const Json& stored, std::vector<std::string>& notes);

namespace {

std::uint64_t random_bits() {
  thread_local std::mt19937_64 generator([] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }());
  return generator();
}

std::string hex16(std::uint64_t number) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; number >>= 4) text[i] = "0123456789abcdef"[number & 15];
  return text;
}

// What comes next is counted from these; a run never gets near.
constexpr std::int64_t kMostSteps = std::int64_t{1} << 53;
constexpr std::uint64_t kMostVersions = std::uint64_t{1} << 53;

Error damaged(const std::string& what) { return Error::bad_input("the checkpoint is damaged: " + what); }

Result<std::vector<std::string>> names(const Json& body, const char* key) {
  const auto at = body.find(key);
  if (at == body.end() || !at->is_array()) return fail(damaged(std::string("no list \"") + key + "\""));
  std::vector<std::string> out;
  for (const auto& name : *at) {
    if (!name.is_string()) return fail(damaged(std::string("a name in \"") + key + "\" is no text"));
    out.push_back(name.get<std::string>());
  }
  return out;
}

}  // namespace

namespace {

// The next checkpoint must compare greater, or it would never be the newest.
Status check_numbers(const CheckpointRecord& record) {
  if (record.step < -1 || record.step > kMostSteps) return fail(damaged("its step is " + std::to_string(record.step)));
  if (next_checkpoint_id(record.id) <= record.id) return fail(damaged("no later checkpoint can follow one of its id"));
  for (const auto& channel : record.channels) {
    if (channel.version > kMostVersions) return fail(damaged("the version of the channel \"" + channel.channel + "\" is " + std::to_string(channel.version)));
  }
  return {};
}

Result<std::uint64_t> version_in(const Json& body) {
  const auto at = body.is_object() ? body.find("version") : body.end();
  if (at == body.end() || !at->is_number_unsigned() || at->get<std::uint64_t>() > kMostVersions) return fail(damaged("its body has no version"));
  return at->get<std::uint64_t>();
}

}  // namespace

std::string random_id() { return hex16(random_bits()) + hex16(random_bits()); }

std::string next_checkpoint_id(const std::string& after) {
  auto now = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  if (after.size() >= 16) {
    std::uint64_t last = 0;
    if (std::from_chars(after.data(), after.data() + 16, last, 16).ec == std::errc() && last >= now) now = last + 1;
  }
  return hex16(now) + hex16(random_bits());
}

History::History(const CompiledGraph::Impl& graph, std::string ns)
    : graph_(graph), ns_(std::move(ns)) {}

void History::enable() {
  tracks_.resize(graph_.schema->size());
  record_.assign(graph_.schema->size(), Json::array());
}

void History::forget_tasks() {
  tasks_.clear();
  commands_ = 0;
  if (!questions_->answers.empty() || !questions_->open.empty()) questions_ = std::make_shared<Questions>();
  paused_ = false;
}

void History::changed(const std::vector<std::uint32_t>& channels) {
  for (const auto channel : channels) tracks_[channel].dirty = true;
}

Status History::restore_body(const LoadedCheckpoint& loaded, Frontier& frontier) {
  CORVID_TRY(const Json body, decode_json(loaded.record.body));
  if (!body.is_object() || !body.contains("v") || !body["v"].is_number_integer() || !body.contains("signature") || !body["signature"].is_string() ||
      !body.contains("sends") || !body.contains("joins") || !body["joins"].is_object() || !body.contains("metadata")) {
    return fail(damaged("parts of its body are missing"));
  }
  if (body["v"].get<std::int64_t>() != 1) return fail(Error::conflict("the checkpoint was written by a newer version of Corvid; update this one"));
  CORVID_TRY(const auto next, names(body, "next"));
  CORVID_TRY(const auto deferred, names(body, "deferred"));
  CORVID_TRY(last_, names(body, "last"));
  paused_ = body.contains("paused") && body["paused"] == true;
  CORVID_TRY(newest_version_, version_in(body));
  metadata_ = body["metadata"];
  shape_signature_ = body["signature"].get<std::string>();

  if (shape_signature_ != graph_.signature) {
    std::vector<std::string> wanted(next);
    wanted.insert(wanted.end(), deferred.begin(), deferred.end());
    if (body["sends"].is_array()) {
      for (const auto& send : body["sends"]) {
        if (send.is_object() && send.contains("node") && send["node"].is_string()) wanted.push_back(send["node"].get<std::string>());
      }
    }
    Json then = Json::object();
    for (const auto& blob : loaded.blobs) {
      if (blob.channel != kShapeChannel) continue;
      CORVID_TRY(then, decode_json(blob.bytes));
    }
    auto problems = incompatibilities(then, graph_.shape, wanted);
    for (const auto& [join, seen] : body["joins"].items()) {
      const auto same = [&name = join](const Join& j) { return j.name == name; };
      if (std::none_of(graph_.joins.begin(), graph_.joins.end(), same)) problems.push_back("the join \"" + join + "\", some of whose nodes have run, is gone");
    }
    if (!problems.empty()) {
      std::string text = "the thread was stored under another version of the graph and cannot go on under this one:";
      for (const auto& problem : problems) text += " " + problem + ";";
      text.back() = '.';
      return fail(Error::conflict(text + " Restore what it needs, or start a new thread (fork it from an earlier checkpoint)"));
    }
  }

  frontier = Frontier{};
  for (const auto& join : graph_.joins) frontier.seen.emplace_back(join.from.size(), 0);
  const auto node_list = [&](const std::vector<std::string>& list, std::vector<std::uint32_t>& out) -> Status {
    for (const auto& name : list) {
      const auto node = graph_.find(name);
      if (node == CompiledGraph::Impl::npos) return fail(damaged("it names the node \"" + name + "\", which does not exist"));
      out.push_back(node);
    }
    std::sort(out.begin(), out.end(), [&](auto a, auto b) { return graph_.rank[a] < graph_.rank[b]; });
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return {};
  };
  CORVID_TRY_STATUS(node_list(next, frontier.nodes));
  CORVID_TRY_STATUS(node_list(deferred, frontier.deferred));
  CORVID_TRY(frontier.sends, decode_send_tasks(graph_, body["sends"], notes_));
  for (const auto& [name, seen] : body["joins"].items()) {
    for (std::size_t j = 0; j < graph_.joins.size(); ++j) {
      if (graph_.joins[j].name != name) continue;
      if (!seen.is_array()) return fail(damaged("a join of an unknown form"));
      for (const auto& place : seen) {
        if (!place.is_number_unsigned() || place.get<std::uint64_t>() >= frontier.seen[j].size()) return fail(damaged("a join of an unknown form"));
        frontier.seen[j][place.get<std::size_t>()] = 1;
      }
    }
  }
  return {};
}

// Blobs of one channel lie together, from the whole value to the newest delta.
Status History::restore_channel(const CheckpointRecord& record, const std::vector<ChannelBlob>& blobs, std::size_t& at, std::vector<Value>& values) {
  const std::string& name = blobs[at].channel;
  const auto channel = graph_.schema->find(name);
  if (channel == Schema::npos) return fail(damaged("it holds the channel \"" + name + "\", which does not exist"));
  const auto& spec = graph_.schema->at(channel);
  Track& track = tracks_[channel];
  if (blobs[at].base_version != 0) return fail(damaged("the channel \"" + name + "\" has deltas without a value below them"));
  CORVID_TRY(values[channel], decode_value(blobs[at].bytes, *spec.type, graph_.options.restorers, notes_));
  track = Track{blobs[at].version, blobs[at].bytes.size(), 0, 0, false};
  for (++at; at < blobs.size() && blobs[at].channel == name; ++at) {
    const auto& delta = blobs[at];
    if (delta.base_version != track.version) return fail(damaged("the deltas of the channel \"" + name + "\" do not follow one another"));
    if (!spec.reducer.reduce) return fail(damaged("the channel \"" + name + "\" has deltas but no reducer"));
    CORVID_TRY(const Json writes, decode_json(delta.bytes));
    if (!writes.is_array()) return fail(damaged("a delta of the channel \"" + name + "\" is no list"));
    std::vector<Value> more;
    for (const auto& write : writes) {
      CORVID_TRY(auto value, spec.type->from_json(write));
      more.push_back(std::move(value));
    }
    CORVID_TRY(values[channel], spec.reducer.reduce(std::move(values[channel]), more));
    track.version = delta.version;
    track.delta_bytes += delta.bytes.size();
    ++track.deltas;
  }
  const auto expected = std::find_if(record.channels.begin(), record.channels.end(), [&](const auto& c) { return c.channel == name; });
  if (expected == record.channels.end() || expected->version != track.version) return fail(damaged("the value of the channel \"" + name + "\" is not the one that was stored"));
  newest_version_ = std::max(newest_version_, track.version);
  return {};
}

Status History::restore(LoadedCheckpoint&& loaded, std::vector<Value>& values, Frontier& frontier) {
  const auto place = [&](Error error) { return std::move(error).at_key("checkpoint " + loaded.record.id); };
  if (auto numbers = check_numbers(loaded.record); !numbers) return fail(place(std::move(numbers).error()));
  if (auto body = restore_body(loaded, frontier); !body) return fail(place(std::move(body).error()));
  values.assign(graph_.schema->size(), Value());
  tracks_.assign(graph_.schema->size(), Track{});
  record_.assign(graph_.schema->size(), Json::array());
  std::size_t restored = 0;
  for (std::size_t at = 0; at < loaded.blobs.size();) {
    if (loaded.blobs[at].channel == kShapeChannel) {
      shape_version_ = loaded.blobs[at].version;
      newest_version_ = std::max(newest_version_, shape_version_);
      ++at;
      ++restored;
      continue;
    }
    if (auto channel = restore_channel(loaded.record, loaded.blobs, at, values); !channel) return fail(place(std::move(channel).error()));
    ++restored;
  }
  for (std::uint32_t c = 0; c < graph_.schema->size(); ++c) {
    if (!values[c] && graph_.schema->at(c).initial && tracks_[c].version == 0) values[c] = *graph_.schema->at(c).initial;
  }
  if (restored != loaded.record.channels.size()) return fail(place(damaged("values of some channels are missing")));
  checkpoint_id_ = latest_id_ = stored_id_ = loaded.record.id;
  parent_id_ = loaded.record.parent_id;
  step_ = loaded.record.step;
  source_ = loaded.record.source;
  for (const auto& write : loaded.writes) {                 // of one task by index
    auto stored = decode_json(write.bytes);
    if (!stored) return fail(std::move(stored).error().at_key("task " + write.task_id));
    if (write.task_id == kCommandTask) {
      auto outcome = decode_outcome(graph_, *stored, notes_);
      if (outcome) {
        if (auto applied = apply_command(std::move(*outcome), values, frontier); !applied) return fail(place(std::move(applied).error()));
      } else {
        return fail(std::move(outcome).error().at_key("task " + write.task_id));
      }
      commands_ = std::max(commands_, write.index < std::numeric_limits<std::int32_t>::max() ? write.index + 1 : write.index);
      had_tasks_ = true;
      continue;
    }
    StoredTask& task = tasks_[write.task_id];
    if (write.index == kResultWrite) {
      task.result = std::move(*stored);
    } else if (write.index == kErrorWrite) {
      if (!stored->is_string()) return fail(damaged("a task's failure is no text").at_key("task " + write.task_id));
      task.error = stored->get<std::string>();
    } else if (write.index == kStartedWrite) {
      // Passed over, an at_most_once task would run a second time.
      const auto starts = stored->is_number_integer() ? stored->get<std::int64_t>() : 0;
      if (starts < 1 || starts > 1'000'000) return fail(damaged("how often a task was started is unknown").at_key("task " + write.task_id));
      task.starts = static_cast<int>(starts);
    }
    had_tasks_ = true;
  }
  auto questions = std::make_shared<Questions>();
  for (auto& interrupt : loaded.interrupts) questions->open.emplace(interrupt.id, std::move(interrupt));
  for (const auto& answer : loaded.answers) {
    const auto body = decode_json(answer.body);
    if (!body) return fail(Error(body.error()).at_key("answer to " + answer.interrupt_id));
    if (!body->is_object() || !body->contains("decision") || !(*body)["decision"].is_string() || !body->contains("value")) return fail(place(damaged("an answer of an unknown form")));
    questions->answers.emplace(answer.interrupt_id, AnsweredInterrupt{(*body)["decision"].get<std::string>(), answer.by, (*body)["value"]});
  }
  questions_ = std::move(questions);
  return {};
}

Status History::apply_command(TaskOutcome outcome, std::vector<Value>& values, Frontier& frontier) {
  const std::vector<std::uint32_t> go_to = std::move(outcome.go_to);
  std::vector<SendTask> sends = std::move(outcome.sends);
  outcome.go_to.clear();
  outcome.sends.clear();
  outcome.edges = false;
  // What the next superstep was to see stays for it: this is none.
  std::vector<Value> kept;
  for (const auto channel : graph_.ephemeral) kept.push_back(values[channel]);
  std::vector<Finished> finished{{graph_.start(), &outcome}};
  std::vector<std::uint32_t> written, named;
  for (const auto& write : outcome.writes) named.push_back(write.channel);
  Frontier unused = frontier;
  Barrier barrier(graph_);
  CORVID_TRY_STATUS(barrier.apply(finished, values, unused, written, &record_));
  for (std::size_t i = 0; i < graph_.ephemeral.size(); ++i) {
    if (std::find(named.begin(), named.end(), graph_.ephemeral[i]) == named.end()) values[graph_.ephemeral[i]] = kept[i];
  }
  changed(written);

  const auto add = [&](std::vector<std::uint32_t>& nodes, std::uint32_t node) {
    const auto by_rank = [&](std::uint32_t a, std::uint32_t b) { return graph_.rank[a] < graph_.rank[b]; };
    const auto at = std::lower_bound(nodes.begin(), nodes.end(), node, by_rank);
    if (at == nodes.end() || *at != node) nodes.insert(at, node);
  };
  for (const auto node : go_to) add(graph_.nodes[node].options.defer ? frontier.deferred : frontier.nodes, node);
  frontier.sends.insert(frontier.sends.end(), std::make_move_iterator(sends.begin()), std::make_move_iterator(sends.end()));
  if (frontier.empty()) frontier.nodes.swap(frontier.deferred);
  return {};
}

Result<PendingWrite> History::command(TaskOutcome outcome, std::vector<Value>& values, Frontier& frontier) {
  CORVID_TRY(auto bytes, encode_outcome(graph_, outcome));
  CORVID_TRY_STATUS(apply_command(std::move(outcome), values, frontier));
  return PendingWrite{checkpoint_id_, std::string(kCommandTask), commands_++, std::string(START), std::move(bytes)};
}

Commit History::commit() const {
  Commit commit;
  commit.ns = ns_;
  return commit;
}

void History::move_to(const Mark& mark) {
  for (const auto& [id, open] : questions_->open) closing_.push_back(id);
  forget_tasks();
  paused_ = mark.paused;
  last_ = mark.last;
  parent_id_ = stored_id_.empty() ? checkpoint_id_ : stored_id_;
  checkpoint_id_ = next_checkpoint_id(std::max(latest_id_, checkpoint_id_));
  step_ = mark.step;
}

Result<Commit> History::checkpoint(const std::vector<Value>& values, const Frontier& frontier, const Mark& mark) {
  move_to(mark);
  return encode(values, frontier, mark);
}

void History::advance(const Mark& mark) {
  move_to(mark);
  unstored_ = mark;
}

Result<std::optional<Commit>> History::store_latest(const std::vector<Value>& values, const Frontier& frontier) {
  if (!unstored_) return std::optional<Commit>();
  const Mark mark = *unstored_;
  CORVID_TRY(auto commit, encode(values, frontier, mark));
  return std::optional<Commit>(std::move(commit));
}

Status History::not_newest(const CheckpointRecord& newest) {
  const auto place = [&](Error error) { return std::move(error).at_key("checkpoint " + newest.id); };
  latest_id_ = newest.id;
  if (auto numbers = check_numbers(newest); !numbers) return fail(place(std::move(numbers).error()));
  const auto body = decode_json(newest.body);
  if (!body) return fail(place(body.error()));
  const auto version = version_in(*body);
  if (!version) return fail(place(version.error()));
  newest_version_ = std::max(newest_version_, *version);
  return {};
}

// Keys in order, as restore_body() reads them: {"deferred": [node], "joins": {join: [place]}, "last": [node], "metadata": {}, "next": [node],
// "paused": bool, "sends": [], "signature": hash, "v": 1, "version": n}.
Result<Bytes> History::encode_body(const Frontier& frontier, const Mark& mark, std::uint64_t version) const {
  CborWriter out;
  const auto node_names = [&](const std::vector<std::uint32_t>& nodes) {
    out.list(nodes.size());
    for (const auto node : nodes) out.text(graph_.nodes[node].name);
  };
  const auto arrived = [](const std::vector<char>& seen) { return static_cast<std::size_t>(std::count_if(seen.begin(), seen.end(), [](char each) { return each != 0; })); };
  out.map(10);
  out.text("deferred");
  node_names(frontier.deferred);
  std::map<std::string_view, const std::vector<char>*> joins;
  for (std::size_t j = 0; j < frontier.seen.size(); ++j) {
    if (arrived(frontier.seen[j]) > 0) joins[graph_.joins[j].name] = &frontier.seen[j];
  }
  out.text("joins").map(joins.size());
  for (const auto& [name, seen] : joins) {
    out.text(name).list(arrived(*seen));
    for (std::size_t place = 0; place < seen->size(); ++place) {
      if ((*seen)[place]) out.number(std::uint64_t{place});
    }
  }
  out.text("last").texts(mark.last).text("metadata").map(mark.caller.empty() ? 1 : 2);
  if (!mark.caller.empty()) out.text("caller").text(mark.caller);
  out.text("run_id").text(mark.run_id).text("next");
  node_names(frontier.nodes);
  out.text("paused").boolean(mark.paused).text("sends");
  CORVID_TRY_STATUS(write_send_tasks(out, graph_, frontier.sends));
  out.text("signature").text(graph_.signature).text("v").number(std::uint64_t{1}).text("version").number(version);
  return std::move(out).take();
}

Result<Commit> History::encode(const std::vector<Value>& values, const Frontier& frontier, const Mark& mark) {
  Commit commit;
  commit.ns = ns_;
  if (first_) commit.expected_latest = latest_id_;
  CheckpointRecord record;
  record.id = checkpoint_id_;
  record.parent_id = parent_id_;
  record.step = mark.step;
  record.source = mark.source;
  record.created_ms = unix_ms();

  const std::uint64_t version = newest_version_ + 1;
  std::vector<std::uint32_t> stored;
  for (std::uint32_t c = 0; c < tracks_.size(); ++c) {
    Track& track = tracks_[c];
    const auto& spec = graph_.schema->at(c);
    if (spec.life == ChannelLife::untracked || !values[c]) continue;
    if (track.dirty || track.version == 0) {
      ChannelBlob blob{spec.name, version, 0, {}};
      bool whole = true;
      if (spec.reducer.delta && track.version != 0 && record_[c].is_array()) {
        blob.bytes = encode_json(record_[c]);
        // Linear growth: a whole value is only written again once the deltas outweigh the last one.
        whole = track.deltas + 1 >= graph_.options.snapshot_every && track.delta_bytes + blob.bytes.size() >= track.full_bytes;
      }
      if (whole) {
        auto bytes = encode_value(values[c]);
        if (!bytes) return fail(std::move(bytes).error().at_key(spec.name));
        blob.bytes = std::move(*bytes);
        track.full_bytes = blob.bytes.size();
        track.delta_bytes = 0;
        track.deltas = 0;
      } else {
        blob.base_version = track.version;
        track.delta_bytes += blob.bytes.size();
        ++track.deltas;
      }
      track.version = version;
      track.dirty = false;
      record_[c] = Json::array();
      commit.blobs.push_back(std::move(blob));
    }
    record.channels.push_back({spec.name, track.version});
  }
  if (shape_version_ == 0 || shape_signature_ != graph_.signature) {
    shape_version_ = version;
    shape_signature_ = graph_.signature;
    commit.blobs.push_back({kShapeChannel, version, 0, encode_json(graph_.shape)});
  }
  record.channels.push_back({kShapeChannel, shape_version_});
  newest_version_ = version;

  CORVID_TRY(record.body, encode_body(frontier, mark, version));
  if (had_tasks_) commit.drop_writes_of = stored_id_;
  commit.close_interrupts.swap(closing_);
  had_tasks_ = false;
  first_ = false;
  unstored_.reset();
  latest_id_ = stored_id_ = record.id;
  commit.checkpoint = std::move(record);
  return commit;
}

Result<PendingWrite> History::result_write(TaskRun& task) const {
  CORVID_TRY(auto outcome, encode_outcome(graph_, task.outcome));
  return PendingWrite{checkpoint_id_, task.task_id(), kResultWrite, task.node(), std::move(outcome)};
}

PendingWrite History::error_write(TaskRun& task) const {
  return PendingWrite{checkpoint_id_, task.task_id(), kErrorWrite, task.node(), encode_json(Json(task.error->describe()))};
}

PendingWrite History::started_write(TaskRun& task) const {
  return PendingWrite{checkpoint_id_, task.task_id(), kStartedWrite, task.node(), encode_json(Json(task.starts))};
}

Result<TaskOutcome> History::read_outcome(const Json& stored) { return decode_outcome(graph_, stored, notes_); }

}  // namespace corvid
