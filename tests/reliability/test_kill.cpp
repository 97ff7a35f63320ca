// Killed anywhere, and the power lost there: nothing acknowledged is lost, no half document is in the index, and going on ends as if
// nothing had happened.
#include <algorithm>
#include <random>
#include <set>

#include "corvid/base/json.hpp"
#include "corvid/storage/workspace.hpp"
#include "reliability/place.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

using Documents = std::map<std::string, std::string>;

std::string where(const Error& error) { return error.describe(); }

// What may be in the index: each document as `before` or `after` has it, whole.
std::vector<std::string> judge_index(Place& place, const Documents& before, const Documents& after, bool acknowledged) {
  const auto found = place.indexed();
  if (!found) return {"the workspace does not open or is damaged: " + where(found.error())};
  std::vector<std::string> wrong;
  for (const auto& [source, text] : *found) {
    const auto old = before.find(source), now = after.find(source);
    if (!(old != before.end() && old->second == text) && !(now != after.end() && now->second == text)) wrong.push_back("half a document, or another: " + source + "\n" + text);
  }
  for (const auto& [source, text] : before) {
    if (after.contains(source) && !found->contains(source)) wrong.push_back("a document that nobody deleted is gone: " + source);
  }
  if (acknowledged && *found != after) wrong.push_back("what was reported as done is not there");
  return wrong;
}

// One command under faults and what it leaves; then the same without, which must end as an undisturbed one does.
struct Ingest {
  Documents before, after;

  std::vector<std::string> disturbed(Place& place, const std::string& kept, const Faults& faults, std::atomic<std::int64_t>& fired, int kill_after_ms = -1) const {
    place.reset(kept);
    const auto ended = place.ingest(faults, kill_after_ms);
    if (ended.signal == SIGKILL && !ended.hung) ++fired;
    else if (const auto bad = judge_error(ended); !bad.empty()) return {bad};
    auto wrong = judge_index(place, before, after, ended.out.find('\n') != std::string::npos);
    const auto again = place.ingest();
    if (again.exit != 0) wrong.push_back("the next ingest fails: " + again.err);
    const auto last = place.indexed();
    if (!last) wrong.push_back("after the next ingest: " + where(last.error()));
    else if (*last != after) wrong.push_back("the next ingest ends at another index");
    return wrong;
  }
};

// The index's texts name their files by absolute path: each lane has its own reference.
Ingest reference(Place& place, bool edits) {
  Ingest out;
  place.write_documents();
  place.reset();
  if (edits) {
    if (place.ingest().exit != 0) throw std::runtime_error("the first ingest failed");
    place.keep_as("kept");
    out.before = *place.indexed();
    place.edit_documents();
  }
  const auto done = place.ingest();
  if (done.exit != 0) throw std::runtime_error("the undisturbed ingest failed: " + done.err);
  out.after = *place.indexed();
  return out;
}

// References of each lane's Place, made once.
class References {
 public:
  explicit References(bool edits) : edits_(edits) {}
  const Ingest& of(Place& place) {
    std::lock_guard lock(mutex_);
    auto& slot = made_[place.root().string()];
    if (slot.after.empty()) slot = reference(place, edits_);
    return slot;
  }
  std::string kept() const { return edits_ ? "kept" : ""; }

 private:
  std::mutex mutex_;
  std::map<std::string, Ingest> made_;
  bool edits_;
};

std::int64_t calls_of(bool edits) {
  std::int64_t calls = 0;
  const TempDir scratch;
  Place place(scratch / "place");
  const auto base = reference(place, edits);
  CHECK(base.after.size() == (edits ? 5u : 6u));
  place.reset(edits ? "kept" : "");
  const auto counted = place.ingest({{"FAULT_SEED", "1"}});
  CHECK(counted.exit == 0);
  calls = place.totals().calls;
  REQUIRE(calls > 20);
  return calls;
}

void ingest_matrix(const char* name, bool edits, Faults faults, std::size_t few, unsigned seed) {
  if (!faults_can_be_preloaded()) return;
  const auto calls = calls_of(edits);
  References references(edits);
  each_case(name, points(calls, few, seed), [&](std::int64_t n, Place& place, std::atomic<std::int64_t>& fired) {
    Faults now = faults;
    now["FAULT_CRASH_AT"] = std::to_string(n);
    now["FAULT_SEED"] = std::to_string(n);
    return references.of(place).disturbed(place, references.kept(), now, fired);
  });
}

const char* const kTurns = "one\ntwo\nthree\n";

