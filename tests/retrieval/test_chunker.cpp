// Chunkers: budgets, verbatim bytes, places and overlap on generated and real text.
#include <algorithm>
#include <random>

#include "corvid/retrieval/chunker.hpp"
#include "corvid/retrieval/loader.hpp"
#include "retrieval/fake_embedder.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

std::string prose(std::mt19937& random, std::size_t paragraphs) {
  const std::vector<std::string> words = {"storm", "naïve", "coast", "a", "extraordinarily", "日本語", "rain", "of", "claims", "\xff\xfe"};
  std::string text;
  for (std::size_t p = 0; p < paragraphs; ++p) {
    for (std::size_t s = 0, n = 1 + random() % 6; s < n; ++s) {
      for (std::size_t w = 0, m = 1 + random() % 20; w < m; ++w) text += words[random() % words.size()] + (random() % 9 == 0 ? "\n" : " ");
      text.back() = '.';
      text += ' ';
    }
    text += "\n\n";
  }
  return text;
}

void check_invariants(const Document& document, const std::string& bytes, const std::vector<Chunk>& chunks, const Tokenizer& tokenizer, std::uint32_t budget) {
  std::uint64_t covered = 0;
  for (const auto& chunk : chunks) {
    REQUIRE(chunk.bytes.end <= bytes.size());
    CHECK(chunk.text == bytes.substr(chunk.bytes.begin, chunk.bytes.end - chunk.bytes.begin));
    CHECK(tokenizer.count(chunk.embedded_text).value() <= budget);
    CHECK(tokenizer.count(chunk.embedded_text).value() == chunk.tokens);
    CHECK(chunk.lines.first == 1 + static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(chunk.bytes.begin), '\n')));
    CHECK(chunk.lines.last == 1 + static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(chunk.bytes.end - 1), '\n')));
    // Nothing but white space lies between a chunk and what was covered before it.
    for (std::uint64_t b = covered; b < chunk.bytes.begin; ++b) CHECK(std::string(" \n\t\r").find(bytes[b]) != std::string::npos);
    covered = std::max(covered, chunk.bytes.end);
    CHECK((static_cast<unsigned char>(bytes[chunk.bytes.begin]) & 0xc0) != 0x80);
  }
  for (std::uint64_t b = covered; b < bytes.size(); ++b) CHECK(std::string(" \n\t\r").find(bytes[b]) != std::string::npos);
  (void)document;
}

}  // namespace

TEST_CASE("chunker: within the budget, verbatim, nothing lost, by both methods", "[retrieval]") {
  std::mt19937 random(1);
  const test::WordTokenizer tokenizer;
  for (int round = 0; round < 12; ++round) {
    const std::string bytes = prose(random, 1 + random() % 12);
    Document document;
    document.source = "/x.txt";
    document.type = "text";
    Element element;
    element.text = bytes;
    element.bytes = {0, bytes.size()};
    element.lines = {1, 1 + static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'))};
    if (round % 2) element.heading = {"Guide", "Set-up of it"};
    document.elements.push_back(element);
    for (const auto method : {ChunkMethod::recursive, ChunkMethod::sentence}) {
      for (const std::uint32_t budget : {8u, 20u, 64u, 500u}) {
        for (const float overlap : {0.f, 0.15f, 0.5f}) {
          const auto chunks = chunk_document(document, tokenizer, {budget, overlap, method});
          if (!chunks) UNSCOPED_INFO(chunks.error().describe());
          REQUIRE(chunks);
          check_invariants(document, bytes, *chunks, tokenizer, budget);
        }
      }
    }
  }
}

TEST_CASE("chunker: sentences end chunks; overlap repeats; a long word is cut", "[retrieval]") {
  const test::WordTokenizer tokenizer;
  Document document;
  Element element;
  element.text = "One two three four. Five six seven eight. Nine ten eleven twelve. Thirteen fourteen.";
  element.bytes = {0, element.text.size()};
  document.elements.push_back(element);
  auto chunks = chunk_document(document, tokenizer, {8, 0, ChunkMethod::sentence});
  REQUIRE(chunks);
  REQUIRE(chunks->size() == 2);
  CHECK((*chunks)[0].text == "One two three four. Five six seven eight.");
  CHECK((*chunks)[1].text == "Nine ten eleven twelve. Thirteen fourteen.");
  chunks = chunk_document(document, tokenizer, {8, 0.5f, ChunkMethod::recursive});
  REQUIRE(chunks);
  REQUIRE(chunks->size() > 2);
  CHECK((*chunks)[1].bytes.begin < (*chunks)[0].bytes.end);
  document.elements[0].text = std::string(500, 'x');
  document.elements[0].bytes = {0, 500};
  chunks = chunk_document(document, tokenizer, {8, 0, ChunkMethod::recursive});
  REQUIRE(chunks);
  CHECK(chunks->size() >= 5);
  CHECK_FALSE(chunk_document(document, tokenizer, {4, 0, ChunkMethod::recursive}));
  CHECK_FALSE(chunk_document(document, tokenizer, {8, 0.9f, ChunkMethod::recursive}));
}

TEST_CASE("chunker: Markdown by heading, records apart", "[retrieval]") {
  test::TempDir dir;
  test::write_file(dir / "a.md", "# A\n\nfirst\n\n## B\n\nsecond\n\n# C\n\nthird\n");
  const test::WordTokenizer tokenizer;
  const auto document = load_document(dir / "a.md");
  REQUIRE(document);
  const auto chunks = chunk_document(*document, tokenizer, {});
  REQUIRE(chunks);
  REQUIRE(chunks->size() == 3);
  CHECK((*chunks)[1].heading == std::vector<std::string>{"A", "B"});
  CHECK((*chunks)[1].embedded_text.starts_with("A > B\n\n"));
  check_invariants(*document, test::read_file(dir / "a.md"), *chunks, tokenizer, 512);
  test::write_file(dir / "a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
  CHECK(chunk_document(*load_document(dir / "a.jsonl"), tokenizer, {})->size() == 2);
}
