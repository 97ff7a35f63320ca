#include <random>
#include <string>
#include <vector>

#include "corvid/graphs/expression.hpp"
#include "support/catch.hpp"

using namespace corvid;

namespace {

const Json& sample() {
  static const Json state =
      *parse_json(R"({"count":3,"ratio":0.5,"name":"Ada","notes":[{"text":"short","score":0.25},{"text":"longer","score":0.75}],
      "tags":["b","a","b"],"nothing":null,"map":{"x":1,"y":2},"yes":true,"big":9223372036854775807,"huge":18446744073709551615,"text":"a,b,,c","uni":"äöü"})");
  return state;
}

// The value as JSON, or "code@offset message".
std::string eval(std::string_view text) {
  const auto expression = Expression::parse(text);
  if (!expression) return "parse " + std::to_string(*expression.error().offset()) + ": " + expression.error().message();
  const auto value = expression->evaluate(sample());
  if (!value)
    return std::string(to_string(value.error().code())) + " " + std::to_string(value.error().offset().value_or(9999)) + ": " +
           value.error().message();
  return dump_json(*value);
}

bool starts(const std::string& text, std::string_view with) { return text.compare(0, with.size(), with) == 0; }

}  // namespace

TEST_CASE("expressions: values and operators", "[graphs]") {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"1 + 2 * 3", "7"},
      {"(1 + 2) * 3", "9"},
      {"7 / 2", "3.5"},
      {"6 / 2", "3"},
      {"7 // 2", "3"},
      {"-7 // 2", "-4"},
      {"-7 % 3", "2"},
      {"7 % -3", "-2"},
      {"7.5 % 2", "1.5"},
      {"1.5e3", "1500.0"},
      {"- -3", "3"},
      {"2 - -3", "5"},
      {"'a' + \"b\"", "\"ab\""},
      {"[1] + [2, 3]", "[1,2,3]"},
      {"[1, 2,]", "[1,2]"},
      {"{a: 1, 'b c': [2], if: 3}", R"({"a":1,"b c":[2],"if":3})"},
      {"{}", "{}"},
      {"[]", "[]"},
      {"1 == 1.0", "true"},
      {"'1' == 1", "false"},
      {"[1, {a: 2}] == [1, {a: 2}]", "true"},
      {"1 < 2 and 2 < 3", "true"},
      {"'a' < 'b'", "true"},
      {"3 >= 3", "true"},
      {"1 != 2", "true"},
      {"not 1 == 2", "true"},
      {"not null", "true"},
      {"null or 'x'", "\"x\""},
      {"0 and 1 / 0", "0"},
      {"1 or 1 / 0", "1"},
      {"not not 3", "true"},
      {"'x' if 1 > 2 else 'y'", "\"y\""},
      {"1 if false else 2 if false else 3", "3"},
      {"state.count", "3"},
      {"state.notes[0].text", "\"short\""},
      {"state['notes'][-1]['text']", "\"longer\""},
      {"state.notes[7].text", "null"},
      {"state.no.such.path[3]", "null"},
      {"state.map['y']", "2"},
      {"state.map[state.no]", "null"},
      {"state[\"count\"] + 1", "4"},
      {"state.huge", "18446744073709551615"},
      {"'a' in state.tags", "true"},
      {"'z' not in state.tags", "true"},
      {"'x' in state.map", "true"},
      {"'d' in 'Ada'", "true"},
      {"1 in null", "false"},
      {"2 in [1, 2.0]", "true"},
      {"[n.text for n in state.notes if n.score > 0.5]", R"(["longer"])"},
      {"[i * 2 for i in [1, 2, 3]]", "[2,4,6]"},
      {"[i for i, n in state.notes]", "[0,1]"},
      {"[k + '=' + string(v) for k, v in state.map]", R"(["x=1","y=2"])"},
      {"[k for k in state.map]", R"(["x","y"])"},
      {"[x for x in null]", "[]"},
      {"[[a * b for b in [1, 2]] for a in [3, 4]]", "[[3,6],[4,8]]"},
      {"any(n.score > 0.5 for n in state.notes)", "true"},
      {"all(n.score > 0.5 for n in state.notes)", "false"},
      {"sum(n.score for n in state.notes)", "1.0"},
      {"any([])", "false"},
      {"all(state.nothing)", "true"},
      {"'\\u00e4\\ud83d\\ude00\\n'", "\"ä😀\\n\""},
      {"'it\\'s'", "\"it's\""},
  };
  for (const auto& [text, wanted] : cases) {
    INFO(text);
    CHECK(eval(text) == wanted);
  }
}

