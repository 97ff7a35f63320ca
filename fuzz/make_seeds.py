#!/usr/bin/env python3
"""Seeds and dictionaries for the fuzzers, made from this repository and from nothing else.

    fuzz/make_seeds.py FOLDER       # FOLDER/NAME/*, FOLDER/NAME.dict for fuzz_NAME
"""
import itertools
import json
import pathlib
import random
import re
import sqlite3
import struct
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def words_in(*paths, pattern=r'"([^"\\\n]{1,40})"'):
    """What the parser's own sources quote: keywords, names of functions, keys."""
    found = set()
    for path in paths:
        for file in sorted(ROOT.glob(path)):
            found.update(re.findall(pattern, file.read_text()))
    return sorted(found)


# ---- expressions

def expressions():
    sources = (ROOT / "graphs/file/expression_functions.cpp").read_text()
    functions = re.findall(r'ExpressionFunction\{"(\w+)", (\w+), (\w+)', sources)
    values = ["a", "b", "c", "d", "f", "n", "big", "huge", "state.d", "state.f.g", "missing.x", "1", "-1", "0", "2.5", "1e3", "'x'", '"y\\n\\u0041"', "true", "null",
              "[1, 2, 'x']", "{'k': 1, 'l': [true]}", "d[0]", "d[-1]", "c[1]", "'{\"p\": [1]}'", "'a,b'", "','", "[[1], [2, [3]]]", "['b', 'a', 'b']", "[3, 1, 2]"]
    draw = random.Random(1)
    for name, least, most in functions:
        for count in range(int(least), (int(most) if most.isdigit() else 3) + 1):
            for _ in range(14):
                yield f"{name}({', '.join(draw.choice(values) for _ in range(count))})"
    for op in ["+", "-", "*", "/", "//", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in"]:
        for _ in range(12):
            yield f"{draw.choice(values)} {op} {draw.choice(values)}"
    yield from ['{"x": "{{ a }}", "y": ["no", {"z~/": "p {{ d[0] }} q"}, 1], "n": null}', "{{ error.code }} {{ item }}", "{{ a }}", "plain", '["{{ c }}", "{{ missing }}"]']
    yield from ["not a", "-a", "- -2.5", "1 if a else 2", "a if a > 2 else b if b else c", "[x for x in d]", "[x * 2 for x in [1,2] if x > 1]", "any(x == 1 for x in d)",
                "all(x for x in [])", "sum(x.e for x in d)", "state.d[4].e[0]", "d[0:2]", "(1 + 2) * 3", "f['g']", "state", "{'a': 1, b: 2}", "a.b.c", "d[4]['e'][0]",
                "len(d) >= 3 and not (n == null)", "huge + 1", "big * 2", "1 / 0", "5 // 0", "5 % 0", "'a' * 3", "1 < 2 < 3", "((((1))))", "[", "f(", "1 +", "a..b", "'open",
                "{{ a }}", "text {{ c }} more {{ d[0] }}", "{{ f }}{{ n }}", "{{", "{{ a", "}}", "{{ '}}' }}", "{# c #}x", "\\{{ a }}", "0x10", "1_000", "1e400", "99999999999999999999",
                "[y for x in d]", "sort(unique(flatten([[3,1],[2]])))", "{x: 1 for x in d}", "max(x.y for x in [])", "join([x for x in ['a']], '-')", "lower(upper('ä'))"]
    for depth in (50, 119, 121):
        yield "(" * depth + "1" + ")" * depth
        yield "[" * depth + "]" * depth
        yield "-" * depth + "1"


# ---- graph files

# What a file can say, all of it valid: only such a graph is built and written in its long form.
FULL_GRAPH = """
name: full
version: 1
description: every key
state:
  a: integer
  b: {type: number, default: 1.5, description: half}
  c: {type: boolean, default: true, life: ephemeral}
  d: {type: string, default: "x", life: untracked}
  e: {type: list, reducer: append, default: [1, {k: null}]}
  f: {type: object, reducer: union, default: {k: 1}}
  g: {type: json, life: kept}
  m: {type: list, reducer: add_messages, default: []}
  n: {type: integer, reducer: add, default: 0}
  o: {type: list, reducer: overwrite}
graphs:
  inner:
    name: inner
    state: {a: integer, deep: string}
    nodes:
      one: {type: set, with: {deep: "{{ state.a }}"}}
      two: {graph: innermost}
    graphs:
      innermost: {state: {deep: string}, nodes: {z: {type: set, with: {deep: "z"}}}, edges: [START -> z -> END]}
    edges: [START -> one -> two -> END]
nodes:
  first:
    type: set
    description: a node
    with: {a: "{{ state.n + 1 }}", f: {k: "{{ state.a }}", l: [1, "{{ state.b }}", true, null, 2.5]}, d: "text {{ state.d }} and {{ len(state.e) }}"}
    effect: idempotent
    retry: {attempts: 5, initial: 250ms, factor: 1.5, max: 1m, jitter: false, on: [io, network, deadline_exceeded]}
    timeout: 30s
    idle_timeout: 1.5
    cache: {ttl: 1h, key: "{{ state.a }}"}
    on_error: {set: {d: "{{ error.code }} {{ error.message }} {{ error.node }}"}, goto: [last, END]}
    writes: [a, d, f]
  again: {type: replace, with: {e: []}, effect: pure, retry: 3, cache: true, defer: true}
  once: {type: set, with: {m: [{role: user, content: "{{ state.d }}"}]}, effect: idempotent, cache: 2d, on_error: {set: {a: 0}}}
  spread: {type: map, with: {over: state.e, to: work, as: each, index: at, with: {more: "{{ state.a }}"}, empty: last}}
  work: {type: set, with: {e: ["{{ state.each }}"]}}
  question: {type: interrupt, with: {value: {q: "{{ state.d }}?"}, into: g, response_schema: {type: string, minLength: 1}, expires_in: 2d}}
  judge:
    type: approval
    with:
      value: "{{ state.d }}"
      response_schema: true
      expires_in: 60
      into: {decision: d, value: f, by: d}
      routes: {approve: last, edit: first, reject: END, respond: question, expired: END}
  bad: {type: fail, with: {message: "no {{ state.d }}", code: io, attempts: 1}, on_error: {goto: last}}
  child: {graph: inner, checkpoints: own, defer: false, description: a graph}
  child2: {graph: inner, checkpoints: none}
  child3: {graph: inner, checkpoints: inherited, destinations: [last]}
  last: {type: set, with: {a: 1}}
edges:
  - START -> first -> question + judge
  - {from: [question, judge], to: spread}
  - {from: first, when: "state.a > 1", to: [again, once], else: bad, description: one way}
  - from: again
    cases:
      - {when: "state.a == 1", to: child}
      - {when: "state.a == 2", to: [child2, child3]}
      - {when: "len(state.e) > 2", send: {to: work, over: state.e, as: each, index: at, with: {more: 1}, timeout: 5m}}
    else: {send: {to: work, over: "[1, 2]", as: each}}
  - {from: once, route: "'last' if state.a else ['last', 'END']", targets: [last, END]}
  - {from: child, send: {to: work, over: state.e}}
  - {from: child2, to: last}
  - work + child3 -> last -> END
recursion_limit: 50
max_concurrency: 4
durability: async
snapshot_every: 8
"""

# Keys and values in place of those of FULL_GRAPH: other forms of the same, and mistakes of every kind with their suggestions.
GRAPH_CHANGES = [
    ("durability: async", "durability: exit"), ("durability: async", "durability: sync"), ("durability: async", "durability: often"), ("version: 1", "interrupt_after: [first, nobody]"),
    ("version: 1", "interrupt_before: \"*\""), ("recursion_limit: 50", "recursion_limit: 0"), ("version: 1", "version: 2"), ("name: full", "nmae: full"), ("name: full", "name: [1]"),
    ("effect: idempotent", "effect: idempotant"), ("effect: pure, retry: 3, cache: true", "effect: at_most_once"), ("timeout: 30s", "timeout: 30 parsecs"), ("timeout: 30s", "timeout: 1e300"), ("timeout: 30s", "timeout: -1"),
    ("timeout: 30s", "timeout: 7ms"), ("idle_timeout: 1.5", "idle_timeout: [1]"), ("retry: 3", "retry: yes"), ("retry: 3", "retry: {attempts: 0}"), ("factor: 1.5", "factor: 0.5"), ("on: [io,", "on: [ion,"),
    ("effect: pure", "effect: at_most_once"), ("cache: true", "cache: false"), ("cache: 2d", "cache: 3"), ("cache: 2d", "cache: soon"), ("ttl: 1h", "ttl: 0"), ("key: \"{{ state.a }}\"", "key: \"{{ state.nothing }}\""), ("goto: [last, END]", "goto: lost"),
    ("type: set", "type: sett"), ("type: map", "type: mapp"), ("{graph: inner,", "{graph: iner,"), ("{graph: inner,", "{graph: ../outside.yaml,"), ("{graph: inner,", "{graph: other.yaml,"), ("{graph: inner,", "{graph: inner, type: set,"),
    ("{graph: innermost}", "{graph: inner}"), ("checkpoints: own", "checkpoints: mine"), ("checkpoints: own", "checkpoints: own, effect: pure"), ("over: state.e, to: work", "over: state.e, to: END"), ("over: state.e, to: work", "over: \"state.e +\", to: work"),
    ("over: state.e, to: work", "to: work"), ("to: spread}", "to: sprad}"), ("to: spread}", "too: spread}"), ("to: spread}", "when: \"a\", cases: [], to: spread}"), ("START -> first", "START > first"), ("START -> first", "END -> first"),
    ("START -> first", "-> first"), ("START -> first", "first -> START"), ("START -> first", "START + first"), ("question + judge", "question + question"), ("when: \"state.a > 1\"", "when: \"a >\""), ("when: \"state.a > 1\"", "when: \"unknown_name > 1\""),
    ("when: \"state.a > 1\"", "when: 5"), ("else: bad", "else: nowhere"), ("else: bad", "else: [bad, last]"), ("else: bad", "else: {to: bad}"), ("else: bad", "else: {when: a, to: bad}"), ("targets: [last, END]", "targets: []"), ("targets: [last, END]", "targets: [lst]"),
    ("route: \"'last' if state.a else ['last', 'END']\", targets: [last, END]", "route: state.a"), ("- {from: child2, to: last}", "- {from: child2}"), ("- {from: child2, to: last}", "- {to: last}"), ("- {from: child2, to: last}", "- 5"), ("- {from: child2, to: last}", "- []"),
    ("- {from: child2, to: last}", "- {from: child2, to: last, send: {to: work, over: e}}"), ("- {from: child2, to: last}", "- {from: child2, send: {to: work}}"), ("- {from: child2, to: last}", "- {from: child2, send: work}"), ("- {from: child2, to: last}", "- {from: child2, cases: {}}"),
    ("- {from: child2, to: last}", "- {from: child2, cases: [{when: a}]}"), ("- {from: child2, to: last}", "- {from: child2, cases: [{to: last}]}"), ("- {from: child2, to: last}", "- {from: [child2, child2], to: last}"), ("- {from: child2, to: last}", "- {from: [], to: last}"),
    ("a: integer\n  b", "a: intger\n  b"), ("a: integer\n  b", "a: {reducer: add}\n  b"), ("a: integer\n  b", "a: {type: integer, default: text}\n  b"), ("a: integer\n  b", "a: {type: string, reducer: append}\n  b"), ("a: integer\n  b", "a: [integer]\n  b"),
    ("a: integer\n  b", "a: integer\n  a: integer\n  b"), ("reducer: union", "reducer: unite"), ("life: kept", "life: short"), ("reducer: append, default: [1, {k: null}]", "reducer: append, default: 5"), ("into: g", "into: nothing"), ("expires_in: 2d", "expires_in: never"),
    ("response_schema: {type: string, minLength: 1}", "response_schema: {type: strin}"), ("value: {q: \"{{ state.d }}?\"}", "value: {q: \"{{ d \"}"), ("routes: {approve: last", "routes: {approve: lost"), ("into: {decision: d", "into: {decision: q"), ("code: io", "code: iou"),
    ("message: \"no {{ state.d }}\"", "message: \"no {{ state.d\""), ("writes: [a, d, f]", "writes: [a, z]"), ("destinations: [last]", "destinations: [lst]"), ("edges:\n  - START", "edges: {}\nedgs:\n  - START"), ("nodes:\n  first:", "nodes: []\nnods:\n  first:"), ("state:\n  a: integer\n  b", "state: 5\nstat:\n  b"),
    ("last: {type: set, with: {a: 1}}", "last: {type: set}"), ("last: {type: set, with: {a: 1}}", "last: {type: set, with: {z: 1}}"), ("last: {type: set, with: {a: 1}}", "last: set"), ("last: {type: set, with: {a: 1}}", "\"END\": {type: set, with: {a: 1}}"), ("last: {type: set, with: {a: 1}}", "last: &x {type: set, with: {a: 1}}\n  more: *x"),
    ("last: {type: set, with: {a: 1}}", "last: {type: set, with: {a: 1}}\n  island: {type: set, with: {a: 2}}"), ("description: every key", "description: |\n  every\n  key"), ("description: every key", "description: !!int 5"), ("description: every key", "description: \"\\u00e4\\x41\\n\""), ("description: every key", "<<: {name: merged}"),
]


def graph_files():
    yield FULL_GRAPH
    yield FULL_GRAPH + "---\nname: a second document\n"
    yield FULL_GRAPH.replace("\n", "\r\n")
    for what, other in GRAPH_CHANGES:
        assert what in FULL_GRAPH, what
        yield FULL_GRAPH.replace(what, other, 1)
    for file in sorted((ROOT / "examples/graphs").glob("*.yaml")):
        yield file.read_text()
    for file in sorted((ROOT / "tests/graphs").glob("test_graph_file*.cpp")):
        yield from re.findall(r'R"(?:\w*)\((.*?)\)(?:\w*)"', file.read_text(), re.S)
    for file in sorted((ROOT / "docs").glob("*.md")):
        yield from re.findall(r"```ya?ml\n(.*?)```", file.read_text(), re.S)


# ---- other texts

def chat_templates():
    names = words_in("llm/chat_template/filters.cpp", "llm/chat_template/tests.cpp", pattern=r'\{"(\w+)", ')
    for file in sorted((ROOT / "tests/llm").glob("*template*.cpp")):
        yield from (text for text in re.findall(r'"((?:[^"\\\n]|\\.)*\{[{%#](?:[^"\\\n]|\\.)*)"', file.read_text()))
    for name in names:
        yield "{{ messages | %s }}{{ 'a b' | %s }}{{ [3, 1] | %s('x') }}" % (name, name, name)
        yield "{%% if messages is %s %%}y{%% else %%}n{%% endif %%}{{ 3 is %s(2) }}" % (name, name)
    for method in words_in("llm/chat_template/methods.cpp", pattern=r'"(\w+)"'):
        yield "{{ 'Ab c'.%s() }}{{ 'Ab c'.%s('b') }}{{ {'k': 1}.%s('k') }}{%% set x = [1] %%}{{ x.%s(2) }}" % ((method,) * 4)
    yield ("{%- for message in messages %}{%- if loop.first and message.role == 'system' %}{{ bos_token + message['content'] }}{%- elif message.tool_calls is defined %}"
           "{%- for c in message.tool_calls %}{{ c.function.arguments | tojson(indent=2) }}{%- endfor %}{%- else %}<|{{ message.role }}|>{{ message.content | trim }}{% endif %}"
           "{%- endfor -%}{% if add_generation_prompt %}<|assistant|>{% endif %}")
    yield "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller else '' }}{% endmacro %}{{ m(1) }}{% call m(2) %}x{% endcall %}"
    yield "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% if i == 1 %}{% continue %}{% endif %}{% endfor %}{{ ns.n }}"
    yield "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k ~ v }}{{ loop.index0 }}{% else %}none{% endfor %}{{ [1,2,3][1:] }}{{ 'abc'[::-1] }}"
    yield "{{ strftime_now('%Y-%m-%d') }}{{ raise_exception('no') }}"
    yield "{% filter upper %}x{% endfilter %}{% raw %}{{ }}{% endraw %}{# comment #}{{ 1 if a is defined else 2 }}{{ 7 // 2 ** 2 % 3 }}"
    yield "{% generation %}x{% endgeneration %}{% block b %}{% endblock %}{% include 'x' %}"


def filters():
    for file in sorted((ROOT / "tests/retrieval").glob("*filter*.cpp")):
        yield from re.findall(r'"((?:[^"\\\n]|\\.)+)"', file.read_text())
    yield from ['type = "markdown" and not (page < 10 or year in (2023, 2024))', 'a != "x\\"y\\\\\\n" or b >= -1.5e3', "k in [true, false, 1]", 'x in "one"', "not not a = 1", "heading != \"one\" and page >= 10", "a in (1, \"x\", true) or heading < 2", "a > -3 and type <= \"html\" or not heading in [\"two\"]", "(" * 65 + "a = 1"]


def documents(kind):
    if kind == "md":
        for file in sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")):
            yield file.read_text()[:3000]
        yield "Title\n=====\n\ntext\n\nSub\n---\n\n```py\n# no heading\n```\n\n~~~\nopen\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<!-- c -->\n\n- x\n  - y\n\n---\ntitle: t\n---\n"
        yield "---\ntitle: front\n---\n# A #\n## B\n####### no\n\\# no\n    # code\n> # quote\n"
    elif kind == "html":
        yield ("<!DOCTYPE html><html><head><title>T &amp; U</title><style>p{}</style><script>x</script></head><body><h1>A</h1><p>one <b>two</b><br>three</p><ul><li>x<li>y</ul>"
               "<table><tr><th>h<td>1</table><pre>  p\n q</pre><h2>B</h2><nav>n</nav><img alt='i'><a href=u>l</a>&#x4e2d;&nbsp;&bogus;</body></html>")
        yield "<p>" * 300 + "deep"
        yield "<template><svg><math><select><option>1<frameset><noscript>x</noscript><textarea><title><plaintext>rest"
        yield "plain text"
    elif kind == "csv":
        yield 'a,b,c\n1,"x, ""y""",z\n2,"line\nbreak",\n\n3\n4,5,6,7\n'
        yield "a;b\r\n1;2\r\n"
        yield "\ufefftitle\tbody\none\ttwo\n"
        yield '"open\n'
    else:
        yield '{"text": "one", "n": 1}\n{"content": "two", "meta": {"a": [1, null]}}\n\n[1, 2]\n"x"\n{"title": "t", "body": "b"}\n'
        yield '{"a": 1}\n{"a": \n'
        yield '\ufeff{"text": "\\ud83d\\ude00 \\u0000"}\r\n'
        yield '[{"text": "a, b] \\\\ \\" }", "list": [1, {"n": [2]}]}, [3, [4]], "x", -1.5e3, null , true]'
        yield ' [ ] '
        yield '{"title": "  one\\n object ", "n": 1.5, "yes": true, "none": null, "long": "%s"}' % ("x" * 1100)


def json_texts():
    yield from configs()
    yield '{"a": 1, "a": 2}'
    yield "[[[[[[[[1]]]]]]]]"
    yield '{"a": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}'
    yield '[' + '1234567890,' * 300 + '0]'
    yield "[" * 130 + "]" * 130
    yield '"\\ud83d\\ude00\\u00e9\\n\\/\\b\\f\\r\\t\\\\"'
    yield '"\xff"'
    yield "-0.0e-10"
    yield ""
    yield "{} x"


def settings():
    yield '{"model": "m.gguf", "threads": 2, "ask": {"top-k": 5, "model": ["a", "b"]}}'
    yield '{"endpoint": "http://x"}'
    yield '{"ask": {"api-key-file": "x", "threads": true}, "ingest": {}}'
    yield '{"model": {"a": {"b": 1}}}'
    yield '{"model": null}'
    yield '{"unknown": 1}'
    yield '[1]'


def configs():
    base = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100,
            "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True}
    yield json.dumps(base)
    for model in ["qwen2", "qwen3", "gemma3", "gemma3_text", "mistral"]:
        yield json.dumps(base | {"model_type": model, "head_dim": 16, "sliding_window": 32, "layer_types": ["full_attention", "sliding_attention"], "query_pre_attn_scalar": 16,
                                 "rope_local_base_freq": 1e4, "hidden_activation": "gelu_pytorch_tanh", "sliding_window_pattern": 2, "use_sliding_window": True})
    for scaling in [{"rope_type": "linear", "factor": 2.0}, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128},
                    {"type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False, "attention_factor": 1.2,
                     "original_max_position_embeddings": 64}]:
        yield json.dumps(base | {"rope_scaling": scaling})
        yield json.dumps(base | {"rope_parameters": {"full_attention": scaling, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}})
    yield json.dumps({"model_type": "gemma3", "text_config": base | {"model_type": "gemma3_text", "head_dim": 16}})
    for changed in [{"partial_rotary_factor": 0.5}, {"num_attention_heads": 0}, {"num_hidden_layers": 0}, {"vocab_size": "x"}, {"attention_bias": True}, {"mlp_bias": True},
                    {"tie_word_embeddings": False}, {"model_type": "other"}, {"hidden_act": "relu"}, {"num_key_value_heads": 3}, {"max_position_embeddings": 1e9}, {"rope_theta": 0.5},
                    {"final_logit_softcapping": 30.0}, {"sliding_window_pattern": 0}]:
        yield json.dumps(base | changed)
        yield json.dumps(base | {"model_type": "gemma3_text", "head_dim": 16, "sliding_window": 32} | changed)
    for scaling in [{"rope_type": "llama3", "factor": 8.0}, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 128},
                    {"rope_type": "yarn", "factor": 4.0}, {"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "linear"}, {"rope_type": "linear", "factor": 0}]:
        yield json.dumps(base | {"rope_scaling": scaling})
    yield from gguf_configs()


# ---- binary files

def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def ggufs():
    """After the magic, which the fuzzer writes itself."""
    scalars = [(0, b"\1"), (1, b"\xff"), (2, b"\1\0"), (3, b"\xff\xff"), (4, b"\1\0\0\0"), (5, b"\xff" * 4), (6, struct.pack("<f", 1.5)), (7, b"\1"), (8, text("value")), (10, b"\1" * 8),
               (11, b"\xff" * 8), (12, struct.pack("<d", 2.5))]
    lists = [(9, struct.pack("<IQ", kind, 2) + value * 2) for kind, value in scalars]
    entries = b"".join(text(f"k.{i}") + struct.pack("<I", kind) + value for i, (kind, value) in enumerate(scalars + lists))
    entries += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    count = len(scalars) + len(lists) + 1
    for version, kind, dims, size in [(3, 0, (4, 8), 128), (3, 1, (32,), 64), (3, 8, (32, 2), 68), (2, 2, (32,), 18), (3, 12, (256,), 144), (3, 30, (3,), 6)]:
        tensor = text("w") + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, 0)
        head = struct.pack("<IQQ", version, 1, count) + entries + tensor
        yield head + b"\0" * (-(len(head) + 4) % 32) + b"\1" * size
    yield struct.pack("<IQQ", 3, 0, 0)
    yield struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 4, 1) + b"\0" * 4


