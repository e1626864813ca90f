"""Parts of gpu_check.py that measure: rows (what, figure, None), and figures for the JSON.

Beside each rate stands its share of what the hardware allows: bytes that must be read over the copy bandwidth, or
operations over the matrix peak, both measured in the same run. Cases are cut short when the time is nearly over; a
case that was not measured says so."""
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import traceback

import random_model
from check_right import report
from check_run import HERE, last_line, prompt_ids

FORMATS = ("bf16", "fp8", "int4", "q4_0")
BATCHES, PROMPTS, CONTEXT, OUTPUT = (1, 8, 64, 256), (512, 2048, 8192), 512, 128
LEAST_S = 45  # what a case may take: none begins with less


class Sizes:
    """What is measured; in a rehearsal nearly nothing."""

    def __init__(self, check):
        small = check.rehearse
        self.shapes = ("tiny",) if small else ("qwen3-0.6b", "llama3-8b")
        self.batches, self.prompts = ((1, 2), (16,)) if small else (BATCHES, PROMPTS)
        self.context, self.output, self.repeat = (8, 8, 1) if small else (CONTEXT, OUTPUT, 3)
        self.least = 5 if small else LEAST_S


# --- ceilings ------------------------------------------------------------------------------------------------


def tool(check, *arguments, timeout=240):
    """JSON lines of check_peer.py, which is another process: it takes memory of the GPU and gives all of it back."""
    command = [sys.executable, os.path.join(HERE, "check_peer.py"), *map(str, arguments)]
    if check.rehearse:
        command.append("--rehearse")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=max(1.0, min(timeout, check.left() - 5)))
        out, err = done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        out, err = (error.stdout or b"").decode(errors="replace"), "it took too long"
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return lines, "" if lines else last_line(err)


def ceilings(check):
    """{"copy_bytes_per_s", "bf16_flops", "fp8_flops"} by PyTorch, or what is missing."""
    lines, problem = tool(check, "ceilings")
    limits = lines[-1] if lines else {}
    rows = [(name, f"{value:.3g}", None) for name, value in limits.items() if isinstance(value, float)]
    check.figures.append(dict(limits, kind="ceilings"))
    return limits, rows or [("ceilings", problem or "PyTorch is not there", None)]


# --- the bench command -----------------------------------------------------------------------------------------


def ideal(figure, shape, form, limits, sizes):
    """Tokens per second that the limits allow."""
    if not limits:
        return None
    if figure["kind"] == "prefill":
        num = figure["prompt_len"]
        flops = form == "fp8" and limits.get("fp8_flops") or limits["bf16_flops"]
        return num / (random_model.prefill_flops(shape, num) / flops)
    num = figure["sequences"]
    context = sizes.context + sizes.output // 2
    moved = random_model.weight_bytes(shape, form) + num * context * random_model.kv_bytes(shape)
    head = random_model.SHAPES[shape]["vocab_size"] * random_model.SHAPES[shape]["hidden_size"]
    computed = 2 * num * (random_model.body(shape) + head)
    return num / max(moved / limits["copy_bytes_per_s"], computed / limits["bf16_flops"])


def described(figure):
    if figure["kind"] == "prefill":
        return f"prefill {figure['prompt_len']}"
    return f"decode, batch {figure['sequences']}"


def add_figure(check, rows, figure, shape, form, limits, sizes, flags):
    rates = sorted(figure["tokens_per_s"])
    rate, best = statistics.median(rates), ideal(figure, shape, form, limits, sizes)
    share = rate / best if best else None
    check.figures.append(dict(figure, shape=shape, format=form, flags=list(flags), median=rate, limit=best, share=share))
    words = f"{shape} {form} {described(figure)}" + "".join(" " + flag for flag in flags)
    rows.append((words, f"{rate:,.0f} tokens/s" + (f", {100 * share:.1f} % of the limit" if best else ""), None))
    return rate


def bench(check, model, shape, form, limits, sizes, flags=(), batches=None, prompts=None):
    """Rows, and the rate of each case. A first start compiles and captures: it is no part of the figures."""
    batches = sizes.batches if batches is None else batches
    prompts = sizes.prompts if prompts is None else prompts
    longest = max([*prompts, sizes.context + sizes.output]) + 16
    arguments = ["bench", model, "--device", check.device, "--json", "--input-len", ",".join(map(str, prompts)) or 0,
                 "--batch-size", ",".join(map(str, batches)) or 0, "--context-len", sizes.context, "--output-len",
                 sizes.output, "--repeat", sizes.repeat, "--max-model-len", longest, *flags, *check.serve_flags]
    code, out, err = check.run("tokenring", *arguments, timeout=400)
    rows, rates = [], {}
    for line in out.splitlines():
        if line.startswith("{"):
            figure = json.loads(line)
            rates[described(figure)] = add_figure(check, rows, figure, shape, form, limits, sizes, flags)
    if code != 0 or len(rates) < len(batches) + len(prompts):
        rows.append((f"{shape} {form}" + "".join(" " + flag for flag in flags), report(code or 1, out, err), False))
    return rows, rates


