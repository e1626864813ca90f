"""Perplexity of models over a text, each paragraph (what blank lines part) a text of its own.

    ./dev bench perplexity MODEL... [--text FILE]     (default: conversations in Ringlet's world)
    ./dev bench perplexity                            Ringlet in every type: a table
    ./dev bench perplexity --families                 and small random models of three families

Without a model each type is also widened to f32 and asked again: there only the rounding of activations differs.

A model is a directory or a GGUF file; all must have the same tokenizer as the first for the last column to mean
something. A paragraph's first token has no probability; the others' are what prompt_logprobs says. Of conversations
only what the assistant says counts: a chat model was not trained to foretell its users.
"""

import argparse
import math
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import gguf_random  # noqa: E402
from scored import Scorer, conversations  # noqa: E402

OUT = ROOT / "build" / "bench"
TYPES = ["bf16", "f16", "q8_0", "q6_k", "q5_k_m", "q5_k", "q5_1", "q5_0", "q4_k_m", "q4_k", "q4_1", "q4_0", "q3_k_m", "q3_k",
         "q2_k"]


def said(ids, begin, end):
    """Which tokens lie behind `begin`, up to and with `end`."""
    inside, flags = False, []
    for i, token in enumerate(ids):
        flags.append(inside)
        inside = ids[max(0, i + 1 - len(begin)):i + 1] == begin or (inside and token != end)
    return flags


def perplexity(model, texts, answers_only):
    """Perplexity and number of scored tokens."""
    total, num = 0.0, 0
    with Scorer(model) as scorer:
        begin, end = (scorer.tokens("<|im_start|>assistant\n"), scorer.tokens("<|im_end|>")[0]) if answers_only else ([], -1)
        for text in texts:
            ids = scorer.tokens(text)
            counted = said(ids, begin, end) if answers_only else [True] * len(ids)
            own = [p for p, counts in zip(scorer.scores(ids)[1], counted[1:]) if counts] if len(ids) > 1 else []
            total += sum(own)
            num += len(own)
    return math.exp(-total / num), num


def quantized(source, out, kind):
    """`tokenring quantize`; None when it refuses."""
    out.unlink(missing_ok=True)
    run = subprocess.run([os.environ["TOKENRING"], "quantize", str(source), str(out), "--type", kind], capture_output=True,
                         text=True, stdin=subprocess.DEVNULL)
    if run.returncode != 0:
        print(run.stderr.strip(), file=sys.stderr)
    return out if run.returncode == 0 else None


def size_of(path):
    path = pathlib.Path(path)
    return sum(f.stat().st_size for f in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size


def print_models(models, texts, answers_only):
    print("| model | MB | perplexity | tokens | more than the first |\n| --- | --- | --- | --- | --- |")
    first = None
    for path in models:
        value, num = perplexity(path, texts, answers_only)
        first = first or value
        print(f"| {path} | {size_of(path) / 1e6:.1f} | {value:.4f} | {num} | {100 * value / first - 100:+.2f} % |", flush=True)


def print_types(source, name, texts, answers_only):
    """A model in every type, beside the same weights as f32."""
    first, num = perplexity(source, texts, answers_only)
    print(f"\n{name}: {first:.4f} as it is, {num} tokens\n\n| type | MB | perplexity | more | than the same in f32 |\n"
          "| --- | --- | --- | --- | --- |")
    for kind in TYPES:
        path = quantized(source, OUT / f"{name}-ppl-{kind}.gguf", kind)
        wide = quantized(path, OUT / f"{name}-ppl-wide.gguf", "f32") if path else None
        if wide is None:
            continue
        value, of_wide = perplexity(path, texts, answers_only)[0], perplexity(wide, texts, answers_only)[0]
        print(f"| {kind.upper()} | {size_of(path) / 1e6:.1f} | {value:.4f} | {100 * value / first - 100:+.2f} % | "
              f"{100 * value / of_wide - 100:+.3f} % |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--families", action="store_true")
    chosen = parser.parse_args()
    texts = [t for t in chosen.text.read_text().split("\n\n") if t.strip()] if chosen.text else conversations()
    if chosen.models:
        print_models(chosen.models, texts, not chosen.text)
        return
    OUT.mkdir(parents=True, exist_ok=True)
    print_types(ROOT / "models" / "ringlet", "ringlet", texts, not chosen.text)
    for shape in ("tiny", "tiny-qwen2", "tiny-qwen3") if chosen.families else ():
        source = OUT / f"{shape}-f32.gguf"
        gguf_random.write_model(source, shape, "f32")
        print_types(source, shape, texts[:4], False)


if __name__ == "__main__":
    main()
