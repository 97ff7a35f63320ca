#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "corvid/base/json.hpp"
#include "corvid/text/tokenizer.hpp"
#include "corvid/text/unicode.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

void check_golden(const Json& cases, const Tokenizer& tokenizer) {
  for (const auto& c : cases) {
    const auto text = c["text"].get<std::string>();
    INFO(text);
    CHECK(*tokenizer.encode(text, {false, false}) == c["plain"].get<std::vector<TokenId>>());
    CHECK(*tokenizer.encode(text, {true, false}) == c["add_special"].get<std::vector<TokenId>>());
    if (c.contains("parse_special")) CHECK(*tokenizer.encode(text, {false, true}) == c["parse_special"].get<std::vector<TokenId>>());
    // Ranges lie in the text, in order; together with what is between them they cover it.
    const auto spans = tokenizer.encode_spans(text, {true, false});
    for (const auto& span : *spans) CHECK((span.begin <= span.end && span.end <= text.size()));
  }
}

}  // namespace

TEST_CASE("tokenizers: the recorded ids of four real models", "[text]") {
  const auto golden = test_data("golden_tokens.json");
  if (!golden) return;
  const auto json = read_json_file(*golden);
  REQUIRE(json);
  const std::pair<const char*, const char*> models[] = {{"smollm2", "SmolLM2-135M-Instruct-Q4_1.gguf"},
                                                        {"qwen25c", "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf"},
                                                        {"gemma3", "gemma-3-270m-Q4_K_M.gguf"},
                                                        {"minilm", "all-MiniLM-L6-v2"}};
  for (const auto& [key, file] : models) {
    const auto path = model(file);
    if (!path) continue;
    INFO(key);
    const auto tokenizer = Tokenizer::open(*path);
    if (!tokenizer) FAIL(tokenizer.error().describe());
    check_golden((*json)[key], **tokenizer);
  }
}

TEST_CASE("tokenizers: llama.cpp's vocabularies with their inputs and outputs", "[text]") {
  const auto folder = test_data("llama-vocabs");
  if (!folder) return;
  for (const char* name : {"gpt-2", "llama-bpe", "llama-spm", "qwen2", "bert-bge"}) {
    INFO(name);
    const auto base = (*folder / ("ggml-vocab-" + std::string(name) + ".gguf")).string();
    const auto tokenizer = Tokenizer::open(base);
    if (!tokenizer) FAIL(tokenizer.error().describe());
    const std::string inputs = read_file(base + ".inp");
    std::istringstream outputs(read_file(base + ".out"));
    const std::string separator = "\n__ggml_vocab_test__\n";
    std::size_t at = 0;
    std::string line;
    while (std::getline(outputs, line)) {
      const auto end = inputs.find(separator, at);
      const std::string text = inputs.substr(at, end == std::string::npos ? end : end - at);
      std::vector<TokenId> expected;
      std::istringstream ids(line);
      for (TokenId id; ids >> id;) expected.push_back(id);
      INFO(text);
      CHECK(*(*tokenizer)->encode(text, {false, false}) == expected);
      if (end == std::string::npos) break;
      at = end + separator.size();
    }
  }
}

TEST_CASE("tokenizers: text comes back, and streams never split a code point", "[text]") {
  const auto path = model("SmolLM2-135M-Instruct-Q4_1.gguf");
  if (!path) return;
  const auto tokenizer = Tokenizer::open(*path);
  REQUIRE(tokenizer);
  const std::string text = "naïve 😀 👩‍👩‍👧 日本語 and <|im_end|> as text";
  const auto ids = *(*tokenizer)->encode(text);
  CHECK((*tokenizer)->decode(ids) == text);
  StreamDecoder stream(*tokenizer);
  std::string out;
  for (const auto id : ids) {
    const auto part = stream.push(id);
    CHECK_FALSE(unicode::find_invalid_utf8(part));
    out += part;
  }
  CHECK(out + stream.finish() == text);
  CHECK((*tokenizer)->eos());
  CHECK_FALSE((*tokenizer)->end_of_generation().empty());
  CHECK((*tokenizer)->encode("a\xff" "b"));  // any bytes are taken
}

