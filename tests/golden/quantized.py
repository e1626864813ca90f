"""Tiny checkpoints whose matrices are quantized, and what HF transformers computes from what they mean.

    python tests/golden/quantized.py [NAME ...]          (torch, transformers 5, safetensors, compressed-tensors)

Writes, for each checkpoint, quantized/NAME/ with
    config.json, model.safetensors: packed as AutoGPTQ, AutoAWQ, llm-compressor, fbgemm and DeepSeek write it
    tokens.i32   [64] int32, little endian
    logits.f32   [64][vocab_size] float, little endian: of the dequantized weights, in float32

What a format means is written here from its description, in float64, and rounded to float once. Where a package can
say it too it is asked, and has to say the same: compressed-tensors unpacks and dequantizes its own formats,
transformers loads FP8 blocks dequantized.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
NUM_TOKENS = 64
F8 = torch.float8_e4m3fn


# --- formats: each gives the tensors of W [N][K] and, in float64, what they mean ---------------------------------


def words(values, per, axis):
    """Neighbours along an axis in 32 bits, the first lowest."""
    values = np.moveaxis(values.astype(np.uint32), axis, -1)
    bits = 32 // per
    pad = -values.shape[-1] % per
    values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, pad)])
    values = values.reshape(*values.shape[:-1], -1, per)
    shifts = (np.arange(per, dtype=np.uint32) * np.uint32(bits))
    packed = np.bitwise_or.reduce(values << shifts, axis=-1).astype(np.uint32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(packed, -1, axis)).view(np.int32))


def e4m3_values():
    """By the formula: sign, exponent of bias 7, three bits."""
    codes = np.arange(256)
    e, m, sign = codes >> 3 & 15, codes & 7, np.where(codes & 128, -1.0, 1.0)
    values = np.where(e == 0, m * 2.0**-9, (1 + m / 8) * 2.0 ** (e - 7.0))
    values[(codes & 127) == 127] = np.nan
    return sign * values


def fp8(w, scale, shared):
    """Codes of w / scale, where `shared` spreads scale over w; the mean of them."""
    spread = shared(scale.astype(np.float64))
    codes = torch.from_numpy(w / spread).float().clamp(-448, 448).to(F8)
    meant = e4m3_values()[codes.view(torch.uint8).numpy()]
    return codes, meant * spread


def fp8_tensor(w, rng):
    scale = np.array(np.abs(w).max() / 448, dtype=np.float32)
    codes, meant = fp8(w, scale, lambda s: s)
    return {"weight": codes, "weight_scale": torch.tensor(float(scale)),
            "input_scale": torch.tensor(0.02)}, meant


def fp8_block(rows, cols, dtype=torch.float32, name="weight_scale_inv"):
    def quantize(w, rng):
        n, k = -(-w.shape[0] // rows), -(-w.shape[1] // cols)
        spread = lambda s: np.repeat(np.repeat(s, rows, 0), cols, 1)[: w.shape[0], : w.shape[1]]
        most = np.array([[np.abs(w[i * rows:(i + 1) * rows, j * cols:(j + 1) * cols]).max()
                          for j in range(k)] for i in range(n)])
        scale = torch.from_numpy(most / 448).to(dtype)
        codes, meant = fp8(w, scale.double().numpy(), spread)
        return {"weight": codes, name: scale}, meant
    return quantize


def fp8_rows(dtype):
    def quantize(w, rng):
        scale = torch.from_numpy(np.abs(w).max(1, keepdims=True) / 448).to(dtype)
        codes, meant = fp8(w, scale.double().numpy(), lambda s: s)
        return {"weight": codes, "weight_scale": scale}, meant
    return quantize


def integers(w, bits, groups, symmetric, dtype):
    """q and zeros from 0 on, scales; [N][K] and [N][G]. Every row has its own."""
    most = 2**bits - 1
    num = groups.max() + 1
    scale, zero = np.zeros((w.shape[0], num)), np.zeros((w.shape[0], num))
    for g in range(num):
        part = w[:, groups == g]
        if symmetric:
            scale[:, g] = np.abs(part).max(1) / (most // 2)
            zero[:, g] = most // 2 + 1
        else:
            low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
            scale[:, g] = (high - low) / most
            zero[:, g] = np.clip(np.round(-low / scale[:, g]), 0, most)
    scale = torch.from_numpy(scale).to(dtype)
    exact = scale.double().numpy()[:, groups]
    q = np.clip(np.round(w / exact) + zero[:, groups], 0, most)
    return q, scale, zero, exact * (q - zero[:, groups])


def neighbours(k, group):
    return np.arange(k) // (k if group < 0 else group)


def gptq(bits, group, symmetric, act_order=False, plus_one=True, bias=False):
    """Words of inputs; zeros stored as one less in version 1, modulo the word's part."""
    def quantize(w, rng):
        n, k = w.shape
        groups = neighbours(k, group)
        if act_order:
            groups = groups[rng(k)]
        q, scale, zero, meant = integers(w, bits, groups, symmetric, torch.float16)
        stored = (zero - 1) % 2**bits if plus_one else zero
        per = 32 // bits
        tensors = {"qweight": words(q.T, per, 0), "qzeros": words(stored.T, per, 1),
                   "scales": scale.T.contiguous(), "g_idx": torch.from_numpy(groups.astype(np.int32))}
        if bias:
            tensors["bias"] = torch.zeros(n, dtype=torch.float16)
        return tensors, meant
    return quantize


