// A graph file as read: what it says, and where it says it. Pointers lead into the source's tree.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corvid/graphs/graph_file.hpp"
#include "graphs/file/format.hpp"
#include "graphs/file/yaml_tree.hpp"

namespace corvid::detail {

struct GraphDefinition;

/// A name, and where in the file it stands.
struct NamedPlace {
  std::string name;
  const FileNode* at = nullptr;
  std::size_t offset = 0;  // within the text of `at`
};

struct ChannelDefinition {
  std::string name, type, reducer = "overwrite", life = "kept", description;
  std::optional<Json> initial;
  const FileNode* key = nullptr;
  const FileNode* at = nullptr;
};

struct RetryDefinition {
  RetryPolicy policy;
  std::vector<std::string> on;
};

struct NodeDefinition {
  std::string name, type, graph, description;
  const FileNode* key = nullptr;
  const FileNode* at = nullptr;
  Json with = Json::object();
  std::optional<SubgraphCheckpoints> checkpoints;
  std::optional<SideEffect> effect;
  std::optional<RetryDefinition> retry;
  std::optional<std::chrono::milliseconds> timeout, idle_timeout;
  bool cached = false;
  std::chrono::milliseconds cache_ttl{0};
  std::string cache_key;
  bool defer = false;
  std::optional<Json> error_set;
  std::vector<NamedPlace> error_goto, destinations, writes;
  std::shared_ptr<const GraphDefinition> file;  // where `graph` is a file
};

struct SendDefinition {
  NamedPlace to;
  std::string over, as = "item", index;
  Json with = Json::object();
  std::optional<std::chrono::milliseconds> timeout;
  const FileNode* at = nullptr;
};

struct ArmDefinition {
  std::string when;  // empty: always
  std::vector<NamedPlace> to;
  std::optional<SendDefinition> send;
  const FileNode* at = nullptr;
};

struct EdgeDefinition {
  enum Kind : std::uint8_t { plain, join, conditional, routed } kind = plain;
  std::vector<NamedPlace> from, to;  // to: of plain edges and joins; what a route may name
  std::vector<ArmDefinition> arms;
  std::optional<ArmDefinition> otherwise;
  std::string route;
  const FileNode* at = nullptr;
};

struct GraphDefinition {
  std::shared_ptr<const SourceFile> source;
  std::filesystem::path folder;
  const FileNode* at = nullptr;
  std::string name, description;
  std::vector<ChannelDefinition> channels;
  std::vector<NodeDefinition> nodes;
  std::vector<EdgeDefinition> edges;
  std::vector<std::pair<std::string, std::shared_ptr<const GraphDefinition>>> graphs;
  std::vector<NamedPlace> interrupt_before, interrupt_after;
  std::optional<std::int64_t> recursion_limit, max_concurrency, snapshot_every;
  std::optional<Durability> durability;
  const GraphDefinition* outer = nullptr;  // whose `graphs` it may name too

  const NodeDefinition* find_node(std::string_view wanted) const noexcept;
};

/// Collects what is wrong, by place.
class Problems {
 public:
  void add(const SourceFile& source, const FileNode* at, std::string message);
  void add_in(const SourceFile& source, const FileNode* at, std::size_t text_offset, std::string message);
  /// An error whose key is a JSON pointer below `at`, and whose offset, if any, counts in the text there.
  void add(const SourceFile& source, const FileNode& at, const Error& error);
  bool empty() const noexcept { return all_.empty(); }
  std::size_t size() const noexcept { return all_.size(); }
  std::vector<FileProblem> take();  // sorted, each once

  static constexpr std::size_t kMost = 200;

 private:
  std::vector<FileProblem> all_;
};

/// Files read so far, so that one that includes itself is found, and their number is bounded.
struct ReadContext {
  std::vector<std::filesystem::path> open;
  std::size_t files = 0;
  static constexpr std::size_t kMostFiles = 64;
  static constexpr std::size_t kMostOpen = 8;
};

std::shared_ptr<const GraphDefinition> read_graph(std::shared_ptr<const SourceFile> source, const FileNode& node,
                                                  const std::filesystem::path& folder, const GraphDefinition* outer, ReadContext& context,
                                                  Problems& problems);
Result<std::string> read_text_file(const std::filesystem::path& path);
Json write_graph(const GraphDefinition& graph);

/// Reads objects by their tables: unknown keys, missing ones and values that do not fit are problems.
class ObjectReader {
 public:
  ObjectReader(const SourceFile& source, Problems& problems) : source_(source), problems_(problems) {}
  /// False where it is no object. Afterwards get() gives the values that fit.
  bool open(const FileNode& node, FormatObject object);
  const FileNode* get(std::string_view key) const noexcept;
  std::string text(std::string_view key) const;
  bool flag(std::string_view key) const;
  std::vector<NamedPlace> names(std::string_view key) const;
  std::optional<std::chrono::milliseconds> duration(std::string_view key);

  const SourceFile& source() const noexcept { return source_; }
  Problems& problems() noexcept { return problems_; }

 private:
  const SourceFile& source_;
  Problems& problems_;
  std::vector<std::pair<std::string_view, const FileNode*>> values_;
};

void read_edges(const SourceFile& source, const FileNode& list, GraphDefinition& graph, Problems& problems);
std::string checked_name(std::string_view name);  // what is wrong with it as the name of a node or key; empty: nothing

}  // namespace corvid::detail
