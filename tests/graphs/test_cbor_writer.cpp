// CborWriter gives the bytes that Json::to_cbor gives: what is stored does not change with who writes it.
#include <bit>
#include <cstdint>
#include <limits>
#include <random>

#include "graphs/persist/cbor_writer.hpp"
#include "graphs/persist/codec.hpp"
#include "support/catch.hpp"

using namespace corvid;

namespace {

Bytes expected(const Json& json) {
  const auto cbor = Json::to_cbor(json);
  const auto* first = reinterpret_cast<const std::byte*>(cbor.data());
  return Bytes(first, first + cbor.size());
}

class Documents {
 public:
  Json next(int depth = 0) {
    switch (below(depth < 4 ? 9 : 7)) {
      case 0: return nullptr;
      case 1: return below(2) == 0;
      case 2: return static_cast<std::int64_t>(bits()) >> below(64);
      case 3: return bits() >> below(64);
      case 4: return static_cast<double>(static_cast<float>(below(1000)) / 7);
      case 5: return std::bit_cast<double>(bits());
      case 6: return below(4) == 0 ? Json::binary(std::vector<std::uint8_t>(below(300), 7)) : Json(std::string(below(300), 'x'));
      case 7: {
        Json list = Json::array();
        for (auto n = below(30); n > 0; --n) list.push_back(next(depth + 1));
        return list;
      }
      default: {
        Json object = Json::object();
        for (auto n = below(30); n > 0; --n) object[std::to_string(below(1000))] = next(depth + 1);
        return object;
      }
    }
  }

 private:
  std::uint64_t bits() { return generator_(); }
  std::size_t below(std::size_t n) { return generator_() % n; }
  std::mt19937_64 generator_{1};
};

}  // namespace

TEST_CASE("documents become the CBOR that the JSON library writes", "[cbor]") {
  Documents documents;
  for (int i = 0; i < 2'000; ++i) {
    const Json document = documents.next();
    INFO(i);
    CHECK(encode_json(document) == expected(document));
  }
}

TEST_CASE("CBOR at the borders of its forms", "[cbor]") {
  for (const std::uint64_t size : {0, 1, 23, 24, 255, 256, 65'535, 65'536}) {
    for (const Json& document : {Json(std::string(size, 'a')), Json::binary(std::vector<std::uint8_t>(size, 1)), Json(Json::array_t(size, nullptr)), Json(size),
                                 Json(-static_cast<std::int64_t>(size)), Json(-1 - static_cast<std::int64_t>(size))}) {
      INFO(size << " " << document.type_name());
      CHECK(encode_json(document) == expected(document));
    }
  }
  using Limits = std::numeric_limits<double>;
  for (const double number : {0.0, -0.0, 0.1, 1e300, -1e300, 3.4028234663852886e38, 3.5e38, Limits::denorm_min(), Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
    INFO(number);
    CHECK(encode_json(number) == expected(number));
  }
  for (const std::int64_t number : {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) CHECK(encode_json(number) == expected(number));
  CHECK(encode_json(std::numeric_limits<std::uint64_t>::max()) == expected(std::numeric_limits<std::uint64_t>::max()));
}
