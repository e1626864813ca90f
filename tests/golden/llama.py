"""Tiny random Llama checkpoints and the logits HF transformers computes from them in float32.

    python tests/golden/llama.py            (torch, transformers, tokenizers, safetensors)

Writes, for each checkpoint, llama/NAME/ with
    config.json, weights as safetensors in the checkpoint's own dtypes,
    tokens.i32   [64] int32, little endian
    logits.f32   [64][vocab_size] float, little endian
and for Ringlet, whose weights lie in models/ringlet, ringlet/ with
    tokens.i32   [64]
    top_ids.i32  [8][32]: at positions 0, 8, ... 56 the 32 best ids, best first
    top.f32      [8][32]: their logits
    last.f32     [vocab_size]: logits of position 63
    prompt.i32   a chat prompt
    greedy.i32   [32]: what follows it, greedily
"""

import json
import pathlib
import shutil

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
RINGLET = HERE.parent.parent / "models" / "ringlet"
NUM_TOKENS = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

COMMON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "max_position_embeddings": 256,
}

# Ratios of query to KV heads 1, 2 and 8; heads narrower and wider than hidden_size / heads; tied and
# untied; biases; each dtype; each scaling in the old and the new spelling; shards.
CHECKPOINTS = {
    "mha_f32_sharded": dict(
        hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=16, vocab_size=96, rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_scaling=None, tie_word_embeddings=False, torch_dtype="float32"),
    "gqa_bf16_llama3": dict(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=128, rms_norm_eps=1e-6, rope_theta=20000.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                          high_freq_factor=4.0, original_max_position_embeddings=32),
        tie_word_embeddings=True, torch_dtype="bfloat16"),
    "mqa_f16_biases": dict(
        hidden_size=64, intermediate_size=72, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=1, head_dim=32, vocab_size=100, rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=20000.0),
        attention_bias=True, mlp_bias=True, tie_word_embeddings=False, dtype="float16"),
    "gqa_mixed": dict(
        hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, head_dim=16, vocab_size=70, rms_norm_eps=1e-5,
        attention_bias=True, tie_word_embeddings=True, torch_dtype="bfloat16"),
}


def shapes(c):
    hidden, ffn = c["hidden_size"], c["intermediate_size"]
    dim = c.get("head_dim", hidden // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * dim, c["num_key_value_heads"] * dim
    linears = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden),
               "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, q),
               "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
               "mlp.down_proj": (hidden, ffn)}
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        for name, shape in linears.items():
            yield f"{prefix}{name}.weight", shape
            if c.get("attention_bias" if "attn" in name else "mlp_bias"):
                yield f"{prefix}{name}.bias", shape[:1]
    yield "model.norm.weight", (hidden,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], hidden)


def random_tensors(c, mixed):
    dtype = DTYPES[c.get("torch_dtype") or c.get("dtype")]
    tensors = {}
    for i, (name, shape) in enumerate(shapes(c)):
        value = torch.randn(shape)
        if "norm" in name:
            value = 1.0 + 0.2 * value
        elif name.endswith(".bias"):
            value = 0.3 * value
        elif "embed" in name:
            value = 0.3 * value
        else:
            value = value * 1.5 / shape[1] ** 0.5
        tensors[name] = value.to(list(DTYPES.values())[i % 3] if mixed else dtype).contiguous()
    return tensors


def save(folder, tensors, sharded):
    if not sharded:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    shards = [names[0::2], names[1::2]]
    files = [f"model-{i + 1:05}-of-00002.safetensors" for i in range(2)]
    for file, shard in zip(files, shards):
        save_file({name: tensors[name] for name in shard}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": {
        name: file for file, shard in zip(files, shards) for name in shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                attn_implementation="eager")


def logits_of(folder, tokens):
    model = load(folder)
    with torch.no_grad():
        return model(torch.from_numpy(tokens.astype(np.int64))[None]).logits[0].float().numpy()


def record_checkpoint(name, config):
    folder = HERE / "llama" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = COMMON | config
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save(folder, random_tensors(config, name.endswith("mixed")), name.endswith("sharded"))
    tokens = np.random.randint(0, config["vocab_size"], NUM_TOKENS).astype("<i4")
    logits = logits_of(folder, tokens)
    tokens.tofile(folder / "tokens.i32")
    logits.astype("<f4").tofile(folder / "logits.f32")
    print(name, logits.shape, "std", logits.std(), "max", abs(logits).max())


def record_ringlet():
    folder = HERE / "ringlet"
    folder.mkdir(exist_ok=True)
    text = ("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
            "The capital of France is Paris.<|im_end|>\n<|im_start|>user\nTell me a story about a "
            "fox, and count from 3 to 17.<|im_end|>\n<|im_start|>assistant\nOnce upon a time")
    tokenizer = Tokenizer.from_file(str(RINGLET / "tokenizer.json"))
    ids = tokenizer.encode(text).ids
    assert len(ids) >= NUM_TOKENS, len(ids)
    tokens = np.array(ids[:NUM_TOKENS], dtype="<i4")
    logits = logits_of(RINGLET, tokens)
    best = np.argsort(-logits[::8], axis=1, kind="stable")[:, :32]
    tokens.tofile(folder / "tokens.i32")
    best.astype("<i4").tofile(folder / "top_ids.i32")
    np.take_along_axis(logits[::8], best, axis=1).astype("<f4").tofile(folder / "top.f32")
    logits[-1].astype("<f4").tofile(folder / "last.f32")
    prompt = tokenizer.encode("<|im_start|>user\nTell me a story about a fox.<|im_end|>\n"
                              "<|im_start|>assistant\n").ids
    written = load(RINGLET).generate(torch.tensor([prompt]), do_sample=False,
                                     max_new_tokens=32)[0, len(prompt):]
    np.array(prompt, dtype="<i4").tofile(folder / "prompt.i32")
    written.numpy().astype("<i4").tofile(folder / "greedy.i32")
    assert len(written) == 32
    print(len(prompt), repr(tokenizer.decode(written.tolist())))
    print("ringlet", logits.shape, "std", logits.std(), "last best", logits[-1].argmax())


if __name__ == "__main__":
    torch.manual_seed(1)
    np.random.seed(1)
    torch.set_num_threads(1)
    for checkpoint, settings in CHECKPOINTS.items():
        record_checkpoint(checkpoint, settings)
    record_ringlet()
