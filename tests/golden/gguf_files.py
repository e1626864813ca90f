"""GGUF files and block values as the `gguf` Python package writes and reads them.

    python tests/golden/gguf_files.py            (gguf, numpy, safetensors)

Writes gguf/ with
    blocks.json            per block type: the FNV-1a hash (64 bit) over the values of 2,000 seeded blocks
                           (splitmix64; a NaN counts as 0x7fc00000), and written blocks with their values
    all.gguf, all.json     every value type and block type in one file, and what is in it
    split-0000N-of-00003.gguf
    llama_*.gguf           checkpoints of golden/llama as convert_hf_to_gguf.py lays them out
"""

import json
import pathlib
import struct

import gguf
import numpy as np
from safetensors import safe_open

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "gguf"
MASK = (1 << 64) - 1
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# Where the 16-bit floats of a block lie.
SCALES = {"F16": [0], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def seeded_bytes(seed, num):
    words = np.arange(1, (num + 7) // 8 + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + words * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z.astype("<u8").tobytes()[:num]


def values_of(name, data):
    """The bits of each element as uint32."""
    kind = gguf.GGMLQuantizationType[name]
    rows = np.frombuffer(data, dtype=np.uint8).reshape(1, -1)
    if name == "F32":
        values = rows.view(np.float32)
    elif name == "F16":
        values = rows.view(np.float16).astype(np.float32)
    else:
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(rows, kind)
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).ravel().copy()
    bits[np.isnan(bits.view(np.float32))] = 0x7FC00000
    return bits


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & MASK
    return h


def written_blocks(name, size):
    """Scales zero, subnormal, largest, infinite, negative; quants all zero, all ones, counting."""
    fills = [bytes(size), b"\xff" * size, bytes(i * 37 & 255 for i in range(size))]
    halves = [0x0000, 0x0001, 0x83FF, 0x7BFF, 0xC500, 0x7C00]
    for i, half in enumerate(halves):
        block = bytearray(fills[i % 3])
        for at in SCALES.get(name, []):
            block[at:at + 2] = struct.pack("<H", half)
        yield bytes(block)


def record_blocks():
    record = {}
    for i, name in enumerate(TYPES):
        elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        data = seeded_bytes(i + 1, 2000 * size)
        blocks = list(written_blocks(name, size))
        record[name] = {
            "seed": i + 1,
            "hash": f"{fnv(values_of(name, data).astype('<u4').tobytes()):016x}",
            "blocks": [{"bytes": b.hex(), "hash": f"{fnv(values_of(name, b).astype('<u4').tobytes()):016x}"}
                       for b in blocks],
            "values": [f"{v:08x}" for v in values_of(name, blocks[2])],
        }
    (OUT / "blocks.json").write_text(json.dumps(record, indent=0) + "\n")


def record_all():
    writer = gguf.GGUFWriter(OUT / "all.gguf", "llama")
    add = writer.add_key_value
    kind = gguf.GGUFValueType
    values = {
        "a.u8": (200, kind.UINT8), "a.i8": (-100, kind.INT8), "a.u16": (60000, kind.UINT16), "a.i16": (-30000, kind.INT16),
        "a.u32": (4000000000, kind.UINT32), "a.i32": (-2000000000, kind.INT32), "a.f32": (0.15625, kind.FLOAT32),
        "a.true": (True, kind.BOOL), "a.false": (False, kind.BOOL), "a.text": ("Grüße, 世界", kind.STRING),
        "a.u64": (1 << 62, kind.UINT64), "a.i64": (-(1 << 62), kind.INT64), "a.f64": (1e300, kind.FLOAT64),
    }
    for key, (value, value_type) in values.items():
        add(key, value, value_type)
    writer.add_array("a.ints", [1, -2, 300000])
    writer.add_array("a.reals", [0.5, -0.25])
    writer.add_array("a.texts", ["", "one", "zwei"])
    writer.add_array("a.bools", [True, False])
    tensors = {}
    for i, name in enumerate(TYPES):
        elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        data = np.frombuffer(seeded_bytes(100 + i, 3 * 512 // elements * size), dtype=np.uint8).reshape(3, -1)
        writer.add_tensor(f"t.{name}.weight", data, raw_dtype=gguf.GGMLQuantizationType[name])
        tensors[f"t.{name}.weight"] = {"seed": 100 + i, "dims": [512, 3], "bytes": data.size}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (OUT / "all.json").write_text(json.dumps({"tensors": tensors}, indent=0) + "\n")


def record_split():
    writer = gguf.GGUFWriter(OUT / "split.gguf", "llama", split_max_tensors=2)
    writer.add_uint32("a.number", 7)
    for i in range(5):
        writer.add_tensor(f"t.{i}", np.full((2, 3), i, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_checkpoint(folder):
    """Name to (dtype, array); bf16 as its bits."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        for name, info in json.loads(data[8:8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            dtype = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[info["dtype"]]
            array = np.frombuffer(data[8 + length + begin:8 + length + end], dtype=dtype).reshape(info["shape"])
            tensors[name] = (info["dtype"], array)
    return tensors


RENAMED = [
    ("model.embed_tokens.", "token_embd."), ("model.norm.", "output_norm."), ("lm_head.", "output."),
    ("model.layers.", "blk."), ("input_layernorm.", "attn_norm."), ("post_attention_layernorm.", "ffn_norm."),
    ("self_attn.q_proj.", "attn_q."), ("self_attn.k_proj.", "attn_k."), ("self_attn.v_proj.", "attn_v."),
    ("self_attn.o_proj.", "attn_output."), ("mlp.gate_proj.", "ffn_gate."), ("mlp.up_proj.", "ffn_up."),
    ("mlp.down_proj.", "ffn_down."),
]


def permute(array, heads):
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def convert_llama(folder, out, quantize=None):
    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    theta = config.get("rope_theta") or scaling.get("rope_theta", 10000.0)
    writer.add_rope_freq_base(theta)
    if scaling.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(theta, head_dim, scaling))
    for name, (dtype, array) in load_checkpoint(folder).items():
        for old, new in RENAMED:
            name = name.replace(old, new)
        if "attn_q." in name or "attn_k." in name:
            array = permute(array, heads if "attn_q." in name else kv_heads)
        wide = (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array
        kind = gguf.GGMLQuantizationType[quantize or dtype]
        if array.ndim == 1:
            writer.add_tensor(name, wide.astype(np.float32))
        elif quantize is not None:
            writer.add_tensor(name, gguf.quants.quantize(wide.astype(np.float32), kind), raw_dtype=kind)
        elif dtype == "BF16":
            writer.add_tensor(name, array.view(np.uint8).reshape(array.shape[0], -1), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_divisors(base, dim, scaling):
    freqs = 1.0 / (base ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)))
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    divisors = []
    for freq in freqs:
        wave = 2 * np.pi / freq
        if wave < original / high:
            divisors.append(1.0)
        elif wave > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wave - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def main():
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*"):
        old.unlink()
    record_blocks()
    record_all()
    record_split()
    for name in ["gqa_bf16_llama3", "gqa_mixed", "mqa_f16_biases"]:
        folder = HERE / "llama" / name
        convert_llama(folder, OUT / f"llama_{folder.name}.gguf")


if __name__ == "__main__":
    main()
