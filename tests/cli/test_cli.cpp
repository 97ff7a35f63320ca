// The program as a script meets it: arguments in; exit code, standard output and standard error out.
#include <filesystem>
#include <string>
#include <vector>

#include "cli/run_program.hpp"
#include "corvid/base/json.hpp"
#include "support/catch.hpp"
#include "support/gguf_writer.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

TEST_CASE("exit codes and errors") {
  TempDir dir;
  write_file(dir / "bad.gguf", "GGUF\x09");
  write_file(dir / "v1.gguf", std::string("GGUF\1\0\0\0", 8) + std::string(16, '\0'));
  struct Case { std::vector<std::string> arguments; int code; };
  for (const Case& c : std::vector<Case>{
           {{"--help"}, 0}, {{"--version"}, 0}, {{"inspect", "--help"}, 0}, {{}, 2}, {{"no-such-command"}, 2}, {{"inspect"}, 2}, {{"inspect", "--no-such-option"}, 2},
           {{"completion", "tcsh"}, 2}, {{"inspect", "bad.gguf"}, 3}, {{"inspect", "absent.gguf"}, 4}, {{"inspect", "v1.gguf"}, 5}}) {
    const Outcome o = run(dir, c.arguments);
    INFO((c.arguments.empty() ? "(none)" : c.arguments.back()) << ": " << o.err);
    CHECK(o.code == c.code);
    if (c.code != 0) {
      CHECK(o.out.empty());
      CHECK(o.err.rfind("corvid: error: ", 0) == 0);
    }
  }
}

TEST_CASE("with --json an error is JSON on standard error too") {
  TempDir dir;
  write_file(dir / "bad.gguf", std::string("GGUF\x09\0\0\0", 8));
  const Outcome o = run(dir, {"inspect", "bad.gguf", "--json"});
  CHECK(o.code == 3);
  const auto line = parse_json(o.err.substr(o.err.find('\n') + 1));
  REQUIRE(line);
  CHECK((*line)["error"]["code"] == "bad_input");
  CHECK((*line)["error"]["offset"] == 4);
  CHECK((*line)["error"]["file"] == "bad.gguf");
  CHECK((*line)["error"].contains("message"));
  CHECK((*line)["error"].contains("key"));
}

TEST_CASE("inspect") {
  TempDir dir;
  write_file(dir / "m.gguf", GgufWriter().string("general.architecture", "llama").u32("llama.block_count", 2).u32("llama.embedding_length", 64)
                                 .u32("llama.attention.head_count", 4).u32("llama.attention.head_count_kv", 2).u32("llama.context_length", 128)
                                 .string("general.name", "a\xff").tensor("w", {2, 32}, 8, std::string(68, '\0')).bytes());
  const Outcome o = run(dir, {"inspect", "m.gguf", "--json"});
  REQUIRE(o.code == 0);
  const auto json = parse_json(o.out);
  REQUIRE(json);
  CHECK((*json)["format"] == "gguf");
  CHECK((*json)["metadata"]["general.architecture"] == "llama");
  CHECK((*json)["metadata"]["general.name"] == "a\xef\xbf\xbd");   // always valid UTF-8
  CHECK((*json)["tensors"][0]["name"] == "w");
  CHECK((*json)["tensors"][0]["dtype"] == "q8_0");
  CHECK((*json)["parameters"] == 64);
  CHECK((*json)["memory"]["weights_bytes"] == 68);
  CHECK((*json)["memory"]["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 2);
  const Outcome text = run(dir, {"inspect", "m.gguf"});
  CHECK(text.code == 0);
  CHECK(contains(text.out, "1 tensors, 64 parameters"));
  CHECK_FALSE(contains(text.out, "\033"));   // no colours into a file
}

TEST_CASE("flags go before environment, before the project's file, before the user's") {
  TempDir dir;
  write_file(dir / "m.gguf", GgufWriter().tensor("w", {2, 32}, 8, std::string(68, '\0')).bytes());
  std::filesystem::create_directories(dir / ".config/corvid");
  const std::vector<std::string> inspect{"inspect", "m.gguf"};
  CHECK(run(dir, inspect).out[0] != '{');
  write_file(dir / ".config/corvid/config.json", R"({"json": true})");
  CHECK(run(dir, inspect).out[0] == '{');
  write_file(dir / ".corvid.json", R"({"inspect": {"json": false}})");
  CHECK(run(dir, inspect).out[0] != '{');
  CHECK(run(dir, inspect, {}, {"CORVID_JSON=true"}).out[0] == '{');
  CHECK(run(dir, {"inspect", "m.gguf", "--json"}, {}, {"CORVID_JSON=false"}).out[0] == '{');
  write_file(dir / ".corvid.json", R"({"no-such-option": 1})");
  CHECK(run(dir, inspect).code == 2);
  write_file(dir / ".corvid.json", "{");
  CHECK(run(dir, inspect).code == 3);
}

TEST_CASE("doctor and completion") {
  TempDir dir;
  const Outcome doctor = run(dir, {"doctor", "--json"}, {}, {"XDG_DATA_HOME=" + dir.path().string()});
  REQUIRE(doctor.code == 0);
  const auto checks = parse_json(doctor.out);
  REQUIRE(checks);
  for (const auto& check : (*checks)["checks"]) {
    CHECK(check.contains("name"));
    CHECK(check.contains("state"));
    CHECK((check["ok"].get<bool>() || check["advice"].is_string()));
  }
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Outcome o = run(dir, {"completion", shell});
    CHECK(o.code == 0);
    for (const char* command : {"inspect", "graph", "approvals"}) CHECK(contains(o.out, command));
  }
}

TEST_CASE("tokenize takes standard input verbatim") {
  const auto golden = model("SmolLM2-135M-Instruct-Q4_1.gguf");
  if (!golden) return;
  TempDir dir;
  const Outcome plain = run(dir, {"tokenize", "--json"}, "Hello\r\n");
  REQUIRE(plain.code == 0);
  const auto ids = parse_json(plain.out);
  REQUIRE(ids);
  CHECK(ids->is_array());
  CHECK(plain.out != run(dir, {"tokenize", "--json"}, "Hello\n").out);   // no newline translation
  CHECK(plain.out != run(dir, {"tokenize", "--json"}, "Hello").out);     // no trimming
  CHECK(run(dir, {"tokenize", "--no-special", "--json"}).out == "[]\n");
  const auto marker = parse_json(run(dir, {"tokenize", "--no-special", "--json"}, "<|im_start|>").out);
  const auto parsed = parse_json(run(dir, {"tokenize", "--no-special", "--parse-special", "--json"}, "<|im_start|>").out);
  CHECK(marker->size() > 1);
  CHECK(parsed->size() == 1);
}

TEST_CASE("Ctrl-C ends a command with 130") {
  if (!model("SmolLM2-135M-Instruct-Q4_1.gguf")) return;
  int input[2];   // kept open: the command waits for its text
  REQUIRE(::pipe(input) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGINT, SIG_DFL);
    ::dup2(input[0], 0);
    ::close(input[1]);
    ::execl(CORVID_PROGRAM, CORVID_PROGRAM, "tokenize", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::usleep(1'500'000);   // until the model is open and the read has begun
  ::kill(child, SIGINT);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(input[0]);
  ::close(input[1]);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 130);
}
