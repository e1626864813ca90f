"""GGUF files of real shapes with random weights, for measurements; the layout of ggml's specification in small.

    python tests/bench/gguf_random.py SHAPE TYPE FILE      (llama-3.2-1b q8_0 out.gguf)

Random and never zero: constant weights run faster on some machines. Scales are such that activations stay in range.
"""

import os
import struct
import sys

SHAPES = {
    "qwen3-0.6b": {
        "arch": "qwen3", "layers": 28, "hidden": 1024, "ff": 3072, "heads": 16, "kv_heads": 8, "head": 128,
        "vocab": 151936, "pre": "qwen2", "theta": 1e6, "eps": 1e-6, "context": 40960, "qk_norm": True},
    "llama-3.2-1b": {
        "arch": "llama", "layers": 16, "hidden": 2048, "ff": 8192, "heads": 32, "kv_heads": 8, "head": 64,
        "vocab": 128256, "pre": "llama-bpe", "theta": 5e5, "eps": 1e-5, "context": 131072, "qk_norm": False},
    "llama-1gb": {  # as Q8_0; 11 of the layers above
        "arch": "llama", "layers": 11, "hidden": 2048, "ff": 8192, "heads": 32, "kv_heads": 8, "head": 64,
        "vocab": 128256, "pre": "llama-bpe", "theta": 5e5, "eps": 1e-5, "context": 131072, "qk_norm": False},
    "tiny": {
        "arch": "llama", "layers": 2, "hidden": 256, "ff": 512, "heads": 4, "kv_heads": 2, "head": 64,
        "vocab": 2048, "pre": "llama-bpe", "theta": 5e5, "eps": 1e-5, "context": 4096, "qk_norm": False},
}
SHAPES["tiny-qwen3"] = {**SHAPES["tiny"], "arch": "qwen3", "pre": "qwen2", "qk_norm": True}
SHAPES["tiny-qwen2"] = {**SHAPES["tiny"], "arch": "qwen2", "pre": "qwen2", "biases": True}
# ggml's number, elements and bytes of a block
TYPES = {"f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22),
         "q5_1": (7, 32, 24), "q8_0": (8, 32, 34), "q2_k": (10, 256, 84), "q3_k": (11, 256, 110),
         "q4_k": (12, 256, 144), "q5_k": (13, 256, 176), "q6_k": (14, 256, 210), "bf16": (30, 1, 2)}
# High byte of a half at an offset of each block: the scale. What is not named stays random.
SCALES = {"q4_0": {1: 0x1d}, "q4_1": {1: 0x1d, 3: 0xa8}, "q5_0": {1: 0x19}, "q5_1": {1: 0x19, 3: 0xa8},
          "q8_0": {1: 0x0c}, "q2_k": {81: 0x20, 83: 0x24}, "q3_k": {109: 0x14}, "q4_k": {1: 0x06, 3: 0x11},
          "q5_k": {1: 0x02, 3: 0x11}, "q6_k": {209: 0x08}}
ALIGNMENT = 32
CHUNK_ROWS = 4096


def near(high):
    """A table for the high bytes of halves: the sign stays random, the rest is `high`."""
    return bytes((i & 0x80) | high for i in range(256))


