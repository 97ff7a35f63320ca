// From the tree to the definition of a graph. Everything that is wrong is noted, and reading goes on.
#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "graphs/define/duration.hpp"
#include "graphs/file/definition.hpp"
#include "graphs/file/suggest.hpp"

namespace corvid::detail {
namespace {

std::optional<SideEffect> effect_of(std::string_view name) {
  if (name == "pure") return SideEffect::pure;
  if (name == "idempotent") return SideEffect::idempotent;
  if (name == "at_most_once") return SideEffect::at_most_once;
  return std::nullopt;
}

std::optional<std::int64_t> number_at(const FileNode* at) { return at ? std::optional(at->value.get<std::int64_t>()) : std::nullopt; }

class GraphReader {
 public:
  GraphReader(GraphDefinition& graph, ReadContext& context, Problems& problems)
      : graph_(graph), source_(*graph.source), context_(context), problems_(problems) {}

  void read(const FileNode& node) {
    ObjectReader object(source_, problems_);
    if (!object.open(node, FormatObject::graph)) return;
    graph_.at = &node;
    graph_.name = object.text("name");
    graph_.description = object.text("description");
    graph_.recursion_limit = number_at(object.get("recursion_limit"));
    graph_.max_concurrency = number_at(object.get("max_concurrency"));
    graph_.snapshot_every = number_at(object.get("snapshot_every"));
    if (const auto durability = object.text("durability"); !durability.empty())
      graph_.durability = durability == "async" ? Durability::async : durability == "exit" ? Durability::exit : Durability::sync;
    if (const auto* at = object.get("state"))
      each_member(*at, "state", [&](const FileNode& key, const FileNode& value) { channel(key, value); });
    if (const auto* at = object.get("graphs"))
      each_member(*at, "graphs", [&](const FileNode& key, const FileNode& value) { inner_graph(key, value); });
    if (const auto* at = object.get("nodes")) {
      each_member(*at, "nodes", [&](const FileNode& key, const FileNode& value) { this->node(key, value); });
      if (at->kind == FileNode::map && at->members.empty()) problems_.add(source_, at, "a graph needs at least one node");
    }
    if (const auto* at = object.get("edges")) read_edges(source_, *at, graph_, problems_);
    graph_.interrupt_before = stops(object, "interrupt_before");
    graph_.interrupt_after = stops(object, "interrupt_after");
  }

 private:
  template <class F>
  void each_member(const FileNode& map, const char* what, F&& visit) {
    if (map.kind != FileNode::map) {
      problems_.add(source_, &map, std::string(what) + " must be an object of names");
      return;
    }
    for (const auto& [key, value] : map.members) {
      if (auto wrong = checked_name(key.text); !wrong.empty()) {
        problems_.add(source_, &key, std::move(wrong));
        continue;
      }
      visit(key, value);
    }
  }

