#include <sys/stat.h>

#include <string>

#include "corvid/base/hash.hpp"
#include "graphs/checkpointer_conformance.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

void fill(Checkpointer& saver) {
  auto commit = commit_of("t", "", "a", 1);
  commit.checkpoint->body = bytes_of("SECRET body");
  commit.blobs[0].bytes = bytes_of("SECRET blob");
  commit.checkpoint->channels.push_back({"d", 1});
  commit.blobs.push_back({"d", 1, 0, bytes_of("SECRET " + std::string(9'000, 'b'))});
  commit.writes = {{"a", "x", 0, "c", bytes_of("SECRET write")}};
  commit.interrupts = {{"q", "", "", "a", "x", "node", 1, 0, bytes_of("SECRET question")},
                       {"r", "", "", "a", "x", "node", 1, 0, bytes_of("SECRET other")}};
  REQUIRE(saver.commit(commit));
  REQUIRE(
      saver.answer({"r", "ana", 5, bytes_of("SECRET answer"), ""}, {0, 5, "ana", "approve", "r", bytes_of("SECRET detail"), "", ""}, 5));
  REQUIRE(saver.append_audit({0, 6, "bob", "edit", "s", bytes_of("SECRET too"), "", ""}));
  REQUIRE(saver.cache_put("key", bytes_of("SECRET result"), 0));
}

template <class R>
void refused(const R& result, std::string_view why) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::bad_input);
  INFO(result.error().describe());
  CHECK(result.error().describe().find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("encrypted saver: no plain text reaches the file") {
  SqliteFiles files;
  const auto file = files / "secret.db";
  auto store = SqliteFiles::open(file);
  fill(*encrypt(store.saver, test_key(1)));
  CHECK((read_file(file) + read_file(files / "secret.db-wal")).find("SECRET") == std::string::npos);
  auto again = encrypt(SqliteFiles::open(file).saver, test_key(1));
  CHECK(again->get("t", "").value()->record.body == bytes_of("SECRET body"));
  CHECK(again->audit().value().at(0).detail == bytes_of("SECRET detail"));
}

TEST_CASE("encrypted saver: every way in with another key says so") {
  const auto inner = make_memory_saver();
  fill(*encrypt(inner, test_key(1)));
  const auto other = encrypt(inner, test_key(2));
  refused(other->get("t", ""), "another key");
  refused(other->list("t", ""), "another key");
  refused(other->open_interrupts(), "another key");
  refused(other->audit(), "another key");
  refused(other->cache_get("key", 1), "another key");
  refused(export_thread(*other, "t"), "another key");
  // The audit log's chain is over what is stored: no key is needed to check it.
  CHECK(inner->check_audit());
  CHECK(other->check_audit());
  CHECK(verify_audit(*inner->audit()));
}

TEST_CASE("encrypted saver: plain rows are refused") {
  const auto inner = make_memory_saver();
  fill(*inner);
  const auto saver = encrypt(inner, test_key(1));
  refused(saver->get("t", ""), "not encrypted");
  refused(saver->list("t", ""), "not encrypted");
  refused(saver->open_interrupts(), "not encrypted");
  refused(saver->audit(), "not encrypted");
  refused(saver->cache_get("key", 1), "not encrypted");
  // One plain value among encrypted ones.
  for (int part = 0; part < 4; ++part) {
    const auto mixed = make_memory_saver();
    const auto over = encrypt(mixed, test_key(1));
    fill(*over);
    const auto stored = mixed->get("t", "").value();
    Commit commit;
    commit.thread_id = "u";
    commit.checkpoint = stored->record;
    (void)over->commit(commit_of("u", "", "a", 1));
    auto mine = mixed->get("u", "").value();
    commit.checkpoint = mine->record;
    if (part == 0) commit.checkpoint->body = bytes_of("plain");
    if (part == 1) commit.writes = {{"a", "x", 0, "c", bytes_of("plain, and longer than what an encrypted value needs at the least")}};
    if (part == 2) commit.interrupts = {{"i", "", "", "a", "x", "n", 1, 0, {}}};
    if (part == 3) commit.answers = {{"i", "ana", 1, bytes_of("plain"), ""}};
    REQUIRE(mixed->commit(commit));
    refused(over->get("u", ""), "not encrypted");
  }
}

TEST_CASE("encrypted saver: moved rows are refused") {
  const auto inner = make_memory_saver();
  const auto saver = encrypt(inner, test_key(1));
  REQUIRE(saver->commit(commit_of("t", "", "a", 1)));
  REQUIRE(saver->commit(commit_of("t", "", "b", 2)));
  const auto a = inner->get("t", "", "a").value(), b = inner->get("t", "", "b").value();
  const auto moved = [&](const Commit& commit) {
    const auto target = make_memory_saver();
    REQUIRE(target->commit(commit));
    refused(encrypt(target, test_key(1))->get(commit.thread_id, commit.ns), "does not belong");
  };
  Commit commit;
  commit.thread_id = "t";
  commit.checkpoint = a->record;
  commit.blobs = a->blobs;
  const auto target = make_memory_saver();
  REQUIRE(target->commit(commit));
  CHECK(encrypt(target, test_key(1))->get("t", ""));  // where it was: fine
  auto changed = commit;
  changed.thread_id = "u";
  moved(changed);
  changed = commit;
  changed.ns = "sub:1";
  moved(changed);
  changed = commit;
  changed.checkpoint->id = "c";
  moved(changed);
  changed = commit;
  changed.checkpoint->parent_id = "b";
  moved(changed);
  changed = commit;
  changed.checkpoint->step += 1;
  moved(changed);
  changed = commit;
  changed.checkpoint->body = b->record.body;
  moved(changed);
  changed = commit;
  changed.blobs[0].bytes = b->blobs[0].bytes;
  moved(changed);
  changed = commit;  // another value of the channel, though both are the store's own
  changed.blobs = b->blobs;
  changed.checkpoint->channels[0].version = 2;
  moved(changed);
  // Every byte of a value counts.
  const auto sealed = a->blobs[0].bytes;
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    changed = commit;
    changed.blobs[0].bytes[i] ^= std::byte{0x10};
    const auto damaged = make_memory_saver();
    REQUIRE(damaged->commit(changed));
    const auto got = encrypt(damaged, test_key(1))->get("t", "");
    REQUIRE_FALSE(got);
    CHECK(got.error().code() == ErrorCode::bad_input);
  }
  // The same value twice is never the same bytes.
  REQUIRE(saver->cache_put("k", bytes_of("v"), 0));
  const auto first = inner->cache_get("k", 1).value();
  REQUIRE(saver->cache_put("k", bytes_of("v"), 0));
  CHECK(inner->cache_get("k", 1).value() != first);
}

TEST_CASE("encryption keys come from files that only their owner reads") {
  TempDir dir;
  const auto file = dir / "key";
  const auto key_of = [&](std::string_view text, mode_t mode = 0600) {
    write_file(file, text);
    REQUIRE(::chmod(file.c_str(), mode) == 0);
    return read_encryption_key(file);
  };
  std::string digits;
  for (int i = 0; i < 32; ++i) digits += i % 2 ? "0f" : "A1";
  const auto key = key_of(digits + "\n");
  REQUIRE(key);
  CHECK((*key)[0] == std::byte{0xa1});
  CHECK((*key)[31] == std::byte{0x0f});
  CHECK(key_of(digits, 0400));
  const auto raw = key_of(std::string(31, '\0') + "\n");
  REQUIRE(raw);
  CHECK((*raw)[31] == std::byte{'\n'});
  refused(key_of(digits, 0640), "chmod 600");
  refused(key_of(digits, 0604), "chmod 600");
  refused(key_of(digits.substr(1)), "64 hexadecimal digits");
  refused(key_of(digits + "00"), "64 hexadecimal digits");
  refused(key_of("x" + digits.substr(1)), "64 hexadecimal digits");
  refused(key_of(""), "64 hexadecimal digits");
  refused(key_of(std::string(100'000, 'a')), "64 hexadecimal digits");
  refused(read_encryption_key(dir.path()), "regular file");
  const auto absent = read_encryption_key(dir / "absent");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code() == ErrorCode::not_found);
}

TEST_CASE("audit chain: what each entry's hash is over, and what breaks it") {
  const auto saver = make_memory_saver();
  for (int i = 0; i < 4; ++i)
    REQUIRE(saver->append_audit({0, 1'000 + i, "ana", "approve", "q" + std::to_string(i), bytes_of("detail"), "", ""}));
  const auto log = *saver->audit();
  // SHA-256 over <8 bytes of length, least first><field> each, numbers as 8 bytes.
  std::string over;
  const auto add = [&](std::string_view text) {
    for (int i = 0; i < 8; ++i) over += static_cast<char>(text.size() >> (8 * i));
    over += text;
  };
  add(std::string(64, '0'));
  add(std::string("\1\0\0\0\0\0\0\0", 8));
  add(std::string("\xe8\3\0\0\0\0\0\0", 8));
  for (const auto* text : {"ana", "approve", "q0", "detail"}) add(text);
  CHECK(log[0].hash == to_hex(sha256(over)));

  const auto broken = [&](auto&& change) {
    auto changed = log;
    change(changed);
    const auto status = verify_audit(changed);
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::bad_input);
    return status.error().describe();
  };
  CHECK(verify_audit(log));
  CHECK(verify_audit({}));
  CHECK(broken([](auto& l) { l[1].actor = "bob"; }).find("entry 2") != std::string::npos);
  CHECK(broken([](auto& l) { l[2].detail[0] ^= std::byte{1}; }).find("entry 3") != std::string::npos);
  CHECK(broken([](auto& l) { l[1].at_ms += 1; }).find("entry 2") != std::string::npos);
  CHECK(broken([](auto& l) { l.erase(l.begin() + 1); }).find("entry 2") != std::string::npos);
  CHECK(broken([](auto& l) { l.erase(l.begin()); }).find("entry 1") != std::string::npos);
  CHECK(broken([](auto& l) { std::swap(l[1], l[2]); }).find("entry 2") != std::string::npos);
  CHECK(broken([](auto& l) {  // changed with its own hash made to fit
          l[1].action = "reject";
          l[1].hash = audit_hash(l[1], l[1].previous_hash);
        })
            .find("entry 3") != std::string::npos);
}
