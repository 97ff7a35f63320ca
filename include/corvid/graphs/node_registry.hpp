// NodeRegistry: the node types that graph files may name.
//
//   NodeRegistry registry = NodeRegistry::library();          // set, replace, map, approval, interrupt, fail
//   registry.add({"greet", "Says hello.", *parse_json(R"({"type":"object","properties":{"to":{"type":"string"}},"required":["to"]})"),
//                 [](const Json& with, const NodeBuildContext& context) -> Result<NodeSpec> {
//                   CORVID_TRY(auto to, TextTemplate::parse(with["to"].get<std::string>(), context.names));
//                   NodeFunction run = [to](NodeContext& c) -> Result<NodeResult> { … };
//                   return NodeSpec(std::move(run));
//                 }});
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "corvid/base/json_schema.hpp"
#include "corvid/graphs/expression.hpp"
#include "corvid/graphs/node.hpp"

namespace corvid {

/// What a factory may know of the graph around its node.
struct NodeBuildContext {
  std::string node;                      ///< its name
  std::shared_ptr<const Schema> schema;  ///< the graph's channels
  std::vector<std::string> nodes;        ///< names of all nodes
  ExpressionNames names;                 ///< for the node's expressions: hand it to parse() and compile()
  std::filesystem::path folder;          ///< of the graph file; empty where it came as text

  /// bad_input at the argument (JSON pointer) where there is no such channel or node; END is one. With the nearest that there is.
  Status check_channel(std::string_view channel, std::string pointer) const;
  Status check_node(std::string_view name, std::string pointer) const;
};

/// A node as a graph is built from. The file's own options (effect, retry, timeout, …) are laid over these.
struct NodeSpec {
  std::variant<NodeFunction, NodeCoroutine> run;
  NodeOptions options;  ///< destinations and writes: what the file need not repeat

  NodeSpec(NodeFunction function, NodeOptions o = {}) : run(std::move(function)), options(std::move(o)) {}     // NOLINT: implicit by design
  NodeSpec(NodeCoroutine coroutine, NodeOptions o = {}) : run(std::move(coroutine)), options(std::move(o)) {}  // NOLINT
};

/// Makes a node of checked arguments. Called by validate() too, so it must do nothing but check and compile. Errors: at_key with the JSON
/// pointer of the argument, and for texts at_offset with the byte, from which the file's line and column are found.
using NodeFactory = std::function<Result<NodeSpec>(const Json& arguments, const NodeBuildContext& context)>;

struct NodeType {
  std::string name;
  std::string description;
  Json arguments;  ///< JSON Schema of `with`; an object
  NodeFactory make;
  /// Names that the node's Sends put into the state of the nodes they start; null: none.
  std::function<std::vector<std::string>(const Json& arguments)> binds;
};

/// Node types by name. Not thread-safe while it is changed.
class NodeRegistry {
 public:
  /// Those of the library: set, replace, map, approval, interrupt, fail.
  static NodeRegistry library();

  /// Errors: conflict (the name is taken), invalid_argument (no name or factory), bad_input and unsupported (of the schema).
  Status add(NodeType type);
  const NodeType* find(std::string_view name) const noexcept;  ///< null where there is none
  const JsonSchema* arguments_of(std::string_view name) const noexcept;
  std::vector<std::string> names() const;

 private:
  struct Entry {
    NodeType type;
    JsonSchema arguments;
  };
  std::vector<std::shared_ptr<const Entry>> types_;
};

}  // namespace corvid