def awq(group):
    """Words of eight outputs in the order 0 2 4 6 1 3 5 7."""
    def pack(values):
        order = np.arange(values.shape[1]).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].ravel()
        return words(values[:, order], 8, 1)

    def quantize(w, rng):
        q, scale, zero, meant = integers(w, 4, neighbours(w.shape[1], group), False, torch.float16)
        return {"qweight": pack(q.T), "qzeros": pack(zero.T), "scales": scale.T.contiguous()}, meant
    return quantize


def packed(bits, group, symmetric, act_order=False, dtype=torch.bfloat16):
    """compressed-tensors: words of inputs in rows, zeros in words of outputs."""
    def quantize(w, rng):
        n, k = w.shape
        groups = neighbours(k, group)
        if act_order:
            groups = groups[rng(k)]
        q, scale, zero, meant = integers(w, bits, groups, symmetric, dtype)
        per = 32 // bits
        tensors = {"weight_packed": words(q, per, 1), "weight_scale": scale,
                   "weight_shape": torch.tensor([n, k])}
        if not symmetric:
            tensors["weight_zero_point"] = words(zero, per, 0)
        if act_order:
            tensors["weight_g_idx"] = torch.from_numpy(groups.astype(np.int32))
        ask_compressed(tensors, bits, n, k, groups, meant)
        return tensors, meant
    return quantize


def int_rows(w, rng):
    q, scale, zero, meant = integers(w, 8, neighbours(w.shape[1], -1), True, torch.bfloat16)
    return {"weight": torch.from_numpy((q - 128).astype(np.int8)), "weight_scale": scale}, meant


def ask_compressed(tensors, bits, n, k, groups, meant):
    from compressed_tensors.compressors.pack_quantized import unpack_from_int32
    q = unpack_from_int32(tensors["weight_packed"], bits, torch.Size([n, k])).double().numpy()
    zero = 0
    if "weight_zero_point" in tensors:
        shape = torch.Size([n, groups.max() + 1])
        zero = unpack_from_int32(tensors["weight_zero_point"], bits, shape, packed_dim=0)
        zero = zero.double().numpy()[:, groups]
    found = tensors["weight_scale"].double().numpy()[:, groups] * (q - zero)
    assert np.array_equal(found, meant), np.abs(found - meant).max()


# --- checkpoints ---------------------------------------------------------------------------------------------------


def compressed(fmt, weights, ignore=("lm_head",), **more):
    return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": None}},
            "ignore": list(ignore)} | more


LLAMA = dict(model_type="llama", hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=80, max_position_embeddings=256, rms_norm_eps=1e-5,
             tie_word_embeddings=False, dtype="bfloat16")
MIXTRAL = LLAMA | dict(model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, intermediate_size=64,
                       sliding_window=None, head_dim=16)
