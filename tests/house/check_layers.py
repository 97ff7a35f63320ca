#!/usr/bin/env python3
"""Parses every #include of the project and fails on an arrow upward. Usage: check_layers.py ROOT, or --self-test."""
import pathlib, re, sys, tempfile

FLOOR = {"base": 0, "runtime": 1, "tensor": 1, "text": 2, "compute": 2, "storage": 2, "llm": 3, "embed": 3, "retrieval": 4, "graphs": 4,
         "tools": 4, "agents": 5, "apps": 6, "examples": 6}
# base, runtime and tensor stand below text, compute and storage within the foundation.
FOUNDATION_ONLY = {"graphs", "tools"}
FOLDERS = {"src/base": "base", "src/runtime": "runtime", "src/tensor": "tensor", "src/text": "text", "src/compute": "compute",
           "src/storage": "storage", "llm": "llm", "embed": "embed", "retrieval": "retrieval", "graphs": "graphs", "tools": "tools",
           "agents": "agents", "apps": "apps", "examples": "examples"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
STANDARD = re.compile(r"^[a-z0-9_]+$")
PUBLIC_OK = re.compile(r"^(corvid/.*|[a-z0-9_]+|nlohmann/.*|tl/expected\.hpp|boost/asio/.*)$")


def module_of(path):
    parts = path.as_posix()
    if parts.startswith("include/corvid/"):
        return parts.split("/")[2]
    for folder, module in FOLDERS.items():
        if parts.startswith(folder + "/"):
            return module
    return None


def target_of(include):
    if include.startswith("corvid/"):
        return include.split("/")[1]
    for folder, module in FOLDERS.items():
        if include.startswith(folder + "/"):
            return module
    return None


def check(root):
    problems, seen = [], 0
    for path in sorted(root.rglob("*")):
        if path.suffix not in (".hpp", ".h", ".cpp", ".cu", ".cuh"):
            continue
        relative = path.relative_to(root)
        module = module_of(relative)
        if module is None:
            continue
        seen += 1
        for include in INCLUDE.findall(path.read_text(errors="replace")):
            public = relative.as_posix().startswith("include/")
            if public and not PUBLIC_OK.match(include):
                problems.append(f"{relative}: a public header includes {include}")
            if path.suffix in (".cu", ".cuh") and "asio" in include:
                problems.append(f"{relative}: CUDA code includes {include}")
            target = target_of(include)
            if target is None or target == module or target not in FLOOR:
                continue
            if FLOOR[target] > FLOOR[module]:
                problems.append(f"{relative}: {module} includes {include}, which is above it")
            elif FLOOR[target] == FLOOR[module]:
                problems.append(f"{relative}: {module} includes {include}, which is beside it")
            elif module in FOUNDATION_ONLY and FLOOR[target] > 2:
                problems.append(f"{relative}: {module} uses the foundation only, not {include}")
    return seen, problems


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        planted = {"src/base/a.cpp": '#include "corvid/llm/engine.hpp"\n', "llm/b.cpp": '#include "corvid/embed/text_embedder.hpp"\n',
                   "include/corvid/compute/c.hpp": "#include <cuda_runtime.h>\n", "agents/ok.cpp": '#include "corvid/llm/engine.hpp"\n#include <vector>\n'}
        for name, text in planted.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        _, problems = check(root)
        found = {p.split(":")[0] for p in problems}
        assert found == set(planted) - {"agents/ok.cpp"}, problems
    print("planted violations are found")


if sys.argv[1:] == ["--self-test"]:
    self_test()
else:
    count, found = check(pathlib.Path(sys.argv[1]))
    print("\n".join(found))
    if count < 20:
        sys.exit(f"only {count} files looked at: wrong folder?")
    sys.exit(f"{len(found)} includes break the floors" if found else print(f"{count} files keep to their floors"))
