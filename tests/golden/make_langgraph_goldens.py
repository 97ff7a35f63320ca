#!/usr/bin/env python3
"""Runs the graphs described in langgraph_graphs.json in LangGraph and writes what they did back into the same file.

    make_langgraph_goldens.py [--only NAME] [--check]      # needs langgraph; --check writes nothing

The file's "format" says what its fields mean. Everything but "langgraph" and each case's "recorded" and "unordered_within_step"
is written by hand. A case runs five times: three with the tasks of a step run one after the other in task order (a submit
function handed to LangGraph, which is otherwise as it is), two with LangGraph's own threads and random pauses in the nodes. The
first three must be equal, and so must all five once events are sorted (cases with "serial": the first three only, because which
siblings of a failing task still finish is a race between threads). Anything else is an error.
"""
import collections
import concurrent.futures
import contextvars
import difflib
import importlib.metadata
import json
import operator
import pathlib
import random
import sys
import threading
import time
import uuid
import warnings
from typing import Annotated, TypedDict

import langchain_core.messages as lcm
from langgraph.cache.memory import InMemoryCache
from langgraph.channels import AnyValue, EphemeralValue, UntrackedValue
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.errors import EmptyInputError, GraphRecursionError, InvalidUpdateError, NodeError, ParentCommand
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import CachePolicy, Command, Interrupt, Overwrite, RetryPolicy, Send, interrupt

FILE = pathlib.Path(__file__).parent / "langgraph_graphs.json"
TYPES = {"int": int, "str": str, "list": list, "object": dict, "messages": list}
MODES = ["values", "updates", "tasks", "custom"]  # recorded unless a case names its own


class NodeFailure(Exception):
    pass


KINDS = [(NodeFailure, "node_failure"), (GraphRecursionError, "recursion_limit"), (InvalidUpdateError, "invalid_update"),
         (EmptyInputError, "empty_input"), (ParentCommand, "no_parent"), (ValueError, "value_error"), (RuntimeError, "ambiguous_answer")]

# ---- values


def message(m):
    if not isinstance(m, dict):
        return m
    make = {"human": lcm.HumanMessage, "ai": lcm.AIMessage, "system": lcm.SystemMessage}
    return lcm.RemoveMessage(id=m["id"]) if m["type"] == "remove" else make[m["type"]](m["content"], id=m["id"])


def typed(types, update):
    """Dicts become messages in keys of type messages."""
    def one(v):
        return Overwrite(one(v.value)) if isinstance(v, Overwrite) else [message(m) for m in v] if isinstance(v, list) else message(v)
    return {k: one(v) if types.get(k) == "messages" else v for k, v in update.items()}


def plain(v):
    """What a run produced, as JSON: without ids, times and configs."""
    if isinstance(v, lcm.BaseMessage):
        return {"type": v.type, "id": v.id} if v.type == "remove" else {"type": v.type, "content": v.content, "id": v.id}
    if isinstance(v, Interrupt):
        return {"value": plain(v.value)}
    if isinstance(v, Overwrite):
        return {"$overwrite": plain(v.value)}
    if isinstance(v, Send):
        return {"$send": [v.node, plain(v.arg)]}
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, BaseException):
        return kind_of(v)
    assert v is None or isinstance(v, (bool, int, str)), repr(v)
    return v


def kind_of(error):
    return next((k for t, k in KINDS if isinstance(error, t)), type(error).__name__)


# ---- expressions and nodes


def ev(e, env):
    if isinstance(e, str):
        return env.get(e[1:]) if e.startswith("$") else e
    if isinstance(e, list):
        return [ev(x, env) for x in e]
    if not isinstance(e, dict):
        return e
    if len(e) != 1 or not next(iter(e)).startswith("$"):
        return {k: ev(v, env) for k, v in e.items()}
    op, a = next(iter(e.items()))
    if op == "$if":
        return ev(a[1] if ev(a[0], env) else a[2], env)
    if op == "$each":
        return [ev(a[1], {**env, "item": x}) for x in ev(a[0], env)]
    v = ev(a, env)
    if op == "$add":
        return v[0] + v[1]
    if op == "$lt":
        return v[0] < v[1]
    if op == "$eq":
        return v[0] == v[1]
    if op == "$len":
        return len(v)
    if op == "$str":
        return str(v)
    if op == "$range":
        return list(range(v))
    if op == "$send":
        return Send(v[0], v[1])
    if op == "$overwrite":
        return Overwrite(v)
    raise SystemExit(f"unknown operator {op}")


