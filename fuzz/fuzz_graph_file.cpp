// A graph file of any text: problems with their places, or a graph whose long form is the same graph.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "corvid/graphs/graph_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const corvid::NodeRegistry registry = corvid::NodeRegistry::library();
  const auto file = corvid::GraphFile::parse({reinterpret_cast<const char*>(data), size});
  const auto problems = file.validate(registry);
  for (const auto& each : problems)
    if (each.line < 1 || each.column < 1 || each.message.empty()) std::abort();
  if (!problems.empty()) return 0;
  if (!file.build(registry)) std::abort();
  const auto long_form = corvid::GraphFile::parse(corvid::dump_json(file.to_json()));
  if (!long_form.validate(registry).empty() || long_form.to_json() != file.to_json()) std::abort();
  return 0;
}