  void channel(const FileNode& key, const FileNode& value) {
    ChannelDefinition made;
    made.name = key.text;
    made.key = &key;
    made.at = &value;
    const FileNode* type = &value;
    if (value.kind == FileNode::scalar) {  // draft: string
      made.type = value.text;
      if (const auto status = format_value_schema(FormatObject::channel, "type")->check(value.value); !status) {
        const auto near = nearest(value.text, {"integer", "number", "boolean", "string", "list", "object", "json"});
        problems_.add(source_, &value, "the type " + status.error().message() + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
        made.type = "json";
      }
    } else {
      ObjectReader object(source_, problems_);
      if (!object.open(value, FormatObject::channel)) return;
      type = object.get("type");
      made.type = type ? type->text : "json";
      if (auto reducer = object.text("reducer"); !reducer.empty()) made.reducer = std::move(reducer);
      if (auto life = object.text("life"); !life.empty()) made.life = std::move(life);
      made.description = object.text("description");
      if (const auto* initial = object.get("default")) {
        made.initial = initial->to_json();
        if (auto spec = json_channel(made.name, made.type, {}); spec) {
          if (const auto converted = spec->type->from_json(*made.initial); !converted)
            problems_.add(source_, initial, "default: " + converted.error().message());
          const bool lists = made.reducer == "append" || made.reducer == "add_messages";
          if ((lists || made.type == "list") && !made.initial->is_array()) problems_.add(source_, initial, "default must be a list here");
        }
      }
      const bool lists = made.reducer == "append" || made.reducer == "add_messages";
      if (lists && made.type != "list" && made.type != "json")
        problems_.add(source_, object.get("reducer"),
                      made.reducer + " joins lists; the type is " + made.type + ", which must be list or json");
    }
    graph_.channels.push_back(std::move(made));
  }

  void inner_graph(const FileNode& key, const FileNode& value) {
    graph_.graphs.emplace_back(key.text, read_graph(graph_.source, value, graph_.folder, &graph_, context_, problems_));
  }

  void node(const FileNode& key, const FileNode& value) {
    ObjectReader object(source_, problems_);
    NodeDefinition made;
    made.name = key.text;
    made.key = &key;
    made.at = &value;
    if (!object.open(value, FormatObject::node)) {
      graph_.nodes.push_back(std::move(made));  // edges may still name it
      return;
    }
    made.type = object.text("type");
    made.graph = object.text("graph");
    made.description = object.text("description");
    if (const auto* with = object.get("with")) made.with = with->to_json();
    made.defer = object.flag("defer");
    made.effect = effect_of(object.text("effect"));
    made.timeout = object.duration("timeout");
    made.idle_timeout = object.duration("idle_timeout");
    made.destinations = object.names("destinations");
    made.writes = object.names("writes");
    if (const auto* at = object.get("retry")) retry(*at, made);
    if (const auto* at = object.get("cache")) cache(*at, made);
    if (const auto* at = object.get("on_error")) on_error(*at, made);
    if (const auto text = object.text("checkpoints"); !text.empty()) {
      made.checkpoints = text == "own"    ? SubgraphCheckpoints::own
                         : text == "none" ? SubgraphCheckpoints::none
                                          : SubgraphCheckpoints::inherited;
    }
    const bool has_type = value.find("type") != nullptr, has_graph = value.find("graph") != nullptr;
    if (has_type == has_graph)
      problems_.add(source_, &key, has_type ? "a node has a type or a graph, not both" : "a node needs a type, or a graph to run");
    if (has_graph) {
      for (const auto* only_nodes : {"with", "effect", "retry", "timeout", "idle_timeout", "cache", "on_error", "writes"}) {
        if (const auto* at = value.find(only_nodes))
          problems_.add(source_, at, std::string(only_nodes) + " does not apply to a graph; give it to the graph's own nodes");
      }
      if (!made.graph.empty()) find_graph(made, *object.get("graph"));
    } else if (const auto* at = value.find("checkpoints")) {
      problems_.add(source_, at, "checkpoints applies to a graph only");
    }
    graph_.nodes.push_back(std::move(made));
  }

  void retry(const FileNode& at, NodeDefinition& node) {
    RetryDefinition made;
    ObjectReader object(source_, problems_);
    if (at.kind == FileNode::scalar) {
      if (const auto status = format_value_schema(FormatObject::retry, "attempts")->check(at.value); !status)
        return problems_.add(source_, &at, "retry " + status.error().message());
      made.policy.max_attempts = at.value.get<int>();
    } else {
      if (!object.open(at, FormatObject::retry)) return;
      if (const auto* value = object.get("attempts")) made.policy.max_attempts = value->value.get<int>();
      if (const auto wait = object.duration("initial")) made.policy.initial_interval = *wait;
      if (const auto wait = object.duration("max")) made.policy.max_interval = *wait;
      if (const auto* value = object.get("factor")) made.policy.backoff_factor = value->value.get<double>();
      if (const auto* value = object.get("jitter")) made.policy.jitter = value->value.get<bool>();
      for (const auto& code : object.names("on")) made.on.push_back(code.name);
    }
    node.retry = std::move(made);
  }

  void cache(const FileNode& at, NodeDefinition& node) {
    ObjectReader object(source_, problems_);
    node.cached = true;
    if (at.kind == FileNode::map) {
      if (!object.open(at, FormatObject::cache)) return;
      if (const auto ttl = object.duration("ttl")) node.cache_ttl = *ttl;
      node.cache_key = object.text("key");
    } else if (at.value.is_boolean()) {
      node.cached = at.value.get<bool>();
    } else if (auto ttl = read_duration(at.value)) {
      node.cache_ttl = *ttl;
    } else {
      problems_.add(source_, &at, "cache is true, an object, or how long a result holds: " + ttl.error().message());
    }
  }

  void on_error(const FileNode& at, NodeDefinition& node) {
    ObjectReader object(source_, problems_);
    if (!object.open(at, FormatObject::on_error)) return;
    if (const auto* set = object.get("set")) node.error_set = set->to_json();
    node.error_goto = object.names("goto");
    if (at.members.empty()) problems_.add(source_, &at, "on_error needs set or goto");
  }

  std::vector<NamedPlace> stops(const ObjectReader& object, std::string_view key) {
    auto names = object.names(key);
    for (const auto& each : names) {
      if (each.name == "*" || graph_.find_node(each.name)) continue;
      std::vector<std::string> known;
      for (const auto& node : graph_.nodes) known.push_back(node.name);
      problems_.add(source_, each.at, "there is no node \"" + each.name + "\"" + suggestion(each.name, known));
    }
    return names;
  }

  // A name of `graphs` is looked up when the graph is built, when all are read; a file is read here.
  void find_graph(NodeDefinition& node, const FileNode& at) {
    const std::filesystem::path path(node.graph);
    const auto kind = path.extension();
    if (kind != ".yaml" && kind != ".yml" && kind != ".json") return;
    if (graph_.folder.empty()) return problems_.add(source_, &at, "a graph that came as text cannot include files");
    std::error_code status;
    const auto folder = std::filesystem::weakly_canonical(graph_.folder, status);
    const auto file = std::filesystem::weakly_canonical(folder / path, status);
    const auto inside = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first == folder.end();
    if (status || path.is_absolute() || !inside)
      return problems_.add(source_, &at, "\"" + node.graph + "\" is not beneath the file's folder");
    if (std::find(context_.open.begin(), context_.open.end(), file) != context_.open.end())
      return problems_.add(source_, &at, "\"" + node.graph + "\" includes itself");
    if (context_.open.size() >= ReadContext::kMostOpen || ++context_.files > ReadContext::kMostFiles)
      return problems_.add(source_, &at, "too many files are included");
    auto text = read_text_file(file);
    if (!text) return problems_.add(source_, &at, "cannot read \"" + node.graph + "\": " + text.error().message());
    const auto shown = (std::filesystem::path(source_.name()).parent_path() / path).lexically_normal().string();
    auto source = std::make_shared<SourceFile>(shown, std::move(*text));
    if (auto parsed = source->parse(); !parsed) {
      FileNode place;
      place.offset = static_cast<std::size_t>(parsed.error().offset().value_or(0));
      return problems_.add(*source, &place, parsed.error().message());
    }
    context_.open.push_back(file);
    const FileNode& root = source->root();
    node.file = read_graph(std::move(source), root, file.parent_path(), nullptr, context_, problems_);
    context_.open.pop_back();
  }

  GraphDefinition& graph_;
  const SourceFile& source_;
  ReadContext& context_;
  Problems& problems_;
};

}  // namespace

std::shared_ptr<const GraphDefinition> read_graph(std::shared_ptr<const SourceFile> source, const FileNode& node,
                                                  const std::filesystem::path& folder, const GraphDefinition* outer, ReadContext& context,
                                                  Problems& problems) {
  auto graph = std::make_shared<GraphDefinition>();
  graph->source = std::move(source);
  graph->folder = folder;
  graph->at = &node;
  graph->outer = outer;
  GraphReader(*graph, context, problems).read(node);
  return graph;
}

Result<std::string> read_text_file(const std::filesystem::path& path) {
  std::error_code status;
  const auto size = std::filesystem::file_size(path, status);
  if (status) {
    const bool missing = status == std::errc::no_such_file_or_directory;
    return fail(Error(missing ? ErrorCode::not_found : ErrorCode::io, "cannot read the file: " + status.message()).at_file(path.string()));
  }
  if (size > kMaxFileBytes)
    return fail(
        Error::limit_exceeded("the file has " + std::to_string(size) + " bytes; at most " + std::to_string(kMaxFileBytes) + " are read")
            .at_file(path.string()));
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  if (in) bytes << in.rdbuf();
  if (!in || (size > 0 && !bytes)) return fail(Error::io("the file could not be read").at_file(path.string()));
  return std::move(bytes).str();
}

}  // namespace corvid::detail
