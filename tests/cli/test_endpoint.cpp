// The commands that answer, asking an endpoint over TLS.
#include "cli/run_program.hpp"
#include "llm/tls_endpoint.hpp"


using namespace corvid;
using namespace corvid::test;

TEST_CASE("generate and chat ask an endpoint") {
  TempDir dir;
  TlsEndpoint endpoint;
  endpoint.handlers({whole(text_chunk("Good ") + text_chunk("day") + ending())});
  write_file(dir / "key", "sk-secret\n");
  const std::vector<std::string> where = {"--endpoint", endpoint.url(), "--remote-model", "far", "--ca-file", endpoint.ca_file().string()};
  const auto with = [&](std::vector<std::string> words) {
    words.insert(words.end(), where.begin(), where.end());
    return words;
  };
  Outcome o = run(dir, with({"generate", "Hi", "--max-tokens", "9", "--api-key-file", "key"}));
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.out == "Good day\n");
  CHECK(endpoint.authorization() == "Bearer sk-secret");
  CHECK(endpoint.body(0)["model"] == "far");
  CHECK(endpoint.body(0)["max_tokens"] == 9);
  o = run(dir, with({"generate", "Hi", "--json"}));
  REQUIRE(o.code == 0);
  CHECK((*parse_json(o.out))["text"] == "Good day");
  CHECK((*parse_json(o.out))["usage"]["prompt_tokens"] == 11);
  CHECK(run(dir, with({"chat", "One", "--api-key-env", "FAR_KEY"}), {}, {"FAR_KEY=sk-other"}).out == "Good day\n");
  CHECK(endpoint.authorization() == "Bearer sk-other");
  CHECK(run(dir, with({"chat", "Two"})).code == 0);
  const Json messages = endpoint.body(endpoint.requests() - 1)["messages"];
  REQUIRE(messages.size() == 3);
  CHECK(messages[1]["content"] == "Good day");

  endpoint.handlers({refuse(401, R"({"error":{"message":"bad key sk-secret"}})")});
  o = run(dir, with({"generate", "Hi", "--api-key-file", "key"}));
  CHECK(o.code == 1);
  CHECK(o.out.empty());
  CHECK(contains(o.err, "401"));
  CHECK_FALSE(contains(o.err, "sk-secret"));
  CHECK(run(dir, {"generate", "Hi", "--endpoint", endpoint.url()}).code == 2);
  CHECK(run(dir, {"generate", "Hi", "--remote-model", "far"}).code == 2);
  CHECK(run(dir, with({"generate", "--raw", "Hi"})).code == 2);
  CHECK(run(dir, with({"generate", "Hi", "--api-key-env", "NOT_SET"})).code == 4);
  const std::size_t asked = endpoint.requests();
  CHECK(run(dir, {"generate", "Hi", "--endpoint", endpoint.url(), "--remote-model", "far"}).code == 1);  // its certificate is not trusted
  write_file(dir / ".corvid.json", R"({"generate":{"endpoint":"https://elsewhere.example/v1"}})");
  o = run(dir, {"generate", "Hi"});
  CHECK(o.code == 2);
  CHECK(contains(o.err, "folder's settings"));
  CHECK(endpoint.requests() == asked);
}

