#include <algorithm>
#include <string>

#include "corvid/retrieval/loader.hpp"
#include "retrieval/walk/gitignore.hpp"
#include "retrieval/walk/walk.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::retrieval;

TEST_CASE("gitignore: negation, anchors, **, folders only") {
  const auto rules = GitIgnore::parse("# c\n*.log\n!keep.log\n/top\nbuild/\na/**/z\nlogs/**\n[ab]?.txt\n");
  CHECK(rules.decide("x/y.log", false) == true);
  CHECK(rules.decide("x/keep.log", false) == false);
  CHECK(rules.decide("top", false) == true);
  CHECK_FALSE(rules.decide("x/top", false).has_value());
  CHECK(rules.decide("x/build", true) == true);
  CHECK_FALSE(rules.decide("x/build", false).has_value());
  CHECK(rules.decide("a/z", false) == true);
  CHECK(rules.decide("a/b/c/z", false) == true);
  CHECK(rules.decide("logs/a/b", false) == true);
  CHECK_FALSE(rules.decide("logs", true).has_value());
  CHECK(rules.decide("a1.txt", false) == true);
}

TEST_CASE("walk skips and counts hidden, ignored, binary files and links out") {
  test::TempDir dir, outside;
  test::write_file(outside / "secret.txt", "x");
  test::write_file(dir / ".gitignore", "*.tmp\n");
  test::write_file(dir / "b.md", "# B\n");
  test::write_file(dir / "a.txt", "a");
  test::write_file(dir / "c.tmp", "c");
  test::write_file(dir / "d.bin", std::string("x\0y", 3));
  std::filesystem::create_symlink(outside / "secret.txt", dir / "link.txt");
  const auto found = walk({dir.path()});
  REQUIRE(found);
  REQUIRE(found->files.size() == 2);
  CHECK(found->files[0].filename() == "a.txt");
  CHECK(found->skipped == 4);
}

TEST_CASE("verbatim loaders: elements are the source's bytes") {
  test::TempDir dir;
  test::write_file(dir / "a.md", "---\ntitle: T\n---\nintro\n\nOne\n===\nx\n```\n# not\n```\n## Two *b*\ny\n");
  test::write_file(dir / "a.csv", "k,v\r\n1,\"a \"\"q\"\"\nb\"\r\n2,c\r\n");
  test::write_file(dir / "a.json", "[{\"n\": 1, \"s\": \"],\"}, 2]");
  test::write_file(dir / "a.jsonl", "{\"n\":1}\n\n{\"n\":2}\n");
  for (const char* name : {"a.md", "a.csv", "a.json", "a.jsonl"}) {
    const auto document = load_document(dir / name);
    REQUIRE(document);
    const std::string bytes = test::read_file(dir / name);
    for (const auto& e : document->elements) CHECK(e.text == bytes.substr(e.bytes.begin, e.bytes.end - e.bytes.begin));
  }
  const auto markdown = load_document(dir / "a.md");
  CHECK(markdown->title == "T");
  REQUIRE(markdown->elements.size() == 3);
  CHECK(markdown->elements[1].lines.first == 6);
  CHECK(markdown->elements[2].heading == std::vector<std::string>{"One", "Two b"});
  const auto csv = load_document(dir / "a.csv");
  REQUIRE(csv->elements.size() == 2);
  CHECK(csv->elements[0].metadata["v"] == "a \"q\"\nb");
  CHECK(load_document(dir / "a.json")->elements.size() == 2);
  CHECK(load_document(dir / "a.jsonl")->elements[1].lines.first == 3);
}

TEST_CASE("HTML that breaks its parser is one refused file, and ends no process") {
  test::TempDir dir;
  test::write_file(dir / "a.html", "<table><td><svg><select><title/l><table><table>");
  const auto broken = load_document(dir / "a.html");
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code() == ErrorCode::bad_input);
  CHECK(broken.error().message().find("parser") != std::string::npos);
  CHECK(broken.error().file() == (dir / "a.html").string());
  test::write_file(dir / "b.html", "<p>\xff\xfe not UTF-8 \xc3</p>");
  REQUIRE(load_document(dir / "b.html"));
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "<div>";
  test::write_file(dir / "c.html", deep);
  CHECK(load_document(dir / "c.html").error().code() == ErrorCode::limit_exceeded);
  LoadLimits few;
  few.max_elements = 2;
  test::write_file(dir / "d.html", "<p>1<p>2<p>3");
  CHECK(load_document(dir / "d.html", few).error().code() == ErrorCode::limit_exceeded);
}

TEST_CASE("HTML gives text by heading; a damaged PDF is bad_input") {
  test::TempDir dir;
  test::write_file(dir / "a.html", "<title>T</title>\n<h1>H</h1>\n<p>one <b>two</b></p><script>no</script>");
  const auto html = load_document(dir / "a.html");
  REQUIRE(html);
  CHECK(html->title == "T");
  REQUIRE(html->elements.size() == 2);
  CHECK(html->elements[1].text == "one two");
  CHECK(html->elements[1].lines.first == 3);
  CHECK(html->elements[1].heading == std::vector<std::string>{"H"});
  test::write_file(dir / "a.pdf", "no");
  const auto pdf = load_document(dir / "a.pdf");
  REQUIRE_FALSE(pdf);
  CHECK(pdf.error().code() == ErrorCode::bad_input);
}
