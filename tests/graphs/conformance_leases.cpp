#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "graphs/checkpointer_conformance.hpp"
#include "support/catch.hpp"

namespace corvid::test {
namespace {

using Kind = LeaseChange::Kind;
constexpr std::int64_t kLong = 600'000;

void wait_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

bool is_conflict(const Status& status) { return !status && status.error().code() == ErrorCode::conflict; }

void one_owner_at_a_time(Checkpointer& saver) {
  auto first = commit_of("t", "", "a", 1);
  first.lease = {Kind::acquire, "one", kLong};
  REQUIRE(saver.commit(first));
  const auto info = saver.threads().value().at(0);
  CHECK(info.lease_owner == "one");
  CHECK(info.lease_expires_ms > now_ms());
  CHECK(info.lease_expires_ms <= now_ms() + kLong);
  // Another owner: refused, with the name and the time left, and nothing of the commit stays; whatever the namespace.
  for (const auto* ns : {"", "sub:1"}) {
    auto second = commit_of("t", ns, "b", 2);
    second.lease = {Kind::acquire, "two", kLong};
    const auto refused = saver.commit(second);
    REQUIRE(is_conflict(refused));
    CHECK(refused.error().describe().find("one") != std::string::npos);
    CHECK(refused.error().describe().find(" s") != std::string::npos);
    for (const auto kind : {Kind::keep, Kind::release, Kind::none}) {
      second.lease = {kind, "two", kLong};
      CHECK(is_conflict(saver.commit(second)));
    }
  }
  CHECK(saver.list("t", "")->size() == 1);
  CHECK(saver.namespaces("t")->size() == 1);
  CHECK(is_conflict(saver.lease("t", {Kind::acquire, "two", kLong})));
  CHECK(is_conflict(saver.lease("t", {Kind::keep, "two", kLong})));
  CHECK(is_conflict(saver.lease("t", {Kind::release, "two", 0})));
  // A commit without an owner is not fenced: a person's update, say.
  CHECK(saver.commit(commit_of("t", "", "b", 2)));
  // Its own: acquire again, keep, fence only, another namespace, release.
  auto own = commit_of("t", "sub:1", "c", 3);
  for (const auto kind : {Kind::acquire, Kind::keep, Kind::none, Kind::release}) {
    own.lease = {kind, "one", kLong};
    CHECK(saver.commit(own));
  }
  CHECK(saver.threads().value().at(0).lease_owner.empty());
  for (const auto kind : {Kind::keep, Kind::none, Kind::release}) {
    own.lease = {kind, "one", kLong};
    CHECK(is_conflict(saver.commit(own)));
  }
  own.lease = {Kind::acquire, "two", kLong};
  CHECK(saver.commit(own));
}

void leases_without_commits(Checkpointer& saver) {
  REQUIRE(saver.lease("t", {Kind::acquire, "one", kLong}));
  REQUIRE(saver.lease("t", {Kind::keep, "one", kLong}));
  CHECK(is_conflict(saver.lease("t", {Kind::acquire, "two", kLong})));
  auto commit = commit_of("t", "", "a", 1);
  commit.lease = {Kind::keep, "one", kLong};
  REQUIRE(saver.commit(commit));
  REQUIRE(saver.lease("t", {Kind::release, "one", 0}));
  REQUIRE(saver.lease("t", {Kind::acquire, "two", kLong}));
  REQUIRE(saver.lease("another", {Kind::acquire, "one", kLong}));
  CHECK_FALSE(saver.lease("t", {Kind::acquire, "", kLong}));
  CHECK_FALSE(saver.lease("", {Kind::acquire, "one", kLong}));
  CHECK_FALSE(saver.lease("t", {Kind::acquire, "two", -1}));
}

void leases_expire(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 1);
  commit.lease = {Kind::acquire, "dead", 1};
  REQUIRE(saver.commit(commit));
  wait_ms(20);
  CHECK(saver.threads().value().at(0).lease_owner.empty());
  // It ran out, but nobody took it: nothing was lost.
  auto late = commit_of("t", "", "b", 2);
  late.lease = {Kind::keep, "dead", 1};
  REQUIRE(saver.commit(late));
  wait_ms(20);
  auto taken = commit_of("t", "", "c", 3);
  taken.lease = {Kind::acquire, "heir", 1};
  REQUIRE(saver.commit(taken));
  // The dead one wakes up: whatever became of the heir's lease, its own is lost.
  auto stale = commit_of("t", "", "d", 4);
  for (const auto kind : {Kind::keep, Kind::none, Kind::release}) {
    stale.lease = {kind, "dead", kLong};
    CHECK(is_conflict(saver.commit(stale)));
  }
  wait_ms(20);
  for (const auto kind : {Kind::keep, Kind::none, Kind::release}) {
    stale.lease = {kind, "dead", kLong};
    CHECK(is_conflict(saver.commit(stale)));
  }
  CHECK(saver.list("t", "")->size() == 3);
  // A longer lease replaces a shorter one.
  REQUIRE(saver.lease("t", {Kind::keep, "heir", kLong}));
  wait_ms(5);
  CHECK(saver.threads().value().at(0).lease_owner == "heir");
}

// Several at once: each round one of them acquires, and its commits are the only ones.
void racing_for_a_lease(Checkpointer& saver) {
  constexpr std::size_t kRacers = 4;
  for (int round = 0; round < 10; ++round) {
    const std::string thread = "t" + std::to_string(round);
    std::atomic<int> ready{0}, won{0}, odd{0};
    std::vector<std::thread> racers;
    for (std::size_t r = 0; r < kRacers; ++r) {
      racers.emplace_back([&, r] {
        auto commit = commit_of(thread, "", "by " + std::to_string(r), 1);
        commit.lease = {Kind::acquire, "racer " + std::to_string(r), kLong};
        ++ready;
        while (ready < static_cast<int>(kRacers)) std::this_thread::yield();
        const auto status = saver.commit(commit);
        if (status)
          ++won;
        else if (status.error().code() != ErrorCode::conflict)
          ++odd;
      });
    }
    for (auto& racer : racers) racer.join();
    CHECK(won == 1);
    CHECK(odd == 0);
    CHECK(saver.list(thread, "")->size() == 1);
  }
}

// Several threads of several owners at once, with readers in between: nothing is lost, and nobody sees half of a commit.
void commits_at_once(Checkpointer& saver) {
  constexpr std::size_t kWriters = 4;
  constexpr int kSteps = 25;
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0}, torn{0};
  std::vector<std::thread> writers;
  for (std::size_t w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      // Two share a thread, in namespaces of their own.
      const std::string thread = "t" + std::to_string(w / 2), ns = "n" + std::to_string(w);
      for (int i = 1; i <= kSteps; ++i) {
        auto commit = commit_of(thread, ns, std::to_string(1'000 + i), static_cast<std::uint64_t>(i));
        commit.writes = {{commit.checkpoint->id, "x", 0, "c", bytes_of(std::to_string(i))}};
        if (i > 1) {
          commit.drop_writes_of = std::to_string(1'000 + i - 1);
          if (i % 5 != 1) commit.blobs[0].base_version = static_cast<std::uint64_t>(i) - 1;
        }
        if (!saver.commit(commit)) ++failed;
      }
    });
  }
  std::thread reader([&] {
    while (!stop) {
      for (std::size_t w = 0; w < kWriters; ++w) {
        const auto loaded = saver.get("t" + std::to_string(w / 2), "n" + std::to_string(w));
        if (!loaded)
          ++torn;
        else if (*loaded && (*loaded)->writes.size() != 1)
          ++torn;
      }
    }
  });
  for (auto& writer : writers) writer.join();
  stop = true;
  reader.join();
  CHECK(failed == 0);
  CHECK(torn == 0);
  for (std::size_t w = 0; w < kWriters; ++w) CHECK(saver.list("t" + std::to_string(w / 2), "n" + std::to_string(w))->size() == kSteps);
}

}  // namespace

void check_leases(const MakeSaver& make_empty) {
  one_owner_at_a_time(*make_empty());
  leases_without_commits(*make_empty());
  leases_expire(*make_empty());
  racing_for_a_lease(*make_empty());
  commits_at_once(*make_empty());
}

}  // namespace corvid::test