def gguf_configs():
    def file(name, numbers, reals=(), words=(), dims=(64, 100)):
        entries = [text("general.architecture") + struct.pack("<I", 8) + text(name)]
        entries += [text(f"{name}.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
        entries += [text(f"{name}.{key}") + struct.pack("<If", 6, value) for key, value in reals]
        entries += [text(f"{name}.{key}") + struct.pack("<I", 8) + text(value) for key, value in words]
        tensor = text("token_embd.weight") + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", 12 if len(dims) == 1 else 2, 0)
        head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries)) + b"".join(entries) + tensor
        return head + b"\0" * (-len(head) % 32) + b"\1" * 3600
    numbers = {"block_count": 2, "embedding_length": 64, "feed_forward_length": 128, "attention.head_count": 4, "attention.head_count_kv": 2, "context_length": 256}
    eps = [("attention.layer_norm_rms_epsilon", 1e-5), ("rope.freq_base", 1e4)]
    yield file("llama", numbers, eps)
    yield file("qwen2", numbers, eps + [("rope.scaling.factor", 2.0)], [("rope.scaling.type", "linear")])
    yield file("qwen3", numbers | {"attention.key_length": 16, "attention.value_length": 16}, eps + [("rope.scale_linear", 2.0)])
    yield file("llama", numbers, eps + [("rope.scaling.factor", 4.0), ("rope.scaling.original_context_length", 64.0), ("rope.scaling.yarn_log_multiplier", 0.1),
                                        ("rope.scaling.attn_factor", 1.0), ("rope.scaling.yarn_beta_fast", 32.0), ("rope.scaling.yarn_beta_slow", 1.0)], [("rope.scaling.type", "yarn")])
    yield file("llama", numbers, eps + [("rope.scaling.yarn_ext_factor", 0.5)], [("rope.scaling.type", "yarn")])
    yield file("llama", numbers, eps, [("rope.scaling.type", "other")])
    yield file("llama", numbers | {"expert_count": 8}, eps)
    yield file("llama", numbers | {"attention.value_length": 8}, eps)
    yield file("llama", numbers | {"attention.head_count": 0}, eps)
    yield file("llama", numbers | {"context_length": 0xffffffff}, eps)
    yield file("llama", numbers | {"attention.head_count_kv": 0xffffffff}, eps, [("rope.scaling.type", "none")])
    yield file("llama", numbers, eps, dims=(256,))
    yield file("mamba", numbers)
    gemma = numbers | {"attention.key_length": 16, "attention.value_length": 16, "attention.sliding_window": 32, "attention.sliding_window_pattern": 2}
    yield file("gemma3", gemma, eps + [("rope.freq_base_swa", 1e4)])
    yield file("gemma3", gemma | {"block_count": 62}, eps)
    yield file("gemma3", gemma | {"attention.sliding_window_pattern": 0}, eps)
    yield file("gemma3", gemma, eps + [("final_logit_softcapping", 30.0)])


