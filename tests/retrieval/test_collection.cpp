// Collections on real files: what is searched is exactly what lies in the folders, through edits, moves, deletions and kills.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <map>
#include <set>

#include "corvid/retrieval/collection.hpp"
#include "retrieval/fake_embedder.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
namespace fs = std::filesystem;
using test::write_file;

namespace {

struct Setup {
  test::TempDir dir;
  Runtime runtime{RuntimeOptions{.threads = 1}};
  std::shared_ptr<test::FakeEmbedder> embedder = std::make_shared<test::FakeEmbedder>("/models/fake");
  std::shared_ptr<Workspace> workspace;

  EmbedderFactory factory() {
    return [this](const fs::path&) -> Result<std::shared_ptr<TextEmbedder>> { return std::shared_ptr<TextEmbedder>(embedder); };
  }
  std::shared_ptr<Collection> open() {
    auto opened = Workspace::open(dir / "w.db");
    REQUIRE(opened);
    workspace = *opened;
    auto collection = Collection::open_or_create(runtime, workspace, "default", factory(), "/models/fake");
    if (!collection) UNSCOPED_INFO(collection.error().describe());
    REQUIRE(collection);
    return *collection;
  }
};

IngestReport ingest(Collection& collection, const std::vector<fs::path>& paths, const IngestOptions& options = {}) {
  auto report = collection.ingest(paths, options);
  if (!report) UNSCOPED_INFO(report.error().describe());
  REQUIRE(report);
  return *report;
}

/// Every chunk of the collection, found through the scan with an empty-handed query.
std::vector<Hit> all_chunks(Collection& collection, const std::string& filter = "") {
  SearchOptions options;
  options.mode = SearchMode::dense;
  options.k = options.depth = 10'000;
  options.filter = filter;
  auto hits = collection.search("anything", options);
  if (!hits) UNSCOPED_INFO(hits.error().describe());
  REQUIRE(hits);
  return *hits;
}

std::set<std::string> sources(const std::vector<Hit>& hits) {
  std::set<std::string> names;
  for (const auto& hit : hits) names.insert(hit.source);
  return names;
}

/// Sources that hold a word, by lexical search.
std::set<std::string> with_word(Collection& collection, const std::string& word) {
  SearchOptions options;
  options.mode = SearchMode::lexical;
  options.k = options.depth = 10'000;
  auto hits = collection.search(word, options);
  REQUIRE(hits);
  return sources(*hits);
}

/// Search and the files agree: these sources and no other, the text of verbatim formats byte for byte, postings and counts too.
void check_exact(Collection& collection, const std::map<std::string, std::string>& words) {
  const auto hits = all_chunks(collection);
  std::set<std::string> expected;
  for (const auto& [source, word] : words) expected.insert(source);
  CHECK(sources(hits) == expected);
  for (const auto& hit : hits) {
    const auto type = fs::path(hit.source).extension();
    if (type == ".html" || type == ".pdf") continue;
    const auto bytes = test::read_file(hit.source);
    REQUIRE(hit.bytes.end <= bytes.size());
    CHECK(hit.text == bytes.substr(hit.bytes.begin, hit.bytes.end - hit.bytes.begin));
  }
  for (const auto& [source, word] : words) {
    INFO(word);
    CHECK(with_word(collection, word) == std::set<std::string>{source});
  }
  const auto info = collection.info();
  REQUIRE(info);
  CHECK(info->files == words.size());
  CHECK(info->chunks == hits.size());
}

}  // namespace

