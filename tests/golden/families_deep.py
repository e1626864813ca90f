"""Tiny checkpoints of DeepForCausalLM, and what its own code makes of them.

    python tests/golden/families_deep.py CLONE [NAME ...]      (torch, safetensors, git)

CLONE is a clone of Complexity-ML/complexity-deep with its history: each checkpoint names the commit
whose classes compute it, on the whole sequence and without a cache (with one, a new query's mask is
aligned to the first key). What is written, and how weights are made: made.py.
"""

import importlib
import inspect
import json
import pathlib
import subprocess
import sys
import tempfile

sys.modules["triton"] = None  # its kernels take SiLU whatever the configuration says
import torch
from safetensors.torch import load_file

import made

A_0_4, A_0_7_1, A_0_9, A_0_14, B = "45aa65c", "fd98323", "c348ecc", "84c79d2", "75d0197"

SIZES = dict(architectures=["DeepForCausalLM"], model_type="complexity-deep", vocab_size=72,
             hidden_size=32, intermediate_size=72, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, num_experts=3, max_position_embeddings=256,
             rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=True, use_qk_norm=True,
             use_token_routed_mlp=True, dynamics_controller_hidden=6, dynamics_dt=0.1)

# Both families and A's older versions: experts (each for itself, stacked, fused) and dense MLPs, a
# router of mu that outvotes the table, the highway (in 0.14 alone), mu to q and k alone (0.9) and to
# nothing (0.7.1 and 0.4, which knew no limits and is kept from reaching them), a window, without
# norms of q and k, without guidance; tied and untied.
CHECKPOINTS = {
    "deep_a": dict(commit=A_0_14, dtype="BF16"),
    "deep_a_dense_window": dict(
        commit=A_0_14, use_token_routed_mlp=False, hidden_act="gelu", use_qk_norm=False,
        num_key_value_heads=4, sliding_window=24, tie_word_embeddings=False, dynamics_dt=0.3,
        rms_norm_eps=1e-4, rope_theta=3000.0, intermediate_size=40, num_hidden_layers=3),
    "deep_a_mu_to_qk": dict(commit=A_0_9, num_experts=4, num_hidden_layers=3),
    "deep_a_early": dict(commit=A_0_7_1, num_experts=5, intermediate_size=50, hidden_act="gelu",
                         num_hidden_layers=3, model_type="deep"),
    "deep_a_first": dict(commit=A_0_4, num_hidden_layers=3, num_key_value_heads=1, calm=True),
    "deep_b": dict(commit=B),
    "deep_b_alone": dict(
        commit=B, use_mu_guidance=False, shared_expert=False, tie_word_embeddings=False,
        num_key_value_heads=1, num_experts=4, dtype="BF16", num_hidden_layers=3),
    "deep_b_dense": dict(
        commit=B, use_token_routed_mlp=False, use_qk_norm=False, rope_theta=500.0,
        num_key_value_heads=4, intermediate_size=48, num_hidden_layers=3),
}


def maker_of(clone, commit, folder):
    """A function of settings that gives a DeepForCausalLM, or what B calls it."""
    archive = subprocess.run(["git", "-C", clone, "archive", commit, "complexity_deep"],
                             check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
    for name in [name for name in sys.modules if name.startswith("complexity_deep")]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    modeling = importlib.import_module("complexity_deep.models.modeling")
    config = importlib.import_module("complexity_deep.models.config")
    sys.path.pop(0)
    known = inspect.signature(config.ComplexityConfig).parameters
    model_class = getattr(modeling, "DeepForCausalLM", None) or modeling.ComplexityModel
    return lambda settings: model_class(config.ComplexityConfig(
        **{key: value for key, value in settings.items() if key in known}))


def row_of(name, shape, dtype, settings):
    if name.endswith("token_to_expert"):
        return made.row_of(name, "I64", settings["num_experts"], 0.0, shape)
    if "q_norm" in name or "k_norm" in name:
        # So that attention is sharp, but not chaotic.
        return made.row_of(name, "F32", 0.3, 1.7 if "architectures" in settings else 1.2, shape)
    if name.endswith("norm.weight"):
        return made.row_of(name, "F32", 0.35, 1.0, shape)
    if name.endswith("mu_guidance.mu"):
        return made.row_of(name, "F32", 1.5, 1.0, shape)
    if name.endswith("mu_router.weight"):
        return made.row_of(name, dtype, 3.0, 0.0, shape)
    if settings.get("calm") and "controller" in name:
        return made.row_of(name, dtype, 0.5 / shape[-1]**0.5, 0.0, shape)
    if len(shape) == 1 or name.endswith("mu_init"):
        return made.row_of(name, "F32", 1.0, 0.0, shape)
    if "embed" in name:
        return made.row_of(name, dtype, 0.4 if settings["tie_word_embeddings"] else 0.8, 0.0, shape)
    inputs = shape[1]  # of [out, in] and of [expert, in, out]
    if not settings["use_qk_norm"] and "self_attn" in name:
        return made.row_of(name, dtype, 1.5 / inputs**0.5, 0.0, shape)
    gain = 4.0 if "controller" in name else 3.0 if "architectures" in settings else 2.4
    return made.row_of(name, dtype, gain / inputs**0.5, 0.0, shape)


def rows_of(model, settings, dtype):
    tied = settings["tie_word_embeddings"]
    return [row_of(name, list(value.shape), dtype, settings)
            for name, value in sorted(model.state_dict().items())
            if "rotary_emb" not in name and not (tied and name == "lm_head.weight")]


def loader(make):
    def load(folder, dtype):
        settings = json.loads((folder / "config.json").read_text())
        model = make(settings).to(dtype).eval()
        wanted = {name for name in model.state_dict() if "rotary_emb" not in name}
        tensors = {name: value.to(dtype) if value.is_floating_point() else value
                   for name, value in load_file(folder / "model.safetensors").items()}
        result = model.load_state_dict(tensors, strict=False)
        assert not result.unexpected_keys and set(result.missing_keys) & wanted <= {
            "lm_head.weight"}, result
        return lambda tokens: model(torch.tensor([tokens])).logits[0]
    return load


def record(clone, name):
    settings = SIZES | CHECKPOINTS[name]
    commit, dtype = settings.pop("commit"), settings.pop("dtype", "F32")
    calm = settings.pop("calm", False)
    if commit == B:  # as B itself writes it
        del settings["model_type"], settings["architectures"]
    with tempfile.TemporaryDirectory() as folder:
        make = maker_of(clone, commit, pathlib.Path(folder))
        made.record(name, settings, rows_of(make(settings), settings | dict(calm=calm), dtype),
                    loader(make))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for checkpoint in sys.argv[2:] or CHECKPOINTS:
        record(sys.argv[1], checkpoint)
