#include "reliability/place.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "corvid/base/hash.hpp"
#include "corvid/base/json.hpp"
#include "corvid/storage/workspace.hpp"
#include "support/catch.hpp"
#include "support/tiny_models.hpp"

extern char** environ;

namespace corvid::test {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr auto kPatience = std::chrono::seconds(600);  // the program is many times slower there
#else
constexpr auto kPatience = std::chrono::seconds(60);
#endif

Status check(Database& db, const char* sql, const char* wanted) {
  CORVID_TRY(Statement row, db.prepare(sql));
  CORVID_TRY(const bool any, row.step());
  const std::string said = any ? std::string(row.text(0)) : "nothing";
  if (said != wanted) return fail(Error::bad_input(std::string(sql) + ": " + said));
  return {};
}

// Each of `sql`'s rows as one line of `columns` texts.
Result<std::vector<std::vector<std::string>>> rows_of(Database& db, const std::string& sql, int columns) {
  std::vector<std::vector<std::string>> out;
  CORVID_TRY(Statement row, db.prepare(sql));
  while (true) {
    CORVID_TRY(const bool more, row.step());
    if (!more) return out;
    std::vector<std::string> line;
    for (int i = 0; i < columns; ++i) line.emplace_back(row.text(i));
    out.push_back(std::move(line));
  }
}

}  // namespace

Json Ended::error() const {
  for (std::size_t at = err.rfind("{\"error\""); at != std::string::npos;) {
    const auto parsed = parse_json(std::string_view(err).substr(at, err.find('\n', at) - at));
    return parsed ? (*parsed)["error"] : Json();
  }
  return {};
}