TEST_CASE("collection: every format, then edits, moves, deletions and a second root", "[retrieval]") {
  Setup setup;
  auto collection = setup.open();
  const fs::path root = setup.dir / "docs", other = setup.dir / "other";
  fs::create_directories(root / "sub");
  fs::create_directories(other);
  write_file(root / "plain.txt", "The aardvark sleeps.\n");
  write_file(root / "guide.md", "# Guide\n\nIntro banana.\n\n## Setup\n\nInstall it.\n");
  write_file(root / "page.html", "<title>T</title><h1>Head</h1><p>A cucumber here</p>");
  write_file(root / "table.csv", "name,year\ndaffodil,2021\nrose,2022\n");
  write_file(root / "data.json", "[{\"what\": \"elephant\", \"year\": 2020}, {\"what\": \"fly\"}]");
  write_file(root / "lines.jsonl", "{\"what\": \"flamingo\"}\n{\"what\": \"x\"}\n");
  write_file(root / "sub" / "code.cpp", "int giraffe() { return 1; }\n");
  write_file(root / "paper.pdf", test::pdf_of({"A first page", "The hippopotamus page"}));
  write_file(root / ".hidden.md", "no");
  write_file(root / "noise.bin", std::string("\0\1\2", 3));
  write_file(root / "damaged.pdf", "%PDF-1.4 nothing");
  std::map<std::string, std::string> expected;
  const auto real = [](const fs::path& p) { return fs::canonical(p).string(); };
  for (const auto& [name, word] : std::map<std::string, std::string>{{"plain.txt", "aardvark"}, {"guide.md", "banana"}, {"page.html", "cucumber"}, {"table.csv", "daffodil"},
                                                                    {"data.json", "elephant"}, {"lines.jsonl", "flamingo"}, {"sub/code.cpp", "giraffe"}, {"paper.pdf", "hippopotamus"}}) {
    expected[real(root / name)] = word;
  }

  auto report = ingest(*collection, {root});
  CHECK(report.files == 8);
  CHECK(report.added == 8);
  CHECK(report.changed == 0);
  CHECK(report.deleted == 0);
  CHECK(report.skipped == 2);
  REQUIRE(report.failed.size() == 1);
  CHECK(report.failed[0].path.find("damaged.pdf") != std::string::npos);
  CHECK(report.chunks == all_chunks(*collection).size());
  check_exact(*collection, expected);

  SECTION("nothing new: nothing is embedded again") {
    const auto before = setup.embedder->texts_seen;
    report = ingest(*collection, {root});
    CHECK(report.files == 8);
    CHECK(report.added + report.changed + report.deleted == 0);
    CHECK(setup.embedder->texts_seen == before);
    check_exact(*collection, expected);
  }
  SECTION("places") {
    const auto pdf = all_chunks(*collection, "page = 2");
    REQUIRE(pdf.size() == 1);
    CHECK(pdf[0].text.find("hippopotamus") != std::string::npos);
    REQUIRE(pdf[0].page);
    CHECK(*pdf[0].page == 2);
    const auto setup_chunk = all_chunks(*collection, "heading = \"Setup\"");
    REQUIRE(setup_chunk.size() == 1);
    CHECK(setup_chunk[0].heading == std::vector<std::string>{"Guide", "Setup"});
    CHECK(setup_chunk[0].lines.first == 5);
    CHECK(setup_chunk[0].lines.last == 7);
  }
  SECTION("edits, moves, deletions") {
    write_file(root / "plain.txt", "Now an ibex.\n");
    fs::rename(root / "sub" / "code.cpp", root / "moved.cpp");
    fs::remove(root / "table.csv");
    write_file(root / "new.md", "A jaguar.");
    expected.erase(real(root / "sub") + "/code.cpp");
    expected.erase(real(root) + "/table.csv");
    expected[real(root / "plain.txt")] = "ibex";
    expected[real(root / "moved.cpp")] = "giraffe";
    expected[real(root / "new.md")] = "jaguar";
    report = ingest(*collection, {root});
    CHECK(report.added == 2);
    CHECK(report.changed == 1);
    CHECK(report.deleted == 2);
    CHECK(report.files == 8);
    check_exact(*collection, expected);
    CHECK(with_word(*collection, "aardvark").empty());

    SECTION("a second root; each call deletes under its own paths alone") {
      write_file(other / "kiwi.md", "A kiwi.");
      fs::remove(root / "new.md");
      report = ingest(*collection, {other});
      CHECK(report.added == 1);
      CHECK(report.deleted == 0);
      CHECK(report.files == 1);
      expected[real(other / "kiwi.md")] = "kiwi";
      CHECK(sources(all_chunks(*collection)).size() == 9);  // new.md is gone from the disk, not under this call's path
      report = ingest(*collection, {root, other});
      CHECK(report.deleted == 1);
      expected.erase(real(root) + "/new.md");
      check_exact(*collection, expected);

      SECTION("a root that is gone altogether") {
        fs::remove_all(other);
        report = ingest(*collection, {other});
        CHECK(report.deleted == 1);
        CHECK(report.failed.empty());
        expected.erase((fs::canonical(setup.dir.path()) / "other" / "kiwi.md").string());
        check_exact(*collection, expected);
      }
      SECTION("removed by path") {
        auto removed = collection->remove_paths({root / "sub", other});
        REQUIRE(removed);
        CHECK(removed->deleted == 1);
        CHECK(removed->failed.size() == 1);  // nothing of sub is left
        expected.erase(real(other / "kiwi.md"));
        check_exact(*collection, expected);
      }
    }
  }
  SECTION("one file by name") {
    write_file(root / "plain.txt", "An okapi.\n");
    write_file(root / "guide.md", "# Changed\n");
    report = ingest(*collection, {root / "plain.txt"});
    CHECK(report.changed == 1);
    CHECK(report.files == 1);
    CHECK(with_word(*collection, "okapi").size() == 1);
    CHECK(with_word(*collection, "banana").size() == 1);
  }
  SECTION("reopened by another process's eyes") {
    auto again = Collection::open(setup.runtime, setup.workspace, "default", setup.factory());
    REQUIRE(again);
    check_exact(**again, expected);
    // What the other one writes, this one sees.
    write_file(root / "late.md", "A latecomer quokka.");
    ingest(**again, {root});
    expected[real(root / "late.md")] = "quokka";
    check_exact(*collection, expected);
  }
}