def read_idle(path):
    """The times that kernels/cuda/idle.h says lie there, in microseconds."""
    with open(path, "rb") as file:
        data = file.read()
    num = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 0
    room = (len(data) - 8) // 4
    return sorted(struct.unpack_from(f"<{min(num, room)}f", data, 8)) if num else []


def step_gaps(check, model, shape, form, sizes):
    """How long the device waits between two steps, from events behind one and before the next."""
    rows = []
    for num in sizes.batches[:1] + sizes.batches[2:3]:
        with tempfile.NamedTemporaryFile() as file:
            arguments = ["bench", model, "--device", check.device, "--json", "--input-len", 0, "--batch-size", num,
                         "--context-len", sizes.context, "--output-len", sizes.output, "--repeat", 1,
                         "--max-model-len", sizes.context + sizes.output + 16, *check.serve_flags]
            code, out, err = check.run("tokenring", *arguments, timeout=120, env=dict(TOKENRING_GPU_IDLE=file.name))
            times = read_idle(file.name)
        words = f"{shape} {form} batch {num}: idle between steps"
        if code != 0 or not times:
            rows.append((words, "not measured" if code == 0 else report(code, out, err), None if code == 0 else False))
            continue
        half, tenth = times[len(times) // 2], times[len(times) * 9 // 10]
        check.figures.append(dict(kind="idle", shape=shape, format=form, sequences=num, num=len(times), p50_us=half,
                                  p90_us=tenth))
        rows.append((words, f"{half:.1f} us (p50), {tenth:.1f} us (p90) of {len(times)}", None))
    return rows


# --- through HTTP ----------------------------------------------------------------------------------------------


def gpu_memory(check):
    """(used, whole) MiB of the first GPU, as its driver says."""
    if not check.is_cuda or not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
    text = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return tuple(map(float, text[0].split(","))) if text else None


def first_tokens(server, num_prompt, num_tokens, num, repeats):
    """Medians over streams of the first event and the last, of `num` streams at once, best of the repeats."""
    found = []
    for i in range(repeats):
        streams = [server.stream(prompt_ids(num_prompt, 1000 * i + k), num_tokens, ignore_eos=True)
                   for k in range(num)]
        for s in streams:
            s.join()
        bad = [s for s in streams if s.error or s.tokens != num_tokens or len(s.times) < 2]
        if bad:
            raise RuntimeError(f"a stream ended with {bad[0].error or bad[0].tokens} after {len(bad[0].times)} events")
        found.append((statistics.median(s.times[0] for s in streams), max(s.times[-1] for s in streams)))
    return min(found), statistics.median(a for a, _ in found), statistics.median(b for _, b in found)


def serve_figures(check, model, shape, form, sizes):
    """Start-up, loading, time to the first token and of 512 + 128, memory at batch 64."""
    rows, prompt, output = [], (16, 8) if check.rehearse else (512, 128), 64
    output = prompt[1]
    with check.server("--device", check.device, "--max-model-len", max(1024, sizes.context) if not check.rehearse else 64,
                      *([] if check.rehearse else ["--max-num-seqs", "64"]), model=model) as server:
        rows.append((f"{shape} {form} start to ready", f"{server.ready_s:.2f} s", None))
        loaded = server.loaded()
        if loaded:
            rows.append((f"{shape} {form} loaded", f"{loaded[0] / max(loaded[1], 1e-9) / 1e9:.2f} GB/s {loaded[2]}", None))
        first_tokens(server, prompt[0], output, 1, 1)  # nobody counts the first
        best, first, whole = first_tokens(server, prompt[0], output, 1, 1 if check.rehearse else 5)
        rows.append((f"{shape} {form} {prompt[0]} + {output}: first token", f"{1e3 * first:.1f} ms (best {1e3 * best[0]:.1f})",
                     None))
        rows.append((f"{shape} {form} {prompt[0]} + {output}: whole", f"{1e3 * whole:.0f} ms (best {1e3 * best[1]:.0f})", None))
        num = 2 if check.rehearse else 64
        _, first_of_many, whole_of_many = first_tokens(server, prompt[0], output, num, 1)
        used = gpu_memory(check)
        if used:
            rows.append((f"{shape} {form} memory at batch {num}", f"{100 * used[0] / used[1]:.1f} % of {used[1]:.0f} MiB", None))
        check.figures.append(dict(
            kind="http", shape=shape, format=form, ready_s=server.ready_s, loaded=loaded, prompt_len=prompt[0],
            output_len=output, first_s=first, whole_s=whole, best_first_s=best[0], best_whole_s=best[1],
            streams=num, first_of_many_s=first_of_many, whole_of_many_s=whole_of_many, memory_mib=used,
            log=[line for line in server.logged().splitlines() if line.startswith("  ")][:12]))
    return rows


# --- parts -------------------------------------------------------------------------------------------------------


def room(num_bytes):
    """A folder where a model of so many bytes fits: in memory, else on the disk."""
    for path in ("/dev/shm", tempfile.gettempdir()):
        if os.path.isdir(path) and shutil.disk_usage(path).free > num_bytes * 1.2 + (1 << 30):
            return path
    raise RuntimeError(f"there is no room for a model of {num_bytes / 1e9:.1f} GB")


class Model:
    """A model of random weights until the with block ends."""

    def __init__(self, check, shape, form):
        self.folder = tempfile.mkdtemp(dir=room(2 * random_model.weight_bytes(shape, "bf16") // (1 if form == "bf16" else 2)))
        begin = time.monotonic()
        try:
            self.path = random_model.write_model(shape, form, self.folder, check.ringlet)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.seconds = time.monotonic() - begin

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def deterministic_cost(check, model, shape, form, limits, sizes, rates):
    """The same with --deterministic; how much slower."""
    batches, prompts = sizes.batches[:1] + sizes.batches[2:3], sizes.prompts[:2][-1:]
    rows, others = bench(check, model, shape, form, limits, sizes, ("--deterministic",), batches, prompts)
    for what, rate in others.items():
        if rates.get(what):
            cost = 1 - rate / rates[what]
            rows.append((f"{shape} {form} {what}: --deterministic costs", f"{100 * cost:.1f} %", None))
            check.figures.append(dict(kind="deterministic", shape=shape, format=form, what=what, cost=cost))
    return rows


def measure_format(check, shape, form, limits, sizes):
    with Model(check, shape, form) as model:
        print(f"{shape} {form}: written in {model.seconds:.1f} s", flush=True)
        rows, rates = bench(check, model.path, shape, form, limits, sizes)
        if form == "bf16" and check.left() > sizes.least:
            rows += deterministic_cost(check, model.path, shape, form, limits, sizes, rates)
        if form == "bf16" and check.left() > sizes.least:
            rows += step_gaps(check, model.path, shape, form, sizes)
        if check.left() > sizes.least / 2:
            rows += serve_figures(check, model.path, shape, form, sizes)
    return rows


def check_speed(check, chosen=()):
    """Decode, prefill, HTTP of each shape and format; `chosen` narrows to names of them."""
    sizes = Sizes(check)
    limits, rows = ceilings(check)
    for shape in [s for s in sizes.shapes if s in chosen] or sizes.shapes:
        for form in [f for f in FORMATS if f in chosen] or FORMATS:
            if check.left() < sizes.least:
                rows.append((f"{shape} {form}", "not measured: the time is over", None))
                continue
            try:
                rows += measure_format(check, shape, form, limits, sizes)
            except Exception as error:  # the other formats are wanted
                traceback.print_exc()
                rows.append((f"{shape} {form}", f"{type(error).__name__}: {error}"[-300:], False))
    limits_after, _ = ceilings(check) if check.left() > 20 else ({}, None)
    if limits and limits_after:
        ratio = limits_after["copy_bytes_per_s"] / limits["copy_bytes_per_s"]
        rows.append(("copy bandwidth at the end over that before", f"{ratio:.3f}", None))
    return rows


def check_load(check, chosen=()):
    """Files that are not in the page cache, through direct reads and through the cache."""
    sizes, rows = Sizes(check), []
    for shape in [s for s in sizes.shapes if s in chosen] or sizes.shapes[-1:]:
        for form in [f for f in FORMATS if f in chosen] or ("bf16", "q4_0"):
            with tempfile.TemporaryDirectory() as folder:  # of a disk, where there is one
                path = random_model.write_model(shape, form, folder, check.ringlet)
                for io in ("direct", "buffered"):
                    rows.append(load_once(check, path, shape, form, io))
    return rows


def load_once(check, path, shape, form, io):
    os.sync()
    try:
        with check.server("--device", check.device, "--weight-io", io, "--max-model-len", 64, model=path) as server:
            loaded, ready, ways = server.loaded(), server.ready_s, server.loaded_ways()
    except RuntimeError as error:
        return (f"{shape} {form} loaded {io}", str(error)[-200:], False)
    check.figures.append(dict(kind="load", shape=shape, format=form, io=io, loaded=loaded, ways=ways, ready_s=ready))
    words = f"{loaded[0] / max(loaded[1], 1e-9) / 1e9:.2f} GB/s {loaded[2]}, " if loaded else ""
    words += f"{ways}, " if ways else ""
    return (f"{shape} {form} loaded {io}", f"{words}ready after {ready:.2f} s", None)


def check_peers(check, chosen=()):
    """PyTorch and transformers on the same shapes, where they are installed."""
    rows, sizes = [], Sizes(check)
    for shape in [s for s in sizes.shapes if s in chosen] or sizes.shapes:
        if check.left() < sizes.least:
            rows.append((f"{shape} transformers", "not measured: the time is over", None))
            continue
        lines, problem = tool(check, "transformers", shape, timeout=300)
        for line in lines:
            check.figures.append(dict(line, kind="peer", shape=shape))
            words = f"{line['tokens_per_s']:,.0f} tokens/s" if "tokens_per_s" in line else line["problem"]
            rows.append((f"{shape} {line['what']}", words, None))
        if not lines:
            rows.append((f"{shape} transformers", problem or "nothing came", None))
    return rows