Place::Place(fs::path root) : root_(std::move(root)) {
  fs::remove_all(root_);
  fs::create_directories(store());
  const TinyModels tiny;
  tiny.write_encoder(tiny.encoders()[0], root_ / "encoder");
  Json decoder = tiny.decoder("llama-tied");
  for (auto& entry : decoder["gguf"]["metadata"]) if (entry[0] == "llama.context_length") entry[2] = 2048;
  write_file(root_ / "tiny.gguf", tiny.gguf(decoder).string("tokenizer.chat_template", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}").bytes());
}

Place::~Place() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

void Place::reset(const std::string& kept) {
  fs::remove_all(store());
  if (kept.empty()) fs::create_directories(store());
  else fs::copy(root_ / kept, store(), fs::copy_options::recursive);
}

void Place::keep_as(const std::string& name) {
  fs::remove_all(root_ / name);
  fs::copy(store(), root_ / name, fs::copy_options::recursive);
}

void Place::write_documents() {
  fs::remove_all(documents());
  fs::create_directories(documents() / "more");
  write_file(documents() / "harbour.md", "# Harbour\n\nThe office opens at six.\n\n## Fees\n\nA mooring costs nine euros a night. Fees are paid at the office.\n");
  write_file(documents() / "gone.txt", "This text will be deleted. It has two sentences.\n");
  write_file(documents() / "list.csv", "name,length\nAda,12\nBo,9\n");
  write_file(documents() / "more" / "page.html", "<html><head><title>Tides</title></head><body><h1>Tides</h1><p>High water at noon.</p></body></html>");
  write_file(documents() / "more" / "log.jsonl", "{\"text\": \"first entry\"}\n{\"text\": \"second entry\"}\n");
  std::string lengthy = "# Long\n\n";
  for (int i = 0; i < 40; ++i) lengthy += "Sentence number " + std::to_string(i) + " of a longer text about boats and water.\n\n";
  write_file(documents() / "more" / "long.md", lengthy);
}

void Place::edit_documents() {
  write_file(documents() / "harbour.md", "# Harbour\n\nThe office opens at seven.\n\n## Fees\n\nA mooring costs ten euros a night.\n");
  fs::remove(documents() / "gone.txt");
  fs::remove(documents() / "more" / "log.jsonl");
  write_file(documents() / "new.md", "# New\n\nA text that was not there before.\n");
}

Ended Place::run(std::vector<std::string> words, const Faults& faults, std::string_view input, int kill_after_ms, const std::string& lane) {
  words.insert(words.begin(), CORVID_PROGRAM);
  if (nobody_) words.insert(words.begin(), {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"});
  for (const char* each : {"--workspace", "", "--json"}) words.emplace_back(*each ? each : workspace().string());
  const std::string in = (root_ / ("stdin" + lane)).string(), out = (root_ / ("stdout" + lane)).string(), err = (root_ / ("stderr" + lane)).string();
  write_file(in, input);
  fs::remove(root_ / "totals");
  fs::remove(root_ / "count");
  std::vector<std::string> variables;
  for (char** each = environ; *each; ++each) variables.emplace_back(*each);
  if (!faults.empty()) {
    variables.push_back("LD_PRELOAD=" CORVID_CRASH_FAULTS);
    variables.push_back("FAULT_DIR=" + store().string() + "/");
    variables.push_back("FAULT_READ_DIR=" + root_.string() + "/");
    variables.push_back("FAULT_COUNT=" + (root_ / "count").string());
    variables.push_back("FAULT_TOTALS=" + (root_ / "totals").string());
    variables.push_back("FAULT_NOSYNC=1");
  }
  for (const auto& [name, value] : faults) variables.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (auto& word : words) argv.push_back(word.data());
  for (auto& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  pid_t child = 0;
  const int spawned = ::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  Ended ended;
  if (spawned != 0) return ended;
  const auto begin = Clock::now();
  int status = 0;
  while (true) {
    rusage used{};
    const pid_t done = ::wait4(child, &status, WNOHANG, &used);
    if (done == child) {
      ended.peak_bytes = static_cast<std::int64_t>(used.ru_maxrss) * 1024;
      break;
    }
    const auto passed = Clock::now() - begin;
    const bool too_long = passed > kPatience;
    if (too_long || (kill_after_ms >= 0 && passed >= std::chrono::milliseconds(kill_after_ms))) {
      ended.hung = too_long;
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  if (WIFEXITED(status)) ended.exit = WEXITSTATUS(status);
  else ended.signal = WTERMSIG(status);
  ended.out = read_file(out);
  ended.err = read_file(err);
  return ended;
}

Ended Place::chat(const Faults& faults, std::string_view turns) {
  return run({"chat", "--thread", "t", "--model", (root_ / "tiny.gguf").string(), "--max-tokens", "4", "--threads", "1"}, faults, turns);
}

Totals Place::totals() const {
  Totals out;
  std::ifstream(root_ / "totals") >> out.opens >> out.reads >> out.allocations;
  std::ifstream in(root_ / "count", std::ios::binary);
  in.read(reinterpret_cast<char*>(&out.calls), sizeof out.calls);
  return out;
}

Result<std::map<std::string, std::string>> Place::indexed() {
  std::map<std::string, std::string> documents;
  WorkspaceOptions options;
  options.create = false;
  auto opened = Workspace::open(workspace(), options);
  if (!opened) {
    if (opened.error().code() == ErrorCode::not_found) return documents;  // killed before there was one
    return fail(std::move(opened).error());
  }
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY_STATUS(check(db, "PRAGMA integrity_check", "ok"));
    CORVID_TRY(const auto tables, rows_of(db, "SELECT name FROM sqlite_schema WHERE name IN ('files', 'lexical_1')", 1));
    const bool words = tables.size() == 2;
    if (words) CORVID_TRY_STATUS(db.execute("INSERT INTO lexical_1(lexical_1) VALUES('integrity-check')"));
    if (tables.empty()) return {};
    CORVID_TRY(const auto orphans, rows_of(db, "SELECT id FROM chunks WHERE file NOT IN (SELECT id FROM files)", 1));
    if (!orphans.empty()) return fail(Error::bad_input("chunks without a file"));
    if (words) {
      CORVID_TRY(const auto loose, rows_of(db, "SELECT rowid FROM lexical_1 WHERE rowid NOT IN (SELECT id FROM chunks)", 1));
      if (!loose.empty()) return fail(Error::bad_input("words without a chunk"));
    }
    CORVID_TRY(const auto files, rows_of(db, "SELECT id, source, title, type, content_hash, metadata FROM files", 6));
    for (const auto& file : files) {
      std::string text;
      for (std::size_t i = 2; i < file.size(); ++i) text += file[i] + "|";
      CORVID_TRY(const auto chunks, rows_of(db, "SELECT id, ordinal, text, byte_begin, byte_end, line_first, line_last, page, heading, metadata, tokens, hex(vector) FROM chunks WHERE file = " + file[0] + " ORDER BY ordinal", 12));
      for (const auto& chunk : chunks) {
        text += "\n";
        for (std::size_t i = 1; i < chunk.size(); ++i) text += chunk[i] + "|";
        if (!words) return fail(Error::bad_input("a chunk without words").at_file(file[1]));
        CORVID_TRY(const auto its_words, rows_of(db, "SELECT text FROM lexical_1 WHERE rowid = " + chunk[0], 1));
        if (its_words.size() != 1) return fail(Error::bad_input("a chunk without words").at_file(file[1]));
        text += its_words[0][0];
      }
      documents[file[1]] = std::move(text);
    }
    return {};
  };
  // Through the writer: the word index's check is an INSERT.
  CORVID_TRY_STATUS((*opened)->write(body));
  return documents;
}

Result<std::vector<std::string>> Place::messages() {
  std::vector<std::string> out;
  WorkspaceOptions options;
  options.create = false;
  auto opened = Workspace::open(workspace(), options);
  if (!opened) {
    if (opened.error().code() == ErrorCode::not_found) return out;
    return fail(std::move(opened).error());
  }
  const auto body = [&](Database& db) -> Status {
    CORVID_TRY_STATUS(check(db, "PRAGMA integrity_check", "ok"));
    CORVID_TRY(const auto tables, rows_of(db, "SELECT name FROM sqlite_schema WHERE name = 'thread_messages'", 1));
    if (tables.empty()) return {};
    CORVID_TRY(const auto rows, rows_of(db, "SELECT message FROM thread_messages WHERE thread = 't' ORDER BY position", 1));
    for (const auto& row : rows) {
      CORVID_TRY(const auto message, parse_json(row[0]));
      const Json& content = message["content"];
      out.push_back(message["role"].get<std::string>() + ": " + (content.is_string() ? content.get<std::string>() : dump_json(content)));
    }
    return {};
  };
  CORVID_TRY_STATUS((*opened)->read(body));
  return out;
}

void each_case(const char* name, const std::vector<std::int64_t>& cases, const std::function<std::vector<std::string>(std::int64_t, Place&, std::atomic<std::int64_t>&)>& run, bool must_fire) {
  const auto begun = Clock::now();
  const auto root = scratch_root() / ("corvid-reliability-" + std::to_string(::getpid()));
  fs::create_directories(root);
  std::atomic<std::size_t> next{0};
  std::atomic<std::int64_t> fired{0};
  std::mutex mutex;
  std::vector<std::string> problems;
  std::int64_t wrong_cases = 0;
  const auto work = [&](int lane) {
    Place place(root / std::to_string(lane));
    while (true) {
      const auto at = next.fetch_add(1);
      if (at >= cases.size()) return;
      const auto wrong = run(cases[at], place, fired);
      if (wrong.empty()) continue;
      std::lock_guard lock(mutex);
      ++wrong_cases;
      if (problems.size() < 40) for (const auto& each : wrong) problems.push_back("at " + std::to_string(cases[at]) + ": " + each.substr(0, 600));
    }
  };
  std::thread other([&] { work(1); });
  work(0);
  other.join();
  fs::remove_all(root);
  std::printf("%s: %zu cases, %lld fired, %lld wrong, %.0f s\n", name, cases.size(), static_cast<long long>(fired), static_cast<long long>(wrong_cases), std::chrono::duration<double>(Clock::now() - begun).count());
  for (const auto& each : problems) UNSCOPED_INFO(each);
  CHECK(wrong_cases == 0);
  if (must_fire) CHECK(fired > 0);
}

std::string judge_error(const Ended& ended) {
  if (ended.hung) return "it hung";
  if (ended.signal != 0) return "it died of signal " + std::to_string(ended.signal) + ": " + ended.err;
  if (ended.exit == 0) return {};
  if (ended.exit < 1 || ended.exit > 5) return "it ended with " + std::to_string(ended.exit) + ": " + ended.err;
  const Json error = ended.error();
  if (!error.is_object()) return "no error on standard error: " + ended.err;
  static const std::set<std::string> typed{"io", "out_of_memory", "limit_exceeded", "bad_input", "not_found", "conflict", "unsupported"};
  if (!typed.contains(error.value("code", "")) || error.value("message", "").size() < 8) return "another error: " + ended.err;
  return {};
}

}  // namespace corvid::test