TEST_CASE("collection: metadata of a call, of a record, and filters on them", "[retrieval]") {
  Setup setup;
  auto collection = setup.open();
  const fs::path root = setup.dir / "docs";
  fs::create_directories(root);
  write_file(root / "a.md", "alpha text");
  write_file(root / "b.csv", "city,people\nRome,2800000\nOslo,700000\n");
  IngestOptions options;
  options.metadata = {{"team", "north"}, {"year", "2024"}};
  ingest(*collection, {root / "a.md"}, options);
  ingest(*collection, {root});
  CHECK(all_chunks(*collection, "team = \"north\"").size() == 1);
  CHECK(all_chunks(*collection, "year = 2024").size() == 1);
  CHECK(all_chunks(*collection, "not team = \"north\"").size() == 2);
  CHECK(all_chunks(*collection, "people > 1000000").size() == 1);
  CHECK(all_chunks(*collection, "people > 1000000 or team in (\"north\", \"south\")").size() == 2);
  CHECK(all_chunks(*collection, "city = \"Oslo\"")[0].metadata["city"] == "Oslo");
  CHECK(all_chunks(*collection, "nobody = 1").empty());
  const auto a = fs::canonical(root / "a.md").string();
  CHECK(all_chunks(*collection, "source = \"" + a + "\"").size() == 1);
  CHECK(all_chunks(*collection, "type = \"csv\"").size() == 2);
  CHECK(all_chunks(*collection, "type in [\"csv\", \"markdown\"]").size() == 3);
  CHECK(all_chunks(*collection, "mtime > 0").size() == 3);
  CHECK(all_chunks(*collection, "mtime <= 0").empty());
  CHECK(all_chunks(*collection, "title != \"x\"").size() == 3);
  SECTION("metadata changed alone is a change") {
    options.metadata = {{"team", "south"}};
    const auto report = ingest(*collection, {root / "a.md"}, options);
    CHECK(report.changed == 1);
    CHECK(all_chunks(*collection, "team = \"south\"").size() == 1);
    CHECK(all_chunks(*collection, "year = 2024").empty());
  }
  SECTION("a filter with an error says where") {
    SearchOptions search;
    search.filter = "team = ";
    const auto bad = collection->search("x", search);
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code() == ErrorCode::bad_input);
    CHECK(bad.error().offset() == 7);
  }
  SECTION("every mode obeys the filter; equal scores by source, then byte") {
    for (const auto mode : {SearchMode::dense, SearchMode::lexical, SearchMode::hybrid}) {
      SearchOptions search;
      search.mode = mode;
      search.filter = "type = \"csv\"";
      const auto hits = collection->search("alpha Rome Oslo", search);
      REQUIRE(hits);
      CHECK(hits->size() == 2);
      for (const auto& hit : *hits) CHECK(hit.source.ends_with("b.csv"));
    }
    for (const char* name : {"z.md", "m.md", "c.md"}) write_file(root / name, "the very same words");
    ingest(*collection, {root});
    for (const auto mode : {SearchMode::dense, SearchMode::lexical, SearchMode::hybrid}) {
      SearchOptions search;
      search.mode = mode;
      search.k = 3;
      const auto hits = collection->search("same words", search);
      REQUIRE(hits);
      REQUIRE(hits->size() == 3);
      CHECK((*hits)[0].score == (*hits)[2].score);
      CHECK((*hits)[0].source.ends_with("c.md"));
      CHECK((*hits)[1].source.ends_with("m.md"));
      CHECK((*hits)[2].source.ends_with("z.md"));
    }
  }
}

