// What the mutations of test_checkpoint_mutations.cpp once got wrong, each by itself.
#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "corvid/graphs/savers.hpp"
#include "corvid/runtime/wait.hpp"
#include "corvid/storage/workspace.hpp"
#include "graphs/damage/seeds.hpp"
#include "graphs/persist/codec.hpp"
#include "graphs/persist/rows.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

RunConfig on_thread() {
  RunConfig config;
  config.thread_id = kThread;
  return config;
}

const Seed& seed_of(const std::vector<Seed>& seeds, const std::string& name) {
  for (const auto& seed : seeds) {
    if (seed.name == name) return seed;
  }
  FAIL("no seed " << name);
  return seeds.front();
}

Space& root_of(StoreImage& image) {
  for (auto& space : image.spaces) {
    if (space.ns.empty()) return space;
  }
  FAIL("no root");
  return image.spaces.front();
}

Result<RunResult> go_on(Runtime& runtime, const Seed& seed, StoreImage image) {
  return seed.graph(make_damaged_store(kThread, std::move(image)))->invoke_blocking(runtime, Continue{}, on_thread());
}

void refused(const Result<RunResult>& result, ErrorCode code, const std::string& word) {
  REQUIRE_FALSE(result);
  INFO(result.error().describe());
  CHECK(result.error().code() == code);
  CHECK(result.error().message().find(word) != std::string::npos);
  CHECK_FALSE(result.error().key().empty());
}

void edit_body(CheckpointRecord& record, const std::function<void(Json&)>& edit) {
  auto body = decode_json(record.body);
  REQUIRE(body);
  edit(*body);
  record.body = encode_json(*body);
}

}  // namespace

TEST_CASE("damaged checkpoints: numbers from which nothing can be counted on are refused") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto& seed = seed_of(seeds, "a pause before a deferred node");
  const auto with = [&](const std::function<void(CheckpointRecord&)>& damage) {
    auto image = seed.image;
    damage(root_of(image).checkpoints.back());
    return go_on(runtime, seed, std::move(image));
  };
  using Limits = std::numeric_limits<std::int64_t>;
  for (const auto step : {Limits::max(), Limits::max() - 1, Limits::min(), std::int64_t{-2}}) {  // step + 2 overflowed
    refused(with([&](auto& record) { record.step = step; }), ErrorCode::bad_input, "step");
  }
  // The next checkpoint's id would have been smaller: the thread would have stood still for good.
  for (const auto* id : {"ffffffffffffffffffffffffffffffff", "zz"}) {
    refused(with([&](auto& record) { record.id = id; }), ErrorCode::bad_input, "later checkpoint");
  }
  for (const auto version : {std::numeric_limits<std::uint64_t>::max(), std::uint64_t{1} << 63}) {  // the next version was 0
    refused(with([&](auto& record) { edit_body(record, [&](Json& body) { body["version"] = version; }); }), ErrorCode::bad_input, "version");
  }
}

TEST_CASE("damaged checkpoints: a shape of any form is compared without an exception") {
  const Json now = {{"channels", {{"x", {{"type", "integer"}, {"reducer", "add"}, {"delta", false}}}}}, {"nodes", {{"a", {{"kind", "node"}}}}}};
  const std::vector<std::string> next{"a"};
  const Json broken_text = std::string("\xff\xfe");
  for (const auto& then : {Json(nullptr), Json("x"), Json::array(), Json{{"channels", {{"x", 5}}}}, Json{{"channels", {{"x", {{"type", broken_text}}}}}},
                           Json{{"nodes", {{"a", 5}}}}, Json{{"nodes", {{"a", {{"kind", 5}}}}}}, Json{{"nodes", 5}}}) {
    CHECK_NOTHROW(incompatibilities(then, now, next));
  }
  CHECK(incompatibilities(now, now, next).empty());
  const Json subgraph = {{"nodes", {{"a", {{"kind", "subgraph"}}}}}};
  CHECK(incompatibilities(subgraph, now, next).size() == 1);
}

TEST_CASE("damaged checkpoints: an answer about an UNKNOWN task that says nothing is refused") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto& seed = seed_of(seeds, "an UNKNOWN that was answered");
  for (const Json& value : {Json{{"action", 5}}, Json{{"action", nullptr}}, Json("retry"), Json::array()}) {
    auto image = seed.image;
    const std::string newest = root_of(image).checkpoints.back().id;
    for (auto& stored : image.answers) {
      if (stored.checkpoint_id == newest) stored.answer.body = encode_json({{"decision", "respond"}, {"value", value}});
    }
    refused(go_on(runtime, seed, std::move(image)), ErrorCode::bad_input, "must say retry, skip or result");
  }
}

TEST_CASE("damaged checkpoints: an at_most_once task whose start cannot be read does not run again") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto& seed = seed_of(seeds, "an at_most_once task of which nobody knows");
  for (const Json& starts : {Json(0), Json(-1), Json("1"), Json(nullptr), Json(std::numeric_limits<std::uint64_t>::max())}) {
    auto image = seed.image;
    bool found = false;
    for (auto& write : root_of(image).writes) {
      if (write.index != -2) continue;
      write.bytes = encode_json(starts);
      found = true;
    }
    REQUIRE(found);
    refused(go_on(runtime, seed, std::move(image)), ErrorCode::bad_input, "how often a task was started");
  }
}

