#!/usr/bin/env python3
"""Checks that the documents tell the truth. Usage: check_docs.py ROOT PROGRAM, or --self-test PROGRAM.

Every relative link and every path in a code span exists; every `corvid …` line in a span or a shell block names a command and options that
the program has; every `console` block is run, line by line, in a scratch folder with copies of the documents, examples/documents and examples/graphs, and what it prints must be
what the block shows: `…` stands for anything, a line of it alone for any lines. Without the models, blocks that run one are SKIPPED."""
import os, pathlib, re, shlex, shutil, subprocess, sys, tempfile

TOP = "apps agents cmake docs embed examples graphs include llm retrieval scripts src tests tools .ci benchmarks fuzz".split()
PATH = re.compile(r"^(?:(?:%s)(?:/[\w.*-]+)*/?|[A-Za-z_]+\.(?:md|txt|json))$" % "|".join(map(re.escape, TOP)))
MODELS = ["SmolLM2-135M-Instruct-Q4_1.gguf", "all-MiniLM-L6-v2"]
NOT_HERE = {"config.json", "tokenizer.json", "sentence_bert_config.json"}  # files of models and of users


def models_folder():
    base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return pathlib.Path(os.environ.get("CORVID_MODELS") or base + "/corvid/models")


class Checker:
    def __init__(self, root, program):
        self.root, self.program, self.errors, self.helps, self.ran, self.skipped = pathlib.Path(root), program, [], {}, 0, 0

    def help_of(self, command):
        if command and not re.search(r"^  " + command + r"\b", self.help_of("") or "", re.M):
            return None
        if command not in self.helps:
            done = subprocess.run([self.program] + ([command] if command else []) + ["--help"], capture_output=True, text=True)
            self.helps[command] = done.stdout if done.returncode == 0 else None
        return self.helps[command]

    def check_path(self, where, text):
        if PATH.match(text) and pathlib.Path(text).name not in NOT_HERE and "NAME" not in text and not list(self.root.glob(text.rstrip("/"))):
            self.errors.append(f"{where}: there is no {text}")

    def check_command(self, where, words):
        while words and "=" in words[0] and not words[0].startswith("-"):
            words = words[1:]
        if not words or words[0].rsplit("/", 1)[-1] != "corvid":
            return
        command = next((w for w in words[1:] if not w.startswith("-")), "")
        if command and not re.match(r"^[a-z]+$", command):
            return  # `corvid COMMAND --help`
        text = self.help_of(command)
        if text is None:
            self.errors.append(f"{where}: the program has no command {command}")
            return
        for word in words[1:]:
            option = re.match(r"^(--[a-z][a-z0-9-]*|-[a-z])(?:=.*)?$", word)
            if option and not re.search(r"(?<![\w-])" + re.escape(option[1]) + r"(?![\w-])", text) and option[1] != "--version":
                self.errors.append(f"{where}: corvid {command} has no option {option[1]}")

    def run_console(self, where, block, scratch):
        steps = []
        for line in block:
            if line.startswith("$ "):
                steps.append([line[2:], []])
            elif steps:
                steps[-1][1].append(line)
        if not all((models_folder() / m).exists() for m in MODELS):
            if os.environ.get("CORVID_REQUIRE_MODELS"):
                self.errors.append(f"{where}: the models of scripts/fetch_models.sh are not in {models_folder()}")
            print(f"SKIPPED {where}: the models are not in {models_folder()}; run scripts/fetch_models.sh")
            self.skipped += 1
            return
        environment = dict(os.environ, PATH=f"{scratch}/bin:{os.environ['PATH']}", NO_COLOR="1", HOME=str(scratch), CORVID_MODELS=str(models_folder()))
        for command, expected in steps:
            done = subprocess.run(["bash", "-c", command], cwd=scratch / "here", env=environment, capture_output=True, text=True)
            self.ran += 1
            pattern = "".join("(?:.*\n)*?" if l.strip() == "…" else ".*?".join(map(re.escape, l.split("…"))) + "\n" for l in expected)
            said = done.stdout + done.stderr
            if not said.endswith("\n") and said:
                said += "\n"
            if not re.fullmatch(pattern, said):
                self.errors.append(f"{where}: `{command}` (exit {done.returncode}) printed\n{said}---- instead of\n" + "\n".join(expected))

    def check(self, path):
        lines = path.read_text().split("\n")
        name = path.relative_to(self.root).as_posix()
        with tempfile.TemporaryDirectory() as folder:
            scratch = pathlib.Path(folder)
            (scratch / "bin").mkdir()
            os.symlink(os.path.abspath(self.program), scratch / "bin" / "corvid")
            here = scratch / "here"
            here.mkdir()
            for each in list(self.root.glob("*.md")):
                shutil.copy(each, here)
            for each in ("docs", "examples/documents", "examples/graphs"):
                if (self.root / each).exists():
                    shutil.copytree(self.root / each, here / each)
            language, block, start = None, [], 0
            for number, line in enumerate(lines, 1):
                where = f"{name}:{number}"
                if line.startswith("```"):
                    if language is None:
                        language, block, start = line[3:].strip(), [], number
                    else:
                        if language == "console":
                            self.run_console(f"{name}:{start}", block, scratch)
                        language = None
                    continue
                if language is not None:
                    block.append(line)
                    if language in ("sh", "console"):
                        try:
                            words = shlex.split(line[2:] if line.startswith("$ ") else line, comments=True)
                        except ValueError:
                            continue
                        if language == "sh" or line.startswith("$ "):
                            self.check_command(where, words)
                            for word in words[:1]:
                                if word.startswith(("scripts/", ".ci/")):
                                    self.check_path(where, word)
                    continue
                for target in re.findall(r"\]\(([^)#\s]+)\)", line):
                    if not re.match(r"^[a-z]+:", target) and not (path.parent / target).exists():
                        self.errors.append(f"{where}: the link leads to {target}, which is not there")
                for span in re.findall(r"`([^`]+)`", line):
                    self.check_path(where, span)
                    if span.startswith("corvid "):
                        self.check_command(where, span.replace("\\|", " ").replace("|", " ").split())


def documents(root):
    root = pathlib.Path(root)
    return sorted(root.glob("*.md")) + sorted((root / "docs").glob("*.md"))


def self_test(program):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "README.md").write_text(
            "[a](gone.md) `src/nowhere.cpp` `corvid fly` `corvid inspect --wings`\n```sh\ncorvid search x --nope\nscripts/none.sh\n```\n"
            "```console\n$ echo right\nwrong\n```\n")
        checker = Checker(root, program)
        checker.check(root / "README.md")
        wanted = ["gone.md", "src/nowhere.cpp", "no command fly", "no option --wings", "no option --nope", "scripts/none.sh"]
        if not checker.skipped:
            wanted.append("echo right")
        missing = [w for w in wanted if not any(w in e for e in checker.errors)]
        if missing or len(checker.errors) != len(wanted):
            print("\n".join(checker.errors))
            sys.exit(f"the checker missed {missing}, or found what is not wrong")
    print("self-test passed")


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[2])
        sys.exit()
    checker = Checker(sys.argv[1], sys.argv[2])
    for each in documents(checker.root):
        checker.check(each)
    print("\n".join(checker.errors))
    print(f"{len(documents(checker.root))} documents, {checker.ran} commands run, {checker.skipped} blocks skipped, {len(checker.errors)} errors")
    sys.exit(1 if checker.errors else 0)
