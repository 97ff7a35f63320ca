// A folder of every kind of file: each bad one is one failed file with its reason, the others go in, time and memory stay bounded.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "corvid/base/json.hpp"
#include "corvid/retrieval/collection.hpp"
#include "reliability/place.hpp"
#include "retrieval/load/child_process.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;
namespace fs = std::filesystem;

namespace {

// Indirect objects 1…n and a cross-reference table that is right.
std::string pdf(const std::vector<std::string>& objects) {
  std::string out = "%PDF-1.4\n";
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    places.push_back(out.size());
    out += std::to_string(i + 1) + " 0 obj\n" + objects[i] + "\nendobj\n";
  }
  const std::size_t table = out.size();
  out += "xref\n0 " + std::to_string(objects.size() + 1) + "\n0000000000 65535 f \n";
  for (const auto place : places) {
    char line[32];
    std::snprintf(line, sizeof line, "%010zu 00000 n \n", place);
    out += line;
  }
  return out + "trailer << /Size " + std::to_string(objects.size() + 1) + " /Root 1 0 R >>\nstartxref\n" + std::to_string(table) + "\n%%EOF\n";
}

// zlib data that unpack to `bytes` spaces: one literal and matches of 258 in fixed Huffman codes (RFC 1951, 3.2.6).
std::string bomb(std::uint64_t bytes) {
  std::string out = "\x78\x01";
  unsigned held = 0, count = 0;
  const auto bit = [&](unsigned b) {
    held |= b << count++;
    if (count == 8) {
      out += static_cast<char>(held);
      held = count = 0;
    }
  };
  const auto code = [&](unsigned value, int width) { for (int i = width - 1; i >= 0; --i) bit((value >> i) & 1u); };
  bit(1);              // the last block
  bit(1); bit(0);      // fixed codes
  code(0x30 + 0x20, 8);
  for (std::uint64_t made = 1; made < bytes; made += 258) {
    code(0xC0 + 285 - 280, 8);
    code(0, 5);
  }
  code(0, 7);
  while (count != 0) bit(0);
  return out + std::string(4, '\0');   // a wrong checksum, which readers forgive
}

std::string stream(const std::string& dictionary, const std::string& data) { return "<< " + dictionary + " /Length " + std::to_string(data.size()) + " >>\nstream\n" + data + "\nendstream"; }

