#include <chrono>
#include <string>

#include "graphs/checkpointer_conformance.hpp"
#include "support/catch.hpp"

namespace corvid::test {

Bytes bytes_of(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return Bytes(data, data + text.size());
}

std::string text_of(const Bytes& bytes) { return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()); }

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Commit commit_of(std::string_view thread, std::string_view ns, std::string_view id, std::uint64_t version) {
  Commit commit;
  commit.thread_id = thread;
  commit.ns = ns;
  CheckpointRecord record;
  record.id = id;
  record.step = static_cast<std::int64_t>(version) - 2;
  record.source = "loop";
  record.created_ms = 1'000 + static_cast<std::int64_t>(version);
  record.body = bytes_of("body of " + std::string(id));
  record.channels = {{"c", version}};
  commit.checkpoint = std::move(record);
  commit.blobs = {{"c", version, 0, bytes_of("c at " + std::to_string(version))}};
  return commit;
}

std::string describe(const LoadedCheckpoint& loaded) {
  const auto& r = loaded.record;
  std::string out = r.id + " < " + r.parent_id + " step " + std::to_string(r.step) + " " + r.source + " at " +
                    std::to_string(r.created_ms) + " [" + text_of(r.body) + "]";
  for (const auto& c : r.channels) out += " " + c.channel + "=" + std::to_string(c.version);
  for (const auto& b : loaded.blobs) {
    out +=
        "\n  blob " + b.channel + " " + std::to_string(b.version) + " on " + std::to_string(b.base_version) + " [" + text_of(b.bytes) + "]";
  }
  for (const auto& w : loaded.writes) {
    out +=
        "\n  write " + w.checkpoint_id + " " + w.task_id + " " + std::to_string(w.index) + " " + w.channel + " [" + text_of(w.bytes) + "]";
  }
  for (const auto& i : loaded.interrupts)
    out += "\n  asks " + i.id + " " + i.ns + " " + i.task_id + " " + i.node + " [" + text_of(i.body) + "]";
  for (const auto& a : loaded.answers) {
    out += "\n  answer " + a.interrupt_id + " by " + a.by + " at " + std::to_string(a.answered_ms) + " [" + text_of(a.body) + "]";
  }
  return out + "\n";
}

std::string describe_thread(Checkpointer& saver, std::string_view thread) {
  std::string out;
  const auto spaces = saver.namespaces(thread);
  REQUIRE(spaces);
  for (const auto& ns : *spaces) {
    out += "namespace '" + ns + "'\n";
    const auto records = saver.list(thread, ns);
    REQUIRE(records);
    for (const auto& record : *records) {
      const auto loaded = saver.get(thread, ns, record.id);
      REQUIRE(loaded);
      REQUIRE(loaded->has_value());
      out += describe(**loaded);
    }
  }
  return out;
}

