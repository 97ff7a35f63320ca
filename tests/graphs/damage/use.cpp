#include "graphs/damage/use.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "corvid/graphs/approvals.hpp"
#include "corvid/graphs/savers.hpp"
#include "corvid/graphs/threads.hpp"
#include "corvid/runtime/wait.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

namespace corvid::test {
namespace {

RunConfig config_of(const std::string& thread = kThread) {
  RunConfig config;
  config.thread_id = thread;
  config.recursion_limit = 40;
  return config;
}

void read_whole(const StateSnapshot& state, Tally& tally) {
  if (const auto json = state.to_json(); tally.expect(json, "to_json")) (void)dump_json(*json);
}

void look(Runtime& runtime, const CompiledGraph& graph, Tally& tally) {
  const auto state = runtime.wait(graph.get_state(runtime, config_of()));
  if (tally.expect(state, "get_state")) read_whole(*state, tally);
}

void run(Runtime& runtime, const CompiledGraph& graph, Input input, RunConfig config, Tally& tally, const char* call) {
  const auto result = graph.invoke_blocking(runtime, std::move(input), std::move(config));
  if (!tally.expect(result, call)) return;
  if (const auto json = result->to_json(); tally.expect(json, "to_json")) (void)dump_json(*json);
}

void answer_all(Checkpointer& saver, Dice& dice, Tally& tally) {
  const auto open = open_interrupts(saver, kThread);
  if (!tally.expect(open, "open_interrupts")) return;
  for (const auto& each : *open) {
    AnswerRequest request{dice.below(4) == 0 ? Decision::reject : Decision::respond, "left", "ana"};
    if (each.kind == "unknown") request.value = {{"action", "skip"}};
    tally.expect(answer_interrupt(saver, each.id, request), "answer_interrupt");
  }
}

std::string some_checkpoint(Checkpointer& saver, Dice& dice, Tally& tally) {
  const auto records = saver.list(kThread, "");
  if (!tally.expect(records, "list") || records->empty()) return "nothing";
  return (*records)[dice.below(records->size())].id;
}

// Into a store of its own, and on from there.
void move_thread(Runtime& runtime, const Seed& seed, Checkpointer& saver, Tally& tally) {
  const auto exported = export_thread(saver, kThread);
  if (!tally.expect(exported, "export_thread")) return;
  const auto store = make_memory_saver();
  const auto imported = import_thread(*store, *exported, kThread);
  tally.expect(imported, "import_thread");
  if (!imported) {
    const auto left = store->namespaces(kThread);
    if (!left || !left->empty()) tally.complain("an import that failed left something");
    return;
  }
  tally.expect(store->copy_thread(kThread, "copy"), "copy_thread");
  tally.expect(store->prune("copy", {.keep_last = 1}), "prune");
  const auto graph = seed.graph(store);
  look(runtime, *graph, tally);
  run(runtime, *graph, Continue{}, config_of("copy"), tally, "run of a pruned copy");
}

}  // namespace

long Tally::error_count() const {
  long n = 0;
  for (const auto each : errors) n += each;
  return n;
}

void Tally::complain(const std::string& what) {
  if (++wrong <= 20) problems += "case " + std::to_string(cases) + ": " + what + "\n";
}

void Tally::expect(const Status& status, const char* call) {
  if (status) {
    ++values;
    return;
  }
  const Error& error = status.error();
  ++errors[static_cast<std::size_t>(error.code())];
  const bool expected = error.code() != ErrorCode::internal && error.code() != ErrorCode::out_of_memory;
  bool placed = error.code() != ErrorCode::bad_input;
  for (const Error* each = &error; each && !placed; each = each->cause()) placed = !each->key().empty() || !each->file().empty() || each->offset();
  if (!expected || error.message().empty() || !placed) {
    complain(std::string(call) + (placed ? "" : ", no place") + ": " + std::string(to_string(error.code())) + ": " + error.describe().substr(0, 300));
  }
}

void use_thread(Runtime& runtime, const Seed& seed, const std::shared_ptr<Checkpointer>& saver, Dice& dice, Tally& tally) {
  const auto graph = seed.graph(saver);
  if (dice.below(2) == 0) look(runtime, *graph, tally);
  auto config = config_of();
  switch (dice.below(9)) {
    case 0:
    case 1: run(runtime, *graph, Continue{}, std::move(config), tally, "run"); break;
    case 2: run(runtime, *graph, Json::object(), std::move(config), tally, "run with input"); break;
    case 3:
      answer_all(*saver, dice, tally);
      run(runtime, *graph, Continue{}, std::move(config), tally, "run after answers");
      break;
    case 4:
      config.checkpoint_id = some_checkpoint(*saver, dice, tally);
      run(runtime, *graph, Continue{}, std::move(config), tally, "run from a checkpoint");
      break;
    case 5: {
      auto edit = runtime.wait(graph->update_state(runtime, std::move(config), Json::object(), dice.below(2) == 0 ? "" : "turn"));
      tally.expect(edit, "update_state");
      break;
    }
    case 6: {
      const auto history = runtime.wait(graph->get_state_history(runtime, std::move(config)));
      if (tally.expect(history, "get_state_history")) {
        for (const auto& state : *history) read_whole(state, tally);
      }
      break;
    }
    case 7: {
      const auto state = read_thread(*saver, kThread);
      if (tally.expect(state, "read_thread")) read_whole(*state, tally);
      tally.expect(read_thread_history(*saver, kThread), "read_thread_history");
      if (tally.expect(fork_thread(*saver, kThread, some_checkpoint(*saver, dice, tally), "forked"), "fork_thread")) {
        run(runtime, *graph, Continue{}, config_of("forked"), tally, "run of a fork");
      }
      return;
    }
    default: move_thread(runtime, seed, *saver, tally); return;
  }
  if (dice.below(4) == 0) look(runtime, *graph, tally);
}

long mutations_wanted(long otherwise) {
  const char* wanted = std::getenv("CORVID_CHECKPOINT_MUTATIONS");
  return wanted ? std::atol(wanted) : otherwise;
}

void run_cases(const char* what, long count, const std::function<void(Dice& dice, Tally& tally)>& one) {
  const char* only = std::getenv("CORVID_CHECKPOINT_MUTATION");
  const auto [index, of] = shard();
  const long first = only ? std::atol(only) : index, end = only ? first + 1 : count;
  const auto peak_bytes = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
  };
  const auto before = peak_bytes();
  const auto start = std::chrono::steady_clock::now();
  Tally tally;
  for (tally.cases = first; tally.cases < end; tally.cases += of) {
    Dice dice(0x20261126u + static_cast<std::uint64_t>(tally.cases));
    try {
      one(dice, tally);
    } catch (const std::exception& thrown) {
      tally.complain(std::string("threw ") + thrown.what());
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const auto grown = peak_bytes() - before;
  std::printf("%s: %ld cases, %ld calls gave a value, %ld an error (", what, (end - first + of - 1) / of, tally.values, tally.error_count());
  for (std::size_t code = 0; code < tally.errors.size(); ++code) {
    if (tally.errors[code] != 0) std::printf("%s %ld; ", std::string(to_string(static_cast<ErrorCode>(code))).c_str(), tally.errors[code]);
  }
  std::printf("wrong %ld), %.1f s, memory grew by %.0f MiB\n", tally.wrong, seconds.count(), static_cast<double>(grown) / (1 << 20));
  INFO(tally.problems);
  CHECK(tally.wrong == 0);
#ifndef __SANITIZE_ADDRESS__
  CHECK(grown < std::int64_t{256} << 20);
#endif
}

}  // namespace corvid::test