TEST_CASE("expressions: functions", "[graphs]") {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"len(state.uni)", "3"},
      {"len(state.notes)", "2"},
      {"len(null)", "0"},
      {"len(state.map)", "2"},
      {"contains(state.tags, 'a')", "true"},
      {"contains('abc', 'bc')", "true"},
      {"starts_with('abc', 'ab')", "true"},
      {"ends_with('abc', 'ab')", "false"},
      {"lower('AbÄ')", "\"abÄ\""},
      {"upper('abz')", "\"ABZ\""},
      {"trim('  x \\n')", "\"x\""},
      {"trim('  ')", "\"\""},
      {"replace('aXbX', 'X', '--')", "\"a--b--\""},
      {"split(state.text, ',')", R"(["a","b","","c"])"},
      {"split('', ',')", "[]"},
      {"join(['a', 1, null, [2]], '-')", "\"a-1--[2]\""},
      {"join(state.tags)", "\"bab\""},
      {"first(state.tags)", "\"b\""},
      {"last([1, 2])", "2"},
      {"first([])", "null"},
      {"last(null)", "null"},
      {"slice([1,2,3,4], 1, 3)", "[2,3]"},
      {"slice([1,2,3], -2)", "[2,3]"},
      {"slice(state.uni, 1, 2)", "\"ö\""},
      {"slice('abc', 2, 1)", "\"\""},
      {"slice('abc', -9, 99)", "\"abc\""},
      {"reverse([1,2])", "[2,1]"},
      {"sort(state.tags)", R"(["a","b","b"])"},
      {"sort([3, 1.5, 2])", "[1.5,2,3]"},
      {"unique(state.tags)", R"(["b","a"])"},
      {"flatten([[1], 2, [3, [4]]])", "[1,2,3,[4]]"},
      {"range(3)", "[0,1,2]"},
      {"range(2, 4)", "[2,3]"},
      {"range(-1)", "[]"},
      {"keys(state.map)", R"(["x","y"])"},
      {"values(state.map)", "[1,2]"},
      {"merge({a: 1, b: 1}, null, {b: 2})", R"({"a":1,"b":2})"},
      {"min(3, 1, 2)", "1"},
      {"max([1, 2.5])", "2.5"},
      {"max([])", "null"},
      {"min('b', 'a')", "\"a\""},
      {"sum([])", "0"},
      {"sum([1, 2])", "3"},
      {"round(2.5)", "3"},
      {"round(-2.5)", "-3"},
      {"round(2.345, 2)", "2.35"},
      {"round(7, 2)", "7"},
      {"floor(-0.5)", "-1"},
      {"ceil(0.5)", "1"},
      {"abs(-3)", "3"},
      {"abs(-0.5)", "0.5"},
      {"string(1.5)", "\"1.5\""},
      {"string('x')", "\"x\""},
      {"string(null)", "\"\""},
      {"string({a: [1]})", R"("{\"a\":[1]}")"},
      {"number(' 12 ')", "12"},
      {"number('1.5')", "1.5"},
      {"number(true)", "1"},
      {"json('x')", R"("\"x\"")"},
      {"parse_json('{\"a\":[1]}').a[0]", "1"},
      {"type(1.5) + type(1) + type([])", "\"numberintegerlist\""},
      {"default(state.none, 5)", "5"},
      {"default(0, 5)", "0"},
      {"coalesce(null, null, 'x')", "\"x\""},
      {"first([[1, 2], 3])[1]", "2"},
      {"[t for t in split('a b', ' ')][-1]", "\"b\""},
  };
  for (const auto& [text, wanted] : cases) {
    INFO(text);
    CHECK(eval(text) == wanted);
  }
}

