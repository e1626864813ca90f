"""Tiny checkpoints of many families whose weights are made, and what HF transformers makes of them.

    python tests/golden/families_made.py [NAME ...]      (torch, transformers 5, safetensors)

What is written, and how weights are made: made.py. These show what families.py and families_moe.py do
not: heads as wide as in real models, the rest of the scalings of positions beyond their original
context, windows by other rules, biases that are usual nowhere, routing of other kinds. Gemma's widths
are squares: its embedding's scale is rounded to the checkpoint's type, which float32 here is not.

DeepSeek-V2's norm_topk_prob is not in transformers: its rule is the original modeling_deepseek.py's,
put in the router's place here.
"""

import json
import pathlib
import sys
import tempfile

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.deepseek_v2 import modeling_deepseek_v2

import families
import families_moe
import made

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             intermediate_size=40, vocab_size=72, max_position_embeddings=256, rms_norm_eps=1e-6)
MOE = dict(num_experts_per_tok=2, moe_intermediate_size=20)
LATENT = dict(kv_lora_rank=24, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10,
              num_key_value_heads=2, first_k_dense_replace=1, n_shared_experts=1)
SLIDING, FULL = "sliding_attention", "full_attention"
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=64)
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=4.0)
FACTORS = [round(1.0 + 0.07 * i * i, 4) for i in range(48)]

CHECKPOINTS = {
    "llama_yarn": dict(
        model_type="llama", head_dim=64, attention_bias=True, mlp_bias=True, hidden_act="gelu",
        dtype="float16", rope_parameters=YARN | dict(
            attention_factor=1.3, beta_fast=16.0, beta_slow=2.0, truncate=False)),
    "llama_tied": dict(
        model_type="llama", num_attention_heads=4, num_key_value_heads=2, hidden_size=64,
        rope_parameters=LLAMA3, tie_word_embeddings=True, dtype="bfloat16"),
    "mistral_tied_yarn": dict(
        model_type="mistral", head_dim=128, sliding_window=None, tie_word_embeddings=True,
        rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=0.5)),
    "qwen2_layer_types": dict(
        model_type="qwen2", num_hidden_layers=4, use_sliding_window=True, sliding_window=7,
        layer_types=[SLIDING, FULL, FULL, SLIDING], rope_parameters=LINEAR),
    "qwen3_window": dict(
        model_type="qwen3", head_dim=128, num_hidden_layers=3, use_sliding_window=True,
        sliding_window=19, max_window_layers=1, rope_parameters=YARN, dtype="bfloat16"),
    "phi_gqa": dict(
        model_type="phi", num_attention_heads=4, num_key_value_heads=2, hidden_size=64,
        partial_rotary_factor=0.5, hidden_act="gelu_new", layer_norm_eps=1e-5,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0,
                             partial_rotary_factor=0.5)),
    "phi3_window": dict(
        model_type="phi3", hidden_size=192, num_attention_heads=2, sliding_window=30, dtype="bfloat16",
        rope_parameters=dict(rope_type="default", rope_theta=10000.0), pad_token_id=0,
        eos_token_id=1),
    "phi3_beyond": dict(
        model_type="phi3", hidden_size=192, num_attention_heads=2, sliding_window=None,
        original_max_position_embeddings=32, max_position_embeddings=256, pad_token_id=0,
        eos_token_id=1, rope_parameters=dict(
            rope_type="longrope", rope_theta=10000.0, short_factor=[1.0] * 48, long_factor=FACTORS,
            attention_factor=1.15, original_max_position_embeddings=32)),
    "gemma_linear": dict(
        model_type="gemma", head_dim=64, hidden_size=64, hidden_activation="gelu_pytorch_tanh",
        tie_word_embeddings=True, rope_parameters=LINEAR, dtype="float16"),
    "gemma2_bias": dict(
        model_type="gemma2", head_dim=16, num_hidden_layers=3, attention_bias=True,
        query_pre_attn_scalar=32, sliding_window=11, attn_logit_softcapping=3.0,
        final_logit_softcapping=4.0, tie_word_embeddings=False, rope_parameters=YARN),
    "gemma2_plain": dict(
        model_type="gemma2", head_dim=32, hidden_size=64, num_hidden_layers=6, query_pre_attn_scalar=32,
        sliding_window=40, attn_logit_softcapping=5.0, final_logit_softcapping=12.0,
        tie_word_embeddings=True),
    "gemma3_caps": dict(
        model_type="gemma3_text", head_dim=32, hidden_size=64, num_hidden_layers=7, attention_bias=True,
        query_pre_attn_scalar=24, sliding_window=10, final_logit_softcapping=3.0,
        tie_word_embeddings=False, dtype="bfloat16",
        rope_parameters={FULL: YARN, SLIDING: dict(rope_type="default", rope_theta=2000.0)}),
    "olmo2_tied": dict(
        model_type="olmo2", tie_word_embeddings=True, num_attention_heads=4, num_key_value_heads=1,
        rope_parameters=YARN, dtype="bfloat16", eos_token_id=1),
    "mixtral_one": dict(
        model_type="mixtral", num_local_experts=3, num_experts_per_tok=1, head_dim=32,
        rope_parameters=LLAMA3),
    "qwen2_moe_window": dict(
        MOE, model_type="qwen2_moe", num_hidden_layers=4, num_experts=4, norm_topk_prob=True,
        shared_expert_intermediate_size=24, qkv_bias=False, use_sliding_window=True,
        sliding_window=13, max_window_layers=3, dtype="bfloat16"),
    "qwen2_moe_layer_types": dict(
        MOE, model_type="qwen2_moe", num_hidden_layers=3, num_experts=4, num_key_value_heads=2,
        shared_expert_intermediate_size=24, use_sliding_window=True, sliding_window=21,
        layer_types=[FULL, SLIDING, FULL]),
    "qwen2_moe_plain": dict(
        MOE, model_type="qwen2_moe", num_experts=6, num_experts_per_tok=3, num_key_value_heads=2,
        shared_expert_intermediate_size=28, rope_parameters=YARN, dtype="bfloat16"),
    "qwen3_moe_window": dict(
        MOE, model_type="qwen3_moe", num_hidden_layers=3, num_experts=6, head_dim=128,
        decoder_sparse_step=2, use_sliding_window=True, sliding_window=17, rope_parameters=YARN),
    "deepseek_v2_normed": dict(
        LATENT | MOE, model_type="deepseek_v2", q_lora_rank=16, n_routed_experts=6,
        topk_method="group_limited_greedy", n_group=3, topk_group=2, routed_scaling_factor=3.0,
        norm_topk_prob=True, num_hidden_layers=3, dtype="bfloat16"),
    "deepseek_v2_wide": dict(
        LATENT | dict(kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128),
        **MOE, model_type="deepseek_v2", q_lora_rank=None, n_routed_experts=4, topk_method="greedy",
        n_group=1, topk_group=1, tie_word_embeddings=True),
    "deepseek_v3_raw": dict(
        LATENT | MOE, model_type="deepseek_v3", q_lora_rank=14, n_routed_experts=6, n_group=1,
        topk_group=1, routed_scaling_factor=1.5, norm_topk_prob=False, n_shared_experts=2,
        tie_word_embeddings=True, attention_bias=True,
        rope_parameters=YARN | dict(factor=40.0, mscale=1.0, mscale_all_dim=1.0)),
}