namespace {

std::string get_text(Checkpointer& saver, std::string_view thread, std::string_view ns, std::string_view id = {}) {
  const auto loaded = saver.get(thread, ns, id);
  if (!loaded) return "error: " + loaded.error().describe();
  return *loaded ? describe(**loaded) : "nothing";
}

void nothing_of_nothing(Checkpointer& saver) {
  CHECK(get_text(saver, "t", "") == "nothing");
  CHECK(saver.list("t", "")->empty());
  CHECK(saver.namespaces("t")->empty());
  CHECK(saver.threads()->empty());
  CHECK(saver.open_interrupts()->empty());
  CHECK(saver.audit()->empty());
  CHECK(saver.delete_thread("t"));
  CHECK(saver.prune("t", {}).value() == 0);
  CHECK_FALSE(saver.name().empty());
}

void everything_of_a_checkpoint_comes_back(Checkpointer& saver) {
  Commit commit;
  commit.thread_id = "t";
  commit.ns = "sub:1|deeper:2";
  commit.checkpoint =
      CheckpointRecord{"00-a", "", -1, "input", 1'700'000'000'123, bytes_of(std::string("\0\xff body", 7)), {{"a", 3}, {"b", 1}}};
  commit.blobs = {{"a", 3, 0, bytes_of("A")}, {"b", 1, 0, {}}};
  commit.writes = {{"00-a", "task2", 0, "a", bytes_of("w20")},
                   {"00-a", "task1", 1, "b", bytes_of("w11")},
                   {"00-a", "task1", -3, "__interrupt__", {}},
                   {"00-a", "task1", 0, "a", bytes_of("w10")}};
  REQUIRE(saver.commit(commit));
  const auto loaded = saver.get("t", "sub:1|deeper:2");
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  const auto& got = **loaded;
  CHECK(got.record.id == "00-a");
  CHECK(got.record.parent_id.empty());
  CHECK(got.record.step == -1);
  CHECK(got.record.source == "input");
  CHECK(got.record.created_ms == 1'700'000'000'123);
  CHECK(got.record.body == commit.checkpoint->body);
  REQUIRE(got.record.channels.size() == 2);
  CHECK(got.record.channels[0].channel == "a");
  CHECK(got.record.channels[0].version == 3);
  CHECK(got.record.channels[1].channel == "b");
  REQUIRE(got.blobs.size() == 2);
  CHECK(got.blobs[0].channel == "a");
  CHECK(got.blobs[0].bytes == bytes_of("A"));
  CHECK(got.blobs[1].bytes.empty());
  REQUIRE(got.writes.size() == 4);  // by task, index
  CHECK(got.writes[0].index == -3);
  CHECK(got.writes[0].bytes.empty());
  CHECK(got.writes[1].index == 0);
  CHECK(got.writes[1].bytes == bytes_of("w10"));
  CHECK(got.writes[2].index == 1);
  CHECK(got.writes[2].channel == "b");
  CHECK(got.writes[3].task_id == "task2");
  CHECK(got.writes[3].checkpoint_id == "00-a");
  CHECK(get_text(saver, "t", "") == "nothing");
  CHECK(get_text(saver, "t", "sub:1|deeper:2", "00-b") == "nothing");
}

void ids_order_by_their_bytes(Checkpointer& saver) {
  // A locale would put these otherwise.
  const std::vector<std::string> ids = {"10", "9", "B", "_", "a", "a-", "a0", "\xc3\xa4"};
  std::uint64_t version = 0;
  for (const auto* id : {"a0", "9", "\xc3\xa4", "_", "10", "a", "B", "a-"}) REQUIRE(saver.commit(commit_of("t", "", id, ++version)));
  const auto all = saver.list("t", "");
  REQUIRE(all);
  REQUIRE(all->size() == ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) CHECK((*all)[i].id == ids[ids.size() - 1 - i]);
  CHECK((*all)[0].body == bytes_of("body of \xc3\xa4"));
  CHECK((*all)[0].channels.size() == 1);
  CHECK(saver.get("t", "").value()->record.id == "\xc3\xa4");
  CHECK(saver.get("t", "", "9").value()->record.id == "9");
  CHECK(saver.threads().value().at(0).last_checkpoint_id == "\xc3\xa4");
  // Pages of three, each before the last of the one before.
  std::vector<std::string> paged;
  ListOptions page;
  page.limit = 3;
  while (true) {
    const auto some = saver.list("t", "", page);
    REQUIRE(some);
    CHECK(some->size() <= 3);
    if (some->empty()) break;
    for (const auto& record : *some) paged.push_back(record.id);
    page.before = some->back().id;
  }
  CHECK(paged == std::vector<std::string>(ids.rbegin(), ids.rend()));
  ListOptions from_between;
  from_between.before = "a,";  // no checkpoint's id
  CHECK(saver.list("t", "", from_between).value().at(0).id == "a");
}

void a_checkpoint_is_replaced(Checkpointer& saver) {
  REQUIRE(saver.commit(commit_of("t", "", "a", 1)));
  auto again = commit_of("t", "", "a", 2);
  again.checkpoint->body = bytes_of("other");
  REQUIRE(saver.commit(again));
  CHECK(saver.list("t", "")->size() == 1);
  CHECK(saver.get("t", "").value()->record.body == bytes_of("other"));
  CHECK(saver.get("t", "").value()->blobs.at(0).version == 2);
}

void versions_are_stored_once(Checkpointer& saver) {
  REQUIRE(saver.commit(commit_of("t", "", "a", 1)));
  auto again = commit_of("t", "", "b", 1);
  again.blobs[0].bytes = bytes_of("not this");
  REQUIRE(saver.commit(again));
  CHECK(saver.get("t", "", "b").value()->blobs.at(0).bytes == bytes_of("c at 1"));
  // The same channel and version elsewhere is another value.
  auto other = commit_of("t", "sub:1", "a", 1);
  other.blobs[0].bytes = bytes_of("of the subgraph");
  REQUIRE(saver.commit(other));
  CHECK(saver.get("t", "sub:1").value()->blobs.at(0).bytes == bytes_of("of the subgraph"));
  CHECK(saver.get("t", "").value()->blobs.at(0).bytes == bytes_of("c at 1"));
}

void chains_go_back_to_the_whole(Checkpointer& saver) {
  for (std::uint64_t v = 1; v <= 20; ++v) {
    auto commit = commit_of("t", "", (v < 10 ? "0" : "") + std::to_string(v), v);
    if (v % 8 != 1) commit.blobs[0].base_version = v - 1;
    commit.checkpoint->channels.push_back({"other", 1});
    if (v == 1) commit.blobs.push_back({"other", 1, 0, bytes_of("o")});
    REQUIRE(saver.commit(commit));
  }
  const auto loaded = saver.get("t", "", "16");
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  const auto& blobs = (*loaded)->blobs;
  REQUIRE(blobs.size() == 9);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(blobs[i].channel == "c");
    CHECK(blobs[i].version == 9 + i);
    CHECK(blobs[i].base_version == (i == 0 ? 0 : 8 + i));
    CHECK(blobs[i].bytes == bytes_of("c at " + std::to_string(9 + i)));
  }
  CHECK(blobs[8].channel == "other");
  CHECK(saver.get("t", "", "17").value()->blobs.size() == 2);
  // A base may lie further back than the version before.
  auto jump = commit_of("t", "", "21", 30);
  jump.blobs[0].base_version = 18;
  REQUIRE(saver.commit(jump));
  const auto jumped = saver.get("t", "");
  REQUIRE(jumped);
  REQUIRE((*jumped)->blobs.size() == 3);
  CHECK((*jumped)->blobs[0].version == 17);
  CHECK((*jumped)->blobs[1].version == 18);
  CHECK((*jumped)->blobs[2].version == 30);
}