TEST_CASE("collection: one embedder for life; names that are not there", "[retrieval]") {
  Setup setup;
  auto collection = setup.open();
  write_file(setup.dir / "a.md", "text");
  ingest(*collection, {setup.dir / "a.md"});
  const auto missing = Collection::open(setup.runtime, setup.workspace, "nope", setup.factory());
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::not_found);
  CHECK(missing.error().message() == "no collection \"nope\" in " + (setup.dir / "w.db").string());

  setup.embedder = std::make_shared<test::FakeEmbedder>("/models/fake", "fake-embedder-two");
  const auto other = Collection::open_or_create(setup.runtime, setup.workspace, "default", setup.factory(), "/models/other");
  REQUIRE_FALSE(other);
  CHECK(other.error().code() == ErrorCode::conflict);
  // The folder's model was exchanged: the collection refuses to mix vectors.
  auto unasked = Collection::open_or_create(setup.runtime, setup.workspace, "default", setup.factory(), "");
  REQUIRE(unasked);
  for (const auto mode : {SearchMode::dense, SearchMode::hybrid}) {
    SearchOptions search;
    search.mode = mode;
    const auto hits = (*unasked)->search("text", search);
    REQUIRE_FALSE(hits);
    CHECK(hits.error().code() == ErrorCode::conflict);
  }
  CHECK_FALSE((*unasked)->ingest({setup.dir / "a.md"}, {}));
  SearchOptions words;
  words.mode = SearchMode::lexical;
  CHECK((*unasked)->search("text", words)->size() == 1);

  auto list = Collection::list(*setup.workspace);
  REQUIRE(list);
  REQUIRE(list->size() == 1);
  CHECK((*list)[0].files == 1);
  REQUIRE(Collection::remove(*setup.workspace, "default"));
  CHECK(Collection::list(*setup.workspace)->empty());
  const auto gone = collection->search("text", words);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code() == ErrorCode::not_found);
  CHECK(Collection::remove(*setup.workspace, "default").error().code() == ErrorCode::not_found);
  const auto nothing = (*unasked)->ingest({setup.dir / "no-such-path"}, {});
  CHECK_FALSE(nothing);
}

