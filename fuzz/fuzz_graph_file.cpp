// A graph file of any text: problems with their places, or a graph whose long form is the same graph and fits the format's JSON Schema. The
// graph then runs for a moment: what it does may fail, and must end.
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "corvid/base/json_schema.hpp"
#include "corvid/graphs/graph_file.hpp"
#include "corvid/runtime/wait.hpp"

namespace {

corvid::RunConfig for_a_moment() {
  corvid::CancellationSource source;
  source.set_deadline(std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
  corvid::RunConfig config;
  config.recursion_limit = 8;
  config.cancellation = source.token();
  return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const corvid::NodeRegistry registry = corvid::NodeRegistry::library();
  static const auto schema = corvid::JsonSchema::compile(corvid::graph_file_schema(registry));
  static corvid::Runtime runtime(corvid::RuntimeOptions{.threads = 1});
  const auto file = corvid::GraphFile::parse({reinterpret_cast<const char*>(data), size});
  const auto problems = file.validate(registry);
  for (const auto& each : problems)
    if (each.line < 1 || each.column < 1 || each.message.empty()) std::abort();
  if (!problems.empty()) return 0;
  const auto graph = file.build(registry);
  if (!graph) std::abort();
  const auto long_form = corvid::GraphFile::parse(corvid::dump_json(file.to_json()));
  if (!long_form.validate(registry).empty() || long_form.to_json() != file.to_json()) std::abort();
  if (!schema || !schema->check(file.to_json())) std::abort();
  (void)(*graph)->invoke_blocking(runtime, corvid::Json::object(), for_a_moment());
  return 0;
}