TYPES = dict(float32="F32", bfloat16="BF16", float16="F16")
plain_route = modeling_deepseek_v2.DeepseekV2TopkRouter.forward


def route_normed(self, hidden_states):
    logits, weights, experts = plain_route(self, hidden_states)
    weights = weights / self.routed_scaling_factor
    return logits, weights / (weights.sum(dim=-1, keepdim=True) + 1e-20), experts


def row_of(name, shape, dtype, settings):
    minus_one = settings["model_type"].startswith("gemma")
    if "norm" in name and name.endswith("weight"):
        return made.row_of(name, dtype, 0.35, 0.0 if minus_one else 1.0, shape)
    if name.endswith("e_score_correction_bias"):
        return made.row_of(name, "F32", 0.2, 0.3, shape)
    if name.endswith("bias"):
        return made.row_of(name, dtype, 0.5, 0.0, shape)
    if "embed" in name:
        return made.row_of(name, dtype, 0.17 if minus_one else 0.7, 0.0, shape)
    return made.row_of(name, dtype, 2.4 / shape[-1]**0.5, 0.0, shape)


def config_of(settings):
    """As transformers saves it, and a model of it saved under the names that published files have."""
    torch_dtype = settings.pop("dtype", "float32")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**(SIZES | settings)))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        with safe_open(pathlib.Path(folder) / "model.safetensors", "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    del config["transformers_version"]
    config["dtype"] = torch_dtype
    if settings.get("norm_topk_prob") is not None:
        config["norm_topk_prob"] = settings["norm_topk_prob"]
    rows = [row_of(name, shape, TYPES[torch_dtype], settings) for name, shape in shapes.items()]
    return config, rows


def dense_of(name):
    """Of families.py: its config.json as it is written there."""
    settings = families.settings_of(name)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(settings))
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    tied = settings.get("tie_word_embeddings", settings["model_type"].startswith("gemma"))
    return settings, [row_of(tensor, list(value.shape), TYPES[settings["torch_dtype"]], settings)
                      for tensor, value in sorted(model.state_dict().items())
                      if not (tied and tensor == "lm_head.weight")]


def load(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager",
                                                 experts_implementation="eager").eval()
    return lambda tokens: model(torch.tensor([tokens]), use_cache=False).logits[0]


def record(name):
    normed = name == "deepseek_v2_normed"
    modeling_deepseek_v2.DeepseekV2TopkRouter.forward = route_normed if normed else plain_route
    if name in families.MADE:
        config, rows = dense_of(name)
    elif name in families_moe.MADE:
        config, rows = config_of(families_moe.SIZES | families_moe.CHECKPOINTS[name])
    else:
        config, rows = config_of(dict(CHECKPOINTS[name]))
    made.record(name, config, rows, load)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for checkpoint in sys.argv[1:] or [*CHECKPOINTS, *families.MADE, *families_moe.MADE]:
        record(checkpoint)
