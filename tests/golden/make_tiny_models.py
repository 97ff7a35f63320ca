#!/usr/bin/env python3
"""Writes tiny_models.json and tiny_models.bin: tiny decoders and encoders with the outputs that `transformers` gives in f32.

    make_tiny_models.py                                       # writes the two files beside itself
    make_tiny_models.py --verify convert_hf_to_gguf.py        # also: the GGUF side equals what llama.cpp's converter makes

Weights are not stored: element i of a tensor is drawn from splitmix64(FNV-1a 64 of its hub name + i * golden ratio), its top 24 bits
scaled to [-1, 1), times an amplitude (a power of two), plus an offset. The test draws the same ones, writes a hub folder and a GGUF
file of them, and loads both. Per model: the hub's config.json in today's and in the earlier form, the hub's tensors, the GGUF's
metadata, and the GGUF's tensors as they come from the hub's (llama.cpp's names; rows of Q and K reordered for "llama", 1 added
to Gemma's norms). tiny_models.bin: for each decoder logits [64, vocab] f32, for each encoder vectors [texts, width] f32, in order.
Needs torch, transformers, sentence-transformers, safetensors; --verify needs gguf.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
VOCAB, TOKENS = 128, 64
MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def fnv(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def unit(name, count):
    """count values of [-1, 1), exact in f32."""
    with np.errstate(over="ignore"):
        x = np.uint64(fnv(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).astype(np.float32)


def draw(name, shape, amplitude, offset):
    return (unit(name, math.prod(shape)).reshape(shape) * np.float32(amplitude) + np.float32(offset)).astype(np.float32)


def kind_of(name, gemma):
    """Amplitude and offset by the tensor's role: activations of moderate size, biases and norms that matter."""
    if "norm" in name.lower() and name.endswith("weight"):
        return 0.5, 0.0 if gemma else 1.0
    if name.endswith("bias"):
        return 0.5, 0.0
    if "embed" in name:
        return 1.0, 0.0
    return 0.25, 0.0


def byte_alphabet():
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for b in range(256):
        if b in printable:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + extra)
            extra += 1
    return table


PIECES = [byte_alphabet()[b] for b in range(VOCAB - 1)] + ["he"]
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
              "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {p: i for i, p in enumerate(PIECES)}, "merges": [["h", "e"]]},
}
GGUF_TOKENIZER = [["tokenizer.ggml.model", "string", "gpt2"], ["tokenizer.ggml.pre", "string", "gpt-2"], ["tokenizer.ggml.tokens", "strings", PIECES],
                  ["tokenizer.ggml.token_type", "integers", [1] * VOCAB], ["tokenizer.ggml.merges", "strings", ["h e"]]]

COMMON = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
              max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)


def llama(theta=10000.0, rope=None, **more):
    return transformers.LlamaConfig(**{**COMMON, **more}, rope_parameters={"rope_type": "default", **(rope or {}), "rope_theta": theta})


def gemma3(full=None, **more):
    rope = {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}, "full_attention": {"rope_type": "default", **(full or {}), "rope_theta": 1e6}}
    options = {**COMMON, "num_hidden_layers": 7, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "rms_norm_eps": 1e-6, **more}
    return transformers.Gemma3TextConfig(**options, rope_parameters=rope)


