"""Tokenring against llama.cpp: the same file, the same cores, in turn.

    ./dev bench cpu --against path/to/llama-bench [--quick] [--pairs N] [--types q8_0,q4_0] ...

Models of real shapes with random weights are made once in build/bench. Each pair is a run of tokenring and one of
llama.cpp, each between two probes of what the machine can do; a pair whose four probes differ by more than 10 % is
dropped. Decode of several sequences needs llama-batched-bench beside llama-bench. Without --against ours alone is measured.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import gguf_random

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = os.environ.get("TOKENRING", str(ROOT / "build" / "tokenring"))
PROBE = ROOT / "build" / "tests" / "bench" / "bench_probe"
OUTPUT, CONTEXT, CHUNK = 32, 16, 512
MAX_DRIFT = 1.10
CPUS = {}  # of ours, by file and test: CPU time over wall time; what is missing to all threads others had


def numbers(text):
    return [int(word) for word in text.split(",") if int(word) > 0]


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", metavar="LLAMA_BENCH", help="program to measure beside")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one shape, one type, two pairs, short prompts")
    parser.add_argument("--shapes", default="qwen3-0.6b,llama-3.2-1b")
    parser.add_argument("--types", default="q8_0,q4_0,q4_k,q6_k,bf16")
    parser.add_argument("--prompts", default="128,512,2048")
    parser.add_argument("--sequences", default="1,8,32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-ranks", action="store_true", help="leave out the comparison of two ranks with one process")
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build" / "bench", help="folder for the files")
    parser.add_argument("--json", type=pathlib.Path, help="file for every figure")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.shapes, chosen.types, chosen.pairs, chosen.prompts = "qwen3-0.6b", "q8_0", 2, "128,512"
    chosen.prompts, chosen.sequences = numbers(chosen.prompts), numbers(chosen.sequences)
    return chosen


def output_of(*command, env=None):
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         env={**os.environ, **(env or {})})
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: ended with {run.returncode}\n{run.stderr[-2000:]}")
    return run.stdout


def model_file(chosen, shape, kind):
    path = chosen.models / f"{shape}-{kind}.gguf"
    if not path.exists():
        chosen.models.mkdir(parents=True, exist_ok=True)
        print(f"writing {path}", file=sys.stderr)
        gguf_random.write_model(path, shape, kind)
    return path


def probe(chosen, num_bytes):
    """GB/s of reading as many bytes, GFLOP/s, GOP/s of integers."""
    text = output_of(PROBE, chosen.threads, max(64, num_bytes >> 20))
    return [float(word) for word in re.match(r"probe: read (\S+) GB/s, multiply-add (\S+) .*dot (\S+) GOP", text).groups()]


# --- one run of each: {("prefill", prompt length) or ("decode", sequences): tokens/s} -----------------------------


def run_ours(chosen, path, *more, prompts=None, sequences=None):
    prompts = chosen.prompts if prompts is None else prompts
    sequences = chosen.sequences if sequences is None else sequences
    text = output_of(PROGRAM, "bench", path, "--json", "--repeat", 1, "--threads", chosen.threads,
                     "--max-num-batched-tokens", CHUNK, "--max-model-len", 4096, "--context-len", CONTEXT,
                     "--output-len", OUTPUT, "--input-len", ",".join(map(str, prompts or [0])),
                     "--batch-size", ",".join(map(str, sequences or [0])), "--log-level", "error", *more)
    rates = {}
    for row in map(json.loads, text.splitlines()):
        key = (row["kind"], row["prompt_len" if row["kind"] == "prefill" else "sequences"])
        rates[key] = row["tokens_per_s"][0]
        CPUS.setdefault((str(path), key), []).append(row["cpu"][0])
    return rates


def run_theirs(chosen, path):
    """The first prompt warms up and is not counted."""
    lengths = [chosen.prompts[0], *chosen.prompts] if chosen.prompts else [16]
    text = output_of(chosen.against, "-m", path, "-t", chosen.threads, "-ub", CHUNK, "-r", 1, "--no-warmup", "-o", "json",
                     "-p", ",".join(map(str, lengths)), "-n", OUTPUT)
    rates = {}
    for row in json.loads(text):
        key = ("prefill", row["n_prompt"]) if row["n_prompt"] > 0 else ("decode", 1)
        rates[key] = row["avg_ts"]
    several = [n for n in chosen.sequences if n > 1]
    batched = pathlib.Path(chosen.against).with_name("llama-batched-bench")
    if several and batched.exists():  # its log thread may lose the last line: one more, that is not used
        text = output_of(batched, "-m", path, "-t", chosen.threads, "-ub", CHUNK, "-b", 2048, "-npp", CONTEXT, "-ntg", OUTPUT,
                         "-npl", ",".join(map(str, several + [1])), "-c", max(several) * (CONTEXT + OUTPUT),
                         "--output-format", "jsonl")
        for row in map(json.loads, re.findall(r"\{.*\}", text)):
            rates.setdefault(("decode", row["pl"]), row["speed_tg"])
    return rates


# --- trials in turn ------------------------------------------------------------------------------------------------


def drift(probes):
    """How far the probes of a pair lie apart: the greatest of bandwidth, multiply-adds, integers."""
    return max(max(column) / min(column) for column in zip(*probes) if min(column) > 0)


def run_pairs(chosen, shape, kind, with_ranks):
    """[(drift, probes, {program: rates})] of each pair."""
    path = model_file(chosen, shape, kind)
    num_bytes = gguf_random.weight_bytes(shape, kind)
    programs = {"ours": lambda: run_ours(chosen, path)}
    if chosen.against:
        programs["theirs"] = lambda: run_theirs(chosen, path)
    if with_ranks:
        programs["ranks"] = lambda: run_ours(chosen, path, "--tensor-parallel", 2, prompts=[512], sequences=[1])
    pairs = []
    for number in range(chosen.pairs):
        rates, probes = {}, []
        for name, run in programs.items():
            probes.append(probe(chosen, num_bytes))
            rates[name] = run()
            probes.append(probe(chosen, num_bytes))
        pairs.append((drift(probes), probes, rates))
        print(f"{shape} {kind} pair {number + 1}: probes differ by {100 * drift(probes) - 100:.0f} %", file=sys.stderr)
    return pairs


# --- what is printed ---------------------------------------------------------------------------------------------


def of_pairs(pairs, program, key):
    return [rates[program][key] for _, _, rates in pairs if key in rates.get(program, {})]


def limit(shape, kind, key, probes):
    """Tokens per second if the probe were all there is."""
    bandwidth, flops, ints = (statistics.median(column) for column in zip(*probes))
    if key[0] == "decode":
        return key[1] * bandwidth * 1e9 / gguf_random.weight_bytes(shape, kind)
    peak = ints if gguf_random.TYPES[kind][1] > 1 and ints > 0 else flops
    return peak * 1e9 / 2 / gguf_random.num_multiply_adds(shape)


def percent(part, whole):
    return f"{100 * part / whole:.0f} %"


def row_of(shape, kind, key, pairs, cpus):
    ours, theirs = of_pairs(pairs, "ours", key), of_pairs(pairs, "theirs", key)
    top = limit(shape, kind, key, [p for _, probes, _ in pairs for p in probes])
    middle = statistics.median(ours)
    cells = [shape, kind.upper(), f"{key[0]} {key[1]}", f"{middle:,.1f}", f"{min(ours):,.1f} to {max(ours):,.1f}",
             f"{statistics.median(cpus):.2f}", percent(middle, top)]
    if theirs:
        other = statistics.median(theirs)
        cells += [f"{other:,.1f}", percent(other, top), f"{middle / other:.2f}"]
    else:
        cells += ["-", "-", "-"]
    return cells


def table(rows):
    head = ["model", "type", "test", "tokens/s", "from, to", "CPUs", "of the probe", "llama.cpp", "of the probe", "ratio"]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def own_ratios(shape, kind, pairs):
    """C4: streams together against one. C6: two ranks of half the threads against one process."""
    one, eight = of_pairs(pairs, "ours", ("decode", 1)), of_pairs(pairs, "ours", ("decode", 8))
    if one and eight:
        yield f"C4 {shape} {kind.upper()}: 8 sequences against one {statistics.median(eight) / statistics.median(one):.2f}"
    for key in (("decode", 1), ("prefill", 512)):
        ranks, single = of_pairs(pairs, "ranks", key), of_pairs(pairs, "ours", key)
        if ranks and single:
            share = statistics.median(ranks) / statistics.median(single)
            yield f"C6 {shape} {kind.upper()}: two ranks against one process, {key[0]} {key[1]}: {share:.2f}"


def main():
    chosen = options()
    rows, lines, record = [], [], []
    for shape in chosen.shapes.split(","):
        for number, kind in enumerate(chosen.types.split(",")):
            pairs = run_pairs(chosen, shape, kind, number == 0 and chosen.threads >= 2 and not chosen.no_ranks)
            quiet = [pair for pair in pairs if pair[0] <= MAX_DRIFT]
            if len(quiet) < len(pairs):
                lines.append(f"{shape} {kind.upper()}: {len(pairs) - len(quiet)} of {len(pairs)} pairs "
                             f"{'dropped' if quiet else 'disturbed, none left: the figures are of them'}")
            used = quiet or pairs
            keys = [("prefill", n) for n in chosen.prompts] + [("decode", n) for n in chosen.sequences]
            path = str(model_file(chosen, shape, kind))
            rows += [row_of(shape, kind, key, used, CPUS[path, key]) for key in keys]
            lines += own_ratios(shape, kind, used)
            for how_far, probes, rates in pairs:
                named = {name: {f"{k} {n}": v for (k, n), v in r.items()} for name, r in rates.items()}
                record.append({"shape": shape, "type": kind, "drift": how_far, "probes": probes, "tokens_per_s": named})
    print(table(rows))
    print("\n".join(lines))
    bandwidth, flops, ints = (statistics.median(c) for c in zip(*(p for entry in record for p in entry["probes"])))
    print(f"probes, median: read {bandwidth:.1f} GB/s, multiply-add {flops:.0f} GFLOP/s, integer dot {ints:.0f} GOP/s; "
          f"{chosen.threads} threads, chunks of {CHUNK}, decode from {CONTEXT} tokens on")
    if chosen.json:
        chosen.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
