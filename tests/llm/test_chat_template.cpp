// Chat templates: against Jinja2's renderings (tests/golden/make_chat_templates.py), and what hostile ones meet.
#include <filesystem>

#include "corvid/llm/chat_template.hpp"
#include "llm/template_cases.hpp"
#include "support/catch.hpp"
#include "support/support.hpp"

using namespace corvid;
using namespace corvid::test;

namespace {

std::string render(std::string source, const OrderedJson& extra = OrderedJson::object()) {
  auto parsed = ChatTemplate::parse(std::move(source));
  if (!parsed) return "parse: " + std::string(to_string(parsed.error().code())) + ": " + parsed.error().message();
  ChatTemplateInputs inputs;
  inputs.extra = extra;
  auto text = parsed->render(inputs);
  return text ? *text : std::string(to_string(text.error().code())) + ": " + text.error().message();
}

bool begins(const std::string& text, const char* front) { return text.rfind(front, 0) == 0; }

}  // namespace

TEST_CASE("real templates render as Jinja2 renders them") {
  const auto folder = test::test_data("llama-templates");
  if (!folder) return;
  const OrderedJson conversations = golden("chat_conversations.json"), expected = golden("chat_templates.json");
  std::size_t same = 0, refused = 0, unsupported = 0, unescaped = 0;
  for (const auto& [file, row] : expected.items()) {
    auto parsed = ChatTemplate::parse(test::read_file(*folder / file));
    if (!parsed) {
      INFO(file << ": " << parsed.error().describe());
      CHECK(parsed.error().code() == ErrorCode::unsupported);
      CHECK(parsed.error().offset().has_value());
      ++unsupported;
      continue;
    }
    for (const auto& [name, hash] : row.items()) {
      const auto text = parsed->render(inputs_of(conversations.at(name)));
      INFO(file << " with " << name << ": " << (text ? *text : text.error().describe()));
      if (file == "meetkai-functionary-medium-v3.1.jinja" && text && fnv(*text) != hash.get<std::string>()) {
        // It joins text marked `safe` with tools' JSON, which Jinja2 then escapes for HTML; here it stays the plain text it means.
        CHECK(text->find("\"name\"") != std::string::npos);
        ++unescaped;
      } else if (hash == "error") {
        CHECK_FALSE(text.has_value());
        ++refused;
      } else if (!text) {
        CHECK(text.error().code() == ErrorCode::unsupported);
        ++unsupported;
      } else {
        CHECK(fnv(*text) == hash.get<std::string>());
        ++same;
      }
    }
  }
  CHECK(unsupported == 3);  // templates, each a typed error that names the construct
  CHECK(unescaped == 3);
  CHECK(same + refused + unescaped == 603);
}

