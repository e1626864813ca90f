"""Weights that a generator repeats: what families_made.py and families_deep.py share.

A checkpoint's tensors.txt has a line "seed N" and one for each tensor, in the order of the file:

    NAME DTYPE SCALE OFFSET DIM...

Seed x of a tensor is FNV-1a, 32 bits, of its name, followed by "#N" unless N is 0. Each value takes
x = 1664525 x + 1013904223 mod 2^32 and is OFFSET + SCALE ((x >> 8) / 8388608 - 1), rounded to DTYPE; of
I64 it is (x >> 8) mod SCALE. SCALE and OFFSET are float32, so that nothing but the last step rounds.
make_checkpoint.c makes the same safetensors of it, and only the list is kept.

Recorded beside it are
    config.json
    tokens.i32   [128] int32, little endian: a prompt of 96 and the 32 that follow it greedily
    logits.f32   [128][vocab_size] float, little endian: of all of them, in float32, without a cache

A seed is taken only where nothing is near a tie: the best token is ahead by a thousandth of the
logits' scale, and the same model in float64 differs by little.
"""

import json
import pathlib
import shutil
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
PROMPT, WRITTEN = 96, 32
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def raw_values(name, seed, num):
    x = 2166136261
    for byte in (f"{name}#{seed}" if seed else name).encode():
        x = (x ^ byte) * 16777619 % 2**32
    a, c = np.uint64(1664525), np.uint64(1013904223)
    low = np.uint64(0xFFFFFFFF)
    out = np.array([(int(a) * x + int(c)) % 2**32], dtype=np.uint64)
    while len(out) < num:  # what lies len(out) steps ahead is a' x + c'
        out = np.concatenate([out, (a * out + c) & low])
        a, c = a * a & low, (a * c + c) & low
    return (out[:num] >> np.uint64(8)).astype(np.int64)


def tensor_of(row, seed):
    name, dtype, scale, offset, shape = row
    raw = raw_values(name, seed, int(np.prod(shape)))
    if dtype == "I64":
        return torch.from_numpy(raw % int(scale)).reshape(shape)
    values = offset + scale * (raw / 8388608.0 - 1.0)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape).to(DTYPES[dtype])


def row_of(name, dtype, scale, offset, shape):
    return name, dtype, float(np.float32(scale)), float(np.float32(offset)), tuple(shape)


def write_list(path, rows, seed):
    lines = [f"seed {seed}"]
    lines += [" ".join([name, dtype, f"{scale:.9g}", f"{offset:.9g}", *map(str, shape)])
              for name, dtype, scale, offset, shape in rows]
    path.write_text("\n".join(lines) + "\n")


def write_tokens(name, logits_of, vocab, seed):
    torch.manual_seed(1000 + seed)
    tokens = torch.randint(0, vocab, (PROMPT,)).tolist()
    margin = float("inf")
    for _ in range(WRITTEN):
        best = logits_of(tokens)[-1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    return tokens, margin


@torch.no_grad()
def try_seed(name, config, rows, load, seed):
    """`load(folder, dtype)` gives a function of tokens that gives their logits."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        save_file({row[0]: tensor_of(row, seed) for row in rows}, folder / "model.safetensors",
                  metadata={"format": "pt"})
        logits_of = load(folder, torch.float32)
        tokens, margin = write_tokens(name, logits_of, config["vocab_size"], seed)
        logits = logits_of(tokens)
        error = float((logits.double() - load(folder, torch.float64)(tokens)).abs().max())
    scale, different = float(logits.abs().max()), len(set(tokens[PROMPT:]))
    print(f"{name}: seed {seed}, scale {scale:.2f}, margin {margin:.4f}, float32 error {error:.2g}, "
          f"{different} different tokens", flush=True)
    if margin < 1e-3 * scale or error > 4e-6 * scale or different < 5:
        return False
    to = HERE / "made" / name
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    (to / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_list(to / "tensors.txt", rows, seed)
    np.array(tokens, dtype="<i4").tofile(to / "tokens.i32")
    logits.float().numpy().astype("<f4").tofile(to / "logits.f32")
    return True


def record(name, config, rows, load):
    assert any(try_seed(name, config, rows, load, seed) for seed in range(1, 40)), name
