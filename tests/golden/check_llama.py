"""The same file here and in llama.cpp: the same tokens.

    ./dev check-llama PREFIX        (an installed llama.cpp: PREFIX/include/llama.h, PREFIX/lib/libllama.so)

Ringlet in F32, F16 and BF16 has to tokenize alike and to give the same greedy tokens; in quantized types the likeliest
token has to be the same at 95 % of the positions of fixed texts, each position fed the text's own token (llama.cpp
rounds activations in its own way). Of mixtures a file of PREFIX/bin/llama-quantize, where it is there, is held beside
our own: it runs here too, and has as many bytes of each type.
"""

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


class Peer:
    def __init__(self, program, model, kv):
        self.process = subprocess.Popen([str(program), str(model), kv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

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


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    OUT.mkdir(parents=True, exist_ok=True)
    prefix = pathlib.Path(sys.argv[1]).resolve()
    program = build_peer(prefix)
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
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