TEST_CASE("expressions, statements and white space") {
  CHECK(render("{{ 1 + 2 * 3 ** 2 // 4 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 'a' ~ 1 ~ none }}") == "5 3.5 -4 2 a1None");
  CHECK(render("{% for i in range(3) if i != 1 %}{{ loop.index }}:{{ i }}{{ ',' if not loop.last }}{% else %}none{% endfor %}") == "1:0,2:2");
  CHECK(render("{% set ns = namespace(x=1) %}{% for i in [1,2] %}{% set ns.x = ns.x + i %}{% set y = 5 %}{% endfor %}{{ ns.x }}{{ y is defined }}") == "4False");
  CHECK(render("{% macro m(a, b='z') %}<{{ a }}{{ b }}>{% endmacro %}{{ m('x') }}{{ m(b=1, a=2) }}") == "<xz><21>");
  CHECK(render("a\n  {% if true %}\nb\n  {%- endif %}\n  c\n") == "a\nb  c");
  CHECK(render("{% set a, b = [1, 2] %}{{ b }}{{ a }}{% set t %}x{{ a }}{% endset %}{{ t|upper }}") == "21X1");
  CHECK(render("{{ [1, 'a', none, true, 1.0, {'k': \"it's\"}] }}") == "[1, 'a', None, True, 1.0, {'k': \"it's\"}]");
  CHECK(render("{{ {'b': [1, {}], 'a': 'é\"'} | tojson }}|{{ {'a': [1]} | tojson(indent=2) }}") == "{\"b\": [1, {}], \"a\": \"é\\\"\"}|{\n  \"a\": [\n    1\n  ]\n}");
  CHECK(render("{{ 'héllo'[1:3] }}{{ 'abc'[::-1] }}{{ [1,2,3][-1] }}{{ 'héllo'|length }}") == "élcba35");
  CHECK(render("{{ ' a b '.split() }}{{ 'a,b,c'.split(',', 1)[1] }}{{ 'xax'.strip('x') }}{{ 'k' in {'k': 1} }}") == "['a', 'b']b,caTrue");
  CHECK(render("{{ [{'n': 2}, {'n': 1}] | sort(attribute='n') | map(attribute='n') | join('-') }}{{ [1,2,3] | select('odd') | list }}") == "1-2[1, 3]");
  CHECK(render("{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "02");
  CHECK(render("{% raw %}{{ x }}{% endraw %}{# no #}{% filter upper %}a{% endfilter %}{% generation %}g{% endgeneration %}") == "{{ x }}Ag");
  CHECK(render("{{ missing }}{{ missing is defined }}{{ missing | default('d') }}{{ 'x' if false }}") == "Falsed");
  CHECK(render("{{ strftime_now('%Y') | length }}") == "4");
}

TEST_CASE("letters beyond ASCII change case as in Python") {
  const OrderedJson word = {{"s", "ΟΔΥΣΣΕΎΣ straße ǆungla o'neill İ"}};
  CHECK(render("{{ s.upper() }}", word) == "ΟΔΥΣΣΕΎΣ STRASSE ǄUNGLA O'NEILL İ");
  CHECK(render("{{ s|lower }}", word) == "οδυσσεύς straße ǆungla o'neill i̇");
  CHECK(render("{{ s.title() }}", word) == "Οδυσσεύς Straße ǅungla O'Neill İ");
  CHECK(render("{{ s|title }}", word) == "Οδυσσεύς Straße Ǆungla O'neill İ");
  CHECK(render("{{ '(one-two) [three'|title }}") == "(One-Two) [Three");
  CHECK(render("{{ s|capitalize }}", word) == "Οδυσσεύς straße ǆungla o'neill i̇");
}

TEST_CASE("errors are typed and say where") {
  CHECK(begins(render("{{ raise_exception('no system') }}"), "invalid_argument: the template refuses: no system"));
  CHECK(begins(render("{% if x %}"), "parse: bad_input"));
  CHECK(begins(render("{{ x"), "parse: bad_input"));
  CHECK(begins(render("{{ 'x }}"), "parse: bad_input"));
  CHECK(begins(render("{% nonsense %}"), "parse: bad_input"));
  CHECK(begins(render("{% include 'x' %}"), "parse: unsupported: the statement {% include"));
  CHECK(begins(render("{{ x | nosuch }}"), "parse: unsupported: the filter 'nosuch'"));
  CHECK(begins(render("{{ x is nosuch }}"), "parse: unsupported: the test 'nosuch'"));
  CHECK(begins(render("{{ x.y }}"), "bad_input: 'x' is undefined"));
  CHECK(begins(render("{{ nothing() }}"), "bad_input"));
  CHECK(begins(render("{{ 1 + 'a' }}"), "bad_input"));
  CHECK(begins(render("{{ 1 // 0 }}"), "bad_input: division by zero"));
  CHECK(begins(render("{{ ''.__class__ }}"), "bad_input: access to the attribute '__class__'"));
  CHECK(begins(render("{{ ''['__class__'] }}"), "bad_input: access"));
  CHECK(begins(render("{{ [].append(1) }}"), "bad_input: .append() would change"));
  const auto parsed = ChatTemplate::parse("abc {{ 1 + }}");
  REQUIRE_FALSE(parsed.has_value());
  CHECK(parsed.error().offset() == 11);
}

TEST_CASE("hostile templates meet limits") {
  CHECK(begins(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "limit_exceeded"));
  CHECK(begins(render("{{ range(10**9) }}"), "limit_exceeded"));
  CHECK(begins(render("{{ range(0, 10**18, 3) }}"), "limit_exceeded"));
  CHECK(begins(render("{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}"), "limit_exceeded"));
  CHECK(begins(render("{{ 'a' * 10**9 }}"), "limit_exceeded"));
  CHECK(begins(render("{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"), "limit_exceeded"));
  CHECK(begins(render("{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"), "limit_exceeded"));
  CHECK(begins(render("{% set ns = namespace(s=[1]) %}{% for i in range(500) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}"), "limit_exceeded"));
  CHECK(begins(render(std::string(100000, '(')), std::string(100000, '(').c_str()));
  CHECK(begins(render("{{ " + std::string(100000, '(') + std::string(100000, ')') + " }}"), "parse: limit_exceeded"));
  CHECK(begins(render("{{ " + std::string(100000, '-') + "1 }}"), "parse: limit_exceeded"));
  std::string sum = "{{ 1", nots = "{{ ", ifs;
  for (int i = 0; i < 20000; ++i) { sum += " + 1"; nots += "not "; ifs += "{% if 1 %}"; }
  CHECK(begins(render(sum + " }}"), "parse: limit_exceeded"));
  CHECK(begins(render(nots + "1 }}"), "parse: limit_exceeded"));
  CHECK(begins(render(ifs), "parse: limit_exceeded"));
  CHECK(begins(render("{% for i in range(200000) %}0123456789{% endfor %}"), "limit_exceeded"));
  CHECK(render("{% set ns = namespace(a=1) %}{% set ns.me = ns %}{{ ns.me.a }}") == "1");
}
