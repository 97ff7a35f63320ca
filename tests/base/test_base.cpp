#include <chrono>

#include "corvid/base/cancellation.hpp"
#include "corvid/base/hash.hpp"
#include "corvid/base/json.hpp"
#include "corvid/base/result.hpp"
#include "src/base/sha256_blocks.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

TEST_CASE("error: the deepest place wins and copies are independent", "[base]") {
  Error inner = Error::bad_input("too short").at_offset(12).at_offset(99);
  Error copy = inner;
  Error outer = std::move(inner).at_file("a.gguf");
  CHECK(outer.offset() == 12u);
  CHECK(copy.file().empty());
  CHECK(Error::io("cannot load").caused_by(outer).describe() == "cannot load: too short (a.gguf, byte 12)");
  CHECK(to_string(ErrorCode::deadline_exceeded) == "deadline_exceeded");
}

TEST_CASE("result: TRY returns the error", "[base]") {
  const auto f = [](Result<int> r) -> Result<std::string> {
    CORVID_TRY(const int n, r);
    return std::to_string(n);
  };
  CHECK(*f(4) == "4");
  CHECK(f(fail(Error::not_found("x"))).error().code() == ErrorCode::not_found);
}

TEST_CASE("cancellation: flag, deadline, parents, callbacks", "[base]") {
  CHECK(CancellationToken().check());
  CancellationSource parent;
  CancellationSource child(parent.token());
  int calls = 0;
  auto subscription = child.token().on_cancel([&] { ++calls; });
  { auto dropped = child.token().on_cancel([&] { calls += 100; }); }
  parent.cancel();
  parent.cancel();
  CHECK(calls == 1);
  CHECK(child.token().check().error().code() == ErrorCode::cancelled);
  auto late = child.token().on_cancel([&] { ++calls; });
  CHECK(calls == 2);

  CancellationSource timed;
  const auto now = std::chrono::steady_clock::now();
  timed.set_deadline(now - std::chrono::seconds(1));
  timed.set_deadline(now + std::chrono::hours(1));  // the earlier one stays
  CHECK(timed.token().check().error().code() == ErrorCode::deadline_exceeded);
  CHECK_FALSE(timed.token().cancelled());
}

TEST_CASE("sha-256: FIPS 180-4 vectors, any split", "[base]") {
  CHECK(to_hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(to_hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string million(1'000'000, 'a');
  CHECK(to_hex(sha256(million)) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  for (std::size_t n = 50; n < 140; ++n) {
    Sha256 split;
    split.update(std::string_view(million).substr(0, n / 3));
    split.update(std::string_view(million).substr(0, n - n / 3));
    CHECK(split.finish() == sha256(std::string_view(million).substr(0, n)));
  }
  test::TempDir dir;
  test::write_file(dir / "f", million);
  CHECK(*sha256_file(dir / "f") == sha256(million));
  CHECK(sha256_file(dir / "none").error().code() == ErrorCode::not_found);
}

TEST_CASE("sha-256: the processor's instructions give what the portable code gives", "[base]") {
  const auto accelerated = sha256_blocks_accelerated();
  if (!accelerated) WARN("SKIPPED: this processor has no instructions for SHA-256");
  std::vector<std::uint8_t> data(64 * 9);
  std::uint64_t draw = 1;
  for (auto& byte : data) byte = static_cast<std::uint8_t>((draw = draw * 6364136223846793005u + 1442695040888963407u) >> 56);
  Sha256State one{1, 2, 3, 4, 5, 6, 7, 0xffffffff}, other = one;
  for (std::size_t count = 0; accelerated && count < 10; ++count) {
    sha256_blocks_portable(one, data.data(), count);
    accelerated(other, data.data(), count);
    CHECK(one == other);
  }
}

TEST_CASE("json: limits and places", "[base]") {
  CHECK((*parse_json(R"({"a":[1,2.5,"x",null,true]})"))["a"][1] == 2.5);
  const auto cut = parse_json(R"({"a": )");
  REQUIRE_FALSE(cut);
  CHECK(cut.error().code() == ErrorCode::bad_input);
  CHECK(cut.error().offset().has_value());
  CHECK(parse_json(std::string(128, '[') + std::string(128, ']')));
  CHECK(parse_json(std::string(129, '[') + std::string(129, ']')).error().code() == ErrorCode::bad_input);
  CHECK(parse_json(std::string(1'000'000, '[')).error().code() == ErrorCode::bad_input);
  CHECK(parse_json(R"({"a":1,"a":2})"));
  JsonLimits strict;
  strict.reject_duplicate_keys = true;
  CHECK(parse_json(R"({"a":1,"a":2})", strict).error().key() == "a");
  CHECK(parse_json(R"({"a":{"a":1},"b":{"a":2}})", strict));
  strict.max_bytes = 3;
  CHECK(parse_json("[1,2]", strict).error().code() == ErrorCode::limit_exceeded);
  CHECK(parse_json("\"\xff\"").error().code() == ErrorCode::bad_input);
  CHECK(parse_json("1 2").error().code() == ErrorCode::bad_input);
  CHECK(dump_json(Json("a\xff" "b")) == "\"a\xEF\xBF\xBD" "b\"");
  CHECK(read_json_file("/nonexistent/x.json").error().code() == ErrorCode::not_found);
}
