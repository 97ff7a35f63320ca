// A thread as the commits that make it anew: for copies, exports and imports that go through the interface.
#pragma once

#include <string_view>
#include <vector>

#include "corvid/base/result.hpp"
#include "corvid/graphs/checkpoint.hpp"

namespace corvid::persist {

/// One commit a checkpoint, oldest first, the root namespace last; without leases and open questions. Errors: not_found.
Result<std::vector<Commit>> read_thread(Checkpointer& saver, std::string_view thread_id);
/// Applies them under another name, the thread leased meanwhile; removes it again where one fails. Errors: conflict (it exists).
Status write_thread(Checkpointer& saver, std::vector<Commit> commits, std::string_view thread_id);

}  // namespace corvid::persist
