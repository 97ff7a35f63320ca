// Threads of real runs, at every kind of place where one can stand: the seeds of what the damage tests do to them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "corvid/graphs/graph.hpp"
#include "graphs/damage/store_image.hpp"

namespace corvid::test {

/// The name of every seed's thread.
inline constexpr const char* kThread = "t";

/// One thread, and its graph over any checkpointer.
struct Seed {
  std::string name;
  std::function<std::shared_ptr<const CompiledGraph>(std::shared_ptr<Checkpointer>)> graph;
  StoreImage image;
};

/// Made anew by running the graphs in memory. Their ids differ from process to process, their sizes and order do not.
std::vector<Seed> make_seeds(Runtime& runtime);

}  // namespace corvid::test
