// GraphFile: a graph written in YAML or JSON. docs/graph-format.md describes the format.
//
//   NodeRegistry registry = NodeRegistry::library();
//   CORVID_TRY(auto file, GraphFile::load("review.yaml"));
//   for (const auto& problem : file.validate(registry)) fmt::print("{}:{}:{}: {}\n", problem.file, problem.line, problem.column,
//   problem.message); CORVID_TRY(auto graph, file.build(registry)); CORVID_TRY(auto result, graph->invoke_blocking(runtime, Json{{"draft",
//   "…"}}, file.run_config()));
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "corvid/graphs/graph.hpp"
#include "corvid/graphs/node_registry.hpp"

namespace corvid {

/// One thing that is wrong with a graph file.
struct FileProblem {
  std::string file;                  ///< as it was named to load(), or by the graph that includes it
  std::size_t line = 1, column = 1;  ///< from 1; columns count characters
  std::string message;
};

/// A graph file and those it includes. Immutable; copies share; thread-safe.
class GraphFile {
 public:
  /// A file that can be read but is wrong is loaded; validate() says what is wrong. Errors: not_found, io, limit_exceeded (4 MiB).
  static Result<GraphFile> load(const std::filesystem::path& path);
  /// `folder` is where files that it includes are looked for; empty: none can be.
  static GraphFile parse(std::string text, std::string name = "graph.yaml", const std::filesystem::path& folder = {});

  /// All that is wrong, by place. Empty: build() succeeds.
  std::vector<FileProblem> validate(const NodeRegistry& registry) const;
  /// The same without what only the graph as a whole shows (unreachable nodes, parallel writes).
  std::vector<FileProblem> validate_parts(const NodeRegistry& registry) const;
  /// Errors: bad_input with every problem, a line each ("FILE:LINE:COLUMN: MESSAGE"). The options' name and interrupts are laid over the
  /// file's.
  Result<std::shared_ptr<const CompiledGraph>> build(const NodeRegistry& registry, CompileOptions options = {}) const;

  const std::string& name() const noexcept;
  /// What the file says about runs (recursion limit, durability, concurrency), over `base`.
  RunConfig run_config(RunConfig base = {}) const;
  /// The file in its long form: every short form written out. Parsed again it is the same graph. null where the file is no graph at all.
  Json to_json() const;

  struct Impl;

 private:
  explicit GraphFile(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// The JSON Schema (draft 2020-12) of graph files, with the arguments of the registry's node types.
Json graph_file_schema(const NodeRegistry& registry = NodeRegistry::library());

}  // namespace corvid
