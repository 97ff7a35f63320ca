// A thread's rows as a test may damage them, and a checkpointer that hands them out as they are: what a store whose own checks failed
// would give to the graph runtime.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "corvid/graphs/checkpoint.hpp"

namespace corvid::test {

/// One namespace's rows.
struct Space {
  std::string ns;
  std::vector<CheckpointRecord> checkpoints;
  std::vector<ChannelBlob> blobs;
  std::vector<PendingWrite> writes;
};

struct StoredAnswer {
  std::string ns, checkpoint_id;
  AnswerRecord answer;
};

/// All rows of one thread.
struct StoreImage {
  std::vector<Space> spaces;
  std::vector<InterruptRecord> open;
  std::vector<StoredAnswer> answers;
};

/// What `saver` has of the thread; a failed expectation where it cannot be read.
StoreImage image_of(Checkpointer& saver, const std::string& thread_id);

/// Puts the rows of an undamaged image into a store, open questions too.
void store_image(Checkpointer& saver, const std::string& thread_id, const StoreImage& image);

/// A store whose thread `thread_id` is the image. It believes every row: chains are followed only until a version repeats. Leases are
/// always granted. Other threads are as in a memory saver.
std::shared_ptr<Checkpointer> make_damaged_store(std::string thread_id, StoreImage image);

}  // namespace corvid::test
