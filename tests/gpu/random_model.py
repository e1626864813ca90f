"""A model of random weights of a known shape, for speed: random_model.py SHAPE FOLDER

Never zeros, never a constant: multiplying those is faster than multiplying numbers. The file is written
tensor by tensor; numpy is used where it is there."""
import json
import os
import struct
import sys

SHAPES = {
    "qwen3-0.6b": dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], hidden_size=1024, intermediate_size=3072,
                       num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
                       vocab_size=151936, tie_word_embeddings=True, rms_norm_eps=1e-6, rope_theta=1e6,
                       max_position_embeddings=40960, hidden_act="silu", torch_dtype="bfloat16", attention_bias=False),
    "llama3-8b": dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=4096, intermediate_size=14336,
                      num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, head_dim=128,
                      vocab_size=128256, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_theta=5e5,
                      max_position_embeddings=8192, hidden_act="silu", torch_dtype="bfloat16"),
}


def tensors(config):
    """(name, shape) in the order of the file."""
    hidden, width, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", (hidden,)
        yield name + "self_attn.q_proj.weight", (q, hidden)
        yield name + "self_attn.k_proj.weight", (kv, hidden)
        yield name + "self_attn.v_proj.weight", (kv, hidden)
        yield name + "self_attn.o_proj.weight", (hidden, q)
        if config["model_type"] == "qwen3":
            yield name + "self_attn.q_norm.weight", (dim,)
            yield name + "self_attn.k_norm.weight", (dim,)
        yield name + "post_attention_layernorm.weight", (hidden,)
        yield name + "mlp.gate_proj.weight", (width, hidden)
        yield name + "mlp.up_proj.weight", (width, hidden)
        yield name + "mlp.down_proj.weight", (hidden, width)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)


def values(num, is_norm):
    """`num` bf16 numbers: norms about 1, others about 1 / 50, of either sign."""
    import numpy as np
    if is_norm:
        return np.full(num, 0x3F80, dtype=np.uint16).tobytes()
    bits = np.random.default_rng(num).integers(0, 1 << 16, size=num, dtype=np.uint16)
    return ((bits & 0x80FF) | 0x3C00).astype(np.uint16).tobytes()  # 2^-7 .. 2^-6, mantissa and sign are random


def main():
    shape, folder = sys.argv[1:3]
    config = SHAPES[shape]
    os.makedirs(folder, exist_ok=True)
    header, at = {}, 0
    for name, dims in tensors(config):
        num = 1
        for dim in dims:
            num *= dim
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + 2 * num]}
        at += 2 * num
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            file.write(values((end - begin) // 2, len(entry["shape"]) == 1))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)


if __name__ == "__main__":
    main()
