#include "corvid/graphs/threads.hpp"

#include <algorithm>

#include "graphs/persist/codec.hpp"
#include "graphs/run/history.hpp"
#include "graphs/run/thread_state.hpp"

namespace corvid {
namespace {

Error damaged_shape() { return Error::bad_input("the checkpoint's description of its graph is damaged"); }

// As much of a graph as its stored shape tells: channels, and the names of nodes and joins. It cannot run.
Result<std::unique_ptr<CompiledGraph::Impl>> graph_of(const Json& shape, const std::string& signature) {
  auto graph = std::make_unique<CompiledGraph::Impl>();
  for (const char* part : {"channels", "nodes"}) {
    if (!shape.is_object() || !shape.contains(part) || !shape[part].is_object()) return fail(damaged_shape());
  }
  if (!shape.contains("joins") || !shape["joins"].is_array()) return fail(damaged_shape());
  std::vector<ChannelSpec> channels;
  for (const auto& [name, spec] : shape["channels"].items()) {
    if (!spec.is_object() || !spec.contains("type") || !spec["type"].is_string() || !spec.contains("reducer") || !spec["reducer"].is_string() ||
        !spec.contains("delta") || !spec["delta"].is_boolean()) {
      return fail(damaged_shape());
    }
    const auto type = spec["type"].get<std::string>();
    if (type == "model_state") continue;
    Reducer reducer;
    if (auto known = json_reducer(spec["reducer"].get<std::string>())) {
      reducer = std::move(*known);
    } else if (spec["delta"].get<bool>()) {
      return fail(Error::unsupported("the channel \"" + name + "\" is kept as deltas of the reducer \"" + spec["reducer"].get<std::string>() + "\", which only its program knows"));
    }
    CORVID_TRY(auto channel, json_channel(name, "json", std::move(reducer)));
    channels.push_back(std::move(channel));
  }
  graph->schema = std::make_shared<const Schema>(std::move(channels));
  for (const auto& [name, spec] : shape["nodes"].items()) {
    graph->index.emplace(name, static_cast<std::uint32_t>(graph->nodes.size()));
    graph->rank.push_back(static_cast<std::uint32_t>(graph->nodes.size()));   // a JSON object's names are sorted
    graph->nodes.emplace_back().name = name;
  }
  graph->outgoing.resize(graph->nodes.size() + 1);
  for (const auto& each : shape["joins"]) {
    if (!each.is_string()) return fail(damaged_shape());
    Join join;
    join.name = each.get<std::string>();
    const auto from = join.name.substr(0, join.name.find('>'));
    join.from.resize(static_cast<std::size_t>(std::count(from.begin(), from.end(), '+')) + 1);
    graph->joins.push_back(std::move(join));
  }
  graph->shape = shape;
  graph->signature = signature;
  return graph;
}

Result<std::unique_ptr<CompiledGraph::Impl>> graph_under(const LoadedCheckpoint& loaded) {
  Json shape;
  for (const auto& blob : loaded.blobs) {
    if (blob.channel != kShapeChannel) continue;
    CORVID_TRY(shape, decode_json(blob.bytes));
  }
  CORVID_TRY(const Json body, decode_json(loaded.record.body));
  if (!body.is_object() || !body.contains("signature") || !body["signature"].is_string()) return fail(Error::bad_input("the checkpoint is damaged: no signature"));
  return graph_of(shape, body["signature"].get<std::string>());
}

Result<StateSnapshot> read(Checkpointer& saver, LoadedCheckpoint loaded, const std::string& thread_id, bool newest) {
  auto made = graph_under(loaded);
  if (!made) return fail(std::move(made).error().at_key("checkpoint " + loaded.record.id));
  const auto graph = std::move(*made);
  const auto unknown = [&](const std::string& channel) { return channel != kShapeChannel && graph->schema->find(channel) == Schema::npos; };
  std::erase_if(loaded.blobs, [&](const ChannelBlob& blob) { return unknown(blob.channel); });
  std::erase_if(loaded.record.channels, [&](const ChannelVersion& channel) { return unknown(channel.channel); });
  return read_state(*graph, saver, std::move(loaded), thread_id, newest);
}

Result<LoadedCheckpoint> find(Checkpointer& saver, std::string_view thread_id, std::string_view checkpoint_id) {
  CORVID_TRY(auto loaded, saver.get(thread_id, {}, checkpoint_id));
  if (loaded) return std::move(*loaded);
  const std::string thread = "the thread \"" + std::string(thread_id) + "\"";
  if (checkpoint_id.empty()) return fail(Error::not_found("there is no " + thread.substr(4)));
  return fail(Error::not_found(thread + " has no such checkpoint").at_key(std::string(checkpoint_id)));
}

}  // namespace

Result<StateSnapshot> read_thread(Checkpointer& saver, std::string_view thread_id, std::string_view checkpoint_id) {
  CORVID_TRY(auto loaded, find(saver, thread_id, checkpoint_id));
  return read(saver, std::move(loaded), std::string(thread_id), checkpoint_id.empty());
}

Result<std::vector<StateSnapshot>> read_thread_history(Checkpointer& saver, std::string_view thread_id, const ListOptions& options) {
  CORVID_TRY(const auto records, saver.list(thread_id, {}, options));
  if (records.empty() && options.before.empty()) return fail(Error::not_found("there is no thread \"" + std::string(thread_id) + "\""));
  std::vector<StateSnapshot> history;
  for (const auto& record : records) {
    CORVID_TRY(auto loaded, find(saver, thread_id, record.id));
    CORVID_TRY(auto state, read(saver, std::move(loaded), std::string(thread_id), false));
    history.push_back(std::move(state));
  }
  return history;
}

Result<std::string> fork_thread(Checkpointer& saver, std::string_view from, std::string_view checkpoint_id, std::string_view to) {
  if (to.empty()) return fail(Error::invalid_argument("a fork needs a name for its thread"));
  CORVID_TRY(auto loaded, find(saver, from, checkpoint_id));
  Commit commit;
  commit.expected_latest = "";
  commit.checkpoint = std::move(loaded.record);
  commit.checkpoint->id = next_checkpoint_id({});
  commit.checkpoint->parent_id.clear();
  commit.checkpoint->source = "fork";
  commit.checkpoint->created_ms = unix_ms();
  commit.blobs = std::move(loaded.blobs);
  const std::string id = commit.checkpoint->id;
  for (auto& write : loaded.writes) {                 // what tasks have done is not the fork's, what the thread was told is
    if (write.task_id != kCommandTask) continue;
    write.checkpoint_id = id;
    commit.writes.push_back(std::move(write));
  }
  if (auto stored = commit_outside_run(saver, std::string(to), std::move(commit)); !stored) {
    if (stored.error().code() != ErrorCode::conflict) return fail(std::move(stored).error());
    return fail(Error::conflict("there is a thread \"" + std::string(to) + "\" already; choose another name or delete it").caused_by(std::move(stored).error()));
  }
  return id;
}

}  // namespace corvid
