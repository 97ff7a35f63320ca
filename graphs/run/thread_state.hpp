// What reading a thread through its graph and without it have in common.
#pragma once

#include <string>

#include "graphs/define/compiled.hpp"

namespace corvid {

/// A checkpoint as state. `newest`: with what finished tasks of a superstep that stopped have written, and all open questions.
Result<StateSnapshot> read_state(const CompiledGraph::Impl& graph, Checkpointer& saver, LoadedCheckpoint loaded, const std::string& thread_id, bool newest);

/// One commit under a lease of its own. Errors: conflict where a run has the thread.
Status commit_outside_run(Checkpointer& saver, const std::string& thread, Commit commit);

/// The name under which a graph's shape lies among the channels of its threads.
inline constexpr const char* kShapeChannel = "__shape";

}  // namespace corvid