void broken_chains_are_named(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 7);
  commit.blobs[0].base_version = 5;  // never stored
  REQUIRE(saver.commit(commit));
  const auto broken = saver.get("t", "");
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code() == ErrorCode::bad_input);
  CHECK(broken.error().describe().find("c") != std::string::npos);
  CHECK(broken.error().describe().find("5") != std::string::npos);
  auto missing = commit_of("u", "", "a", 4);
  missing.blobs.clear();
  REQUIRE(saver.commit(missing));
  const auto lost = saver.get("u", "");
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code() == ErrorCode::bad_input);
  CHECK(lost.error().describe().find("4") != std::string::npos);
}

void pending_writes_are_kept_replaced_and_folded(Checkpointer& saver) {
  REQUIRE(saver.commit(commit_of("t", "", "a", 1)));
  Commit writes;
  writes.thread_id = "t";
  writes.writes = {{"a", "x", 0, "c", bytes_of("1")}, {"a", "y", 0, "c", bytes_of("2")}};
  REQUIRE(saver.commit(writes));
  writes.writes = {{"a", "x", 0, "d", bytes_of("new")}, {"a", "x", -1, "__error__", bytes_of("e")}};
  REQUIRE(saver.commit(writes));
  auto got = saver.get("t", "").value()->writes;
  REQUIRE(got.size() == 3);
  CHECK(got[0].index == -1);
  CHECK(got[1].channel == "d");
  CHECK(got[1].bytes == bytes_of("new"));
  CHECK(got[2].task_id == "y");
  // Another namespace's and another checkpoint's are not these.
  auto elsewhere = commit_of("t", "sub:1", "a", 1);
  elsewhere.writes = {{"a", "x", 0, "c", bytes_of("sub")}};
  REQUIRE(saver.commit(elsewhere));
  auto next = commit_of("t", "", "b", 2);
  next.drop_writes_of = "a";
  next.writes = {{"b", "z", 0, "c", bytes_of("3")}, {"a", "late", 0, "c", bytes_of("folded at once")}};
  REQUIRE(saver.commit(next));
  CHECK(saver.get("t", "", "a").value()->writes.empty());
  CHECK(saver.get("t", "", "b").value()->writes.size() == 1);
  CHECK(saver.get("t", "sub:1", "a").value()->writes.size() == 1);
}

