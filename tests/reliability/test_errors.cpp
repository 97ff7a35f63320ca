// Calls, opens, reads and allocations that fail: a typed error that says what to do, a documented exit code, and a workspace that goes on.
#include <cerrno>
#include <mutex>

#include "corvid/base/json.hpp"
#include "reliability/place.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

struct Command {
  const char* name;
  std::function<Ended(Place&, const Faults&)> run;
  bool needs_index;
};

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      {"ingest", [](Place& place, const Faults& faults) { return place.ingest(faults); }, false},
      {"search", [](Place& place, const Faults& faults) { return place.run({"search", "mooring fees", "--mode", "hybrid", "--threads", "1"}, faults); }, true},
      {"ask", [](Place& place, const Faults& faults) { return place.run({"ask", "What does a mooring cost?", "--model", (place.root() / "tiny.gguf").string(), "--max-tokens", "4", "--threads", "1"}, faults); }, true},
      {"model load", [](Place& place, const Faults& faults) {
         return place.run({"chat", "hello", "--thread", "t", "--model", (place.root() / "tiny.gguf").string(), "--max-tokens", "1", "--threads", "1"}, faults);
       }, false}};
  return all;
}

// Each lane's kept index and what is in it.
class Ready {
 public:
  const std::map<std::string, std::string>& of(Place& place) {
    std::lock_guard lock(mutex_);
    auto& slot = made_[place.root().string()];
    if (slot.empty()) {
      place.write_documents();
      place.reset();
      if (const auto done = place.ingest(); done.exit != 0) throw std::runtime_error("the undisturbed ingest failed: " + done.err);
      slot = *place.indexed();
      place.keep_as("kept");
    }
    return slot;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::map<std::string, std::string>> made_;
};

Totals totals_of(const Command& command) {
  const TempDir scratch;
  Place place(scratch / "place");
  Ready ready;
  ready.of(place);
  place.reset(command.needs_index ? "kept" : "");
  const auto counted = command.run(place, {{"FAULT_ARM_AT_OPEN", "1"}});
  INFO(command.name << ": " << counted.err);
  REQUIRE(counted.exit == 0);
  return place.totals();
}

void fault_matrix(const std::string& what, const char* variable, int number, std::int64_t Totals::*count, std::size_t few, std::int64_t most = 0) {
  if (!faults_can_be_preloaded()) return;
  for (const auto& command : commands()) {
    const auto total = totals_of(command).*count;
    if (total == 0) {
      std::printf("%s, %s: it makes no such call\n", command.name, what.c_str());
      continue;
    }
    Ready ready;
    // `most`: the first so many, and as many drawn from the rest.
    auto chosen = points(most > 0 ? std::min(total, most) : total, few, 21);
    if (most > 0 && total > most) for (const auto n : points(total - most, full_matrix() ? static_cast<std::size_t>(most) : few, 22)) {
      if (chosen.size() >= 2 * static_cast<std::size_t>(most)) break;
      chosen.push_back(most + n);
    }
    each_case((std::string(command.name) + ", " + what).c_str(), chosen, [&](std::int64_t n, Place& place, std::atomic<std::int64_t>& fired) {
      std::vector<std::string> wrong;
      const auto& expected = ready.of(place);
      place.reset(command.needs_index ? "kept" : "");
      const auto ended = command.run(place, {{variable, std::to_string(n)}, {"FAULT_FAIL_ERRNO", std::to_string(number)}, {"FAULT_ARM_AT_OPEN", "1"}});
      if (ended.exit > 0) ++fired;
      if (const auto bad = judge_error(ended); !bad.empty()) wrong.push_back(bad);
      const auto index = place.indexed();
      if (!index) wrong.push_back("afterwards: " + index.error().describe());
      const auto again = command.run(place, {});
      if (again.exit != 0) wrong.push_back("the next run fails: " + again.err);
      const auto after = place.indexed();
      if (std::string(command.name) == "ingest" && (!after || *after != expected)) wrong.push_back("the next ingest ends at another index");
      return wrong;
    }, false);
  }
}

}  // namespace

TEST_CASE("errors: ENOSPC at every write and sync", "[crash]") { fault_matrix("ENOSPC", "FAULT_FAIL_AT", ENOSPC, &Totals::calls, 12); }
TEST_CASE("errors: EIO at every write and sync", "[crash]") { fault_matrix("EIO", "FAULT_FAIL_AT", EIO, &Totals::calls, 12); }
TEST_CASE("errors: the disk is full from one call on", "[crash]") { fault_matrix("ENOSPC from there on", "FAULT_FAIL_FROM", ENOSPC, &Totals::calls, 12); }
TEST_CASE("errors: EINTR at every write and sync", "[crash]") { fault_matrix("EINTR", "FAULT_FAIL_AT", EINTR, &Totals::calls, 12); }
TEST_CASE("errors: EMFILE at every open", "[crash]") { fault_matrix("EMFILE", "FAULT_OPEN_AT", EMFILE, &Totals::opens, 12); }
TEST_CASE("errors: EIO at every read", "[crash]") { fault_matrix("EIO at reading", "FAULT_READ_AT", EIO, &Totals::reads, 12); }
TEST_CASE("errors: EINTR at every read", "[crash]") { fault_matrix("EINTR at reading", "FAULT_READ_AT", EINTR, &Totals::reads, 12); }
TEST_CASE("errors: an allocation fails", "[crash]") { fault_matrix("an allocation", "FAULT_MALLOC_AT", ENOMEM, &Totals::allocations, 24, 1000); }