TEST_CASE("tokenizers: what was encoded before, and on other threads, changes nothing", "[text]") {
  // Words of every length and of many tokens, more of them than are remembered; some of one stem, so that their sets collide.
  std::vector<std::string> texts;
  for (int i = 0; i < 400; ++i) {
    std::string text;
    for (int k = 0; k < 60; ++k) {
      const int n = i * 60 + k;
      text += k % 7 == 0 ? "  " : " ";
      text += std::string(static_cast<std::size_t>(n % 41), static_cast<char>('a' + n % 26)) + std::to_string(n * 7919) + (k % 5 == 0 ? "\u00e9\u4f60=" : "s'll");
      if (k % 11 == 0) text += "\n\n|" + std::string(static_cast<std::size_t>(n % 230), '-') + "|";
    }
    texts.push_back(std::move(text));
  }
  for (const char* file : {"SmolLM2-135M-Instruct-Q4_1.gguf", "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf", "gemma-3-270m-Q4_K_M.gguf", "all-MiniLM-L6-v2"}) {
    const auto path = model(file);
    if (!path) continue;
    INFO(file);
    const auto tokenizer = Tokenizer::open(*path);
    REQUIRE(tokenizer);
    const auto all = [&] {
      std::vector<std::vector<TokenSpan>> out;
      for (const auto& text : texts) out.push_back(*(*tokenizer)->encode_spans(text));
      return out;
    };
    const auto same = [](const std::vector<std::vector<TokenSpan>>& a, const std::vector<std::vector<TokenSpan>>& b) {
      return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const TokenSpan& s, const TokenSpan& t) { return s.id == t.id && s.begin == t.begin && s.end == t.end; });
      });
    };
    const auto first = all();
    CHECK(same(all(), first));
    std::vector<std::vector<std::vector<TokenSpan>>> beside(6);
    std::vector<std::thread> threads;
    for (auto& out : beside) threads.emplace_back([&] { out = all(); });
    for (auto& thread : threads) thread.join();
    for (const auto& out : beside) CHECK(same(out, first));
    // A tokenizer that has seen nothing yet agrees, text by text.
    for (std::size_t i = 0; i < texts.size(); i += 133) {
      const auto fresh = Tokenizer::open(*path);
      REQUIRE(fresh);
      CHECK(same({*(*fresh)->encode_spans(texts[i])}, {first[i]}));
    }
  }
}

TEST_CASE("tokenizers: bad UTF-8 and unsupported kinds are typed errors", "[text]") {
  if (const auto path = model("all-MiniLM-L6-v2")) {
    const auto tokenizer = Tokenizer::open(*path);
    REQUIRE(tokenizer);
    const auto bad = (*tokenizer)->encode("ab\xff");
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code() == ErrorCode::bad_input);
    CHECK(bad.error().offset() == 2u);
  }
  TempDir dir;
  write_file(dir / "tokenizer.json", R"({"model":{"type":"Unigram","vocab":[]}})");
  const auto unigram = Tokenizer::open(dir.path());
  REQUIRE_FALSE(unigram);
  CHECK(unigram.error().code() == ErrorCode::unsupported);
  CHECK(unigram.error().describe().find("Unigram") != std::string::npos);
  write_file(dir / "tokenizer.json", R"({"model":{"type":"BPE","vocab":[]}})");
  CHECK(Tokenizer::open(dir.path()).error().code() == ErrorCode::bad_input);
  CHECK(Tokenizer::open(dir / "none").error().code() == ErrorCode::not_found);
}

TEST_CASE("unicode: UTF-8 is checked and repaired by maximal subparts", "[text]") {
  CHECK_FALSE(unicode::find_invalid_utf8("aé日😀"));
  for (const std::string bad : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\x80", "\xE2\x82"}) CHECK(unicode::find_invalid_utf8("x" + bad) == 1u);
  CHECK(unicode::to_valid_utf8("\xE2\x82" "a\xF0\x9F\x98") == "\xEF\xBF\xBD" "a\xEF\xBF\xBD");
  CHECK(unicode::to_valid_utf8("\xC0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(unicode::nfd("é") == "e\xCC\x81");
  CHECK(unicode::nfc("e\xCC\x81") == "é");
  CHECK(unicode::lower("ÀÉΣ") == "àéσ");
  CHECK(unicode::is_letter(U'字'));
  CHECK(unicode::is_number(U'½'));
  CHECK(unicode::is_space(0x3000));
}
