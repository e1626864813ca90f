"""Tiny random checkpoints of dense families, and what HF transformers makes of them.

    python tests/golden/families.py [NAME ...]          (torch, transformers 5, safetensors)

Writes, for each checkpoint, families/NAME/ with
    config.json, model.safetensors
    tokens.i32   [128] int32, little endian: a prompt of 96 and the 32 that follow it greedily
    logits.f32   [128][vocab_size] float, little endian: of all of them, in float32, without a cache

A wrapped one is recorded from the text model and then written as the text part of another model:
its configuration under text_config, its tensors behind a prefix, a tensor of another part beside.

A seed is taken only where the best token is always ahead by a thousandth of the logits' scale.
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
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SIZES = dict(hidden_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=64, vocab_size=72, max_position_embeddings=256,
             torch_dtype="bfloat16")
SLIDING, FULL = "sliding_attention", "full_attention"
FACTORS = [1.0, 1.1, 1.3, 1.7, 2.2, 2.8, 3.5, 4.3]

# What each shows: windows narrower than the prompt on all, some and oddly chosen layers; each scaling of
# positions within and beyond the original context; heads wider and narrower than hidden_size / heads;
# partial rotation; soft caps that bite; biases; tied and untied; each dtype; old and new spellings.
CHECKPOINTS = {
    "qwen2_window": dict(
        model_type="qwen2", num_attention_heads=6, use_sliding_window=True, sliding_window=16,
        max_window_layers=2, rope_theta=20000.0, rms_norm_eps=1e-6, tie_word_embeddings=False),
    "qwen2_yarn": dict(
        model_type="qwen2", use_sliding_window=False, sliding_window=16, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0,
                             original_max_position_embeddings=32),
        torch_dtype="float32", num_hidden_layers=2),
    "mistral_window": dict(
        model_type="mistral", head_dim=16, sliding_window=24, rms_norm_eps=1e-5,
        rope_theta=10000.0, tie_word_embeddings=False),
    "mistral_wrapped": dict(
        model_type="mistral", head_dim=8, sliding_window=None, rope_theta=1000000.0,
        tie_word_embeddings=False, torch_dtype="float16",
        wrapper=("mistral3", "language_model.model.", "language_model.lm_head.")),
    "qwen3_linear": dict(
        model_type="qwen3", hidden_size=40, head_dim=16, tie_word_embeddings=True,
        rope_scaling=dict(type="linear", factor=2.0), rope_theta=20000.0),
    "qwen3_layer_types": dict(
        model_type="qwen3", head_dim=32, num_key_value_heads=1, attention_bias=True,
        use_sliding_window=True, sliding_window=9,
        layer_types=[FULL, SLIDING, SLIDING, FULL], tie_word_embeddings=False,
        torch_dtype="float32", num_hidden_layers=4, hidden_size=32, vocab_size=60),
    "olmo2_gqa": dict(
        model_type="olmo2", num_attention_heads=6, num_key_value_heads=2, rms_norm_eps=1e-5,
        rope_theta=10000.0, tie_word_embeddings=False, eos_token_id=1),
    "olmo2_bias": dict(
        model_type="olmo2", num_key_value_heads=4, attention_bias=True, rope_theta=3000.0,
        tie_word_embeddings=False, torch_dtype="float32", num_hidden_layers=3, eos_token_id=1,
        rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0,
                          high_freq_factor=4.0, original_max_position_embeddings=64)),
    "phi3_long": dict(
        model_type="phi3", hidden_size=64, num_key_value_heads=2, partial_rotary_factor=0.75,
        original_max_position_embeddings=64, tie_word_embeddings=True, sliding_window=None,
        rope_theta=10000.0, pad_token_id=0, eos_token_id=1,
        rope_scaling=dict(type="longrope", short_factor=FACTORS[:6], long_factor=FACTORS[2:])),
    "phi3_short": dict(
        model_type="phi3", num_attention_heads=3, num_key_value_heads=3, sliding_window=40,
        original_max_position_embeddings=256, max_position_embeddings=4096,
        tie_word_embeddings=False, rope_theta=10000.0, pad_token_id=0, eos_token_id=1,
        rope_scaling=dict(type="longrope", short_factor=FACTORS, long_factor=FACTORS[::-1]),
        torch_dtype="float32", num_hidden_layers=2),
    "phi_partial": dict(
        model_type="phi", hidden_size=160, num_attention_heads=2, num_key_value_heads=2,
        partial_rotary_factor=0.4, hidden_act="gelu_new", layer_norm_eps=1e-5, num_hidden_layers=2,
        tie_word_embeddings=False, rope_theta=10000.0),
    "phi_qk_layernorm": dict(
        model_type="phi", qk_layernorm=True, partial_rotary_factor=0.5, hidden_act="gelu",
        layer_norm_eps=1e-4, tie_word_embeddings=False, rope_theta=5000.0, torch_dtype="float32"),
    "gemma_mqa": dict(
        model_type="gemma", hidden_size=64, num_key_value_heads=1, head_dim=32, hidden_act="gelu",
        rope_theta=10000.0, num_hidden_layers=3),
    "gemma_bias": dict(
        model_type="gemma", num_attention_heads=3, num_key_value_heads=3, head_dim=8,
        attention_bias=True, tie_word_embeddings=False, rope_theta=10000.0, torch_dtype="float32",
        num_hidden_layers=2),
    "gemma2_caps": dict(
        model_type="gemma2", hidden_size=64, head_dim=24, num_hidden_layers=5, sliding_window=20,
        query_pre_attn_scalar=20, attn_logit_softcapping=2.0, final_logit_softcapping=2.0,
        rope_theta=10000.0),
    "gemma2_layer_types": dict(
        model_type="gemma2", head_dim=12, num_hidden_layers=3, sliding_window=30,
        layer_types=[FULL, SLIDING, SLIDING], attn_logit_softcapping=None,
        final_logit_softcapping=None, query_pre_attn_scalar=7, attention_bias=True,
        rope_parameters=dict(rope_type="default", rope_theta=3000.0), torch_dtype="float32"),
    "gemma3_two_ropes": dict(
        model_type="gemma3_text", hidden_size=64, head_dim=16, num_hidden_layers=7,
        sliding_window=12, query_pre_attn_scalar=12, intermediate_size=40,
        layer_types=[SLIDING, SLIDING, FULL, SLIDING, SLIDING, FULL, SLIDING],
        rope_parameters={FULL: dict(rope_type="linear", factor=8.0, rope_theta=50000.0),
                         SLIDING: dict(rope_type="default", rope_theta=1000.0)}),
    "gemma3_wrapped": dict(
        model_type="gemma3_text", head_dim=256, num_attention_heads=1, num_key_value_heads=1,
        hidden_size=32, num_hidden_layers=3, sliding_window_pattern=2, sliding_window=33,
        rope_scaling=dict(rope_type="linear", factor=8.0), torch_dtype="float32",
        rope_theta=40000.0, rope_local_base_freq=2000.0, vocab_size=60,
        wrapper=("gemma3", "model.language_model.", "lm_head.")),
}

# Of these families_made.py keeps no weights.
MADE = {"phi_partial", "phi_qk_layernorm", "gemma2_caps", "gemma2_layer_types", "qwen3_layer_types",
        "olmo2_bias"}


def settings_of(name):
    settings = SIZES | CHECKPOINTS[name]
    return {key: value for key, value in settings.items() if key != "wrapper"}


def random_tensor(name, shape, minus_one):
    value = torch.randn(shape)
    if name.endswith("bias"):
        return 0.3 * value
    if "norm" in name:
        return 0.2 * value if minus_one else 1.0 + 0.2 * value
    if "embed" in name:
        return (0.1 if minus_one else 0.4) * value  # Gemma's is multiplied
    return value * 1.5 / shape[-1] ** 0.5


def save(folder, settings):
    (folder / "config.json").write_text(json.dumps(settings, indent=1) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    tied = settings.get("tie_word_embeddings", settings["model_type"].startswith("gemma"))
    minus_one = settings["model_type"].startswith("gemma")
    tensors = {name: random_tensor(name, value.shape, minus_one).to(DTYPES[settings["torch_dtype"]])
               for name, value in sorted(model.state_dict().items())
               if not (tied and name == "lm_head.weight")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["unexpected_keys"] and set(info["missing_keys"]) <= {"lm_head.weight"}, info
    return model.eval()


@torch.no_grad()
def logits_of(model, tokens):
    return model(torch.tensor([tokens]), use_cache=False).logits[0]


def wrap(folder, model_type, model_prefix, head_prefix):
    settings = json.loads((folder / "config.json").read_text())
    dtype = settings.pop("torch_dtype")
    config = dict(architectures=["ForConditionalGeneration"], model_type=model_type,
                  torch_dtype=dtype, text_config=settings, vision_config=dict(hidden_size=8))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {name.replace("model.", model_prefix, 1).replace("lm_head.", head_prefix, 1): value
               for name, value in load_file(folder / "model.safetensors").items()}
    other = "model." if model_prefix.startswith("model.") else ""
    tensors[other + "vision_tower.embeddings.weight"] = torch.zeros(2, 3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def record(name, seed):
    torch.manual_seed(seed)
    folder = HERE / "families" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = settings_of(name)
    save(folder, settings)
    model = load(folder)
    tokens = torch.randint(0, settings["vocab_size"], (PROMPT,)).tolist()
    margin = float("inf")
    for _ in range(WRITTEN):
        best = logits_of(model, tokens)[-1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    logits = logits_of(model, tokens)
    scale = float(logits.abs().max())
    print(f"{name}: seed {seed}, scale {scale:.2f}, margin {margin:.4f}, "
          f"{len(set(tokens[PROMPT:]))} different tokens")
    if margin < 1e-3 * scale or len(set(tokens[PROMPT:])) < 5:
        return False
    np.array(tokens, dtype="<i4").tofile(folder / "tokens.i32")
    logits.numpy().astype("<f4").tofile(folder / "logits.f32")
    if "wrapper" in CHECKPOINTS[name]:
        wrap(folder, *CHECKPOINTS[name]["wrapper"])
    return True


if __name__ == "__main__":
    torch.set_num_threads(1)
    for checkpoint in sys.argv[1:] or [name for name in CHECKPOINTS if name not in MADE]:
        assert any(record(checkpoint, seed) for seed in range(20)), checkpoint