class Run:
    """One execution of a case: counts node runs, optionally pauses in nodes."""

    def __init__(self, pause):
        self.pause, self.counts, self.lock = pause, collections.Counter(), threading.Lock()

    def body(self, path, ops, types):
        def run(state, error=None):
            with self.lock:
                self.counts[path] += 1
                count = self.counts[path]
            if self.pause:
                time.sleep(random.random() * 0.003)
            env = {**plain(state), "run": count}
            if error is not None:
                env["error"] = {"node": error.node, "kind": kind_of(error.error)}
            update, goto, graph = None, None, None
            for op in ops:
                if "set" in op:
                    update = {**(update or {}), **{k: ev(v, env) for k, v in op["set"].items()}}
                elif "overwrite" in op:
                    update = {**(update or {}), **{k: Overwrite(ev(v, env)) for k, v in op["overwrite"].items()}}
                elif "goto" in op:
                    goto, graph = ev(op["goto"], env), Command.PARENT if op.get("parent") else None
                elif "interrupt" in op:
                    env[op["as"]] = interrupt(ev(op["interrupt"], env))
                elif "fail" in op:
                    if ev(op["fail"], env):
                        raise ValueError("as asked") if op.get("kind") == "value" else NodeFailure("as asked")
                elif "custom" in op:
                    get_stream_writer()(ev(op["custom"], env))
                else:
                    raise SystemExit(f"unknown op {op}")
            if update is not None:
                update = typed(types, update)
            return update if goto is None else Command(graph=graph, update=update, goto=goto)
        return run

    # ---- graphs

    def build(self, g, path="", **compile_args):
        types = {k: t for k, (t, *_) in g["state"].items()}

        def schema(name, keys):
            return TypedDict(name, {k: annotation(*g["state"][k]) for k in keys})
        extra = {f"{s}_schema": schema(s, g[s]) for s in ("input", "output") if s in g}
        b = StateGraph(schema("State", g["state"]), **extra)
        for n in g["nodes"]:
            args, name = {}, n["name"]
            if "attempts" in n:
                args["retry_policy"] = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=n["attempts"])
            if n.get("cache"):
                args["cache_policy"] = CachePolicy()
            if "on_error" in n:
                args["error_handler"] = self.handler(f"{path}{name}!", n["on_error"], types)
            if "subgraph" in n:
                action = self.build(n["subgraph"], f"{path}{name}/", checkpointer=n.get("checkpointer"))
            else:
                action = self.body(path + name, n["do"], types)
            if "input" in n:
                args["input_schema"] = schema("In", n["input"])
            b.add_node(name, action, defer=n.get("defer", False), **args)
        for a, z in g["edges"]:
            b.add_edge(a, z)
        for i, r in enumerate(g.get("routes", [])):
            def route(state, expr=r["route"]):
                return ev(expr, plain(state))
            route.__name__ = f"route{i}"
            b.add_conditional_edges(r["from"], route, r.get("to"))
        stops = {f"interrupt_{s}": g[s] for s in ("before", "after") if s in g}
        return b.compile(**stops, **compile_args)

    def handler(self, path, ops, types):
        run = self.body(path, ops, types)

        def on_error(state, error: NodeError):
            return run(state, error)
        return on_error


def union(a, b):
    return a + [x for x in b if x not in a]


def merge(a, b):
    return {**a, **b}


def annotation(type_name, reducer, *args):
    t = TYPES[type_name]
    return {
        "overwrite": lambda: t,
        "append": lambda: Annotated[t, operator.add],
        "add": lambda: Annotated[t, operator.add],
        "union": lambda: Annotated[t, union],
        "merge": lambda: Annotated[t, merge],
        "add_messages": lambda: Annotated[t, add_messages],
        "any": lambda: Annotated[t, AnyValue(t)],
        "ephemeral": lambda: Annotated[t, EphemeralValue(t)],
        "untracked": lambda: Annotated[t, UntrackedValue(t)],
        "delta": lambda: Annotated[t, DeltaChannel(lambda s, ws: s + [x for w in ws for x in w], snapshot_frequency=args[0])],
    }[reducer]()


