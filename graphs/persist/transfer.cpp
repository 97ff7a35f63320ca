#include "persist/transfer.hpp"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "persist/rules.hpp"

namespace corvid::persist {

Result<std::vector<Commit>> read_thread(Checkpointer& saver, std::string_view thread_id) {
  CORVID_TRY(auto spaces, saver.namespaces(thread_id));
  if (spaces.empty()) return fail(no_thread(thread_id));
  std::reverse(spaces.begin(), spaces.end());  // the root's name is empty and sorts first
  std::vector<Commit> commits;
  for (const auto& ns : spaces) {
    CORVID_TRY(auto records, saver.list(thread_id, ns));
    std::reverse(records.begin(), records.end());
    std::set<std::pair<std::string, std::uint64_t>> seen;
    for (const auto& record : records) {
      CORVID_TRY(auto loaded, saver.get(thread_id, ns, record.id));
      if (!loaded) continue;  // pruned since
      Commit commit;
      commit.thread_id = thread_id;
      commit.ns = ns;
      commit.checkpoint = std::move(loaded->record);
      for (auto& blob : loaded->blobs) {
        if (seen.emplace(blob.channel, blob.version).second) commit.blobs.push_back(std::move(blob));
      }
      commit.writes = std::move(loaded->writes);
      commit.answers = std::move(loaded->answers);
      commits.push_back(std::move(commit));
    }
  }
  return commits;
}

Status write_thread(Checkpointer& saver, std::vector<Commit> commits, std::string_view thread_id) {
  CORVID_TRY(const auto there, saver.namespaces(thread_id));
  if (!there.empty()) return fail(thread_exists(thread_id));
  const std::string me = "import " + std::to_string(std::random_device{}());
  for (std::size_t i = 0; i < commits.size(); ++i) {
    auto& commit = commits[i];
    commit.thread_id = thread_id;
    commit.lease = {i == 0 ? LeaseChange::Kind::acquire : LeaseChange::Kind::keep, me, 60'000};
    if (auto done = saver.commit(commit); !done) {
      // The first one's refusal may be another's lease: nothing of ours is there then.
      if (i > 0) (void)saver.delete_thread(thread_id);
      return fail(std::move(done).error());
    }
    commit = Commit();  // its memory
  }
  return saver.lease(thread_id, {LeaseChange::Kind::release, me, 0});
}

}  // namespace corvid::persist
