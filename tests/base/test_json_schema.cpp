#include <algorithm>
#include <array>
#include <filesystem>
#include <string>

#include "corvid/base/json_schema.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;

namespace {

// The place and the message of what is wrong, or "ok".
std::string said(const char* schema, const char* value) {
  const auto compiled = JsonSchema::compile(*parse_json(schema));
  if (!compiled) return "schema " + compiled.error().key() + ": " + compiled.error().message();
  const auto status = compiled->check(*parse_json(value));
  return status ? "ok" : status.error().key() + ": " + status.error().message();
}

}  // namespace

TEST_CASE("json schema: what is wrong is said with its place", "[base]") {
  const char* person =
      R"({"type":"object","properties":{"name":{"type":"string","minLength":1},"tags":{"type":"array","items":{"type":"string"}},
                           "age":{"type":"integer","minimum":0,"maximum":150}},"required":["name"],"additionalProperties":false})";
  CHECK(said(person, R"({"name":"Ada","age":36,"tags":["x"]})") == "ok");
  CHECK(said(person, R"({"age":36})") == "/name: is missing");
  CHECK(said(person, R"({"name":"Ada","age":-1})") == "/age: must be at least 0, not -1");
  CHECK(said(person, R"({"name":"Ada","tags":["x",2]})") == "/tags/1: must be string, not 2");
  CHECK(said(person, R"({"name":"Ada","a/b~":1})") == "/a~1b~0: is not known here");
  CHECK(said(person, R"({"name":""})") == "/name: must have at least 1 characters, not 0");
  CHECK(said(person, "[]") == ": must be object, not []");
  CHECK(said(R"({"enum":["approve","reject"]})", R"("maybe")") == R"(: must be one of "approve", "reject", not "maybe")");
  CHECK(said(R"({"anyOf":[{"type":"string"},{"type":"object","required":["a"]}]})", "{}") ==
        "/a: is missing (the closest of 2 allowed forms)");
  CHECK(said(R"({"maxLength":2})", "\"\u00e4\u00f6\"") == "ok");
}

TEST_CASE("json schema: a schema that cannot be checked whole is refused", "[base]") {
  const auto code = [](const char* schema) { return JsonSchema::compile(*parse_json(schema)).error().code(); };
  CHECK(said(R"({"properties":{"a":{"pattern":"x"}}})", "{}") ==
        "schema /properties/a/pattern: the keyword pattern is not supported; say it with other keywords");
  CHECK(code(R"({"$ref":"http://example.org/x"})") == ErrorCode::unsupported);
  CHECK(code(R"({"$ref":"#name"})") == ErrorCode::unsupported);
  CHECK(code(R"({"$ref":"#/nowhere"})") == ErrorCode::bad_input);
  CHECK(code(R"({"unevaluatedProperties":false})") == ErrorCode::unsupported);
  CHECK(code(R"({"type":"text"})") == ErrorCode::bad_input);
  CHECK(code(R"({"type":[]})") == ErrorCode::bad_input);
  CHECK(code(R"({"minLength":-1})") == ErrorCode::bad_input);
  CHECK(code(R"({"minLength":"3"})") == ErrorCode::bad_input);
  CHECK(code(R"({"items":[{}]})") == ErrorCode::bad_input);
  CHECK(code(R"({"multipleOf":0})") == ErrorCode::bad_input);
  CHECK(code(R"({"required":"a"})") == ErrorCode::bad_input);
  CHECK(code(R"({"anyOf":[]})") == ErrorCode::bad_input);
  CHECK(code("3") == ErrorCode::bad_input);
  CHECK(said(R"({"title":"t","format":"email","x-ours":{"pattern":"y"}})", "1") == "ok");
}

TEST_CASE("json schema: recursion ends", "[base]") {
  CHECK(said(R"({"$ref":"#"})", "1").find("does a $ref lead back to itself?") != std::string::npos);
  CHECK(said(R"({"allOf":[{"$ref":"#"},{"$ref":"#"}]})", "1").find("lead back") != std::string::npos);
  CHECK(said(R"({"anyOf":[{"$ref":"#"},{"$ref":"#"}]})", "1").find("lead back") != std::string::npos);
  CHECK(said(R"({"properties":{"next":{"$ref":"#"}},"additionalProperties":false})", R"({"next":{"next":{}}})") == "ok");
  CHECK(said(R"({"properties":{"next":{"$ref":"#"}},"additionalProperties":false})", R"({"next":{"nxt":{}}})") ==
        "/next/nxt: is not known here");
  // Every level doubles the checks: without a limit this would be 2^60 of them.
  Json levels = {{"type", "string"}};
  Json defs = Json::object();
  for (int i = 0; i < 60; ++i) {
    const std::string below = i == 0 ? "#/$defs/leaf" : "#/$defs/l" + std::to_string(i - 1);
    defs["l" + std::to_string(i)] = {{"anyOf", {{{"$ref", below}}, {{"$ref", below}}}}};
  }
  defs["leaf"] = levels;
  const auto schema = JsonSchema::compile({{"$ref", "#/$defs/l59"}, {"$defs", defs}});
  REQUIRE(schema);
  CHECK(schema->check(1).error().code() == ErrorCode::limit_exceeded);
  CHECK(schema->check("x"));
}

TEST_CASE("json schema: numbers", "[base]") {
  CHECK(said(R"({"type":"integer"})", "1.0") == "ok");
  CHECK(said(R"({"const":1})", "1.0") == "ok");
  CHECK(said(R"({"const":false})", "0") != "ok");
  CHECK(said(R"({"uniqueItems":true})", "[1,1.0]") != "ok");
  CHECK(said(R"({"uniqueItems":true})", "[1,true,\"1\",[1],{\"a\":1}]") == "ok");
  CHECK(said(R"({"maximum":18446744073709551615})", "18446744073709551615") == "ok");
  CHECK(said(R"({"maximum":18446744073709551614})", "18446744073709551615") != "ok");
  CHECK(said(R"({"minimum":9223372036854775808})", "-1") != "ok");
  CHECK(said(R"({"multipleOf":0.0001})", "0.0075") == "ok");
  CHECK(said(R"({"multipleOf":0.01})", "0.0075") != "ok");
  CHECK(said(R"({"multipleOf":0.123456789})", "1e308") != "ok");
}

TEST_CASE("json schema: the official suite of draft 2020-12", "[base]") {
  const auto folder = test::test_data("json_schema_test_suite");
  if (!folder) return;
  int passed = 0, refused = 0;
  for (const auto& file : std::filesystem::directory_iterator(*folder / "tests" / "draft2020-12")) {
    if (file.path().extension() != ".json") continue;
    const auto groups = read_json_file(file.path());
    REQUIRE(groups);
    for (const Json& group : *groups) {
      const auto schema = JsonSchema::compile(group["schema"]);
      if (!schema) {
        INFO(file.path().filename() << ": " << group["description"] << ": " << schema.error().describe());
        CHECK(schema.error().code() == ErrorCode::unsupported);
        refused += static_cast<int>(group["tests"].size());
        continue;
      }
      for (const Json& each : group["tests"]) {
        INFO(file.path().filename() << ": " << group["description"] << ": " << each["description"]);
        CHECK(schema->check(each["data"]).has_value() == each["valid"].get<bool>());
        ++passed;
      }
    }
  }
  INFO(passed << " checked, " << refused << " of schemas that are refused");
  CHECK(passed >= 900);
}
