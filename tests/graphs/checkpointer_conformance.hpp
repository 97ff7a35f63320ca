// What every Checkpointer and WorkQueue must do, sentence by sentence of their headers. Called from a TEST_CASE of each store.
//
//   TEST_CASE("memory saver: conformance") { check_checkpointer([] { return make_memory_saver(); }); }
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "corvid/graphs/checkpoint.hpp"
#include "corvid/graphs/work_queue.hpp"

namespace corvid::test {

using MakeSaver = std::function<std::shared_ptr<Checkpointer>()>;  ///< a store without anything in it, each time
using MakeQueue = std::function<std::shared_ptr<WorkQueue>()>;

void check_checkpointer(const MakeSaver& make_empty);  ///< all of the parts below
void check_states(const MakeSaver& make_empty);        ///< commits, histories, chains, pending writes, names
void check_leases(const MakeSaver& make_empty);        ///< fencing, expiry, commits at once
void check_questions(const MakeSaver& make_empty);     ///< interrupts, answers, the audit log, the cache
void check_threads(const MakeSaver& make_empty);       ///< list, delete, copy, prune, export, import, expire

void check_work_queue(const MakeQueue& make_empty);

// Building blocks, for tests of one store.
Bytes bytes_of(std::string_view text);
std::string text_of(const Bytes& bytes);
/// A checkpoint `id` with body "body of ID" and one channel "c" whose whole value is "c at VERSION".
Commit commit_of(std::string_view thread, std::string_view ns, std::string_view id, std::uint64_t version);
/// Everything that can be read of a thread, as text, but the thread's name and leases: equal texts are equal threads.
std::string describe_thread(Checkpointer& saver, std::string_view thread);
std::string describe(const LoadedCheckpoint& loaded);
std::int64_t now_ms();

}  // namespace corvid::test
