#!/usr/bin/env python3
"""Compares Corvid's tokenizers with their peers on many strings, and records a compact golden for the tests. Not part of CI.

    check_tokenizer_parity.py --models DIR --corpus DIR --ours build/release/bin/tokenize_many --llama ./llama_tokenize_many [--vocabs DIR] [--strings 110000]
    check_tokenizer_parity.py --models DIR --llama ./llama_tokenize_many --golden      # writes tokenizer_parity.json beside this file

GGUF tokenizers are compared with llama.cpp (llama_tokenize_many.cpp says how to build the peer), the hub folder with the
`tokenizers` package, its special tokens encoded as text. Tokenizer.json files built from the GGUF vocabularies are compared with
`tokenizers` too. Strings: lines and paragraphs of every UTF-8 file of the corpus; random characters assigned in Unicode 14 (this
needs a Python whose unicodedata is 14.0.0); pieces that tokenizers trip over, mixed; random bytes. Each string is encoded plain,
with special tokens added, and (GGUF) with markers parsed.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unicodedata

HERE = pathlib.Path(__file__).parent
BLOCK, BLOCKS = 128, 60
GGUFS = {"smollm2": "SmolLM2-135M-Instruct-Q4_1.gguf", "qwen25c": "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf", "gemma3": "gemma-3-270m-Q4_K_M.gguf"}
FOLDER = "all-MiniLM-L6-v2"
PEER_FAILED = -(2**31)  # llama.cpp throws on some bytes that stand for numbers over U+10FFFF
MODES = ("plain", "special", "parse")
PIECES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", "'s", "'S", "'ll", "'LL", "'ve", "'re", "'d", "'m", "'t", "'\u017f", "\u2019s", "'", "\"", "1", "12", "123",
          "1234567", "\u0663", "\u00bd", "\u2167", "3.14", "1e-9", "0x1F", "hello", "World", "UPPER", "camelCase", "snake_case", "the", " the", "a", "I", "na\u00efve",
          "e\u0301", "\u00e9", "\u1e9b\u0323", "\ufb01", "\u0130", "\u00df", "\u03a3", "\u65e5\u672c\u8a9e", "\u4f60\u597d", "\uac01", "\u1100\u1161\u11a8", "\u0e44\u0e17\u0e22", "\u0939\u093f\u0928\u094d\u0926\u0940",
          "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\u05e2\u05d1", "\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\u00a0", "\u3000", "\u200b", "\u200d", "\u2028", "\u0085", "\u00ad", "\ufeff",
          "\ufffd", "\u0000", "\u0001", "\u001c", "\u001f", "\u007f", "\u0300", "\u20dd", "_", "-", "--", "...", "\u2026", ",", ".", "!", "?", "!!", "(", ")", "[", "]", "{", "}", "==", "!=", "->", "#", "##", "###", "//",
          "/*", "*/", "\\n", "$", "\u20ac", "+", "`", "~", "^", "|", "<", ">", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_call>", "</tool_call>", "<|endoftext|>", "<s>", "</s>", "<bos>", "<eos>", "<unk>", "<pad>", "<start_of_turn>", "<end_of_turn>", "[CLS]", "[SEP]", "[MASK]", "[UNK]",
          "[PAD]", "\u2581", "\u2581the", "<0x0A>", "<0x41>", "<|", "|>", "<|im_end", "http://example.org/?q=1&r=%20", "def f(x):\n    return x\n", "\u0120", "\u010a", "\u0153uvre", "x" * 40, "ab" * 60, " " * 33, "\n" * 9, "=" * 20]


def assigned_ranges():
    assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
    out, begin = [], None
    for c in range(0x110001):
        good = c < 0x110000 and unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")
        if good and begin is None:
            begin = c
        elif not good and begin is not None:
            out.append([begin, c - begin])
            begin = None
    return out


class Random:
    """splitmix64, as the test has it."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        x = self.state
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return ((x ^ (x >> 31)) >> 33) % n


