"""GGUF files and block values as the `gguf` Python package writes and reads them.

    python tests/golden/gguf_files.py            (gguf, numpy, sentencepiece)

Writes gguf/ with
    blocks.json            per block type: the FNV-1a hash (64 bit) over the values of 2,000 seeded blocks
                           (splitmix64; a NaN counts as 0x7fc00000), and written blocks with their values
    quantized.json         per block type that the package can make: the FNV-1a hash over 2,000 blocks of seeded values
    all.gguf, all.json     every value type and block type in one file, and what is in it
    split-0000N-of-00003.gguf
    vocab_gpt2.gguf        Ringlet's tokenizer and template, no tensors
    vocab_llama.gguf, vocab_llama.hashes   a SentencePiece BPE trained here, and the FNV-1a hash over the ids that
                           sentencepiece gives each text of golden/tokenizer/texts.json
    llama_*.gguf, families_*.gguf, made_*.gguf   checkpoints of golden/llama, golden/families and golden/made as
                           convert_hf_to_gguf.py lays them out; DeepSeek-V3 as it did before kv_b_proj was split
"""

import io
import json
import math
import pathlib
import re
import struct

import gguf
import numpy as np
import sentencepiece

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "gguf"
BUILT = HERE.parent.parent / "build" / "tests" / "golden" / "made"  # made while the tree is built
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


def seeded_values(seed, num):
    """Sixteen bits each, of a size that changes from block of 32 to block; some blocks are zero, equal or of one value."""
    values = np.frombuffer(seeded_bytes(seed, 2 * num), dtype="<i2").astype(np.float32).reshape(-1, 32).copy()
    for b in range(len(values)):
        values[b] *= np.float32(2.0 ** (b % 29 - 27))
        if b % 50 == 7:
            values[b] = 0
        if b % 50 == 8:
            values[b] = values[b][0]
        if b % 50 == 9:
            values[b][1:] = 0
    return values


def record_quantized():
    record = {}
    for i, name in enumerate(["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]):
        with np.errstate(all="ignore"):
            made = gguf.quants.quantize(seeded_values(i + 1, 2000 * 32), gguf.GGMLQuantizationType[name])
        record[name] = {"seed": i + 1, "hash": f"{fnv(np.ascontiguousarray(made).view(np.uint8).tobytes()):016x}"}
    (OUT / "quantized.json").write_text(json.dumps(record, indent=0) + "\n")


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


def record_vocab():
    folder = HERE.parent.parent / "models" / "ringlet"
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    tokens = {i: text for text, i in tokenizer["model"]["vocab"].items()}
    tokens.update((i, token["content"]) for i, token in added.items())
    kinds = gguf.TokenType
    writer = gguf.GGUFWriter(OUT / "vocab_gpt2.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([tokens[i] for i in range(len(tokens))])
    writer.add_token_types([kinds.NORMAL if i not in added else kinds.CONTROL if added[i]["special"] else
                            kinds.USER_DEFINED for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1019)
    writer.add_eos_token_id(1021)
    writer.add_eot_token_id(1021)
    writer.add_add_bos_token(False)
    writer.add_chat_template(settings["chat_template"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def record_sentencepiece():
    texts = json.loads((HERE / "tokenizer" / "texts.json").read_text())["texts"]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in texts for line in text.split("\n") if line.strip()] * 3),
        model_writer=model, vocab_size=700, model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.98, minloglevel=2, num_threads=1)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    writer = gguf.GGUFWriter(OUT / "vocab_llama.gguf", "llama")
    kinds = gguf.TokenType
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    ids = range(sp.vocab_size())
    writer.add_token_list([sp.id_to_piece(i) for i in ids])
    writer.add_token_scores([sp.get_score(i) for i in ids])
    writer.add_token_types([kinds.UNKNOWN if sp.is_unknown(i) else kinds.CONTROL if sp.is_control(i) else
                            kinds.BYTE if sp.is_byte(i) else kinds.NORMAL for i in ids])
    writer.add_bos_token_id(sp.bos_id())
    writer.add_eos_token_id(sp.eos_id())
    writer.add_unk_token_id(sp.unk_id())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    hashes = [fnv(np.array(sp.encode(text), dtype="<u4").tobytes()) for text in texts]
    (OUT / "vocab_llama.hashes").write_text("".join(f"{h:016x}\n" for h in hashes))


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
    ("mlp.down_proj.", "ffn_down."), ("self_attn.q_norm.", "attn_q_norm."), ("self_attn.k_norm.", "attn_k_norm."),
    ("self_attn.qkv_proj.", "attn_qkv."), ("block_sparse_moe.gate.", "ffn_gate_inp."),
    ("block_sparse_moe.experts.w1.", "ffn_gate_exps."), ("block_sparse_moe.experts.w2.", "ffn_down_exps."),
    ("block_sparse_moe.experts.w3.", "ffn_up_exps."), ("mlp.gate.", "ffn_gate_inp."),
    ("mlp.experts.gate_proj.", "ffn_gate_exps."), ("mlp.experts.up_proj.", "ffn_up_exps."),
    ("mlp.experts.down_proj.", "ffn_down_exps."), ("mlp.shared_expert_gate.", "ffn_gate_inp_shexp."),
    ("self_attn.q_a_proj.", "attn_q_a."), ("self_attn.q_a_layernorm.", "attn_q_a_norm."), ("self_attn.q_b_proj.", "attn_q_b."),
    ("self_attn.kv_a_proj_with_mqa.", "attn_kv_a_mqa."), ("self_attn.kv_a_layernorm.", "attn_kv_a_norm."),
    ("self_attn.kv_b_proj.", "attn_kv_b."), ("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"),
]
for half in ("gate", "up", "down"):
    RENAMED += [(f"mlp.{shared}.{half}_proj.", f"ffn_{half}_shexp.") for shared in ("shared_expert", "shared_experts")]
RENAMED.sort(key=lambda row: -len(row[0]))


def permute(array, heads):
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


ARCHS = {"llama": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe", "gemma": "gemma",
         "phi3": "phi3", "qwen2_moe": "qwen2moe", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "olmo2": "olmo2"}


def add_rope(writer, config, head_dim):
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    theta = config.get("rope_theta") or scaling.get("rope_theta", 10000.0)
    kind = scaling.get("rope_type") or scaling.get("type")
    writer.add_rope_freq_base(theta)
    writer.add_rope_dimension_count(int(head_dim * config.get("partial_rotary_factor", 1)))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(theta, head_dim, scaling))
    if kind == "longrope":
        original = config["original_max_position_embeddings"]
        growth = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(growth) / math.log(original)))
        for size in ("long", "short"):
            writer.add_tensor(f"rope_factors_{size}.weight", np.array(scaling[f"{size}_factor"], dtype=np.float32))


