#include "corvid/graphs/graph_file.hpp"

#include <algorithm>
#include <tuple>

#include "graphs/file/graph_file_impl.hpp"
#include "graphs/file/prepare.hpp"

namespace corvid {

namespace detail {

void add_all(std::vector<FileProblem>& all, std::vector<FileProblem> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  const auto key = [](const FileProblem& p) { return std::tie(p.file, p.line, p.column, p.message); };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  all.erase(std::unique(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); }), all.end());
}

}  // namespace detail

Result<GraphFile> GraphFile::load(const std::filesystem::path& path) {
  CORVID_TRY(auto text, detail::read_text_file(path));
  std::error_code status;
  auto folder = std::filesystem::weakly_canonical(path, status).parent_path();
  return parse(std::move(text), path.string(), status ? path.parent_path() : folder);
}

GraphFile GraphFile::parse(std::string text, std::string name, const std::filesystem::path& folder) {
  auto impl = std::make_shared<Impl>();
  auto source = std::make_shared<detail::SourceFile>(std::move(name), std::move(text));
  detail::Problems problems;
  if (auto parsed = source->parse(); !parsed) {
    detail::FileNode place;
    place.offset = static_cast<std::size_t>(parsed.error().offset().value_or(0));
    problems.add(*source, &place, parsed.error().message());
  } else {
    detail::ReadContext context;
    if (!folder.empty()) context.open.push_back(folder / std::filesystem::path(source->name()).filename());
    impl->graph = detail::read_graph(source, source->root(), folder, nullptr, context, problems);
  }
  impl->source = std::move(source);
  impl->problems = problems.take();
  return GraphFile(std::move(impl));
}

std::vector<FileProblem> GraphFile::validate_parts(const NodeRegistry& registry) const {
  auto all = impl_->problems;
  if (!impl_->graph) return all;
  detail::Problems problems;
  detail::Preparer(registry, problems).prepare(*impl_->graph);
  detail::add_all(all, problems.take());
  return all;
}

const std::string& GraphFile::name() const noexcept {
  return impl_->graph && !impl_->graph->name.empty() ? impl_->graph->name : impl_->source->name();
}

RunConfig GraphFile::run_config(RunConfig base) const {
  if (!impl_->graph) return base;
  const auto& graph = *impl_->graph;
  if (graph.recursion_limit) base.recursion_limit = static_cast<int>(*graph.recursion_limit);
  if (graph.max_concurrency) base.max_concurrency = static_cast<int>(*graph.max_concurrency);
  if (graph.durability) base.durability = *graph.durability;
  return base;
}

Json GraphFile::to_json() const { return impl_->graph ? detail::write_graph(*impl_->graph) : Json(); }

}  // namespace corvid