def safetensors():
    for header, data in [({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}, 16), ({"__metadata__": {"format": "pt"}, "a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
                         "b": {"dtype": "I64", "shape": [], "data_offsets": [6, 14]}}, 14), ({}, 0), ({"e": {"dtype": "F16", "shape": [0, 5], "data_offsets": [0, 0]}}, 0)]:
        head = json.dumps(header).encode()
        yield struct.pack("<Q", len(head)) + head + b"\1" * data


def workspaces():
    """Small databases as SQLite writes them."""
    with tempfile.TemporaryDirectory() as folder:
        yield from databases(pathlib.Path(folder))


def databases(folder):
    ours = "PRAGMA page_size=512; PRAGMA application_id=%d; " % int(words_in("src/storage/workspace.cpp", pattern=r"kApplicationId = (0x\w+)")[0], 16)
    for number, sql in enumerate([ours + "CREATE TABLE corvid_migrations(module TEXT NOT NULL, version INTEGER NOT NULL,"
                                  " PRIMARY KEY(module, version)) WITHOUT ROWID; INSERT INTO corvid_migrations VALUES('graphs', 1), ('retrieval', 2)",
                                  ours + "CREATE TABLE t(x); CREATE INDEX i ON t(x); INSERT INTO t VALUES('a'), (1), (x'00'), (NULL)",
                                  "PRAGMA page_size=512; CREATE TABLE other(x)"] +
                                 [ours + "CREATE TABLE corvid_migrations(module TEXT NOT NULL, version INTEGER NOT NULL,"
                                  f" PRIMARY KEY(module, version)) WITHOUT ROWID; CREATE TABLE {table}(id INTEGER PRIMARY KEY, text TEXT); INSERT INTO corvid_migrations VALUES {rows}"
                                  for table, rows in [("fuzz_rows", "('fuzz', 1)"), ("fuzz_rows", "('fuzz', 1), ('fuzz', 2)"), ("other", "('fuzz', 1)"), ("fuzz_rows", "('fuzz', 7)"),
                                                      ("fuzz_rows", "('fuzz', 'x')")]]):
        path = folder / f"tmp-{number}.db"
        path.unlink(missing_ok=True)
        db = sqlite3.connect(path)
        db.executescript(sql)
        db.commit()
        db.close()
        yield path.read_bytes()
        path.unlink()
    yield b""