MODELS = {
    "llama-tied": llama(tie_word_embeddings=True),
    "llama-untied-base-500000": llama(500000.0, tie_word_embeddings=False),
    "llama-attention-bias": llama(attention_bias=True, tie_word_embeddings=False, num_key_value_heads=4),
    "llama-linear": llama(rope=dict(rope_type="linear", factor=4.0)),
    "llama-llama3": llama(500000.0, LLAMA3, tie_word_embeddings=True, num_hidden_layers=3),
    "llama-yarn": llama(rope=YARN),
    "llama-yarn-betas": llama(rope={**YARN, "beta_fast": 8.0, "beta_slow": 2.0, "attention_factor": 1.25}),
    "qwen2-tied": transformers.Qwen2Config(**COMMON, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    "qwen2-untied-yarn": transformers.Qwen2Config(**COMMON, tie_word_embeddings=False, rope_parameters={**YARN, "rope_theta": 1e6}),
    "qwen3-tied": transformers.Qwen3Config(**COMMON, head_dim=32, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    "qwen3-untied-linear": transformers.Qwen3Config(**{**COMMON, "num_hidden_layers": 4}, head_dim=16, tie_word_embeddings=False, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6}),
    "gemma3-window-8": gemma3(),
    "gemma3-linear": gemma3(dict(rope_type="linear", factor=8.0), sliding_window=16),
}
# Folders only: what a GGUF file of these architectures cannot say.
HUB_ONLY = {"gemma3-query-scale": gemma3(query_pre_attn_scalar=24, layer_types=["full_attention", "sliding_attention", "full_attention"], num_hidden_layers=3)}

CLASSES = {"llama": transformers.LlamaForCausalLM, "qwen2": transformers.Qwen2ForCausalLM, "qwen3": transformers.Qwen3ForCausalLM,
           "gemma3": transformers.Gemma3ForCausalLM}
DROPPED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "initializer_range", "attention_dropout", "pretraining_tp")