def random_rows(kind, rows, cols):
    _, elements, size = TYPES[kind]
    data = bytearray(os.urandom(rows * cols // elements * size))
    if kind == "f32":
        data[3::4] = bytes(data[3::4]).translate(near(0x3c))
    elif kind in ("f16", "bf16"):
        data[1::2] = bytes(data[1::2]).translate(near(0x24 if kind == "f16" else 0x3c))
    for at, high in SCALES.get(kind, {}).items():
        data[at::size] = bytes([high]) * (len(data) // size)
    if kind == "q6_k":
        small = bytes((i & 15) | (0xf0 if i & 0x80 else 0) for i in range(256))
        for at in range(192, 208):
            data[at::size] = bytes(data[at::size]).translate(small)
    return data


def random_norm(num):
    return struct.pack(f"<{num}f", *(0.9 + 0.2 * b / 255 for b in os.urandom(num)))


def byte_letters():
    """The characters that byte-level BPE writes for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + others.index(b)) for b in range(256)]


def tokenizer(shape):
    """256 bytes, one merge, words that no merge makes, and three control tokens at the end."""
    letters = byte_letters()
    tokens = letters + ["ab"] + [f"w{i}" for i in range(shape["vocab"] - 260)] + ["<s>", "</s>", "<pad>"]
    assert len(tokens) == shape["vocab"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": shape["pre"],
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 3) + [3] * 3,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": len(tokens) - 3,
        "tokenizer.ggml.eos_token_id": len(tokens) - 2,
        "tokenizer.ggml.padding_token_id": len(tokens) - 1,
        "tokenizer.ggml.add_bos_token": False,
    }


def metadata(shape):
    arch = shape["arch"]
    keys = {
        "general.architecture": arch,
        "general.name": "random weights",
        f"{arch}.vocab_size": shape["vocab"],
        f"{arch}.context_length": shape["context"],
        f"{arch}.embedding_length": shape["hidden"],
        f"{arch}.block_count": shape["layers"],
        f"{arch}.feed_forward_length": shape["ff"],
        f"{arch}.attention.head_count": shape["heads"],
        f"{arch}.attention.head_count_kv": shape["kv_heads"],
        f"{arch}.attention.key_length": shape["head"],
        f"{arch}.attention.value_length": shape["head"],
        f"{arch}.rope.dimension_count": shape["head"],
        f"{arch}.rope.freq_base": shape["theta"],
        f"{arch}.attention.layer_norm_rms_epsilon": shape["eps"],
    }
    return {**keys, **tokenizer(shape)}


def tensors(shape, kind):
    """Name, rows (0: a vector), columns, type. The embedding is the output matrix too."""
    hidden, q, kv = shape["hidden"], shape["heads"] * shape["head"], shape["kv_heads"] * shape["head"]
    yield "token_embd.weight", shape["vocab"], hidden, kind
    yield "output_norm.weight", 0, hidden, "f32"
    for layer in range(shape["layers"]):
        for name, rows, cols in (("attn_norm", 0, hidden), ("ffn_norm", 0, hidden), ("attn_q", q, hidden),
                                 ("attn_k", kv, hidden), ("attn_v", kv, hidden), ("attn_output", hidden, q),
                                 ("ffn_gate", shape["ff"], hidden), ("ffn_up", shape["ff"], hidden),
                                 ("ffn_down", hidden, shape["ff"])):
            yield f"blk.{layer}.{name}.weight", rows, cols, kind if rows else "f32"
        for name, num in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)) if shape.get("biases") else ():
            yield f"blk.{layer}.{name}.bias", 0, num, "f32"
        if shape["qk_norm"]:
            yield f"blk.{layer}.attn_q_norm.weight", 0, shape["head"], "f32"
            yield f"blk.{layer}.attn_k_norm.weight", 0, shape["head"], "f32"


def num_bytes(rows, cols, kind):
    _, elements, size = TYPES[kind]
    assert cols % elements == 0
    return max(rows, 1) * cols // elements * size


def weight_bytes(shape, kind):
    """What one decode step reads of weights."""
    return sum(num_bytes(rows, cols, stored) for _, rows, cols, stored in tensors(SHAPES[shape], kind))


def num_multiply_adds(shape):
    """For one token of a prompt, without attention and without the output matrix."""
    return sum(rows * cols for name, rows, cols, _ in tensors(SHAPES[shape], "f32") if name != "token_embd.weight")


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value_of(value):
    """Value type and bytes: bool, u32, f32, string, or an array of strings or i32."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    kind = 8 if isinstance(value[0], str) else 5
    items = b"".join(text(v) for v in value) if kind == 8 else struct.pack(f"<{len(value)}i", *value)
    return struct.pack("<IIQ", 9, kind, len(value)) + items


def write_model(path, shape_name, kind):
    shape = SHAPES[shape_name]
    keys, infos, offset = metadata(shape), [], 0
    listed = list(tensors(shape, kind))
    for name, rows, cols, stored in listed:
        dims = [cols, rows] if rows else [cols]
        infos.append(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[stored][0], offset))
        offset += -(-num_bytes(rows, cols, stored) // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys))
    head += b"".join(text(key) + value_of(value) for key, value in keys.items()) + b"".join(infos)
    unfinished = f"{path}.part"
    with open(unfinished, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGNMENT))
        for _, rows, cols, stored in listed:
            for first in range(0, max(rows, 1), CHUNK_ROWS):
                f.write(random_rows(stored, min(CHUNK_ROWS, rows - first), cols) if rows else random_norm(cols))
            f.write(bytes(-f.tell() % ALIGNMENT))
    os.replace(unfinished, path)


if __name__ == "__main__":
    write_model(sys.argv[3], sys.argv[1], sys.argv[2])