// Each JSON line of chat is a turn that is kept.
std::vector<std::string> chat_case(Place& place, const Faults& faults, std::atomic<std::int64_t>& fired, std::int64_t* lost = nullptr) {
  place.reset();
  const auto ended = place.chat(faults, kTurns);
  if (ended.signal == SIGKILL && !ended.hung) ++fired;
  else if (const auto bad = judge_error(ended); !bad.empty()) return {bad};
  std::vector<std::string> wrong;
  const auto kept = place.messages();
  if (!kept) return {"the workspace does not open or is damaged: " + where(kept.error())};
  const auto turns = static_cast<std::size_t>(std::count(ended.out.begin(), ended.out.end(), '\n'));
  if (kept->size() % 2 != 0) wrong.push_back("half a turn was kept");
  if (kept->size() / 2 < turns) {
    if (lost) *lost += static_cast<std::int64_t>(turns - kept->size() / 2);
    else wrong.push_back(std::to_string(turns) + " turns were reported, " + std::to_string(kept->size() / 2) + " are there");
  }
  const char* const words[] = {"one", "two", "three"};
  for (std::size_t i = 0; i < kept->size() / 2; ++i) if ((*kept)[2 * i].find(words[i]) == std::string::npos) wrong.push_back("another message: " + (*kept)[2 * i]);
  const auto more = place.chat({}, "four\n");
  if (more.exit != 0) wrong.push_back("the conversation does not go on: " + more.err);
  const auto after = place.messages();
  if (!after || after->size() != kept->size() + 2) wrong.push_back("the next turn was not kept");
  return wrong;
}

std::int64_t chat_calls() {
  const TempDir scratch;
  Place place(scratch / "place");
  const auto counted = place.chat({{"FAULT_SEED", "1"}}, kTurns);
  INFO(counted.err);
  REQUIRE(counted.exit == 0);
  const auto calls = place.totals().calls;
  REQUIRE(calls > 20);
  return calls;
}

void chat_matrix(const char* name, Faults faults, std::size_t few, unsigned seed) {
  if (!faults_can_be_preloaded()) return;
  each_case(name, points(chat_calls(), few, seed), [&](std::int64_t n, Place& place, std::atomic<std::int64_t>& fired) {
    Faults now = faults;
    now["FAULT_CRASH_AT"] = std::to_string(n);
    now["FAULT_SEED"] = std::to_string(n);
    return chat_case(place, now, fired);
  });
}

// A command that brings a prepared workspace up to date, killed and without power before each write and sync: what `judge` looks at is there, the command
// again says what an undisturbed one says, and the workspace is whole. Returns what it says; empty where faults cannot be preloaded.
std::string migration_matrix(const char* name, unsigned seed, const std::function<void(Place&)>& prepare, const std::vector<std::string>& words,
                             const std::function<std::vector<std::string>(Place&)>& judge) {
  if (!faults_can_be_preloaded()) return {};
  const auto prepared = [&](Place& place) {
    place.reset();
    prepare(place);
    place.keep_as("kept");
  };
  std::int64_t calls = 0;
  std::string undisturbed;
  {
    const TempDir scratch;
    Place place(scratch / "place");
    prepared(place);
    const auto counted = place.run(words, {{"FAULT_SEED", "1"}});
    INFO(counted.err);
    REQUIRE(counted.exit == 0);
    undisturbed = counted.out;
    calls = place.totals().calls;
    REQUIRE(calls > 3);
  }
  std::mutex mutex;
  std::set<std::string> ready;
  each_case(name, points(calls, 24, seed), [&](std::int64_t n, Place& place, std::atomic<std::int64_t>& fired) -> std::vector<std::string> {
    {
      std::lock_guard lock(mutex);
      if (ready.insert(place.root().string()).second) prepared(place);
    }
    for (const char* power : {"", "discard", "torn"}) {
      Faults faults{{"FAULT_CRASH_AT", std::to_string(n)}, {"FAULT_SEED", std::to_string(n)}};
      if (*power) faults["FAULT_POWER"] = power;
      place.reset("kept");
      if (place.run(words, faults).signal == SIGKILL) ++fired;
      if (auto wrong = judge(place); !wrong.empty()) return wrong;
      const auto again = place.run(words);
      if (again.exit != 0) return {"the next command fails: " + again.err};
      if (again.out != undisturbed) return {"the next command says something else: " + again.out};
      if (const auto index = place.indexed(); !index) return {"the workspace is damaged: " + where(index.error())};
    }
    return {};
  });
  return undisturbed;
}

}  // namespace