TEST_CASE("collection: a path that is not there fails, what is there goes in", "[retrieval]") {
  Setup setup;
  auto collection = setup.open();
  write_file(setup.dir / "a.md", "text");
  const auto none = collection->ingest({setup.dir / "nope"}, {});
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == ErrorCode::not_found);
  const auto some = ingest(*collection, {setup.dir / "nope", setup.dir / "a.md"});
  CHECK(some.added == 1);
  CHECK(some.failed.size() == 1);
}

TEST_CASE("collection: cancelled between batches, what was committed stays", "[retrieval]") {
  Setup setup;
  auto collection = setup.open();
  const fs::path root = setup.dir / "docs";
  fs::create_directories(root);
  for (int i = 0; i < 150; ++i) write_file(root / ("f" + std::to_string(1000 + i) + ".md"), "word" + std::to_string(i));
  CancellationSource source;
  setup.embedder->on_embed = [&](std::size_t call) { if (call == 1) source.cancel(); };
  IngestOptions options;
  options.cancellation = source.token();
  const auto cancelled = collection->ingest({root}, options);
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
  const auto after = collection->info()->files;
  CHECK(after > 0);
  CHECK(after < 150);
  CHECK(all_chunks(*collection).size() == after);
  setup.embedder->on_embed = nullptr;
  const auto report = ingest(*collection, {root});
  CHECK(report.added == 150 - after);
  CHECK(report.files == 150);
}

TEST_CASE("collection: killed at any instant, it is as before or after a batch", "[retrieval]") {
  test::TempDir dir;
  const fs::path root = dir / "docs";
  fs::create_directories(root);
  constexpr int kFiles = 200;
  std::map<std::string, std::string> expected;
  for (int i = 0; i < kFiles; ++i) {
    const auto path = root / ("f" + std::to_string(1000 + i) + ".md");
    write_file(path, "# H\n\nsome text uniq" + std::to_string(i) + "x here\n");
    expected[fs::canonical(path).string()] = "uniq" + std::to_string(i) + "x";
  }
  // The child ingests and dies: when the embedder is called, or after so many pages of the transaction were written.
  const auto child = [&](int die_at_embed, int die_after_micros) {
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      {
        Runtime runtime(RuntimeOptions{.threads = 1});
        auto embedder = std::make_shared<test::FakeEmbedder>("/models/fake");
        if (die_at_embed >= 0) embedder->on_embed = [&](std::size_t call) { if (static_cast<int>(call) == die_at_embed) ::kill(::getpid(), SIGKILL); };
        auto workspace = Workspace::open(dir / "w.db");
        if (!workspace) ::_exit(3);
        auto collection = Collection::open_or_create(runtime, *workspace, "default", [&](const fs::path&) -> Result<std::shared_ptr<TextEmbedder>> { return std::shared_ptr<TextEmbedder>(embedder); }, "/models/fake");
        if (!collection) ::_exit(4);
        if (!(*collection)->ingest({root}, {})) ::_exit(5);
      }
      ::_exit(0);
    }
    if (die_after_micros >= 0) {
      ::usleep(static_cast<useconds_t>(die_after_micros));
      ::kill(pid, SIGKILL);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) == 0);
  };
  const auto consistent = [&] {
    Runtime runtime(RuntimeOptions{.threads = 1});
    auto embedder = std::make_shared<test::FakeEmbedder>("/models/fake");
    auto workspace = Workspace::open(dir / "w.db");
    REQUIRE(workspace);
    auto collection = Collection::open_or_create(runtime, *workspace, "default", [&](const fs::path&) -> Result<std::shared_ptr<TextEmbedder>> { return std::shared_ptr<TextEmbedder>(embedder); }, "/models/fake");
    REQUIRE(collection);
    std::map<std::string, std::string> present;
    for (const auto& source : sources(all_chunks(**collection))) present[source] = expected.at(source);
    check_exact(**collection, present);
    return present.size();
  };
  std::size_t before = 0;
  for (int at = 0; at < 3; ++at) {
    child(at, -1);
    const auto now = consistent();
    CHECK(now >= before);
    before = now;
  }
  for (int micros = 500; micros <= 40'000; micros = micros * 3 / 2) {
    std::error_code ec;
    for (const char* name : {"w.db", "w.db-wal", "w.db-shm"}) fs::remove(dir / name, ec);
    child(-1, micros);
    consistent();
  }
  child(-1, -1);
  CHECK(consistent() == kFiles);
}

