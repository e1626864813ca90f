#!/usr/bin/env python3
"""MB/s of the tokenizer on 1 MB of English and of code, with HF tokenizers beside it where there is one.

    ./dev bench tokenizer
    TOKENIZERS_PYTHON=/path/to/python MODELS="dir dir" ./dev bench tokenizer

The texts are this repository's own: its prose and its C. TOKENIZERS_PYTHON is a Python with the package tokenizers (this one, if
it has it); MODELS are more directories with a tokenizer.json. Both sides encode the same prompts of 4 KiB one after the other in
one thread, and how many times HF's speed ours is stands behind them.
"""
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/tests/bench/bench_tokenizer"
SIZE, PROMPT = 1_000_000, 4096
KINDS = ("llama2", "gemma", "unigram")


def texts(folder):
    found = []
    for name, patterns in (("english", ("*.md", "*/*.md", "docs/*.md")), ("code", ("*/*.c", "*/*/*.c", "*/*.h"))):
        files = sorted({path for pattern in patterns for path in ROOT.glob(pattern) if "build" not in path.parts[-3]})
        text = "".join(path.read_text() for path in files)
        path = folder / name
        path.write_text((text * (SIZE // len(text) + 1))[:SIZE])
        found.append(path)
    return found


def models(folder):
    """Ringlet's, and of the recorded kinds those that are not byte-level."""
    recorded = ROOT / "tests/golden/tokenizer_stress"
    yield ROOT / "models/ringlet"
    for kind in json.loads((recorded / "kinds.json").read_text()):
        if kind["name"] in KINDS:
            data = json.loads((recorded / (kind["tokenizer"] + ".json")).read_text())
            for key, value in kind["parts"].items():
                if not key.startswith("model."):
                    data[key] = value
            path = folder / kind["name"]
            path.mkdir()
            (path / "tokenizer.json").write_text(json.dumps(data))
            yield path
    yield from map(Path, os.environ.get("MODELS", "").split())


def prompts(text):
    data, at = text.encode(), 0
    while at < len(data):
        end = data.find(b"\n", at + PROMPT)
        end = len(data) if end < 0 or len(data) - at <= PROMPT else end + 1
        yield data[at:end].decode()
        at = end


def measure_hf(model, paths):
    """Runs in the other Python."""
    from tokenizers import Tokenizer, __version__
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    for path in paths:
        text = Path(path).read_text()
        parts, best, num = list(prompts(text)), 0, 0
        for _ in range(3):
            start = time.perf_counter()
            num = sum(len(tokenizer.encode(part, add_special_tokens=False).ids) for part in parts)
            best = max(best, len(text.encode()) / (time.perf_counter() - start) / 1e6)
        print(f"  {Path(path).name:24} {best:8.1f} MB/s {num:10} tokens   HF tokenizers {__version__}", flush=True)


def run(command, **options):
    """Shows what the program prints, and returns MB/s by name."""
    found = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as program:
        for line in program.stdout:
            print(line, end="", flush=True)
            row = re.match(r"\s+(\w+)\s+([\d.]+) MB/s", line)
            if row:
                found[row[1]] = float(row[2])
    if program.returncode != 0:
        sys.exit(program.returncode)
    return found


def compare(model, paths, python):
    ours = run([PROGRAM, "encode", model, *paths])
    if python is None:
        return
    theirs = run([python, __file__, "--hf", model, *paths], env=dict(os.environ, TOKENIZERS_PARALLELISM="false"))
    for path in paths:
        print(f"  {path.name:24} {ours[path.name] / theirs[path.name]:8.1f} times HF", flush=True)


def main():
    here = sys.executable if importlib.util.find_spec("tokenizers") else None
    python = os.environ.get("TOKENIZERS_PYTHON", here)
    if python is None:
        print("no comparison: this Python has no package tokenizers, and TOKENIZERS_PYTHON names none that has")
    with tempfile.TemporaryDirectory() as folder:
        paths = texts(Path(folder))
        subprocess.run([PROGRAM, "split", paths[0]], check=True)
        for model in models(Path(folder)):
            compare(model, paths, python)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hf"]:
        measure_hf(sys.argv[2], sys.argv[3:])
    else:
        main()