TEST_CASE("damaged checkpoints: a stored outcome or failure of another form names its task") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto& seed = seed_of(seeds, "a superstep of which one task failed");
  for (const auto index : {0, -1}) {
    auto image = seed.image;
    for (auto& write : root_of(image).writes) {
      if (write.index == index) write.bytes = encode_json(Json(5));
    }
    const auto result = go_on(runtime, seed, std::move(image));
    refused(result, ErrorCode::bad_input, index == 0 ? "a stored task is damaged" : "a task's failure");
    CHECK(result.error().key().find("task ") == 0);
  }
}

TEST_CASE("damaged checkpoints: a Send's timeout is kept within what clocks can count") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto& seed = seed_of(seeds, "a thread that has ended");
  auto image = seed.image;
  auto& space = root_of(image);
  bool found = false;
  for (std::size_t i = 0; i < space.checkpoints.size() && !found; ++i) {
    auto& record = space.checkpoints[i];
    edit_body(record, [&](Json& body) {
      for (auto& send : body["sends"]) {
        if (!send.contains("timeout_ms")) continue;
        send["timeout_ms"] = std::numeric_limits<std::int64_t>::max();
        found = true;
      }
    });
    if (found) space.checkpoints.resize(i + 1);
  }
  REQUIRE(found);
  const auto result = go_on(runtime, seed, std::move(image));
  REQUIRE(result);
  CHECK(result->status == RunStatus::interrupted);
}

TEST_CASE("damaged checkpoints: a question that cannot be read is named") {
  Runtime runtime;
  const auto seeds = make_seeds(runtime);
  const auto& seed = seed_of(seeds, "a subgraph's question");
  for (const auto& bytes : {Bytes{std::byte{0xa1}, std::byte{0x01}, std::byte{0x01}}, Bytes{}, encode_json(Json{{"kind", 5}})}) {
    auto image = seed.image;
    image.open.back().body = bytes;
    const auto graph = seed.graph(make_damaged_store(kThread, image));
    const auto state = runtime.wait(graph->get_state(runtime, on_thread()));
    REQUIRE_FALSE(state);
    CHECK(state.error().code() == ErrorCode::bad_input);
    CHECK(state.error().key() == image.open.back().id);
  }
}

TEST_CASE("damaged checkpoints: union over a number is an error") {
  const auto reducer = *json_reducer("union");
  for (const Json& state : {Json(5), Json("text"), Json(true)}) {
    std::vector<Value> writes{Value::of(Json::array({1}))};
    const auto joined = reducer.reduce(Value::of(state), writes);
    REQUIRE_FALSE(joined);
    CHECK(joined.error().code() == ErrorCode::bad_input);
  }
}

TEST_CASE("damaged checkpoints: an export says where, and an index beyond 32 bits is no other index") {
  const auto saver = make_memory_saver();
  Commit commit;
  commit.thread_id = "t";
  commit.checkpoint = CheckpointRecord{"a", "", 0, "input", 1, {}, {}};
  commit.writes.push_back({"a", "task", 0x01020304, "c", {}});
  REQUIRE(saver->commit(commit));
  const auto document = *export_thread(*saver, "t");
  const auto sealed = [](Bytes body) {
    const auto digest = persist::sha256_of(body);
    body.push_back(std::byte{0x58});
    body.push_back(std::byte{0x20});
    for (const auto each : digest) body.push_back(std::byte{each});
    return body;
  };
  Bytes body(document.begin(), document.end() - 34);
  REQUIRE(import_thread(*make_memory_saver(), sealed(body), "t"));
  const std::vector<std::byte> head{std::byte{0x1a}, std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const auto at = std::search(body.begin(), body.end(), head.begin(), head.end());
  REQUIRE(at != body.end());
  const auto offset = static_cast<std::size_t>(at - body.begin());
  Bytes wide(body.begin(), at);
  for (const auto byte : {0x1b, 0, 0, 0, 1, 0, 0, 0, 0}) wide.push_back(static_cast<std::byte>(byte));  // 2^32, once read as 0
  wide.insert(wide.end(), at + 5, body.end());
  const auto refused = import_thread(*make_memory_saver(), sealed(wide), "t");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::bad_input);
  CHECK(refused.error().offset() == offset + 9);
}

TEST_CASE("damaged checkpoints: tables that the list of migrations does not tell of are damage, and an audit entry has a place") {
  SqliteFiles files;
  const auto path = files / "w.db";
  {
    auto workspace = Workspace::open(path);
    REQUIRE(workspace);
    REQUIRE(open_sqlite_store(*workspace));
    const auto forget = [](Database& db) { return db.execute("DELETE FROM corvid_migrations"); };
    REQUIRE((*workspace)->write(forget));
  }
  auto workspace = Workspace::open(path);
  REQUIRE(workspace);
  const auto store = open_sqlite_store(*workspace);
  REQUIRE_FALSE(store);
  CHECK(store.error().code() == ErrorCode::bad_input);
  CHECK(store.error().file() == path.string());
  const auto log = verify_audit({AuditRecord{}});
  REQUIRE_FALSE(log);
  CHECK_FALSE(log.error().key().empty());
}

TEST_CASE("damaged checkpoints: a workspace whose tables lack a column is damaged, not a defect") {
  SqliteFiles files;
  const auto path = files / "w.db";
  auto workspace = Workspace::open(path);
  REQUIRE(workspace);
  auto store = open_sqlite_store(*workspace);
  REQUIRE(store);
  const auto drop = [](Database& db) { return db.execute("ALTER TABLE graph_states DROP COLUMN source"); };
  REQUIRE((*workspace)->write(drop));
  Commit commit;
  commit.thread_id = "t";
  commit.checkpoint = CheckpointRecord{"a", "", 0, "input", 1, {}, {}};
  const auto refused = store->saver->commit(commit);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::bad_input);
  CHECK(refused.error().file() == path.string());
}