# ---- events


def event(ns, mode, data):
    if mode == "tasks":
        if "input" in data:
            e = {"name": data["name"], "input": plain(data["input"])}
        else:
            e = {"name": data["name"], "result": plain(data["result"])}
            if data["error"] is not None:
                e["error"] = kind_of(data["error"]) if isinstance(data["error"], BaseException) else str(data["error"])
            if data["interrupts"]:
                e["interrupts"] = [plain(i["value"]) for i in data["interrupts"]]
    elif mode == "checkpoints":
        m = data["metadata"]
        e = {"step": m["step"], "source": m["source"], "next": list(data["next"]), "values": plain(data["values"])}
    elif mode == "debug":
        e = {"step": data["step"], "type": data["type"]}
        if "name" in data["payload"]:
            e["name"] = data["payload"]["name"]
    else:
        e = plain(data)
    where = "/".join(part.split(":")[0] for part in ns)
    return [mode, e, where] if where else [mode, e]


def side_by_side(events):
    """Whether some step started more than one task: its events then arrive in the order of completion."""
    started = [(e[0] == "tasks" and "input" in e[1], e[2:]) for e in events]
    return any(a[0] and a == b for a, b in zip(started, started[1:]))


# ---- running a case


def in_order(fn, *args, **options):
    """Stands for a thread pool: runs the task at once, so that tasks complete in the order they were submitted."""
    future = concurrent.futures.Future()
    try:
        future.set_result(contextvars.copy_context().run(fn, *args, **{k: v for k, v in options.items() if not k.startswith("__")}))
    except BaseException as e:
        future.set_exception(e)
    return future


def run_case(case, many):
    r = Run(pause=many)
    saver = InMemorySaver() if case.get("saver", True) else None
    graph = r.build(case["graph"], checkpointer=saver, cache=InMemoryCache())
    types = {k: t for k, (t, *_) in case["graph"]["state"].items()}
    thread = {"configurable": {"thread_id": str(uuid.uuid4())}, "recursion_limit": 25}
    if not many:
        thread["configurable"]["__pregel_runner_submit"] = lambda: in_order
    modes = case.get("modes", MODES)
    actions, seen, parallel = [], set(), False
    for a in case["run"]:
        config, out = dict(thread), {}
        config["recursion_limit"] = a.get("limit", 25)
        if "at" in a:
            old = list(graph.get_state_history(thread))[a["at"]].config["configurable"]
            config["configurable"] = {**thread["configurable"], **old}
        events, error = [], None
        try:
            if "update" in a:
                graph.update_state(config, a["update"] and typed(types, ev(a["update"], {})), as_node=a.get("as"))
            else:
                if "input" in a:
                    given = a["input"] and typed(types, a["input"])
                elif "command" in a:
                    c = ev(a["command"], {})
                    given = Command(update=c.get("update"), goto=c.get("goto", ()), resume=c.get("resume"))
                elif "answers" in a:
                    ids = {json.dumps(plain(i.value)): i.id for i in graph.get_state(thread).interrupts}
                    given = Command(resume={ids[json.dumps(value)]: answer for value, answer in a["answers"]})
                else:
                    given = Command(resume=a["resume"])
                stops = {f"interrupt_{s}": a[s] for s in ("before", "after") if s in a}
                if saver:
                    stops["durability"] = "sync"  # "async" may store a join's later arrivals in an earlier checkpoint
                every = ["values", "updates", "tasks", "custom", "debug"] + (["checkpoints"] if saver else [])
                for ns, mode, data in graph.stream(given, config, stream_mode=every, subgraphs=True, **stops):
                    events.append(event(ns, mode, data))
        except Exception as e:
            error = e
        parallel |= side_by_side([e for e in events if e[0] == "tasks"])
        if saver:
            now = list(saver.list({"configurable": {**thread["configurable"], "checkpoint_ns": ""}}))
            new = [c for c in now if c.config["configurable"]["checkpoint_id"] not in seen]
            seen |= {c.config["configurable"]["checkpoint_id"] for c in now}
            out["status"] = "failed"
            try:
                s = graph.get_state(thread)
                waiting = [plain(i.value) for i in s.interrupts]
                if not error:
                    out["status"] = "interrupted" if waiting or s.next else "done"
                out["values"], out["next"] = plain(s.values), list(s.next)
                if waiting:
                    out["interrupts"] = waiting
            except (InvalidUpdateError, ValueError) as e:
                out["state_error"] = kind_of(e)
            out["step"] = now[0].metadata["step"] if now else None
            sources = [c.metadata["source"] for c in reversed(new)]
            out["supersteps"] = sum(b == "loop" and a != "input" for a, b in zip([None, *sources], sources))
        else:
            out["status"] = "failed" if error else "done"
            out["values"] = dict(next((e[1] for e in reversed(events) if e[0] == "values" and len(e) == 2), {}))
            if waiting := out["values"].pop("__interrupt__", None):
                out["status"], out["interrupts"] = "interrupted", [i["value"] for i in waiting]
        if error:
            out["error"] = kind_of(error)
        out["events"] = [e for e in events if e[0] in modes]
        actions.append(out)
    rec = {"actions": actions, "runs": dict(sorted(r.counts.items()))}
    if saver and not any("state_error" in a for a in actions):
        rec["history"] = [[s.metadata["step"], s.metadata["source"], list(s.next)] for s in graph.get_state_history(thread)]
    return rec, parallel


