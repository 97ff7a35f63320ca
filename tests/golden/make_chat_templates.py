#!/usr/bin/env python3
"""Renders a folder of chat templates with Jinja2 over the conversations in chat_conversations.json, as transformers sets it up.

    make_chat_templates.py TEMPLATES_FOLDER > chat_templates.json
    make_chat_templates.py MODEL.gguf... > chat_templates_models.json      # the templates inside model files; needs gguf

Writes {template: {conversation: FNV-1a 64 of the UTF-8 output in hex, or "error"}}. Needs jinja2 >= 3.1.6.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2024, 7, 26, 12, 0, 0)


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return f"{h:016x}"


def inside(path):
    import gguf
    field = gguf.GGUFReader(path).get_field("tokenizer.chat_template")
    return None if field is None else field.contents()


def of_models(paths):
    conversations = json.loads((HERE / "chat_conversations.json").read_text())
    out = {}
    for path in map(pathlib.Path, paths):
        source, out[path.name] = inside(path), {}
        for name, variables in conversations.items() if source else ():
            try:
                out[path.name][name] = fnv(environment().from_string(source).render(documents=None, **variables))
            except Exception:  # a template's own refusal or a type error
                out[path.name][name] = "error"
    json.dump(out, sys.stdout, indent=0)
    print()


def main():
    conversations = json.loads((HERE / "chat_conversations.json").read_text())
    out = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")):
        row = {}
        for name, variables in conversations.items():
            try:
                text = environment().from_string(path.read_text()).render(documents=None, **variables)
                if len(sys.argv) > 2 and sys.argv[2] == f"{path.name}:{name}":
                    sys.stderr.write(text)
                row[name] = fnv(text)
            except Exception as error:  # a template's own refusal or a type error
                if len(sys.argv) > 2 and sys.argv[2] == f"{path.name}:{name}":
                    sys.stderr.write(repr(error))
                row[name] = "error"
        out[path.name] = row
    json.dump(out, sys.stdout, indent=0)
    print()


if sys.argv[1].endswith(".gguf"):
    of_models(sys.argv[1:])
else:
    main()
