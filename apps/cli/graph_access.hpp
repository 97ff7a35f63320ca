// --workspace, --postgres, --encryption-key: where graphs' threads are kept; and the node types that the program adds.
#pragma once

#include <memory>
#include <string>

#include "apps/cli/command.hpp"
#include "apps/cli/models.hpp"
#include "corvid/base/json.hpp"
#include "corvid/graphs/node_registry.hpp"
#include "corvid/graphs/run.hpp"
#include "corvid/graphs/savers.hpp"

namespace corvid::cli {

class Session;

struct GraphStoreOptions {
  std::string workspace = "corvid.db", postgres, encryption_key;
  void declare(OptionSet& set);
  /// The options that another command needs to find the same threads, with a blank before each; no password is in them.
  std::string flags() const;
  /// Errors: not_found where the workspace does not exist and `create` is false; as the stores'.
  Result<std::shared_ptr<Checkpointer>> open(bool create) const;
  /// With the queue of runs beside it.
  Result<SqliteStore> open_with_queue(bool create) const;
};

/// The library's node types, and exec, prompt, llm and retrieve. Models and collections are loaded when a node first runs.
/// `session` must outlive the graphs that are built with it.
Result<NodeRegistry> graph_nodes(Session& session, const ChatModelOptions& model, const GraphStoreOptions& where);

/// {"id","node","value","response_schema"} of each.
Json interrupts_json(const std::vector<Interrupt>& interrupts);
/// 2026-11-25T12:00:00Z; null for 0.
Json time_json(std::int64_t unix_ms);

}  // namespace corvid::cli