TEST_CASE("expressions: every operation ends in a value or a typed error with its place", "[graphs]") {
  CHECK(eval("1 / 0") == "bad_input 2: division by zero");
  CHECK(eval("1 % 0") == "bad_input 2: division by zero");
  CHECK(eval("1.0 // 0.0") == "bad_input 4: division by zero");
  CHECK(starts(eval("state.big + 1"), "limit_exceeded 10: the result does not fit"));
  CHECK(starts(eval("-state.big - 2"), "limit_exceeded"));
  CHECK(starts(eval("state.big * 2"), "limit_exceeded"));
  CHECK(starts(eval("state.huge * 1"), "limit_exceeded"));
  CHECK(starts(eval("(-state.big - 1) // -1"), "limit_exceeded"));
  CHECK(eval("(-state.big - 1) % -1") == "0");
  CHECK(starts(eval("-(-state.big - 1)"), "limit_exceeded"));
  CHECK(starts(eval("abs(-state.big - 1)"), "limit_exceeded"));
  CHECK(starts(eval("1e308 * 10"), "limit_exceeded"));
  CHECK(starts(eval("round(1e300)"), "limit_exceeded"));
  CHECK(starts(eval("9223372036854775808"), "parse 0: the integer does not fit 64 bits"));
  CHECK(starts(eval("1e999"), "parse 0: the number is out of range"));
  CHECK(eval("1 + 'a'") ==
        "bad_input 2: + joins two numbers, two strings or two lists, not an integer and a string; string() and default() convert");
  CHECK(eval("state.count.x") == "bad_input 11: an integer has no member \"x\"");
  CHECK(starts(eval("state.tags['a']"), "bad_input 10: a list has no"));
  CHECK(starts(eval("null < 1"), "bad_input"));
  CHECK(starts(eval("[1] < [2]"), "bad_input"));
  CHECK(starts(eval("1 in 2"), "bad_input"));
  CHECK(starts(eval("sort([1, 'a'])"), "bad_input"));
  CHECK(starts(eval("number('x')"), "bad_input"));
  CHECK(starts(eval("[x for x in 3]"), "bad_input"));
  CHECK(starts(eval("split('a', '')"), "bad_input"));
  CHECK(starts(eval("replace('a', '', 'b')"), "bad_input"));
  CHECK(starts(eval("parse_json('[')"), "bad_input"));
  CHECK(starts(eval("not state.tags.x"), "bad_input"));
}

TEST_CASE("expressions: syntax errors say what to write", "[graphs]") {
  CHECK(eval("state.count = 3") == "parse 12: write == to compare; an expression sets nothing");
  CHECK(eval("state.yes && true") == "parse 10: write \"and\" for &&");
  CHECK(eval("!state.yes") == "parse 0: write \"not\" for !");
  CHECK(starts(eval("state.yes ? 1 : 2"), "parse 10: write \"A if CONDITION else B\""));
  CHECK(eval("done") == "parse 0: \"done\" is unknown; a text stands in quotes; there is state");
  CHECK(eval("True") == "parse 0: write true and false in lower case");
  CHECK(eval("lenn(1)") == "parse 0: there is no function \"lenn\"; did you mean \"len\"?");
  CHECK(eval("len()") == "parse 0: len takes 1 arguments, not 0");
  CHECK(eval("len") == "parse 0: the function len needs its arguments in ( )");
  CHECK(eval("1 < 2 < 3") == "parse 6: comparisons do not chain; write \"a < b and b < c\"");
  CHECK(eval("(1 + 2") == "parse 6: the expression ends where \")\" after what \"(\" opened should follow");
  CHECK(eval("") == "parse 0: the expression ends where a value should follow");
  CHECK(starts(eval("1 2"), "parse 2: \"2\" stands where"));
  CHECK(starts(eval("'abc"), "parse 0: the text that starts here has no closing quote"));
  CHECK(starts(eval("'\\ud800'"), "parse 1: half of a surrogate"));
  CHECK(starts(eval("[a, b for a in [1]]"), "parse"));
  CHECK(starts(eval("\xff"), "parse 0: the text is not UTF-8"));
  CHECK(starts(eval("[state for state in [1]]"), "parse"));
  ExpressionNames names;
  names.fields = std::make_shared<const std::set<std::string>>(std::set<std::string>{"count", "draft"});
  CHECK(Expression::parse("state.cuont", names).error().message() == "the state has no \"cuont\"; did you mean \"count\"?");
  CHECK(Expression::parse("count > 1", names).error().message() == "\"count\" is unknown; write state.count for the state's");
  names.variables = {"error"};
  CHECK(Expression::parse("error.message + state['draft']", names));
}