class Generator:
    def __init__(self, ranges, pieces):
        self.ranges, self.pieces = ranges, [p.encode() for p in pieces]
        self.total = sum(n for _, n in ranges)

    def character(self, random, by_range):
        if by_range:
            begin, count = self.ranges[random.below(len(self.ranges))]
            return chr(begin + random.below(count)).encode()
        at = random.below(self.total)
        for begin, count in self.ranges:
            if at < count:
                return chr(begin + at).encode()
            at -= count

    def string(self, i):
        random, out, kind = Random(i), b"", i % 5
        if kind < 2:
            for _ in range(1 + random.below(24)):
                out += self.character(random, kind == 1)
        elif kind == 2:
            for _ in range(1 + random.below(24)):
                out += self.pieces[random.below(len(self.pieces))]
        elif kind == 3:
            for _ in range(1 + random.below(32)):
                out += bytes([random.below(256)])
        else:
            for _ in range(1 + random.below(16)):
                pick = random.below(8)
                if pick == 0:
                    out += bytes([128 + random.below(128)])
                elif pick == 1:
                    out += self.character(random, True)[:-1]
                elif pick == 2:
                    out += self.character(random, True)
                else:
                    out += self.pieces[random.below(len(self.pieces))]
        return out


def run(program, model, mode, strings):
    data = b"".join(struct.pack("<I", len(s)) + s for s in strings)
    out = subprocess.run([program, str(model), mode], input=data, stdout=subprocess.PIPE, check=True).stdout
    at, rows = 0, []
    for _ in strings:
        count, = struct.unpack_from("<i", out, at)
        at += 4
        if count < 0:
            rows.append(count)
            continue
        rows.append(list(struct.unpack_from(f"<{count}i", out, at)))
        at += 4 * count
    assert at == len(out), (program, model, mode, at, len(out))
    return rows


def load_hub(path):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def hub_rows(tokenizer, mode, strings):
    tokenizer.encode_special_tokens = mode != "parse"
    good, rows, where = [], [None] * len(strings), []
    for i, s in enumerate(strings):
        try:
            good.append(s.decode())
            where.append(i)
        except UnicodeDecodeError as error:
            rows[i] = -1 - error.start
    for i, encoding in zip(where, tokenizer.encode_batch_fast(good, add_special_tokens=mode == "special")):
        rows[i] = encoding.ids
    return rows


def built_from_gguf(path, folder):
    """A tokenizer.json of the GGUF's byte-level BPE vocabulary, as its family writes it."""
    import gguf
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers
    reader = gguf.GGUFReader(path)
    get = lambda key: reader.get_field(key).contents()
    tokens, types, pre = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type"), get("tokenizer.ggml.pre")
    made = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ", 1)) for m in get("tokenizer.ggml.merges")]))
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    isolated = lambda digits: pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(split % digits), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.pre_tokenizer = {"smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]),
                          "qwen2": lambda: isolated(r"\p{N}"), "llama-bpe": lambda: isolated(r"\p{N}{1,3}"), "gpt-2": lambda: pre_tokenizers.ByteLevel(False)}[pre]()
    if pre == "qwen2":
        from tokenizers import normalizers
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k == 3])
    made.add_tokens([tokenizers.AddedToken(t, special=False, normalized=False) for t, k in zip(tokens, types) if k == 4])
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def corpus_strings(folder, wanted):
    files = []
    for path in sorted(pathlib.Path(at, name) for at, _, names in os.walk(folder, followlinks=True) for name in names):
        if path.is_file() and path.suffix.lower() not in (".gguf", ".out", ".png", ".jpg", ".wav", ".zip"):
            try:
                text = path.read_bytes().decode()
            except (UnicodeDecodeError, OSError):
                continue
            lines = [s for s in text.split("\n") if s]
            paragraphs = [s for s in text.split("\n\n") if "\n" in s and len(s) < 20000]
            files.append(list(dict.fromkeys(s.encode() for s in lines + paragraphs)))
    # Round-robin, so that no file is left out; evenly over each file.
    each, out = max(1, wanted // max(1, len(files))), {}
    while len(out) < wanted and any(len(f) > each for f in files) or not out:
        for strings in files:
            step = max(1, len(strings) // each)
            for s in strings[::step][:each]:
                out[s] = None
        if each > 1 << 20:
            break
        each *= 2
    return list(out)[:wanted], len(files)


def show(model, mode, text, want, got):
    at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got))) if isinstance(want, list) and isinstance(got, list) else 0
    near = (want[max(0, at - 2):at + 6], got[max(0, at - 2):at + 6]) if isinstance(want, list) and isinstance(got, list) else (want, got)
    print(f"DIFFERS {model} {mode} {text[:160]!r} at {at}: peer {near[0]} ours {near[1]}", flush=True)


