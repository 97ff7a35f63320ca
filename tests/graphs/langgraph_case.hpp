// One case of golden/langgraph_graphs.json, run by Corvid. The file's "format" says what its parts mean.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "corvid/graphs/graph.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/runtime/runtime.hpp"

namespace corvid::test {

enum class NodeKind { in_place, coroutine, pool };

class LangGraphCase {
 public:
  /// `saver` null: without checkpointer. In place and as coroutines, tasks run one after the other, in task order.
  LangGraphCase(Runtime& runtime, const Json& given, NodeKind kind, std::shared_ptr<Checkpointer> saver)
      : runtime_(runtime), case_(given), kind_(kind), saver_(std::move(saver)) {}

  /// What happened, in the form of "recorded". Without `streamed` there are no events, and nodes in place take their short path.
  /// Errors: what compile() refuses.
  Result<Json> run(bool streamed);
  /// Of the first action that failed.
  std::optional<ErrorCode> first_error() const { return first_error_; }

 private:
  Result<std::shared_ptr<const CompiledGraph>> build(const Json& graph, const std::string& path, CompileOptions options);
  void add_node(GraphBuilder& builder, const Json& graph, const Json& node, const std::string& path);
  Result<NodeResult> body(NodeContext& context, const Json& ops, const std::string& path, const Json& inputs, const Error* error);
  Json act(const Json& action, bool streamed);
  Result<Input> input_of(const Json& action);
  Json event_json(const StreamEvent& event) const;
  void look(Json& out, const std::optional<RunResult>& result);
  int count(const std::string& path);

  Runtime& runtime_;
  const Json& case_;
  NodeKind kind_;
  std::shared_ptr<Checkpointer> saver_;
  std::shared_ptr<const CompiledGraph> graph_;
  std::vector<std::string> seen_;  // checkpoints of earlier actions
  std::mutex mutex_;               // of counts_
  std::map<std::string, int> counts_;
  std::optional<ErrorCode> first_error_;
};

/// "recorded", as Corvid counts: one checkpoint for an input, with the number of the second and the source "input"; "$overwrite"
/// in events is {"__overwrite__": value}.
Json as_corvid_records(const Json& given);

/// A case with messages as Corvid writes them: "role" in place of "type".
Json with_roles(Json given);

}  // namespace corvid::test