TEST_CASE("expressions: limits hold", "[graphs]") {
  const auto repeat = [](std::string_view text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  for (const auto& text :
       {repeat("(", 100000), repeat("[", 100000), repeat("not ", 60000), repeat("-", 100000), repeat("1 if 1 else ", 20000) + "1",
        repeat("{a:", 50000), "1" + repeat("+1", 100000), "state" + repeat(".a", 100000), repeat("len(", 60000), repeat("1+(", 60000),
        "state" + repeat("[0]", 50000), repeat("[x for x in ", 20000)}) {
    const auto parsed = Expression::parse(text);
    REQUIRE_FALSE(parsed);
    CHECK((parsed.error().code() == ErrorCode::limit_exceeded || parsed.error().code() == ErrorCode::bad_input));
  }
  CHECK(Expression::parse(repeat(" ", 300 << 10)).error().code() == ErrorCode::limit_exceeded);
  CHECK(eval(repeat("(", 50) + "1" + repeat(")", 50)) == "1");
  CHECK(starts(eval("len([[0 for b in range(2000)] for a in range(2000)])"), "limit_exceeded"));
  CHECK(starts(eval("range(1000000000)"), "limit_exceeded"));
  CHECK(starts(eval("range(0, 9223372036854775807)"), "limit_exceeded"));
  CHECK(starts(eval("len(join([join(range(9000), '---------------------------------------------------------') for i in range(1000)]))"),
               "limit_exceeded"));
  CHECK(starts(eval("[[c for c in [[a, b] for b in range(900)] if 0 > 1] for a in range(900)]"), "limit_exceeded"));
  Json deep = 1;
  for (int i = 0; i < 120; ++i) deep = Json::array({deep});
  CHECK(Expression::parse("[[[[[state.x]]]]]")->evaluate(Json{{"x", deep}}));
  CHECK(Expression::parse("[[[[[[[[[[state.x]]]]]]]]]]")->evaluate(Json{{"x", deep}}).error().code() == ErrorCode::limit_exceeded);
}

TEST_CASE("templates: text around expressions", "[graphs]") {
  const auto render = [](std::string_view text) -> std::string {
    const auto parsed = TextTemplate::parse(text);
    if (!parsed) return "parse " + std::to_string(*parsed.error().offset()) + ": " + parsed.error().message();
    const auto out = parsed->render(sample());
    return out ? *out : "eval " + std::to_string(out.error().offset().value_or(9999)) + ": " + out.error().message();
  };
  CHECK(render("Hello {{ state.name }}, {{state.count + 1}} notes{{ state.none }}.") == "Hello Ada, 4 notes.");
  CHECK(render("{{ state.map }} { } }} {") == R"({"x":1,"y":2} { } }} {)");
  CHECK(render("{{ {\"a\": {\"b\": 1}} }}") == R"({"a":{"b":1}})");
  CHECK(render("{{ \"{{\" }}x}}") == "{{x}}");
  CHECK(render("{{ state.name }}'s \"quote") == "Ada's \"quote");
  CHECK(render("ab {{ 1 + }}") == "parse 10: \"}\" stands where a value should");
  CHECK(render("ab {{ 1") == "parse 7: the expression ends where }} after the expression should follow");
  CHECK(render("ab {{ 1 } }") == "parse 8: the expression is closed by }}");
  CHECK(render("ab {{ 1 / 0 }}") == "eval 8: division by zero");
  CHECK(TextTemplate::parse("{{ state.count }}")->value(JsonScope(sample())) == Json(3));
  CHECK(TextTemplate::parse("{{ state.count }} ")->value(JsonScope(sample())) == Json("3 "));
  const auto value =
      ValueTemplate::compile(Json{{"a", "{{ state.count }}"}, {"b", {1, "x{{ state.name }}", nullptr}}, {"c", {{"d", "plain"}}}});
  REQUIRE(value);
  CHECK(*value->evaluate(sample()) == Json{{"a", 3}, {"b", {1, "xAda", nullptr}}, {"c", {{"d", "plain"}}}});
  const auto bad = ValueTemplate::compile(Json{{"a", {{"b/c", {0, "x {{ y }}"}}}}});
  REQUIRE_FALSE(bad);
  CHECK(bad.error().key() == "/a/b~1c/1");
  CHECK(bad.error().offset() == 5u);
  const auto failing = ValueTemplate::compile(Json{{"a", {0, "{{ 1 / 0 }}"}}})->evaluate(sample());
  CHECK(failing.error().key() == "/a/1");
}

TEST_CASE("expressions: random texts of the language's words never do harm", "[graphs]") {
  const std::vector<std::string> words{"state", ".count", ".notes", ".tags",  "[0]",       "[-1]",    "[",      "]",    "(",     ")",
                                       "{",     "}",      ",",      ":",      "1",         "0",       "2.5",    "'a'",  "\"b\"", "+",
                                       "-",     "*",      "/",      "//",     "%",         "==",      "<",      ">=",   " in ",  " not ",
                                       " and ", " or ",   " if ",   " else ", " for ",     "x",       " x in ", "len(", "sum(",  "sort(",
                                       "join(", "range(", "null",   "true",   "state.big", "string(", "slice(", "{{",   "}}"};
  std::mt19937 random(7);
  int evaluated = 0;
  for (int i = 0; i < 60'000; ++i) {
    std::string text;
    for (auto n = random() % 12 + 1; n > 0; --n) text += words[random() % words.size()];
    if (const auto parsed = Expression::parse(text)) evaluated += parsed->evaluate(sample()) ? 1 : 0;
    if (const auto parsed = TextTemplate::parse("{{" + text)) (void)parsed->render(sample());
  }
  CHECK(evaluated > 1000);
}
