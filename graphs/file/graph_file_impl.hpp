#pragma once

#include "graphs/file/definition.hpp"

namespace corvid {

struct GraphFile::Impl {
  std::shared_ptr<const detail::SourceFile> source;
  std::shared_ptr<const detail::GraphDefinition> graph;  // null where the text could not be parsed
  std::vector<FileProblem> problems;                     // of reading
};

namespace detail {

void add_all(std::vector<FileProblem>& all, std::vector<FileProblem> more);

}  // namespace detail
}  // namespace corvid
