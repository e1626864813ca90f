"""Tiny random checkpoints of families with experts or latents, and what HF transformers makes of them.

    python tests/golden/families_moe.py [NAME ...]      (torch, transformers 5, safetensors)

Writes, for each checkpoint, families/NAME/ with
    config.json, model.safetensors as transformers saves them
    tokens.i32   [128] int32, little endian: a prompt of 96 and the 32 that follow it greedily
    logits.f32   [128][vocab_size] float, little endian: of all of them, in float32, without a cache

A seed is taken only where nothing is near a tie: the best token is ahead by a thousandth of the
logits' scale, and the same model in float64 differs by little, which it would not if an expert
were chosen by a hair.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
PROMPT, WRITTEN = 96, 32
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

SIZES = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=40, vocab_size=72, max_position_embeddings=256)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=32, beta_slow=1,
            original_max_position_embeddings=64)

# What each shows: the routing's kinds and normalisation, dense layers between, widths that are no
# multiples of 32, biases, shared experts with and without gate, groups, each form of q, positions
# beyond a scaling's original context, both dtypes, tied and untied.
CHECKPOINTS = {
    "mixtral_gqa_bf16": dict(
        model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, head_dim=16,
        rms_norm_eps=1e-5, dtype="bfloat16"),
    "mixtral_odd_window": dict(
        model_type="mixtral", num_local_experts=5, num_experts_per_tok=3, intermediate_size=33,
        num_key_value_heads=4, sliding_window=40, tie_word_embeddings=True, dtype="float32",
        num_hidden_layers=2),
    "qwen2_moe_sparse_step": dict(
        model_type="qwen2_moe", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24,
        shared_expert_intermediate_size=36, decoder_sparse_step=2, norm_topk_prob=False,
        dtype="bfloat16", tie_word_embeddings=True),
    "qwen2_moe_mlp_only": dict(
        model_type="qwen2_moe", num_experts=5, num_experts_per_tok=4, moe_intermediate_size=17,
        shared_expert_intermediate_size=20, mlp_only_layers=[1], norm_topk_prob=True,
        dtype="float32", num_hidden_layers=2, rope_parameters=dict(YARN)),
    "qwen3_moe_norm": dict(
        model_type="qwen3_moe", num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16,
        norm_topk_prob=True, head_dim=16, dtype="bfloat16"),
    "qwen3_moe_mlp_only": dict(
        model_type="qwen3_moe", num_experts=5, num_experts_per_tok=2, moe_intermediate_size=18,
        mlp_only_layers=[0], norm_topk_prob=False, attention_bias=True, head_dim=8,
        tie_word_embeddings=True, dtype="float32", num_hidden_layers=2),
    "deepseek_v2_lite": dict(
        model_type="deepseek_v2", q_lora_rank=None, kv_lora_rank=24, qk_nope_head_dim=12,
        qk_rope_head_dim=8, v_head_dim=10, n_routed_experts=6, num_experts_per_tok=2,
        n_shared_experts=2, moe_intermediate_size=20, first_k_dense_replace=1,
        topk_method="greedy", n_group=1, topk_group=1, routed_scaling_factor=1.0,
        num_key_value_heads=4, dtype="bfloat16",
        rope_parameters=YARN | dict(mscale=0.707, mscale_all_dim=0.707)),
    "deepseek_v2_groups": dict(
        model_type="deepseek_v2", q_lora_rank=20, kv_lora_rank=32, qk_nope_head_dim=8,
        qk_rope_head_dim=4, v_head_dim=16, n_routed_experts=8, num_experts_per_tok=3,
        n_shared_experts=1, moe_intermediate_size=17, first_k_dense_replace=0,
        topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=4.0,
        num_key_value_heads=4, attention_bias=True, dtype="float32", num_hidden_layers=2,
        rope_parameters=YARN | dict(mscale=0.8, mscale_all_dim=1.0)),
    "deepseek_v3": dict(
        model_type="deepseek_v3", q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=12,
        qk_rope_head_dim=8, v_head_dim=10, n_routed_experts=8, num_experts_per_tok=3,
        n_shared_experts=1, moe_intermediate_size=20, first_k_dense_replace=1, n_group=4,
        topk_group=2, routed_scaling_factor=2.5, norm_topk_prob=True, num_key_value_heads=4,
        dtype="bfloat16", rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=1.0)),
    "deepseek_v3_half_rope": dict(
        model_type="deepseek_v3", q_lora_rank=None, kv_lora_rank=20, qk_nope_head_dim=10,
        qk_rope_head_dim=6, v_head_dim=12, n_routed_experts=6, num_experts_per_tok=2,
        n_shared_experts=2, moe_intermediate_size=15, first_k_dense_replace=0, n_group=1,
        topk_group=1, routed_scaling_factor=1.5, norm_topk_prob=False, rope_interleave=False,
        attention_bias=True, num_key_value_heads=4, tie_word_embeddings=True, dtype="float32",
        num_hidden_layers=2),
}

# Of these families_made.py keeps no weights.
MADE = {"mixtral_odd_window", "deepseek_v2_groups", "deepseek_v3_half_rope"}


def random_tensor(name, shape):
    value = torch.randn(shape)
    if "norm" in name:
        return 1.0 + 0.2 * value
    if name.endswith("e_score_correction_bias"):
        return 0.3 * value.abs()  # positive, so that a masked 0 is never among the best
    if name.endswith("bias"):
        return 0.3 * value
    if "embed" in name:
        return 0.4 * value
    return value * 1.5 / shape[-1] ** 0.5


def save(folder, settings):
    config = AutoConfig.for_model(**(SIZES | settings))
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    dtype = DTYPES[settings["dtype"]]
    tensors = {name: random_tensor(name, value.shape).to(dtype).contiguous()
               for name, value in sorted(tensors.items())}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    written["dtype"] = settings["dtype"]
    del written["transformers_version"]
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager",
                                                 experts_implementation="eager")
    return model.eval()


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0]


def record(name, settings, seed):
    torch.manual_seed(seed)
    folder = HERE / "families" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save(folder, settings)
    model = load(folder, torch.float32)
    tokens = torch.randint(0, SIZES["vocab_size"], (PROMPT,)).tolist()
    margin = float("inf")
    for _ in range(WRITTEN):
        best = logits_of(model, tokens)[-1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    logits = logits_of(model, tokens)
    scale = float(logits.abs().max())
    exact = logits_of(load(folder, torch.float64), tokens)
    error = float((logits.double() - exact).abs().max())
    print(f"{name}: seed {seed}, scale {scale:.2f}, margin {margin:.4f}, float32 error {error:.2g}")
    if margin < 1e-3 * scale or error > 2e-5 * scale:
        return False
    np.array(tokens, dtype="<i4").tofile(folder / "tokens.i32")
    logits.numpy().astype("<f4").tofile(folder / "logits.f32")
    return True


if __name__ == "__main__":
    torch.set_num_threads(1)
    for checkpoint in sys.argv[1:] or [name for name in CHECKPOINTS if name not in MADE]:
        attempt = 1
        while not record(checkpoint, CHECKPOINTS[checkpoint], attempt):
            attempt += 1