def compare(name, peer, ours, path, strings, modes, known):
    bad, refused, ids, failed = 0, 0, 0, 0
    for mode in modes:
        want, got = peer(mode), run(ours, path, mode, strings)
        for s, a, b in zip(strings, want, got):
            refused += isinstance(a, int) and a != PEER_FAILED
            ids += len(a) if isinstance(a, list) else 0
            if a == PEER_FAILED:
                failed += 1
            elif a != b:
                bad += 1
                if bad <= known:
                    show(name, mode, s, a, b)
    print(f"{name}: {len(strings)} strings x {len(modes)} modes, {ids} ids, {refused} refused as not UTF-8, {failed} that the peer cannot read, {bad} differences", flush=True)
    return bad


def fnv(h, rows):
    for row in rows:
        for value in (struct.pack("<i", row) if isinstance(row, int) else struct.pack(f"<{len(row) + 1}i", len(row), *row)):
            h = (h ^ value) * 0x100000001B3 % 2**64
    return h


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--corpus")
    parser.add_argument("--ours")
    parser.add_argument("--llama", required=True)
    parser.add_argument("--strings", type=int, default=110000)
    parser.add_argument("--show", type=int, default=8)
    parser.add_argument("--only")
    parser.add_argument("--vocabs", type=pathlib.Path, help="llama.cpp's folder of vocabulary-only GGUF files")
    parser.add_argument("--golden", action="store_true")
    a = parser.parse_args()
    generator = Generator(assigned_ranges(), PIECES)
    folder = a.models / FOLDER
    if a.golden:
        blocks = {}
        strings = [generator.string(i) for i in range(BLOCKS * BLOCK)]
        rows = {}
        for name, path in [*((n, a.models / f) for n, f in GGUFS.items()), ("minilm", folder)]:
            peer = load_hub(path / "tokenizer.json") if name == "minilm" else None
            by_mode = [hub_rows(peer, mode, strings) if peer else run(a.llama, path, mode, strings) for mode in MODES]
            rows[name] = [by_mode[i // BLOCK % 3][i] for i in range(len(strings))]
        # Strings that llama.cpp cannot read are left out for all.
        unreadable = sorted({i for row in rows.values() for i, ids in enumerate(row) if ids == PEER_FAILED})
        for name, row in rows.items():
            blocks[name] = [f"{fnv(0xCBF29CE484222325, [row[i] for i in range(b * BLOCK, (b + 1) * BLOCK) if i not in unreadable]):016x}" for b in range(BLOCKS)]
        (HERE / "tokenizer_parity.json").write_text(json.dumps({"block": BLOCK, "left_out": unreadable, "modes": MODES, "ranges": generator.ranges, "pieces": PIECES, "models": blocks}, separators=(",", ":")) + "\n")
        return 0
    corpus, files = corpus_strings(a.corpus, a.strings * 6 // 10)
    random = [generator.string(1_000_000 + i) for i in range(a.strings - len(corpus))]
    strings = list(dict.fromkeys(corpus + random))
    print(f"{len(strings)} different strings: {len(corpus)} from {files} files, {len(strings) - len(corpus)} random", flush=True)
    bad = 0
    files = {name: a.models / file for name, file in GGUFS.items()}
    if a.vocabs:
        files |= {name: a.vocabs / f"ggml-vocab-{name}.gguf" for name in ("gpt-2", "llama-bpe", "llama-spm", "qwen2", "bert-bge")}
    for name, file in files.items():
        if a.only in (None, name):
            bad += compare(name, lambda mode: run(a.llama, file, mode, strings), a.ours, file, strings, MODES, a.show)
    if a.only in (None, "minilm"):
        peer = load_hub(folder / "tokenizer.json")
        bad += compare("minilm", lambda mode: hub_rows(peer, mode, strings), a.ours, folder, strings, MODES, a.show)
    for name in ("smollm2", "qwen25c"):
        if a.only in (None, name + "-hub"):
            with tempfile.TemporaryDirectory() as built:
                path = built_from_gguf(a.models / GGUFS[name], pathlib.Path(built))
                peer = load_hub(path)
                bad += compare(name + "-hub", lambda mode: hub_rows(peer, mode, strings), a.ours, path, strings, MODES, a.show)
    return bad != 0


sys.exit(main())
