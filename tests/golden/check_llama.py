"""The same file here and in llama.cpp: the same tokens.

    ./dev check-llama PREFIX [ringlet|families]
                                    (an installed llama.cpp: PREFIX/include/llama.h, PREFIX/lib/libllama.so)

Ringlet in F32, F16 and BF16 has to tokenize alike and to give the same greedy tokens; in quantized types the likeliest
token has to be the same at 95 % of the positions of fixed texts, each position fed the text's own token (llama.cpp
rounds activations in its own way). Of mixtures a file of PREFIX/bin/llama-quantize, where it is there, is held beside
our own: it runs here too, and has as many bytes of each type.

Of each family a tiny random checkpoint whose logits HF transformers recorded (tests/golden/) is written by `tokenring
quantize` in F32 and in Q8_0: llama.cpp's likeliest token behind each prefix has to be HF's at every position but those
where HF's two best are nearer than a ten-thousandth of the logits' scale; in Q8_0 the share is told.
"""

import array
import os
import pathlib
import subprocess
import sys

from scored import ROOT, Scorer, conversations

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import gguf_writer  # noqa: E402

OUT = ROOT / "build" / "bench"
EXACT, ROUNDED = ["F32", "F16", "BF16"], ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
MIXTURES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M"]
LEAST = 0.95

GOLDEN = ROOT / "tests" / "golden"
# Architecture, checkpoint, and how many positions the context has.
FAMILIES = [
    ("llama", "llama/gqa_bf16_llama3", 64), ("llama", "llama/mqa_f16_biases", 64), ("llama, experts", "families/mixtral_gqa_bf16", 128),
    ("llama (mistral)", "families/mistral_wrapped", 128), ("qwen2", "families/qwen2_yarn", 128),
    ("qwen2moe", "made/qwen2_moe_plain", 128), ("qwen3", "families/qwen3_linear", 128),
    ("qwen3moe", "families/qwen3_moe_norm", 128), ("phi2", "made/phi_partial", 128), ("phi3", "families/phi3_long", 128),
    ("phi3", "families/phi3_short", 40), ("gemma", "families/gemma_mqa", 128), ("gemma2", "made/gemma2_plain", 128),
    ("gemma3", "families/gemma3_wrapped", 128), ("deepseek2 (V2-Lite)", "families/deepseek_v2_lite", 128),
    ("deepseek2 (V2)", "made/deepseek_v2_wide", 128), ("deepseek2 (V2, normed)", "made/deepseek_v2_normed", 128),
    ("deepseek2 (V3)", "families/deepseek_v3", 128),
    ("olmo2", "families/olmo2_gqa", 128),
]