def config_forms(arch, config):
    """config.json as transformers 5 writes it and as earlier releases did."""
    now = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if k not in DROPPED and not k.startswith("_")}
    now["architectures"] = [CLASSES[arch].__name__]
    then = {k: v for k, v in now.items() if k not in ("rope_parameters", "layer_types")}
    rope = now["rope_parameters"]
    if arch == "gemma3":
        then["rope_theta"] = rope["full_attention"]["rope_theta"]
        then["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        if now["layer_types"][0] == "full_attention":
            then["layer_types"] = now["layer_types"]
        else:
            then["sliding_window_pattern"] = 6
        rope = rope["full_attention"]
    else:
        then["rope_theta"] = rope["rope_theta"]
    scaling = {k: v for k, v in rope.items() if k != "rope_theta"}
    then["rope_scaling"] = None if scaling["rope_type"] == "default" else scaling
    return [now, then]


NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
         "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(arch, name):
    stem, suffix = name.rsplit(".", 1)
    if stem in NAMES:
        return f"{NAMES[stem]}.{suffix}"
    _, _, layer, part = stem.split(".", 3)
    norms = {"post_attention_layernorm": "post_attention_norm" if arch == "gemma3" else "ffn_norm", "pre_feedforward_layernorm": "ffn_norm",
             "post_feedforward_layernorm": "post_ffw_norm"}
    return f"blk.{layer}.{norms.get(part) or NAMES[part]}.{suffix}"


def gguf_side(arch, config, tensors):
    """Metadata entries and tensors, as llama.cpp's converter makes them."""
    p = arch + "."
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    entries = [["general.architecture", "string", arch], [p + "block_count", "u32", config.num_hidden_layers], [p + "context_length", "u32", config.max_position_embeddings],
               [p + "embedding_length", "u32", config.hidden_size], [p + "feed_forward_length", "u32", config.intermediate_size],
               [p + "attention.head_count", "u32", config.num_attention_heads], [p + "attention.head_count_kv", "u32", config.num_key_value_heads],
               [p + "attention.layer_norm_rms_epsilon", "f32", config.rms_norm_eps], [p + "rope.freq_base", "f32", rope["rope_theta"]]]
    if arch in ("qwen3", "gemma3"):
        entries += [[p + "attention.key_length", "u32", head_dim], [p + "attention.value_length", "u32", head_dim]]
    if arch == "llama":
        entries += [[p + "rope.dimension_count", "u32", head_dim], [p + "vocab_size", "u32", config.vocab_size]]
    if arch == "gemma3":
        entries += [[p + "attention.sliding_window", "u32", config.sliding_window]]
    if rope["rope_type"] in ("linear", "yarn"):
        entries += [[p + "rope.scaling.type", "string", rope["rope_type"]], [p + "rope.scaling.factor", "f32", rope["factor"]]]
    if rope["rope_type"] == "yarn":
        entries += [[p + "rope.scaling.original_context_length", "u32", rope["original_max_position_embeddings"]]]
        for key, name in (("attention_factor", "yarn_attn_factor"), ("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
            if rope.get(key) is not None:
                entries += [[p + "rope.scaling." + name, "f32", rope[key]]]
    out, extra = [], []
    for name, shape, _, _ in tensors:
        change = "none"
        if arch == "llama" and ".q_proj." in name:
            change = f"interleave {config.num_attention_heads}"
        if arch == "llama" and ".k_proj." in name:
            change = f"interleave {config.num_key_value_heads}"
        if arch == "gemma3" and "norm" in name:
            change = "add one"
        out.append([gguf_name(arch, name), name, change])
    if rope["rope_type"] == "llama3":
        factors = []
        for i in range(head_dim // 2):
            wave = 2 * math.pi * rope["rope_theta"] ** (2 * i / head_dim)
            turns = rope["original_max_position_embeddings"] / wave
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
            factors.append(float(np.float32(1 / ((1 - smooth) / rope["factor"] + smooth))))
        extra = [["rope_freqs.weight", factors]]
    return {"metadata": entries, "tensors": out, "extra": extra}


def interleave(values, heads):
    """llama.cpp's order of the rows of Q and K: the two halves of a head alternate."""
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def tensor_list(model, gemma, tied):
    out = []
    for name, value in model.state_dict().items():
        if (tied and name == "lm_head.weight") or name.endswith("position_ids"):
            continue
        out.append([name, list(value.shape), *kind_of(name, gemma)])
    return out


def fill(model, tensors):
    state = {n: torch.from_numpy(draw(n, s, a, o)) for n, s, a, o in tensors}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    return model.eval().float()


def decoder(name, config, with_gguf, verify):
    arch = {"gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    config._attn_implementation = "eager"
    model = CLASSES[arch](config)
    tensors = tensor_list(model, arch == "gemma3", config.tie_word_embeddings)
    fill(model, tensors)
    ids = [int(v) for v in (unit("ids", TOKENS) + 1) * np.float32(VOCAB / 2)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy().astype(np.float32)
    entry = {"name": name, "architecture": arch, "configs": config_forms(arch, config), "tensors": tensors}
    if with_gguf:
        entry["gguf"] = gguf_side(arch, config, tensors)
        if verify:
            compare_with_converter(verify, entry)
    print(f"{name}: logits {logits.std():.3f} sd, best-worst {logits.max():.2f} {logits.min():.2f}", file=sys.stderr)
    return entry, ids, logits


def compare_with_converter(script, entry):
    import gguf
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        weights = {n: draw(n, s, a, o) for n, s, a, o in entry["tensors"]}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(entry["configs"][0]))
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
        # The converter knows tokenizers by a hash of real vocabularies; this one is left out.
        run = ("import sys, runpy, pathlib; s = sys.argv.pop(1); sys.path.insert(0, str(pathlib.Path(s).parent)); import conversion.base as b;"
               "b.TextModel._set_vocab_gpt2 = lambda self: None; sys.argv[0] = s; runpy.run_path(s, run_name='__main__')")
        done = subprocess.run([sys.executable, "-c", run, script, str(folder), "--outtype", "f32", "--outfile", str(folder / "out.gguf")], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{entry['name']}: the converter failed:\n{done.stderr[-3000:]}")
        reader = gguf.GGUFReader(folder / "out.gguf")
        made = {t.name: t.data for t in reader.tensors}
        for gname, hub, change in entry["gguf"]["tensors"]:
            want = weights[hub]
            if change.startswith("interleave"):
                want = interleave(want, int(change.split()[1]))
            elif change == "add one":
                want = want + np.float32(1)
            got = np.asarray(made.pop(gname)).reshape(want.shape)
            assert np.array_equal(got, want), (entry["name"], gname)
        for gname, values in entry["gguf"]["extra"]:
            assert np.allclose(np.asarray(made.pop(gname)), np.array(values, dtype=np.float32), rtol=1e-6), (entry["name"], gname)
        assert not made, (entry["name"], list(made))
        for key, _, value in entry["gguf"]["metadata"]:
            field = reader.get_field(key)
            assert field is not None, (entry["name"], key, "is not in the converter's file")
            got = field.contents()
            assert got == value or abs(got - value) <= 1e-6 * abs(value), (entry["name"], key, got, value)
        theirs = {k for k in reader.fields if k.startswith(entry["architecture"] + ".")} - {k for k, _, _ in entry["gguf"]["metadata"]}
        print(f"{entry['name']}: equals the converter's file; only there: {sorted(theirs)}", file=sys.stderr)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "dog", "run", "##s", "##ning", "##n", "quick", "brown", "fox",
         "over", "lazy", ",", ".", "!", "?", "1", "2", "##3", "heart", "blood", "pump", "naive", "cafe", "日", "本"] + list("bcdefghijklm") + ["##" + c for c in "abcdefghi"]
TEXTS = ["", "the cat sat on a mat.", "A Dog runs, running over the lazy fox!", "naïve café 日本 ?", "unknownword 123 the heart pumps blood", "the cat " * 30, "fox", "the the the"]


def encoder(name, modes, normalise, folder):
    import sentence_transformers as st
    from sentence_transformers.sentence_transformer import modules as parts
    folder = pathlib.Path(folder) / name
    config = transformers.BertConfig(vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, max_position_embeddings=64)
    model = transformers.BertModel(config, add_pooling_layer=False)
    tensors = tensor_list(model, False, False)
    fill(model, tensors)
    base = folder / "base"
    model.save_pretrained(base)
    (base / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizerFast(vocab={w: i for i, w in enumerate(WORDS)}, do_lower_case=True).save_pretrained(base)
    word = parts.Transformer(str(base), max_seq_length=32)
    pool = parts.Pooling(64, pooling_mode=modes)
    sentence = st.SentenceTransformer(modules=[word, pool] + ([parts.Normalize()] if normalise else []), device="cpu")
    vectors = sentence.encode(TEXTS, convert_to_numpy=True, batch_size=4).astype(np.float32)
    sentence.save(str(folder / "saved"))
    files = {}
    for path in sorted((folder / "saved").rglob("*.json")):
        files[str(path.relative_to(folder / "saved"))] = json.loads(path.read_text())
    # The earlier form of the pooling's settings, as most models on hubs have it.
    earlier = {"word_embedding_dimension": 64, "pooling_mode_cls_token": modes == "cls", "pooling_mode_mean_tokens": modes == "mean",
               "pooling_mode_max_tokens": modes == "max", "pooling_mode_mean_sqrt_len_tokens": False}
    print(f"{name}: {sorted(files)}", file=sys.stderr)
    return {"name": name, "files": files, "earlier_pooling": earlier, "tensors": tensors}, vectors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--verify", metavar="CONVERTER")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    decoders, encoders, data, seen = [], [], bytearray(), {}
    for name, config in {**MODELS, **HUB_ONLY}.items():
        entry, ids, logits = decoder(name, config, name in MODELS, arguments.verify)
        seen[name] = logits
        decoders.append(entry)
        data += logits.tobytes()
    # A rope kind that were ignored would show.
    for name in seen:
        for other in seen:
            assert name == other or np.abs(seen[name] - seen[other]).max() > 0.1, (name, other)
    with tempfile.TemporaryDirectory() as folder:
        for name, modes, normalise in (("bge-like", "cls", True), ("mean", "mean", False), ("max", "max", True)):
            entry, vectors = encoder(name, modes, normalise, folder)
            encoders.append(entry)
            data += vectors.tobytes()
    out = {"ids": ids, "vocab": VOCAB, "tokenizer": TOKENIZER, "gguf_tokenizer": GGUF_TOKENIZER, "decoders": decoders, "texts": TEXTS, "encoders": encoders}
    (HERE / "tiny_models.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")
    (HERE / "tiny_models.bin").write_bytes(bytes(data))


main()
