#include <string>

#include "corvid/graphs/savers.hpp"
#include "graphs/checkpointer_conformance.hpp"
#include "support/catch.hpp"

namespace corvid::test {
namespace {

std::string pad(int i) { return std::to_string(1'000 + i); }

// Twenty checkpoints of a channel with a whole value every eighth, one of a subgraph, a big value, pending writes, and a question of each
// kind.
void fill(Checkpointer& saver, const std::string& thread) {
  for (int i = 1; i <= 20; ++i) {
    const auto v = static_cast<std::uint64_t>(i);
    auto commit = commit_of(thread, "", pad(i), v);
    commit.checkpoint->parent_id = i > 1 ? pad(i - 1) : "";
    if (i % 8 != 1) commit.blobs[0].base_version = v - 1;
    commit.checkpoint->channels.push_back({"big", 1});
    if (i == 1) commit.blobs.push_back({"big", 1, 0, bytes_of(std::string(100'000, 'b'))});
    commit.writes = {{pad(i), "task", 0, "c", bytes_of("w" + std::to_string(i))}};
    if (i % 2 == 0) commit.drop_writes_of = pad(i - 1);
    REQUIRE(saver.commit(commit));
  }
  auto sub = commit_of(thread, "sub:1|x:2", "s", 1);
  sub.interrupts = {{thread + " open", "", "", "s", "task", "n", 1, 0, bytes_of("?")},
                    {thread + " done", "", "", "s", "task", "n", 2, 0, bytes_of("?")}};
  REQUIRE(saver.commit(sub));
  REQUIRE(saver.answer({thread + " done", "ana", 3, bytes_of("!"), ""}, {0, 3, "ana", "approve", thread + " done", {}, "", ""}, 3));
}

void threads_are_listed(Checkpointer& saver) {
  for (const auto* name : {"b", "a", "B"}) {
    REQUIRE(saver.commit(commit_of(name, "", "x1", 1)));
    REQUIRE(saver.commit(commit_of(name, "", "x3", 9)));
    REQUIRE(saver.commit(commit_of(name, "", "x2", 2)));
    REQUIRE(saver.commit(commit_of(name, "sub:1", "x9", 4)));
  }
  const auto threads = saver.threads();
  REQUIRE(threads);
  REQUIRE(threads->size() == 3);
  CHECK((*threads)[0].thread_id == "B");
  CHECK((*threads)[1].thread_id == "a");
  CHECK((*threads)[2].thread_id == "b");
  CHECK((*threads)[0].last_checkpoint_id == "x3");
  CHECK((*threads)[0].updated_ms == 1'009);
  CHECK((*threads)[0].lease_owner.empty());
  CHECK((*threads)[0].open_interrupts == 0);
}

void deleting_leaves_nothing(Checkpointer& saver) {
  fill(saver, "t");
  fill(saver, "u");
  REQUIRE(saver.lease("t", {LeaseChange::Kind::acquire, "me", 600'000}));
  const auto other = describe_thread(saver, "u");
  REQUIRE(saver.delete_thread("t"));
  CHECK(saver.namespaces("t")->empty());
  CHECK(saver.list("t", "")->empty());
  CHECK_FALSE(saver.get("t", "sub:1|x:2")->has_value());
  CHECK(saver.open_interrupts("t", true)->empty());
  CHECK(saver.threads()->size() == 1);
  CHECK(describe_thread(saver, "u") == other);
  const auto late = saver.answer({"t open", "ana", 3, {}, ""}, {}, 3);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == ErrorCode::not_found);
  // Who ran it has lost it; anybody may start it anew, and versions that are there no longer do not come back.
  CHECK_FALSE(saver.lease("t", {LeaseChange::Kind::keep, "me", 600'000}));
  auto fresh = commit_of("t", "", "z", 1);
  fresh.blobs[0].bytes = bytes_of("new");
  fresh.lease = {LeaseChange::Kind::acquire, "you", 600'000};
  REQUIRE(saver.commit(fresh));
  CHECK(saver.get("t", "").value()->blobs.at(0).bytes == bytes_of("new"));
  CHECK(saver.get("t", "").value()->writes.empty());
  REQUIRE(saver.delete_thread("t"));
  REQUIRE(saver.delete_thread("t"));
}

void a_copy_is_equal_and_apart(Checkpointer& saver) {
  fill(saver, "t");
  REQUIRE(saver.lease("t", {LeaseChange::Kind::acquire, "me", 600'000}));
  const auto original = describe_thread(saver, "t");
  REQUIRE(saver.copy_thread("t", "copy"));
  CHECK(saver.open_interrupts("copy", true)->empty());
  CHECK(saver.get("copy", "sub:1|x:2").value()->answers.size() == 1);
  CHECK(saver.threads().value().at(0).thread_id == "copy");
  CHECK(saver.threads().value().at(0).lease_owner.empty());
  CHECK(saver.threads().value().at(0).updated_ms == saver.threads().value().at(1).updated_ms);
  // All but the open question is the same.
  auto expected = original;
  const auto asks = expected.find("\n  asks");
  REQUIRE(asks != std::string::npos);
  expected.erase(asks, expected.find('\n', asks + 1) - asks);
  CHECK(describe_thread(saver, "copy") == expected);
  const auto again = saver.copy_thread("t", "copy");
  REQUIRE_FALSE(again);
  CHECK(again.error().code() == ErrorCode::conflict);
  const auto nothing = saver.copy_thread("nothing", "copy2");
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code() == ErrorCode::not_found);
  REQUIRE_FALSE(saver.copy_thread("t", "t"));
  // What happens to the one does not happen to the other.
  REQUIRE(saver.commit(commit_of("t", "", "9999", 21)));
  CHECK(describe_thread(saver, "copy") == expected);
  REQUIRE(saver.delete_thread("t"));
  CHECK(describe_thread(saver, "copy") == expected);
  auto on = commit_of("copy", "", "9999", 21);
  on.blobs[0].base_version = 20;
  REQUIRE(saver.commit(on));
  CHECK(saver.get("copy", "").value()->blobs.size() == 5);  // 17 whole, 18 to 21 on it
}

void pruning_keeps_what_is_needed(Checkpointer& saver) {
  fill(saver, "t");
  fill(saver, "u");
  const auto newest = describe(*saver.get("t", "").value());
  const auto sub = describe(*saver.get("t", "sub:1|x:2").value());
  const auto other = describe_thread(saver, "u");
  PruneOptions old;
  old.older_than_ms = 1'005;  // created_ms is 1,000 + version
  CHECK(saver.prune("t", old).value() == 4);
  CHECK(saver.list("t", "")->size() == 16);
  CHECK(saver.list("t", "")->back().id == pad(5));
  for (int i = 5; i <= 20; ++i) CHECK(saver.get("t", "", pad(i)));  // chains from versions 1 and up
  PruneOptions three;
  three.keep_last = 3;
  CHECK(saver.prune("t", three).value() == 13);
  CHECK(saver.list("t", "")->size() == 3);
  CHECK(saver.prune("t", {}).value() == 2);
  CHECK(saver.list("t", "")->size() == 1);
  CHECK(describe(*saver.get("t", "").value()) == newest);
  CHECK(saver.get("t", "").value()->blobs.size() == 5);  // 17 whole, 18, 19, 20 on it; big
  CHECK(describe(*saver.get("t", "sub:1|x:2").value()) == sub);
  CHECK(describe_thread(saver, "u") == other);
  CHECK(saver.prune("t", {}).value() == 0);
  CHECK(saver.prune("nothing", {}).value() == 0);
  // A version that went is free to be stored again; one that stayed is not.
  auto again = commit_of("t", "", "2000", 16);
  again.blobs[0].bytes = bytes_of("new 16");
  REQUIRE(saver.commit(again));
  CHECK(saver.get("t", "").value()->blobs.at(0).bytes == bytes_of("new 16"));
  auto on = commit_of("t", "", "2001", 21);
  on.blobs[0].base_version = 20;
  REQUIRE(saver.commit(on));
  CHECK(saver.get("t", "").value()->blobs.size() == 5);
}

void pruning_keeps_open_questions(Checkpointer& saver) {
  for (int i = 1; i <= 6; ++i) {
    auto commit = commit_of("t", "", pad(i), static_cast<std::uint64_t>(i));
    commit.interrupts = {{"q" + std::to_string(i), "", "", pad(i), "task", "n", i, i == 5 ? 1 : 0, {}}};
    REQUIRE(saver.commit(commit));
  }
  REQUIRE(saver.answer({"q2", "ana", 3, {}, ""}, {}, 3));
  Commit close;
  close.thread_id = "t";
  close.close_interrupts = {"q3", "q4"};
  REQUIRE(saver.commit(close));
  CHECK(saver.prune("t", {}).value() == 4);  // 2 answered, 3 and 4 closed, 5 expired
  CHECK(saver.list("t", "")->size() == 2);
  CHECK(saver.open_interrupts("t", true)->size() == 2);
  CHECK(saver.get("t", "", pad(1)).value()->interrupts.size() == 1);
}

void exported_and_imported(Checkpointer& saver, Checkpointer& other) {
  fill(saver, "t");
  const auto exported = export_thread(saver, "t");
  REQUIRE(exported);
  REQUIRE(saver.delete_thread("t"));
  fill(saver, "t");
  REQUIRE(saver.copy_thread("t", "like"));
  const auto expected = describe_thread(saver, "like");
  for (auto* target : {&saver, &other}) {
    REQUIRE(import_thread(*target, *exported, "imported"));
    CHECK(describe_thread(*target, "imported") == expected);
    const auto again = import_thread(*target, *exported, "imported");
    REQUIRE_FALSE(again);
    CHECK(again.error().code() == ErrorCode::conflict);
  }
  CHECK(export_thread(other, "imported"));
  const auto nothing = export_thread(saver, "nothing");
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code() == ErrorCode::not_found);
}

void old_threads_expire(Checkpointer& saver) {
  for (const auto* name : {"old", "asked", "leased", "new", "expired lease"}) {
    REQUIRE(saver.commit(commit_of(name, "", "a", std::string_view(name) == "new" ? 900 : 1)));
  }
  Commit ask;
  ask.thread_id = "asked";
  ask.interrupts = {{"q", "", "", "a", "task", "n", 1, 0, {}}};
  REQUIRE(saver.commit(ask));
  REQUIRE(saver.lease("leased", {LeaseChange::Kind::acquire, "me", 600'000}));
  REQUIRE(saver.lease("not begun", {LeaseChange::Kind::acquire, "me", 600'000}));
  REQUIRE(saver.lease("expired lease", {LeaseChange::Kind::acquire, "me", 1}));
  while (now_ms() <= saver.threads().value().at(1).lease_expires_ms) {
  }
  const auto gone = expire_threads(saver, 1'500);
  REQUIRE(gone);
  CHECK(*gone == 2);
  CHECK_FALSE(saver.get("old", "")->has_value());
  CHECK_FALSE(saver.get("expired lease", "")->has_value());
  for (const auto* name : {"asked", "leased", "new"}) CHECK(saver.get(name, "")->has_value());
}

}  // namespace

void check_threads(const MakeSaver& make_empty) {
  threads_are_listed(*make_empty());
  deleting_leaves_nothing(*make_empty());
  a_copy_is_equal_and_apart(*make_empty());
  pruning_keeps_what_is_needed(*make_empty());
  pruning_keeps_open_questions(*make_empty());
  exported_and_imported(*make_empty(), *make_memory_saver());
  exported_and_imported(*make_memory_saver(), *make_empty());
  old_threads_expire(*make_empty());
}

}  // namespace corvid::test
