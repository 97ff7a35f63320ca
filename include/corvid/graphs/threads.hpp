// Reading and copying threads without the graph that made them: what tools show of a store.
//
//   CORVID_TRY(auto state, read_thread(*saver, "review-7"));
//
// Blocking. The shape of the graph is stored with its threads, so channels with the reducers of graph files are put together from it.
// A model's state is left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/run.hpp"

namespace corvid {

/// The thread's newest checkpoint, or the one named. Errors: not_found, bad_input (damaged), unsupported (a delta channel whose reducer is
/// known to its program only), those of the checkpointer.
Result<StateSnapshot> read_thread(Checkpointer& saver, std::string_view thread_id, std::string_view checkpoint_id = {});
/// Newest first.
Result<std::vector<StateSnapshot>> read_thread_history(Checkpointer& saver, std::string_view thread_id, const ListOptions& options = {});
/// A new thread that begins with a checkpoint of another (the newest where none is named), byte for byte, model states too. Returns its
/// first checkpoint's id. Errors: not_found, conflict (`to` exists), those of the checkpointer.
Result<std::string> fork_thread(Checkpointer& saver, std::string_view from, std::string_view checkpoint_id, std::string_view to);

}  // namespace corvid
