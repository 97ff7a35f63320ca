// Tokenizers against their peers on thousands of random strings: blocks of strings drawn as tests/golden/check_tokenizer_parity.py draws
// them, whose ids' hash it recorded (llama.cpp for GGUF files, the `tokenizers` package for tokenizer.json).
#include <cstdint>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "corvid/base/json.hpp"
#include "corvid/text/tokenizer.hpp"
#include "corvid/text/unicode.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::size_t below(std::size_t n) {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return static_cast<std::size_t>(((x ^ (x >> 31)) >> 33) % n);
  }

 private:
  std::uint64_t state_;
};

class Generator {
 public:
  explicit Generator(const Json& golden) : pieces_(golden["pieces"].get<std::vector<std::string>>()) {
    for (const auto& range : golden["ranges"]) {
      ranges_.emplace_back(range[0].get<char32_t>(), range[1].get<std::size_t>());
      total_ += ranges_.back().second;
    }
  }

  std::string string(std::uint64_t i) const {
    Random random(i);
    std::string out;
    const auto kind = i % 5;
    if (kind < 2) {
      for (auto n = 1 + random.below(24); n > 0; --n) out += character(random, kind == 1);
    } else if (kind == 2) {
      for (auto n = 1 + random.below(24); n > 0; --n) out += pieces_[random.below(pieces_.size())];
    } else if (kind == 3) {
      for (auto n = 1 + random.below(32); n > 0; --n) out += static_cast<char>(random.below(256));
    } else {
      for (auto n = 1 + random.below(16); n > 0; --n) {
        const auto pick = random.below(8);
        if (pick == 0) {
          out += static_cast<char>(128 + random.below(128));
        } else if (pick < 3) {
          std::string one = character(random, true);
          if (pick == 1) one.pop_back();
          out += one;
        } else {
          out += pieces_[random.below(pieces_.size())];
        }
      }
    }
    return out;
  }

 private:
  std::string character(Random& random, bool by_range) const {
    std::string out;
    if (by_range) {
      const auto& [begin, count] = ranges_[random.below(ranges_.size())];
      unicode::append_utf8(out, begin + static_cast<char32_t>(random.below(count)));
      return out;
    }
    std::size_t at = random.below(total_);
    for (const auto& [begin, count] : ranges_) {
      if (at < count) {
        unicode::append_utf8(out, begin + static_cast<char32_t>(at));
        break;
      }
      at -= count;
    }
    return out;
  }

  std::vector<std::pair<char32_t, std::size_t>> ranges_;
  std::size_t total_ = 0;
  std::vector<std::string> pieces_;
};

// FNV-1a over the value's bytes, the lowest first.
void hash(std::uint64_t& h, std::int32_t value) {
  for (int shift = 0; shift < 32; shift += 8) h = (h ^ (static_cast<std::uint32_t>(value) >> shift & 0xFF)) * 0x100000001B3u;
}

std::string hex(std::uint64_t h) {
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(h));
  return out;
}

}  // namespace

TEST_CASE("tokenizers: ids on blocks of random strings as the peers give them", "[text]") {
  const auto golden = Json::parse(read_file(source_dir() / "tests" / "golden" / "tokenizer_parity.json"));
  const Generator generator(golden);
  const auto block = golden["block"].get<std::uint64_t>();
  const auto left_out = golden["left_out"].get<std::set<std::uint64_t>>();  // the peer cannot read them
  const std::pair<const char*, const char*> models[] = {{"smollm2", "SmolLM2-135M-Instruct-Q4_1.gguf"},
                                                        {"qwen25c", "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf"},
                                                        {"gemma3", "gemma-3-270m-Q4_K_M.gguf"},
                                                        {"minilm", "all-MiniLM-L6-v2"}};
  for (const auto& [key, file] : models) {
    const auto path = model(file);
    if (!path) continue;
    const auto tokenizer = Tokenizer::open(*path);
    REQUIRE(tokenizer);
    const auto& expected = golden["models"][key];
    for (std::uint64_t b = 0; b < expected.size(); ++b) {
      const EncodeOptions options{b % 3 == 1, b % 3 == 2};
      std::uint64_t h = 0xCBF29CE484222325u;
      for (std::uint64_t i = b * block; i < (b + 1) * block; ++i) {
        if (left_out.count(i) != 0) continue;
        const auto text = generator.string(i);
        const auto spans = (*tokenizer)->encode_spans(text, options);
        if (!spans) {
          REQUIRE(spans.error().code() == ErrorCode::bad_input);
          hash(h, -1 - static_cast<std::int32_t>(*spans.error().offset()));
          continue;
        }
        hash(h, static_cast<std::int32_t>(spans->size()));
        for (const auto& span : *spans) {
          hash(h, span.id);
          if (span.begin > span.end || span.end > text.size()) FAIL("a token's range leaves the text");
        }
      }
      INFO(key << " block " << b);
      CHECK(hex(h) == expected[b].get<std::string>());
    }
  }
}
