#include <string>

#include "corvid/base/hash.hpp"
#include "corvid/base/json.hpp"
#include "corvid/graphs/savers.hpp"
#include "graphs/checkpointer_conformance.hpp"
#include "graphs/sqlite_support.hpp"
#include "support/catch.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

void fill(Checkpointer& saver) {
  for (int i = 1; i <= 3; ++i) {
    auto commit = commit_of("t", i == 2 ? "sub:1" : "", std::to_string(i), static_cast<std::uint64_t>(i));
    commit.checkpoint->step = i - 2;
    if (i == 3) commit.blobs.insert(commit.blobs.begin(), {"c", 1, 0, {}}), commit.blobs[1].base_version = 1;
    commit.writes = {{std::to_string(i), "x", -1, "c", bytes_of("w")}};
    commit.interrupts = {{"q" + std::to_string(i), "", "", std::to_string(i), "x", "n", 1, 0, {}}};
    REQUIRE(saver.commit(commit));
    REQUIRE(saver.answer({"q" + std::to_string(i), "ana", 5, bytes_of("yes"), ""}, {}, 5));
  }
}

// With a digest that fits, as a hostile document would have.
Bytes signed_document(std::string body) {
  const auto digest = sha256(body);
  body += "\x58\x20";
  body.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return bytes_of(body);
}

void refuse(const Bytes& document) {
  const auto saver = make_memory_saver();
  const auto status = import_thread(*saver, document, "new");
  REQUIRE_FALSE(status);
  const auto code = status.error().code();
  CHECK((code == ErrorCode::bad_input || code == ErrorCode::invalid_argument));
  CHECK(saver->namespaces("new")->empty());
}

}  // namespace

TEST_CASE("export: one CBOR item that anybody can read") {
  const auto saver = make_memory_saver();
  fill(*saver);
  const auto document = export_thread(*saver, "t");
  REQUIRE(document);
  const auto* data = reinterpret_cast<const std::uint8_t*>(document->data());
  const auto json = Json::from_cbor(data, data + document->size());
  REQUIRE(json.size() == 5);
  CHECK(json[0] == "corvid thread");
  CHECK(json[1] == 1);
  CHECK(json[2] == "t");
  REQUIRE(json[3].size() == 3);
  CHECK(json[3][0][0] == "sub:1");  // the root last
  CHECK(json[3][2][1][0] == "3");
  CHECK(json[4].get_binary().size() == 32);
}

TEST_CASE("export: damage at any byte is an error") {
  const auto saver = make_memory_saver();
  fill(*saver);
  const auto document = *export_thread(*saver, "t");
  const auto expected = describe_thread(*saver, "t");
  for (std::size_t i = 0; i < document.size(); ++i) {
    for (const auto flip : {0x01, 0x80, 0xff}) {
      auto damaged = document;
      damaged[i] ^= static_cast<std::byte>(flip);
      refuse(damaged);
    }
    refuse(Bytes(document.begin(), document.begin() + static_cast<std::ptrdiff_t>(i)));
  }
  auto longer = document;
  longer.push_back(std::byte{0});
  refuse(longer);
  const auto other = make_memory_saver();
  REQUIRE(import_thread(*other, document, "new"));
  CHECK(describe_thread(*other, "new") == expected);
  CHECK(other->threads().value().at(0).lease_owner.empty());
}

TEST_CASE("export: damage under a digest that fits is an error or a thread") {
  const auto saver = make_memory_saver();
  fill(*saver);
  const auto document = *export_thread(*saver, "t");
  const std::string body = text_of(document).substr(0, document.size() - 34);
  for (std::size_t i = 0; i < body.size(); ++i) {
    for (const auto flip : {0x01, 0x18, 0x60, 0xff}) {
      auto damaged = body;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      const auto target = make_memory_saver();
      const auto status = import_thread(*target, signed_document(damaged), "new");
      if (status)
        CHECK_FALSE(target->namespaces("new")->empty());
      else
        CHECK(target->threads()->empty());
    }
    refuse(signed_document(body.substr(0, i)));
  }
}

TEST_CASE("export: lengths that a document does not have are not believed") {
  const std::string head = std::string("\x85\x6d") + "corvid thread\x01\x61t";
  refuse(signed_document(head + "\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"));          // commits
  refuse(signed_document(head + "\x81\x85\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"));  // a name
  refuse(signed_document(head + "\x9f\xff"));                                      // without a length
  refuse(signed_document(head + "\x80"));                                          // none at all
  refuse(signed_document(std::string(100'000, '\x81')));
  refuse(signed_document(std::string("\x85\x6d") + "corvid thread\x02\x61t\x80"));  // a later version
  refuse({});
}

TEST_CASE("export: an import that fails leaves nothing, and encrypted threads travel in plain") {
  const auto saver = make_memory_saver();
  fill(*saver);
  const auto document = *export_thread(*saver, "t");
  const auto busy = make_memory_saver();
  REQUIRE(busy->lease("new", {LeaseChange::Kind::acquire, "me", 600'000}));
  const auto refused = import_thread(*busy, document, "new");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::conflict);
  CHECK(busy->namespaces("new")->empty());
  CHECK(busy->threads().value().at(0).lease_owner == "me");
  SqliteFiles files;
  const auto secret = encrypt(files.fresh().saver, test_key(3));
  REQUIRE(import_thread(*secret, document, "t"));
  CHECK(describe_thread(*secret, "t") == describe_thread(*saver, "t"));
  CHECK(*export_thread(*secret, "t") == document);
}