TEST_CASE("kill: an ingest before every write and sync", "[crash]") { ingest_matrix("ingest, killed", false, {}, 24, 1); }
TEST_CASE("kill: an ingest after edits and deletions", "[crash]") { ingest_matrix("ingest after edits, killed", true, {}, 24, 2); }
TEST_CASE("kill: an ingest power lost unsynced data discarded", "[crash]") { ingest_matrix("ingest, power, discarded", false, {{"FAULT_POWER", "discard"}}, 24, 3); }
TEST_CASE("kill: an ingest after edits power lost unsynced data discarded", "[crash]") { ingest_matrix("ingest after edits, power, discarded", true, {{"FAULT_POWER", "discard"}}, 24, 4); }
TEST_CASE("kill: an ingest after edits power lost unsynced data torn", "[crash]") { ingest_matrix("ingest after edits, power, torn", true, {{"FAULT_POWER", "torn"}}, 24, 5); }
TEST_CASE("kill: a conversation before every write and sync", "[crash]") { chat_matrix("chat, killed", {}, 24, 6); }
TEST_CASE("kill: a conversation power lost unsynced data discarded", "[crash]") { chat_matrix("chat, power, discarded", {{"FAULT_POWER", "discard"}}, 24, 7); }
TEST_CASE("kill: a conversation power lost unsynced data torn", "[crash]") { chat_matrix("chat, power, torn", {{"FAULT_POWER", "torn"}}, 24, 8); }

TEST_CASE("kill: with synchronous=NORMAL the power test finds lost turns", "[crash]") {
  if (!faults_can_be_preloaded()) return;
  std::atomic<std::int64_t> lost{0};
  const auto calls = chat_calls();
  std::vector<std::int64_t> last;
  for (std::int64_t n = calls / 2; n <= calls; ++n) last.push_back(n);
  each_case("chat, power, NORMAL", last, [&](std::int64_t n, Place& place, std::atomic<std::int64_t>& fired) {
    std::int64_t here = 0;
    auto wrong = chat_case(place, {{"FAULT_POWER", "discard"}, {"FAULT_SQLITE_NORMAL", "1"}, {"FAULT_CRASH_AT", std::to_string(n)}}, fired, &here);
    lost += here;
    return wrong;   // losing is what is shown here; damage would still be wrong
  });
  std::printf("chat, power, NORMAL: %lld acknowledged turns lost\n", static_cast<long long>(lost));
  CHECK(lost > 0);
}

TEST_CASE("kill: a workspace that gets another module's tables", "[crash]") {
  const auto prepare = [](Place& place) { REQUIRE(place.chat({}, "one\n").exit == 0); };
  migration_matrix("migration, killed", 9, prepare, {"collections", "list"}, [](Place& place) -> std::vector<std::string> {
    const auto kept = place.messages();
    if (!kept) return {"the workspace does not open: " + where(kept.error())};
    if (kept->size() != 2) return {"the conversation is gone"};
    return {};
  });
}

TEST_CASE("kill: a workspace of an older schema that is brought up to date", "[crash]") {
  // What a program with the graphs' schema 1 stored; "chain" was drained after the first of its three nodes.
  const auto prepare = [](Place& place) {
    auto old = *Database::open(place.workspace(), false, 1'000);
    REQUIRE(old.execute("PRAGMA application_id = 1129469508; PRAGMA journal_mode = WAL"));
    REQUIRE(old.execute(read_file(source_dir() / "tests/golden/graphs_workspace_v1.sql")));
  };
  const auto history = migration_matrix("migration of schema 1, killed", 10, prepare, {"graph", "history", "--thread", "chain"}, [](Place&) { return std::vector<std::string>(); });
  if (!history.empty()) CHECK(parse_json(history)->size() >= 2);
}

TEST_CASE("kill: an ingest of a real folder at random instants", "[crash]") {
  if (!faults_can_be_preloaded()) return;  // under a sanitizer it would take many minutes and show nothing more
  // This checkout's own documents and sources: enough files for several batches.
  std::mutex mutex;
  std::map<std::string, std::pair<Ingest, int>> made;   // and how long an undisturbed run takes, in ms
  std::mt19937 random(11);
  std::vector<std::int64_t> instants;
  for (int i = 0; i < (full_matrix() ? 300 : 10); ++i) instants.push_back(static_cast<std::int64_t>(random() % 1000));
  each_case("ingest of a real folder, killed at random instants", instants, [&](std::int64_t share, Place& place, std::atomic<std::int64_t>& fired) {
    const Ingest* base = nullptr;
    int whole_ms = 0;
    {
      std::lock_guard lock(mutex);
      auto& slot = made[place.root().string()];
      if (slot.first.after.empty()) {
        std::filesystem::remove_all(place.documents());
        std::filesystem::create_directories(place.documents());
        for (const char* part : {"docs", "include", "examples"}) std::filesystem::copy(source_dir() / part, place.documents() / part, std::filesystem::copy_options::recursive);
        const auto begin = std::chrono::steady_clock::now();
        place.reset();
        if (const auto done = place.ingest(); done.exit != 0) return std::vector<std::string>{"the undisturbed ingest fails: " + done.err};
        slot.second = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count());
        slot.first.after = *place.indexed();
      }
      base = &slot.first;
      whole_ms = slot.second;
    }
    return base->disturbed(place, "", {}, fired, static_cast<int>(share * whole_ms / 1000));
  }, false);
}
