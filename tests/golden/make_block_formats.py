#!/usr/bin/env python3
"""Writes block_formats.bin: for each block format two blocks' bytes and the f32 values that the `gguf` package reads from them.

Record: u32 name length, name, u32 bytes, the bytes, u32 values, the values (f32), all little-endian.
Blocks are random bytes whose scales are replaced by moderate ones, so that every bit of the layout takes part.
"""
import struct
import sys

import gguf
import numpy as np

rng = np.random.default_rng(20261124)
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "F16": [], "BF16": [], "F32": []}

out = bytearray()
for name, places in SCALES.items():
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = 2 if elements > 1 else 64
    if elements > 1:
        raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
        for at in places:
            raw[:, at:at + 2] = rng.uniform(-0.02, 0.02, blocks).astype(np.float16).view(np.uint8).reshape(blocks, 2)
        data = raw.reshape(1, -1)
    else:
        values = rng.standard_normal(blocks).astype(np.float32)
        data = {"F32": values.view(np.uint8), "F16": values.astype(np.float16).view(np.uint8),
                "BF16": (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)}[name].reshape(1, -1)
    if name == "F32":
        want = data.view(np.float32)
    elif name == "F16":
        want = data.view(np.float16).astype(np.float32)
    else:
        want = gguf.dequantize(data, kind).astype(np.float32)
    body, values = data.tobytes(), want.reshape(-1).tobytes()
    out += struct.pack("<I", len(name)) + name.lower().encode() + struct.pack("<I", len(body)) + body
    out += struct.pack("<I", len(values) // 4) + values
open(sys.argv[1] if len(sys.argv) > 1 else "block_formats.bin", "wb").write(out)