std::string page_with(const std::string& contents) {
  return pdf({"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
              "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>", contents, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"});
}

std::map<std::string, std::string> failures(const Ended& ended) {
  std::map<std::string, std::string> out;
  const auto report = parse_json(ended.out);
  REQUIRE(report);
  for (const auto& each : (*report)["failed"]) out[fs::path(each["path"].get<std::string>()).filename().string()] = each["error"].get<std::string>();
  return out;
}

std::set<std::string> names(const std::map<std::string, std::string>& indexed) {
  std::set<std::string> out;
  for (const auto& [source, text] : indexed) out.insert(fs::path(source).filename().string());
  return out;
}

fs::path scratch(const TempDir& dir) { return dir / "place"; }

}  // namespace

TEST_CASE("documents: bad files fail one by one, and the rest goes in", "[documents]") {
  const TempDir dir;
  Place place(scratch(dir));
  place.write_documents();
  const auto at = [&](const char* name) { return place.documents() / name; };
  const bool pdfs = retrieval::find_program("pdftotext").has_value();
  write_file(at("good.pdf"), page_with(stream("", "BT /F 12 Tf 72 700 Td (Paper about anchors) Tj ET")));
  write_file(at("cycle.pdf"), pdf({"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000 >>"}));
  std::string kids;
  for (int i = 0; i < 1'000'000; ++i) kids += "3 0 R ";
  write_file(at("million.pdf"), pdf({"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [" + kids + "] /Count 1000000 >>", "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>"}));
  write_file(at("bomb.pdf"), page_with(stream("/Filter /FlateDecode", bomb(std::uint64_t{1} << (full_matrix() ? 30 : 26)))));
  std::string text_bomb = "BT /F 12 Tf ";
  for (int i = 0; i < 100'000; ++i) text_bomb += "(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj ";
  write_file(at("cut.pdf"), page_with(stream("", text_bomb)).substr(0, 5000));
  write_file(at("not.pdf"), "this is no PDF");
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "<div>";
  write_file(at("nested.html"), nested + "deep water" + nested);
  {
    write_file(at("line.txt"), "");
    fs::resize_file(at("line.txt"), std::uint64_t{1} << 30);   // sparse
    std::ofstream(at("line.txt"), std::ios::binary | std::ios::in) << std::string(1 << 16, 'x');
  }
  write_file(at("nuls.md"), std::string("before") + std::string(100, '\0') + "after");
  write_file(at("latin1.txt"), "caf\xe9 and \xff\xfe bytes that are not UTF-8");
  REQUIRE(::mkfifo(at("fifo.txt").c_str(), 0644) == 0);
  fs::create_symlink("/dev/zero", at("zero.txt"));
  fs::create_symlink("loop.txt", at("loop.txt"));
  fs::create_directory_symlink("..", place.documents() / "more" / "up");
  write_file(place.documents() / fs::path(std::string("bad\xff\xfename.md")), "# A name that is not UTF-8\n\nIts text.");
  fs::create_symlink("nowhere.md", at("dangling.md"));
  write_file(at("empty.md"), "");
  write_file(at("deep.jsonl"), std::string(100'000, '[') + "\n{\"text\": \"fine\"}\n");
  write_file(at("wide.csv"), "a" + std::string(200'000, ',') + "b\n1\n");

  const auto ended = place.ingest();
  INFO(ended.err);
  REQUIRE_FALSE(ended.hung);
  REQUIRE(ended.exit == 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(ended.peak_bytes < std::int64_t{900} << 20);
#endif
  const auto failed = failures(ended);
  for (const auto& [name, why] : failed) INFO(name << ": " << why);
  for (const char* name : {"not.pdf", "line.txt"}) CHECK(failed.contains(name));
  if (pdfs) for (const char* name : {"cycle.pdf"}) CHECK(failed.contains(name));
  for (const auto& [name, why] : failed) CHECK(why.size() > 8);
  const auto index = place.indexed();
  REQUIRE(index);
  const auto in = names(*index);
  for (const char* name : {"harbour.md", "gone.txt", "list.csv", "page.html", "log.jsonl", "long.md"}) CHECK(in.contains(name));
  if (pdfs) CHECK(in.contains("good.pdf"));
  for (const char* name : {"fifo.txt", "zero.txt", "loop.txt", "dangling.md", "line.txt", "not.pdf", "cut.pdf"}) CHECK_FALSE(in.contains(name));
  // Each bad file is in the report or was skipped as no text; a second run says the same and takes nothing new.
  const auto again = place.ingest();
  REQUIRE(again.exit == 0);
  CHECK(failures(again).size() == failed.size());
  CHECK(*place.indexed() == *index);
}

TEST_CASE("documents: a folder without permission is one failure", "[documents]") {
  if (::geteuid() == 0 && !fs::exists("/usr/bin/setpriv")) {
    std::fprintf(stderr, "SKIPPED: root may read everything, and there is no setpriv to be somebody else\n");
    return;
  }
  const TempDir dir;
  fs::permissions(dir.path(), fs::perms::all);
  Place place(scratch(dir));
  place.write_documents();
  fs::create_directories(place.documents() / "secret");
  write_file(place.documents() / "secret" / "a.md", "# Secret\n\nnobody reads this");
  write_file(place.documents() / "locked.md", "# Locked\n\nnor this");
  for (const auto& folder : {place.root(), place.store()}) fs::permissions(folder, fs::perms::all);
  fs::permissions(place.documents() / "secret", fs::perms::none);
  fs::permissions(place.documents() / "locked.md", fs::perms::none);
  place.as_nobody(::geteuid() == 0);
  const auto ended = place.ingest();
  place.as_nobody(false);
  INFO(ended.err << ended.out);
  REQUIRE(ended.exit == 0);
  const auto failed = failures(ended);
  CHECK(failed.contains("secret"));
  CHECK(failed.contains("locked.md"));
  CHECK(failed.size() == 2);
  for (const auto& [name, why] : failed) CHECK(why.find("ermission") != std::string::npos);
  fs::permissions(place.documents() / "secret", fs::perms::all);
  fs::permissions(place.documents() / "locked.md", fs::perms::all);
  const auto index = place.indexed();
  REQUIRE(index);
  CHECK(index->size() == 6);
}

TEST_CASE("documents: a file that changes or goes while it is read is whole or failed", "[documents]") {
  const TempDir dir;
  Place place(scratch(dir));
  place.write_documents();
  std::atomic<bool> stop{false};
  const auto victim = place.documents() / "more" / "changing.md", shrinking = place.documents() / "more" / "shrinking.md";
  const auto version = [](int n) {
    std::string text = "# Version\n\n";
    for (int i = 0; i < 2000; ++i) text += "edition" + std::to_string(n) + " ";
    return text;
  };
  write_file(victim, version(0));
  write_file(shrinking, version(0));
  std::thread changer([&] {
    for (int n = 1; !stop; ++n) {
      const auto fresh = place.root() / "fresh";
      write_file(fresh, version(n));
      std::error_code ignored;
      if (n % 3 == 0) fs::remove(victim, ignored);
      else fs::rename(fresh, victim, ignored);
      fs::resize_file(shrinking, static_cast<std::uintmax_t>(n % 7) * 2000, ignored);
      if (n % 5 == 0) write_file(shrinking, version(n));
    }
  });
  for (int i = 0; i < 8; ++i) {
    const auto ended = place.ingest();
    INFO(ended.err);
    CHECK(ended.exit == 0);
    const auto index = place.indexed();
    REQUIRE(index);
    CHECK(names(*index).contains("harbour.md"));
    // A replaced file is of one edition.
    for (const auto& [source, text] : *index) {
      if (fs::path(source).filename() != "changing.md") continue;
      const auto first = text.find("edition"), end = text.find(' ', first);
      REQUIRE(first != std::string::npos);
      const auto mine = text.substr(first, end - first);
      std::size_t others = 0;
      for (auto seen = text.find("edition"); seen != std::string::npos; seen = text.find("edition", seen + 1)) others += text.compare(seen, mine.size() + 1, mine + " ") != 0 && text.compare(seen, mine.size() + 1, mine + "|") != 0 && text.compare(seen, mine.size() + 1, mine + "\n") != 0 && seen + mine.size() != text.size();
      CHECK(others == 0);
    }
  }
  stop = true;
  changer.join();
}

TEST_CASE("documents: converters make no sockets, write no files, and meet their limits", "[documents]") {
  const auto python = retrieval::find_program("python3");
  if (!python) {
    std::fprintf(stderr, "SKIPPED: no python3 to try the limits with\n");
    return;
  }
  retrieval::ProcessLimits limits;
  limits.timeout = std::chrono::seconds(20);
  limits.memory_bytes = std::uint64_t{1} << 30;
  limits.max_output_bytes = 1 << 20;
  const auto run = [&](const std::string& code) { return retrieval::run_limited(*python, {"-S", "-c", code}, limits, {}); };
  const auto plain = run("print('fine')");
  REQUIRE(plain);
  CHECK(plain->exit_code == 0);
  CHECK(plain->output == "fine\n");
  for (const char* family : {"AF_INET", "AF_INET6", "AF_UNIX"}) {
    const auto network = run("import socket; socket.socket(socket." + std::string(family) + ")");
    REQUIRE(network);
    CHECK(network->exit_code != 0);
    CHECK(network->errors.find("not permitted") != std::string::npos);
  }
  const auto child = run("import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-S', '-c', 'import socket; socket.socket()'], stderr=subprocess.DEVNULL).returncode)");
  REQUIRE(child);
  CHECK(child->exit_code == 1);   // what it starts has no network either
  const TempDir dir;
  const auto file = run("open('" + (dir / "out").string() + "', 'w').write('x' * 100000)");
  REQUIRE(file);
  CHECK(file->exit_code != 0);
  CHECK((!fs::exists(dir / "out") || fs::file_size(dir / "out") == 0));
  const auto memory = run("x = bytearray(4 << 30)");
  REQUIRE(memory);
  CHECK(memory->exit_code != 0);
  const auto output = run("print('x' * (8 << 20))");
  REQUIRE_FALSE(output);
  CHECK(output.error().code() == ErrorCode::limit_exceeded);
  limits.timeout = std::chrono::seconds(1);
  const auto time = run("import time; time.sleep(1000)");
  REQUIRE_FALSE(time);
  CHECK(time.error().code() == ErrorCode::limit_exceeded);
}