TEST_CASE("collection: two processes ingest at once", "[retrieval]") {
  test::TempDir dir;
  const fs::path root = dir / "docs";
  fs::create_directories(root);
  for (int i = 0; i < 130; ++i) write_file(root / ("f" + std::to_string(1000 + i) + ".md"), "text uniq" + std::to_string(i) + "x");
  std::vector<pid_t> children;
  for (int c = 0; c < 3; ++c) {
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      int code = 0;
      {
        Runtime runtime(RuntimeOptions{.threads = 1});
        auto embedder = std::make_shared<test::FakeEmbedder>("/models/fake");
        auto workspace = Workspace::open(dir / "w.db");
        auto collection = !workspace ? Result<std::shared_ptr<Collection>>(fail(Error::io("open")))
                                     : Collection::open_or_create(runtime, *workspace, "default", [&](const fs::path&) -> Result<std::shared_ptr<TextEmbedder>> { return std::shared_ptr<TextEmbedder>(embedder); }, "/models/fake");
        if (!collection) code = 4;
        else if (!(*collection)->ingest({root}, {})) code = 5;
      }
      ::_exit(code);
    }
    children.push_back(pid);
  }
  for (const auto pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  Setup setup;
  auto workspace = Workspace::open(dir / "w.db");
  REQUIRE(workspace);
  auto collection = Collection::open(setup.runtime, *workspace, "default", setup.factory());
  REQUIRE(collection);
  CHECK((*collection)->info()->files == 130);
  CHECK(all_chunks(**collection).size() == 130);
  CHECK(with_word(**collection, "uniq77x").size() == 1);
}

TEST_CASE("collection: MMR prefers what was not said yet; explain has both sides' scores", "[retrieval]") {
  Setup setup;
  auto collection = setup.open();
  const fs::path root = setup.dir / "docs";
  fs::create_directories(root);
  write_file(root / "a.md", "storm wind rain coast");
  write_file(root / "b.md", "storm wind rain coast again");
  write_file(root / "c.md", "storm damage insurance claims");
  ingest(*collection, {root});
  SearchOptions options;
  options.k = 2;
  options.mode = SearchMode::dense;
  auto plain = collection->search("storm wind rain", options);
  REQUIRE(plain);
  CHECK((*plain)[1].source.ends_with("b.md"));
  options.mmr_lambda = 0.3f;
  auto diverse = collection->search("storm wind rain", options);
  REQUIRE(diverse);
  REQUIRE(diverse->size() == 2);
  CHECK((*diverse)[0].source.ends_with("a.md"));
  CHECK((*diverse)[1].source.ends_with("c.md"));
  options.mmr_lambda = 1;
  options.mode = SearchMode::hybrid;
  options.k = 3;
  auto hybrid = collection->search("insurance", options);
  REQUIRE(hybrid);
  CHECK((*hybrid)[0].source.ends_with("c.md"));
  CHECK((*hybrid)[0].scores.lexical);
  CHECK((*hybrid)[0].scores.dense);
  CHECK((*hybrid)[0].scores.lexical_rank == 1u);
  CHECK_FALSE((*hybrid)[1].scores.lexical);
  options.convex_weight = 2;
  CHECK(collection->search("x", options).error().code() == ErrorCode::invalid_argument);
}
