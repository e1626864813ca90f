"""Ringlet as a GGUF file, written without any package: the layout of ggml's specification in small."""

import json
import pathlib
import struct

RINGLET = pathlib.Path(__file__).resolve().parent.parent.parent / "models" / "ringlet"
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "BF16": (30, 1, 2)}
ALIGNMENT = 32

RENAMED = [
    ("model.embed_tokens.", "token_embd."), ("model.norm.", "output_norm."), ("model.layers.", "blk."),
    ("input_layernorm.", "attn_norm."), ("post_attention_layernorm.", "ffn_norm."), ("self_attn.q_proj.", "attn_q."),
    ("self_attn.k_proj.", "attn_k."), ("self_attn.v_proj.", "attn_v."), ("self_attn.o_proj.", "attn_output."),
    ("mlp.gate_proj.", "ffn_gate."), ("mlp.up_proj.", "ffn_up."), ("mlp.down_proj.", "ffn_down."),
]


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value_of(value):
    """Value type and bytes of a Python value: u32, f32, bool, string, or an array of one of these or i32."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, text(value)
    kind = 8 if isinstance(value[0], str) else 5
    items = b"".join(text(v) if kind == 8 else struct.pack("<i", v) for v in value)
    return 9, struct.pack("<IQ", kind, len(value)) + items


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    for name, info in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            assert info["dtype"] == "BF16"
            begin, end = info["data_offsets"]
            yield name, info["shape"], data[8 + length + begin:8 + length + end]


def widen(data):
    wide = bytearray(2 * len(data))
    wide[2::4], wide[3::4] = data[0::2], data[1::2]
    return bytes(wide)


def q8_0(values):
    out = []
    for i in range(0, len(values), 32):
        block = values[i:i + 32]
        d = max(abs(v) for v in block) / 127
        inverse = 1 / d if d else 0.0
        out.append(struct.pack("<e32b", d, *(int(v * inverse + (0.5 if v >= 0 else -0.5)) for v in block)))
    return b"".join(out)


def q4_0(values):
    out = []
    for i in range(0, len(values), 32):
        block = values[i:i + 32]
        d = max(block, key=abs) / -8
        inverse = 1 / d if d else 0.0
        q = [min(15, int(v * inverse + 8.5)) for v in block]
        out.append(struct.pack("<e16B", d, *(q[j] | q[j + 16] << 4 for j in range(16))))
    return b"".join(out)


def encode(data, kind):
    """bf16 bytes in another type."""
    if kind == "BF16":
        return data
    wide = widen(data)
    if kind == "F32":
        return wide
    values = struct.unpack(f"<{len(wide) // 4}f", wide)
    if kind == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    return (q8_0 if kind == "Q8_0" else q4_0)(values)


def interleave(data, rows, heads):
    """What rope in pairs wants: row 2 i + j of a head is HF's row j half + i."""
    width, half = len(data) // rows, rows // heads // 2
    order = [h * 2 * half + j * half + i for h in range(heads) for i in range(half) for j in range(2)]
    return b"".join(data[r * width:(r + 1) * width] for r in order)


def metadata():
    config = json.loads((RINGLET / "config.json").read_text())
    tokenizer = json.loads((RINGLET / "tokenizer.json").read_text())
    settings = json.loads((RINGLET / "tokenizer_config.json").read_text())
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    tokens = dict((i, t) for t, i in tokenizer["model"]["vocab"].items())
    tokens.update((i, token["content"]) for i, token in added.items())
    kinds = [1 if i not in added else 3 if added[i]["special"] else 4 for i in range(len(tokens))]
    return {
        "general.architecture": "llama",
        "general.name": "Ringlet",
        "llama.vocab_size": config["vocab_size"],
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.block_count": config["num_hidden_layers"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.key_length": config["head_dim"],
        "llama.attention.value_length": config["head_dim"],
        "llama.rope.dimension_count": config["head_dim"],
        "llama.rope.freq_base": config["rope_theta"],
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": [tokens[i] for i in range(len(tokens))],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in tokenizer["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": config["bos_token_id"],
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
        "tokenizer.ggml.eot_token_id": config["eos_token_id"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": settings["chat_template"],
    }


def tensors(kind):
    """Name, shape, type and bytes of each; norms are F32 always."""
    config = json.loads((RINGLET / "config.json").read_text())
    for name, shape, data in read_safetensors(RINGLET / "model.safetensors"):
        for old, new in RENAMED:
            name = name.replace(old, new)
        for part, heads in (("attn_q.", "num_attention_heads"), ("attn_k.", "num_key_value_heads")):
            if part in name:
                data = interleave(data, shape[0], config[heads])
        stored = "F32" if len(shape) == 1 else kind
        yield name, shape, stored, encode(data, stored)


def write_ringlet(path, kind):
    """Write Ringlet with matrices of `kind`: F32, F16, BF16, Q8_0 or Q4_0."""
    keys, infos, blobs, offset = metadata(), [], [], 0
    for name, shape, stored, data in tensors(kind):
        dims = b"".join(struct.pack("<Q", d) for d in reversed(shape))
        infos.append(text(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", TYPES[stored][0], offset))
        padding = -len(data) % ALIGNMENT
        blobs.append(data + bytes(padding))
        offset += len(data) + padding
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(keys))
    for key, value in keys.items():
        value_type, data = value_of(value)
        head += text(key) + struct.pack("<I", value_type) + data
    head += b"".join(infos)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + b"".join(blobs))
    return path