DEEPSEEK = LLAMA | dict(
    model_type="deepseek_v3", intermediate_size=72, num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=32,
    qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, n_routed_experts=8, num_experts_per_tok=3,
    n_shared_experts=1, moe_intermediate_size=20, first_k_dense_replace=1, n_group=4, topk_group=2,
    routed_scaling_factor=2.5, norm_topk_prob=True)
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False}

# Every packing; scales of each kind and dtype; groups of neighbours, of all inputs and in any order; blocks that end
# within a matrix; zeros stored plainly and as one less; a bias that is none; matrices that stay plain; experts; latents;
# orders that differ where matrices are joined.
CHECKPOINTS = {
    "fp8_tensor": (LLAMA | dict(dtype="float32"), fp8_tensor,
                   {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}),
    "fp8_block_128": (LLAMA | dict(hidden_size=160, intermediate_size=144, num_attention_heads=10, num_hidden_layers=1),
                      fp8_block(128, 128),
                      {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
                       "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}),
    "fp8_fbgemm": (LLAMA, fp8_rows(torch.float32),
                   {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}),
    "ct_fp8_channel": (LLAMA, fp8_rows(torch.bfloat16),
                       compressed("float-quantized", {"num_bits": 8, "type": "float", "symmetric": True,
                                                      "strategy": "channel", "dynamic": False})),
    "ct_int8": (LLAMA | dict(attention_bias=True), int_rows,
                compressed("int-quantized", {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"})),
    "ct_int4_group": (LLAMA, packed(4, 32, True),
                      compressed("pack-quantized", {"num_bits": 4, "type": "int", "symmetric": True,
                                                    "strategy": "group", "group_size": 32})),
    "ct_int4_order": (LLAMA, packed(4, 16, False, act_order=True, dtype=torch.float16),
                      compressed("pack-quantized", {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group",
                                                    "group_size": 16, "actorder": "group"})),
    "gptq_128": (LLAMA | dict(hidden_size=128, intermediate_size=128, num_hidden_layers=1, dtype="float16"),
                 gptq(4, 128, False, bias=True), GPTQ | {"group_size": 128}),
    "gptq_order": (LLAMA | dict(dtype="float16"), gptq(4, 16, True, act_order=True),
                   GPTQ | {"group_size": 16, "desc_act": True, "sym": True}),
    "gptq_v2_8bit": (LLAMA, gptq(8, -1, False, plus_one=False),
                     GPTQ | {"bits": 8, "group_size": -1, "checkpoint_format": "gptq_v2"}),
    "awq_32": (LLAMA | dict(dtype="float16"), awq(32),
               {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}),
    "mixtral_awq": (MIXTRAL | dict(dtype="float16", num_hidden_layers=1), awq(32),
                    {"quant_method": "awq", "w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM",
                     "modules_to_not_convert": ["gate"]}),
    "deepseek_fp8": (DEEPSEEK, fp8_block(16, 32),
                     {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
                      "weight_block_size": [16, 32], "scale_fmt": "ue8m0"}),
    "gptq_orders_apart": (LLAMA | dict(num_hidden_layers=1, dtype="float16"), gptq(4, 32, False, act_order=True),
                          GPTQ | {"desc_act": True}),
    "awq_some": (LLAMA | dict(num_hidden_layers=1, dtype="float16"), awq(32),
                 {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm",
                  "modules_to_not_convert": ["v_proj", "up_proj"]}),
    "ct_fp8_some": (LLAMA | dict(num_hidden_layers=1), fp8_rows(torch.bfloat16),
                    compressed("float-quantized", {"num_bits": 8, "type": "float", "symmetric": True,
                                                   "strategy": "channel", "dynamic": False},
                               ["lm_head", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.gate_proj"])),
    "mixtral_awq_some": (MIXTRAL | dict(dtype="float16", num_hidden_layers=1, num_local_experts=2), awq(32),
                         {"quant_method": "awq", "w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM",
                          "modules_to_not_convert": ["gate", "w3"]}),
}


def is_quantized(name, spared=()):
    plain = ("embed", "lm_head", "norm", "bias", ".gate.", "e_score", *spared)
    return name.endswith(".weight") and not any(part in name for part in plain)


def random_tensor(name, shape):
    value = torch.randn(shape)
    if "norm" in name:
        return 1.0 + 0.2 * value
    if name.endswith("e_score_correction_bias"):
        return 0.3 * value.abs()
    if name.endswith("bias"):
        return 0.3 * value
    return value * (0.4 if "embed" in name else 1.5 / shape[-1] ** 0.5)


def shapes_of(settings, folder):
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings)).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return {name: value.shape for name, value in sorted(load_file(folder / "model.safetensors").items())}


def quantize_all(shapes, settings, quantize, apart=False, spared=()):
    """The checkpoint's tensors, and what they mean as float32. Matrices that read the same have the same order."""
    tensors, meant, orders = {}, {}, {}
    for name, shape in shapes.items():
        value = random_tensor(name, shape)
        if not is_quantized(name, spared):
            tensors[name] = value.to(getattr(torch, settings["dtype"]))
            meant[name] = tensors[name].float()
            continue
        kind = "in" if any(part in name for part in ("q_proj", "k_proj", "v_proj")) else name.split(".")[-2]
        kind = "ffn" if kind in ("gate_proj", "up_proj") else kind
        kind = name if apart else kind
        key = (name.split(".layers.")[1].split(".")[0], kind)
        order = lambda k: orders.setdefault(key, np.random.permutation(k))
        parts, values = quantize(value.double().numpy(), order)
        tensors |= {name.removesuffix("weight") + part: tensor for part, tensor in parts.items()}
        meant[name] = torch.from_numpy(values.astype(np.float32))
    return tensors, meant


def logits_of(folder, tokens):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                 experts_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False).logits[0].numpy()


def ask_transformers():
    """FP8 blocks, loaded dequantized. It takes a matrix for whole blocks, so this one has such."""
    from transformers import FineGrainedFP8Config
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tensors, meant = quantize_all(shapes_of(LLAMA, folder), LLAMA, fp8_block(32, 32))
        written = json.loads((folder / "config.json").read_text())
        written["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [32, 32],
                                          "activation_scheme": "dynamic", "modules_to_not_convert": ["lm_head"]}
        (folder / "config.json").write_text(json.dumps(written))
        save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors",
                  metadata={"format": "pt"})
        config = FineGrainedFP8Config(dequantize=True, weight_block_size=[32, 32], modules_to_not_convert=["lm_head"])
        state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                     quantization_config=config).state_dict()
    asked = [name for name in meant if is_quantized(name)]
    most = max(float((state[name].float() - meant[name]).abs().max() / meant[name].abs().max()) for name in asked)
    print(f"transformers dequantizes {len(asked)} matrices alike to {most:.1e}")
    assert most < 1e-6, most


def record(name):
    settings, quantize, config = CHECKPOINTS[name]
    folder = HERE / "quantized" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spared = config.get("modules_to_not_convert", config.get("ignore", [])) if name.endswith("some") else ()
    tensors, meant = quantize_all(shapes_of(settings, folder), settings, quantize, name.endswith("apart"), spared)
    written = json.loads((folder / "config.json").read_text())
    written["dtype"] = settings["dtype"]
    del written["transformers_version"]
    tokens = np.random.randint(0, settings["vocab_size"], NUM_TOKENS).astype("<i4")
    with tempfile.TemporaryDirectory() as plain:
        plain = pathlib.Path(plain)
        (plain / "config.json").write_text(json.dumps(written))
        save_file({n: t.contiguous() for n, t in meant.items()}, plain / "model.safetensors", metadata={"format": "pt"})
        logits = logits_of(plain, tokens)
    (folder / "config.json").write_text(json.dumps(written | {"quantization_config": config}, indent=1) + "\n")
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    tokens.tofile(folder / "tokens.i32")
    logits.astype("<f4").tofile(folder / "logits.f32")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {len(tensors)} tensors, {size} bytes, scale {abs(logits).max():.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for checkpoint in sys.argv[1:] or CHECKPOINTS:
        seed = list(CHECKPOINTS).index(checkpoint)
        torch.manual_seed(seed)
        np.random.seed(seed)
        record(checkpoint)
    ask_transformers()