class Peer:
    def __init__(self, program, model, kv, *positions):
        self.process = subprocess.Popen([str(program), str(model), kv, *map(str, positions)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return [int(word) for word in self.process.stdout.readline().split()]


def build_peer(prefix):
    program = OUT / "llama_peer"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", f"-I{prefix}/include", str(ROOT / "tests/golden/llama_peer.c"), "-o",
                    str(program), f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lllama", "-lggml", "-lggml-base"],
                   check=True)
    return program


def ringlet(kind):
    """Ringlet in a type: written here, or by `tokenring quantize`; None when there is no way."""
    path = OUT / f"ringlet-{kind.lower()}.gguf"
    if kind in gguf_writer.TYPES:
        return gguf_writer.write_ringlet(path, kind)
    source = gguf_writer.write_ringlet(OUT / "ringlet-f32.gguf", "F32")
    path.unlink(missing_ok=True)
    run = subprocess.run([os.environ["TOKENRING"], "quantize", str(source), str(path), "--type", kind.lower()],
                         capture_output=True, stdin=subprocess.DEVNULL)
    return path if run.returncode == 0 else None


def quantized_by_llama(prefix, kind):
    """Ringlet's mixture as llama-quantize makes it; None when it is not there."""
    program, path = prefix / "bin" / "llama-quantize", OUT / f"ringlet-{kind.lower()}-llama.gguf"
    if not program.exists():
        return None
    source = gguf_writer.write_ringlet(OUT / "ringlet-f32.gguf", "F32")
    run = subprocess.run([str(program), str(source), str(path), kind], capture_output=True, stdin=subprocess.DEVNULL,
                         env={**os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib:{prefix}/bin"})
    return path if run.returncode == 0 else None


def types_of(path):
    """What `tokenring info` says of a file's tensors."""
    out = subprocess.run([os.environ["TOKENRING"], "info", str(path)], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return next(line for line in out.splitlines() if line.startswith("  checkpoint"))


def compare(program, kind, path):
    """Texts with the same tokens, texts with the same greedy answer, positions with the same likeliest token; of how many."""
    kv = "f32" if kind == "F32" else "f16"
    texts = conversations()
    same_text = same_greedy = same_best = positions = 0
    with Scorer(path, "--kv-cache-dtype", kv) as scorer, Peer(program, path, kv) as peer:
        for text in texts:
            ids = scorer.tokens(text)
            same_text += peer.ask("text", text.replace("\n", "\\n")) == ids
            theirs, (ours, _) = peer.ask("best", *ids)[:-1], scorer.scores(ids)
            same_best += sum(a == b for a, b in zip(ours, theirs))
            positions += len(ours)
            prompt = ids[:len(ids) // 2]
            same_greedy += peer.ask("greedy", 40, *prompt) == scorer.greedy(prompt, 40)
    return len(texts), same_text, same_greedy, same_best, positions


def floats(path, kind):
    values = array.array(kind)
    values.frombytes(path.read_bytes())
    return values


def golden(folder):
    """Tokens, and for each its golden logits."""
    recorded = GOLDEN / folder
    tokens, logits = floats(recorded / "tokens.i32", "i"), floats(recorded / "logits.f32", "f")
    width = len(logits) // len(tokens)
    return list(tokens), [logits[i * width:(i + 1) * width] for i in range(len(tokens))]


def convert(source, kind):
    path = OUT / f"family-{source.name}-{kind}.gguf"
    path.unlink(missing_ok=True)
    subprocess.run([os.environ["TOKENRING"], "quantize", str(source), str(path), "--type", kind], check=True,
                   capture_output=True, stdin=subprocess.DEVNULL)
    return path


def best_of(program, path, tokens, positions):
    with Peer(program, path, "f32", positions) as peer:
        return peer.ask("best", *tokens)


def check_family(program, folder, positions):
    """Equal likeliest tokens in F32 and in Q8_0, those that are no near tie and differ in F32, and how many there are."""
    tokens, logits = golden(folder)
    made = ROOT / "build" / "tests" / "golden" / folder
    source = made if folder.startswith("made/") else GOLDEN / folder
    tokens, logits = tokens[:positions], logits[:positions]
    wanted = [max(range(len(row)), key=row.__getitem__) for row in logits]
    scale = max(abs(value) for row in logits for value in row)
    exact = best_of(program, convert(source, "f32"), tokens, positions)
    wrong = sum(a != b and row[b] - row[a] > 1e-4 * scale for a, b, row in zip(exact, wanted, logits))
    wrong += abs(len(exact) - len(wanted))
    rounded = best_of(program, convert(source, "q8_0"), tokens, positions)
    return (sum(a == b for a, b in zip(exact, wanted)), sum(a == b for a, b in zip(rounded, wanted)), wrong, len(wanted))


def check_families(program):
    print("\n| architecture | checkpoint | F32 | Q8_0 | |\n| --- | --- | --- | --- | --- |")
    failed = False
    for arch, folder, positions in FAMILIES:
        exact, rounded, wrong, num = check_family(program, folder, positions)
        failed = failed or wrong > 0
        print(f"| {arch} | {folder} | {exact} of {num} | {rounded} of {num} | {'' if wrong == 0 else 'FAILED'} |", flush=True)
    return failed


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["ringlet"], ["families"]):
        sys.exit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    prefix = pathlib.Path(sys.argv[1]).resolve()
    program = build_peer(prefix)
    failed = sys.argv[2:] != ["families"] and check_ringlet(program, prefix)
    failed = (sys.argv[2:] != ["ringlet"] and check_families(program)) or failed
    sys.exit(1 if failed else 0)


def check_ringlet(program, prefix):
    print("| type | same tokens of a text | same greedy answers | same likeliest token | |\n| --- | --- | --- | --- | --- |")
    failed = False
    files = [(kind, ringlet(kind)) for kind in EXACT + ROUNDED + MIXTURES]
    theirs = [(kind, quantized_by_llama(prefix, kind)) for kind in MIXTURES]
    ours = dict(files)
    for kind, path in files + [(f"{kind} by llama-quantize", path) for kind, path in theirs]:
        if path is None:
            print(f"| {kind} | - | - | - | no file of this type can be made |")
            continue
        texts, same_text, same_greedy, same_best, positions = compare(program, kind, path)
        good = same_text == texts and (same_greedy == texts if kind in EXACT else same_best >= LEAST * positions)
        good = good and types_of(path) == types_of(ours[kind.split()[0]])
        failed = failed or not good
        print(f"| {kind} | {same_text} of {texts} | {same_greedy} of {texts} | {same_best} of {positions}, "
              f"{100 * same_best / positions:.1f} % | {'' if good else 'FAILED'} |", flush=True)
    return failed


if __name__ == "__main__":
    main()