def unordered(rec):
    rec = json.loads(json.dumps(rec))
    for a in rec["actions"]:
        a["events"].sort(key=json.dumps)
    return rec


def record(case):
    runs = [run_case(case, many=False) for _ in range(3)]
    first, parallel = runs[0]
    text = json.dumps(first)
    for rec, _ in runs[1:]:
        if json.dumps(rec) != text:
            sys.exit(f"{case['name']}: differs between runs\n{text}\n{json.dumps(rec)}")
    for _ in range(0 if case.get("serial") else 2):
        rec, _ = run_case(case, many=True)
        a, b = unordered(first), unordered(rec)
        if a != b:
            sys.exit(f"{case['name']}: differs when nodes run in parallel\n" + "\n".join(difflib.unified_diff(
                pretty(a).splitlines(), pretty(b).splitlines(), lineterm="", n=1)))
    out = {k: v for k, v in case.items() if k not in ("recorded", "unordered_within_step")}
    if parallel:
        out["unordered_within_step"] = True
    out["recorded"] = first
    return out


# ---- the file


def pretty(v, indent=0, width=150):
    flat = json.dumps(v, ensure_ascii=False)
    if len(flat) + indent <= width or not isinstance(v, (dict, list)) or not v:
        return flat
    pad = " " * (indent + 1)
    if isinstance(v, list):
        return "[\n" + ",\n".join(pad + pretty(x, indent + 1, width) for x in v) + "\n" + " " * indent + "]"
    return "{\n" + ",\n".join(f"{pad}{json.dumps(k)}: {pretty(x, indent + 1, width)}" for k, x in v.items()) + "\n" + " " * indent + "}"


def main():
    warnings.simplefilter("ignore")
    data = json.loads(FILE.read_text())
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    names = [c["name"] for c in data["cases"]]
    assert len(names) == len(set(names)), "two cases of one name"
    cases = [record(c) if only in (None, c["name"]) else c for c in data["cases"]]
    if only:
        print(pretty(next(c["recorded"] for c in cases if c["name"] == only)))
    if "--check" in sys.argv:
        bad = [a["name"] for a, b in zip(cases, data["cases"]) if a != b]
        sys.exit(f"changed: {bad}" if bad else None)
    data["langgraph"] = importlib.metadata.version("langgraph")
    data["cases"] = cases
    FILE.write_text(pretty(data) + "\n")
    print(f"{len(cases)} cases, {FILE.stat().st_size} bytes, langgraph {data['langgraph']}")


if __name__ == "__main__":
    main()