void nothing_of_a_refused_commit_stays(Checkpointer& saver) {
  REQUIRE(saver.commit(commit_of("t", "", "a", 1)));
  const auto before = describe_thread(saver, "t");
  const auto refused = [&](const Commit& commit) {
    const auto status = saver.commit(commit);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::invalid_argument);
    CHECK(describe_thread(saver, "t") == before);
    CHECK(saver.open_interrupts()->empty());
    CHECK(saver.threads()->size() == 1);
  };
  auto commit = commit_of("t", "", "b", 2);
  commit.lease = {LeaseChange::Kind::acquire, "me", 60'000};
  commit.writes = {{"a", "x", 0, "c", bytes_of("1")}};
  commit.interrupts = {{"good", "", "", "b", "x", "n", 1, 0, bytes_of("q")}, {"", "", "", "b", "x", "n", 1, 0, bytes_of("q")}};
  refused(commit);  // the last question has no id
  CHECK(saver.threads()->at(0).lease_owner.empty());
  commit.interrupts.clear();
  commit.blobs[0].base_version = 2;  // a delta on itself
  refused(commit);
  commit.blobs[0].base_version = 0;
  commit.blobs[0].version = 0;
  refused(commit);
  commit = commit_of("t", "", "", 2);
  refused(commit);
  commit = commit_of("", "", "b", 2);
  refused(commit);
  commit = commit_of(std::string("t\0u", 3), "", "b", 2);  // not every store can keep a NUL in a name
  refused(commit);
  commit = commit_of("t", "", "b", 2);
  commit.lease = {LeaseChange::Kind::acquire, "", 60'000};
  refused(commit);
  commit.lease = {LeaseChange::Kind::acquire, "me", 0};
  refused(commit);
}

void names_are_only_names(Checkpointer& saver) {
  std::string longest;
  for (int i = 0; i < 1'000; ++i) longest += static_cast<char>('a' + i % 26);
  const std::vector<std::string> names = {"it's \"quoted\"; DROP TABLE t; --", "%_\\",  " ", "\n\t", "a|b:c/../d",
                                          "\xf0\x9f\x90\xa6\xe2\x80\xae",      longest, "T", "t",    "t "};
  for (const auto& name : names) {
    auto commit = commit_of(name, name, name, 1);
    commit.checkpoint->channels[0].channel = commit.blobs[0].channel = name;
    commit.checkpoint->source = name;
    commit.writes = {{name, name, 0, name, bytes_of(name)}};
    commit.interrupts = {{name, "", "", name, name, name, 1, 0, bytes_of(name)}};
    REQUIRE(saver.commit(commit));
  }
  CHECK(saver.threads()->size() == names.size());
  for (const auto& name : names) {
    CHECK(saver.namespaces(name).value() == std::vector<std::string>{name});
    const auto loaded = saver.get(name, name, name);
    REQUIRE(loaded);
    REQUIRE(loaded->has_value());
    CHECK((*loaded)->record.id == name);
    CHECK((*loaded)->record.source == name);
    CHECK((*loaded)->blobs.at(0).channel == name);
    CHECK((*loaded)->writes.at(0).task_id == name);
    CHECK((*loaded)->interrupts.at(0).node == name);
    CHECK(saver.open_interrupts(name)->size() == 1);
  }
  REQUIRE(saver.delete_thread(names[0]));
  CHECK(saver.threads()->size() == names.size() - 1);
}

void large_values(Checkpointer& saver) {
  std::string big(std::size_t{8} << 20, '\0');
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>((i * 2654435761u) >> 13);
  auto commit = commit_of("t", "", "a", 1);
  commit.checkpoint->body = bytes_of(big.substr(0, std::size_t{1} << 20));
  commit.blobs[0].bytes = bytes_of(big);
  commit.blobs.push_back({"d", 1, 0, bytes_of(big.substr(1, 4096))});
  commit.blobs.push_back({"e", 1, 0, bytes_of(big.substr(1, 4097))});
  commit.checkpoint->channels.push_back({"d", 1});
  commit.checkpoint->channels.push_back({"e", 1});
  commit.writes = {{"a", "x", 0, "c", bytes_of(big)}};
  REQUIRE(saver.commit(commit));
  const auto loaded = saver.get("t", "");
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  CHECK((*loaded)->record.body == commit.checkpoint->body);
  CHECK((*loaded)->blobs.at(0).bytes == commit.blobs[0].bytes);
  CHECK((*loaded)->blobs.at(1).bytes == commit.blobs[1].bytes);
  CHECK((*loaded)->blobs.at(2).bytes == commit.blobs[2].bytes);
  CHECK((*loaded)->writes.at(0).bytes == commit.blobs[0].bytes);
  // Four hundred channels at once.
  auto wide = commit_of("wide", "", "a", 1);
  for (int i = 0; i < 400; ++i) {
    wide.blobs.push_back({"k" + std::to_string(i), 1, 0, bytes_of(std::to_string(i))});
    wide.checkpoint->channels.push_back({"k" + std::to_string(i), 1});
  }
  REQUIRE(saver.commit(wide));
  const auto got = saver.get("wide", "");
  REQUIRE(got);
  REQUIRE((*got)->blobs.size() == 401);
  CHECK((*got)->blobs.at(400).bytes == bytes_of("399"));  // in the record's order
}

void namespaces_are_apart(Checkpointer& saver) {
  const std::vector<std::string> spaces = {"", "a:1", "a:10", "a:1|b:2", "b"};
  std::uint64_t version = 0;
  for (const auto* ns : {"b", "a:1|b:2", "", "a:10", "a:1"}) REQUIRE(saver.commit(commit_of("t", ns, "x", ++version)));
  CHECK(saver.namespaces("t").value() == spaces);
  CHECK(saver.get("t", "a:1").value()->blobs.at(0).version == 5);
  CHECK(saver.get("t", "").value()->blobs.at(0).version == 3);
  CHECK(saver.threads()->size() == 1);
}

// Two who load the same state cannot both go on from it.
void expects_the_newest(Checkpointer& saver) {
  Commit first = commit_of("e", "", "1", 1);
  first.expected_latest = "";
  REQUIRE(saver.commit(first));
  Commit again = commit_of("e", "", "2", 2);
  again.expected_latest = "";
  CHECK(saver.commit(again).error().code() == ErrorCode::conflict);
  CHECK(get_text(saver, "e", "").starts_with("1 "));
  again.expected_latest = "1";
  REQUIRE(saver.commit(again));
  Commit late = commit_of("e", "", "3", 3);
  late.expected_latest = "1";
  const auto refused = saver.commit(late);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::conflict);
  CHECK(refused.error().message().find("2") != std::string::npos);
  Commit inner = commit_of("e", "inner", "1", 1);   // each namespace has a newest of its own
  inner.expected_latest = "";
  CHECK(saver.commit(inner));
}

}  // namespace

void check_states(const MakeSaver& make_empty) {
  expects_the_newest(*make_empty());
  nothing_of_nothing(*make_empty());
  everything_of_a_checkpoint_comes_back(*make_empty());
  ids_order_by_their_bytes(*make_empty());
  a_checkpoint_is_replaced(*make_empty());
  versions_are_stored_once(*make_empty());
  chains_go_back_to_the_whole(*make_empty());
  broken_chains_are_named(*make_empty());
  pending_writes_are_kept_replaced_and_folded(*make_empty());
  nothing_of_a_refused_commit_stays(*make_empty());
  names_are_only_names(*make_empty());
  large_values(*make_empty());
  namespaces_are_apart(*make_empty());
}

void check_checkpointer(const MakeSaver& make_empty) {
  check_states(make_empty);
  check_leases(make_empty);
  check_questions(make_empty);
  check_threads(make_empty);
}

}  // namespace corvid::test