def stack_experts(tensors):
    """The experts of a layer behind each other, under one name."""
    stacked = {}
    for name, (dtype, array) in tensors.items():
        parts = re.match(r"(.*)\.experts\.(\d+)\.(.*)", name)
        if parts:
            key = f"{parts[1]}.experts.{parts[3]}"
            stacked.setdefault(key, (dtype, {}))[1][int(parts[2])] = array
        else:
            stacked[name] = (dtype, array)
    return {name: (dtype, np.stack([array[i] for i in range(len(array))]) if isinstance(array, dict) else array)
            for name, (dtype, array) in stacked.items()}


def add_latents(writer, config, is_split):
    """Newer files say what is cached, and a head's widths beside it; older ones a head's widths alone."""
    rope, rank = config["qk_rope_head_dim"], config["kv_lora_rank"]
    key, value = config["qk_nope_head_dim"] + rope, config["v_head_dim"]
    writer.add_head_count_kv(1 if is_split else config["num_attention_heads"])
    writer.add_key_length(rank + rope if is_split else key)
    writer.add_value_length(rank if is_split else value)
    if is_split:
        writer.add_key_length_mla(key)
        writer.add_value_length_mla(value)
    if config["q_lora_rank"]:
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    if config["norm_topk_prob"]:
        writer.add_expert_weights_norm(True)
    if config["model_type"] == "deepseek_v3":
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_group_count(config["n_group"])
    writer.add_expert_group_used_count(config["topk_group"])
    writer.add_rope_scaling_yarn_log_mul(0.1 * config["rope_parameters"]["mscale_all_dim"])


def split_latents(tensors, config):
    """kv_b_proj as what makes keys, transposed, and what makes values."""
    heads, nope, value = config["num_attention_heads"], config["qk_nope_head_dim"], config["v_head_dim"]
    split = {}
    for name, (dtype, array) in tensors.items():
        if "kv_b_proj" not in name:
            split[name] = (dtype, array)
            continue
        parts = array.reshape(heads, nope + value, -1)
        keys = np.ascontiguousarray(parts[:, :nope].swapaxes(1, 2))
        split[name.replace("self_attn.kv_b_proj", "attn_k_b")] = (dtype, keys)
        split[name.replace("self_attn.kv_b_proj", "attn_v_b")] = (dtype, np.ascontiguousarray(parts[:, nope:]))
    return split


def convert(folder, out, is_split=False):
    config = json.loads((folder / "config.json").read_text())
    kind = config["model_type"]
    arch = ARCHS[kind]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(out, arch)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    if arch == "deepseek2":
        add_latents(writer, config, is_split)
    else:
        writer.add_head_count_kv(kv_heads)
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-5 if kind == "phi3" else 1e-6))
    if "num_local_experts" in config:
        writer.add_expert_count(config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "num_experts" in config:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    add_rope(writer, config, head_dim)
    tensors = stack_experts(load_checkpoint(folder))
    for name, (dtype, array) in (split_latents(tensors, config) if is_split else tensors).items():
        if kind == "olmo2":
            name = name.replace("post_attention_layernorm.", "post_attention_norm.").replace(
                "post_feedforward_layernorm.", "post_ffw_norm.")
        for old, new in RENAMED:
            name = name.replace(old, new)
        if kind == "phi3":
            name = name.replace("mlp.gate_up_proj.", "ffn_up.")
        if arch == "llama" and ("attn_q." in name or "attn_k." in name):
            array = permute(array, heads if "attn_q." in name else kv_heads)
        wide = (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array
        if kind == "gemma" and name.endswith("norm.weight"):
            wide = wide.astype(np.float32) + np.float32(1)
        if array.ndim == 1 or "ffn_gate_inp" in name:
            writer.add_tensor(name, wide.astype(np.float32))
        elif dtype == "BF16":
            raw = array.view(np.uint8).reshape(*array.shape[:-1], -1)
            writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
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
    record_quantized()
    record_all()
    record_split()
    record_vocab()
    record_sentencepiece()
    for name in ["llama/gqa_bf16_llama3", "llama/gqa_mixed", "llama/mqa_f16_biases", "families/qwen2_yarn",
                 "families/qwen3_linear", "families/gemma_mqa", "families/phi3_long", "families/mixtral_gqa_bf16",
                 "families/qwen3_moe_norm", "families/deepseek_v3", "families/olmo2_gqa"]:
        convert(HERE / name, OUT / f"{name.replace('/', '_')}.gguf")
    convert(HERE / "families/deepseek_v2_lite", OUT / "families_deepseek_v2_lite.gguf", is_split=True)
    convert(BUILT / "qwen2_moe_plain", OUT / "made_qwen2_moe_plain.gguf")


if __name__ == "__main__":
    main()