def tokenizers():
    def compact(file):
        return json.dumps(file, separators=(",", ":"), ensure_ascii=False)
    for number, each in enumerate(json.loads((ROOT / "tests/golden/tokenizer_files.json").read_text())["files"]):
        yield compact(each["file"])
        if number % 4 != 1:
            continue
        yield compact(each["file"] | {"post_processor": {"type": "RobertaProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]}})
        yield compact(each["file"] | {"post_processor": {"type": "Sequence", "processors": [{"type": "BertProcessing", "cls": ["<s>", 1], "sep": ["none", 2]}]}})
        model = each["file"]["model"]
        pairs = [m.split(" ") if isinstance(m, str) else m for m in model.get("merges", [])]
        yield compact(each["file"] | {"model": model | {"merges": pairs}})
        for changed in [{"merges": [1]}, {"dropout": 0.1}, {"unk_token": "none"}, {"continuing_subword_prefix": "##"}, {"byte_fallback": not model.get("byte_fallback")}, {"type": "Unigram"}, {"merges": None},
                        {"vocab": {}}, {"vocab": {"a": 99999999}}]:
            yield compact(each["file"] | {"model": model | changed})
        for behavior in ["Isolated", "Removed", "MergedWithNext", "Contiguous"]:
            yield compact(each["file"] | {"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": behavior, "invert": False}})
        for pre in [{"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": True},
                    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "other"}, {"type": "Metaspace", "replacement": ""}, {"type": "ByteLevel", "use_regex": False},
                    {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}]}, {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Digits"}]}, {"type": "Other"},
                    {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated"}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}]:
            yield compact(each["file"] | {"pre_tokenizer": pre})
        for decoder in [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"}, {"type": "Other"}, {"type": "Sequence", "decoders": [{"type": "Other"}]}]:
            yield compact(each["file"] | {"decoder": decoder})
        yield compact(each["file"] | {"added_tokens": [{"id": 0, "content": "<unk>", "special": True, "normalized": True, "lstrip": True, "rstrip": True}]})
        yield compact(each["file"] | {"added_tokens": [{"id": 0, "content": "<unk>", "single_word": True}]})
    yield json.dumps({"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                                "vocab": {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "##o", "wor", "##ld", ",", "!"])}},
                      "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
                      "pre_tokenizer": {"type": "BertPreTokenizer"}, "added_tokens": [{"id": 2, "content": "[CLS]", "special": True}, {"id": 3, "content": "[SEP]", "special": True}],
                      "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                                                               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                                         "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
                      "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}})


def tokenizer_texts():
    texts = json.loads((ROOT / "tests/golden/tokenizer_files.json").read_text())["texts"]
    for number, each in itertools.product(range(0, 256, 17), texts[:12]):
        yield bytes([number]) + each.encode()


JSON_WORDS = ['{"', '":', "[]", "{}", "null", "true", "false", "-1", "1e999", "0.5", "18446744073709551616", "\\u0000", "\\ud800", ","]
SEEDS = {
    "expression": (expressions, words_in("graphs/file/expression_functions.cpp", pattern=r'ExpressionFunction\{"(\w+)"') +
                   [" and ", " or ", "not ", " in ", " if ", " else ", " for x in ", "state.", "{{", "}}", "//", "<=", "!=", "null", "true", "[-1]", "\\u0041", "1e9"]),
    "graph_file": (graph_files, words_in("graphs/file/format.cpp", "graphs/file/library_nodes.cpp", "graphs/file/question_nodes.cpp", pattern=r'"([a-z_]{1,24})"') +
                   ["START", "END", " -> ", " + ", "{{ ", " }}", "- ", ": ", "\n  ", "\n    ", "&a ", "*a", "!!str ", "|\n", ">-\n", "%YAML 1.2\n", "---\n", "? ", "<<: "]),
    "chat_template": (chat_templates, words_in("llm/chat_template/*.cpp", pattern=r'"(\w{2,24})"') + ["{{", "}}", "{%", "%}", "{%-", "-%}", "{#", "#}", "loop.", "messages", "|", "~", "**", "//"]),
    "filter": (filters, ["a", "type", "page", "heading", "markdown", "and", "or", "not", "in", "(", ")", "[", "]", "=", "!=", "<=", ">=", '"', "\\\"", "true", "false", "1e9"]),
    "gguf": (ggufs, ["general.alignment", "general.architecture", "tokenizer.ggml.tokens", "split.count"]),
    "safetensors": (safetensors, JSON_WORDS + ["dtype", "shape", "data_offsets", "__metadata__", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3"]),
    "tokenizer_file": (tokenizers, JSON_WORDS + words_in("src/text/hub_*.cpp", "src/text/normalizers.cpp", "src/text/pretokenize.cpp", pattern=r'"(\w{2,30})"')),
    "tokenizer_text": (tokenizer_texts, ["<s>", "</s>", "<unk>", "<0x0A>", "\u2581", "\u0301", "\ufeff", "'ll", "  ", "\u4e2d"]),
    "config": (configs, JSON_WORDS + words_in("llm/config/llm_config.cpp", pattern=r'"([a-z_0-9]{3,40})"')),
    "settings": (settings, JSON_WORDS + ["model", "threads", "top-k", "ask", "ingest", "endpoint", "remote-model", "api-key-env", "ca-file"]),
    "json": (json_texts, JSON_WORDS),
    "html": (lambda: documents("html"), ["<p>", "</p>", "<h1>", "<table>", "<td>", "<svg>", "<template>", "<script>", "<!--", "-->", "&amp;", "&#x", "<![CDATA[", "<select>"]),
    "csv": (lambda: documents("csv"), ['"', '""', ",", ";", "\t", "\r\n", "\n"]),
    "jsonl": (lambda: documents("jsonl"), JSON_WORDS + ["\n", "text", "content", "title"]),
    "md": (lambda: documents("md"), ["# ", "## ", "```", "~~~", "---", "===", "- ", "> ", "|", "<!--", "-->", "[a](b)", "    ", "\n\n"]),
}


def quoted(word):
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else "\\x%02x" % b for b in word.encode()) + '"'


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    makers = {name: make for name, (make, _) in SEEDS.items()} | {"workspace": workspaces}
    for name, make in makers.items():
        folder = out / name
        folder.mkdir(exist_ok=True)
        seeds = {each.encode() if isinstance(each, str) else each for each in make()}
        for number, seed in enumerate(sorted(seeds)):
            (folder / f"seed-{number:04}").write_bytes(seed)
        print(f"{name}: {len(seeds)} seeds, {sum(map(len, seeds))} bytes")
    for name, (_, words) in SEEDS.items():
        (out / f"{name}.dict").write_text("".join(quoted(word) + "\n" for word in dict.fromkeys(words) if word))


if __name__ == "__main__":
    main()
