"""Everything that can be checked and measured on a GPU: gpu_check.py BUNDLE [PART...] [--json FILE] [--device cuda:0]

Parts: ops, models, text, law1, ranks, kill, sanitizer, speed; without one all of them in this order. Each is a
function that returns rows (what, figure, well or not). A table comes last; all figures are written as JSON."""
import argparse
import concurrent.futures
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPTS = ["What is the capital of France?", "Count from 3 to 9.", "Spell the word river.", "What is 17 + 25?",
           "Tell me a short story."]


class Check:
    """The bundle, and how its programs are run."""

    def __init__(self, bundle, device):
        self.bundle, self.device = os.path.abspath(bundle), device
        self.bin = os.path.join(self.bundle, "bin")
        self.env = dict(os.environ, TOKENRING_MODULES=self.bin)
        libraries = [os.path.join(self.bundle, "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        self.env["LD_LIBRARY_PATH"] = ":".join(path for path in libraries if path)

    def run(self, program, *arguments, timeout=300, prefix=()):
        command = [*prefix, os.path.join(self.bin, program), *map(str, arguments)]
        try:
            done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return 124, "", f"{program}: not over after {timeout} s"
        return done.returncode, done.stdout, done.stderr

    def golden(self, *patterns):
        found = [path for pattern in patterns for path in glob.glob(os.path.join(self.bundle, "golden", pattern))]
        return sorted(found)


def report(code, out, err):
    """Lines that say what is wrong, or the last one."""
    lines = [line for line in (out + err).splitlines() if "WRONG" in line or "DIFFER" in line]
    if code == 0:
        return "well"
    return "; ".join(lines[:4]) or (err.strip().splitlines() or out.strip().splitlines() or [f"exit code {code}"])[-1]


# --- right or wrong ------------------------------------------------------------------------------------------


def check_ops(check):
    rows = []
    for words, flags in (("operations", []), ("operations, deterministic", ["--deterministic"])):
        code, out, err = check.run("gpu_ops", "cpu", check.device, "--seeds", 5, *flags)
        print(out)
        rows.append((words, report(code, out, err), code == 0))
    return rows


def check_models(check):
    rows = []
    paths = check.golden("families/*", "quantized/*", "gguf/*.gguf")
    for words, flags in (("families and formats", []), ("the same, law 1", ["--deterministic"])):
        code, out, err = check.run("gpu_models", "cuda", *flags, *paths)
        print(out)
        rows.append((f"{words}: {out.count(' off ')} models", report(code, out, err), code == 0))
    return rows


def check_text(check):
    """Ringlet's greedy answers, the CPU's and the GPU's."""
    same = 0
    for prompt in PROMPTS:
        arguments = ["generate", "--chat", "-p", prompt, "--max-tokens", 48, "--temperature", 0]
        wanted = check.run("tokenring", *arguments, "--device", "cpu")
        got = check.run("tokenring", *arguments, "--device", check.device)
        same += wanted[0] == 0 and wanted[1] == got[1]
        if wanted[1] != got[1]:
            print(f"{prompt!r}: {wanted[1]!r} became {got[1]!r} {got[2][-300:]}")
    return [("Ringlet's answers as the CPU's", f"{same} of {len(PROMPTS)}", same == len(PROMPTS))]


def check_sanitizer(check):
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(tool):
        return [("compute-sanitizer", "not there", None)]
    rows = []
    for name in ("memcheck", "racecheck"):
        code, out, err = check.run("gpu_ops", "cpu", check.device, "--seeds", 1, timeout=240,
                                   prefix=[tool, "--tool", name, "--error-exitcode", "9"])
        rows.append((name, report(code, out, err), code == 0))
    return rows


# --- servers ----------------------------------------------------------------------------------------------------


class Server:
    """`tokenring serve` until the with block ends."""

    def __init__(self, check, *arguments):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        command = [os.path.join(check.bin, "tokenring"), "serve", "--port", str(self.port), *arguments]
        self.process = subprocess.Popen(command, env=check.env, stdout=self.log, stderr=self.log)

    def __enter__(self):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return self
            except OSError:
                time.sleep(0.1)
        self.log.seek(0)
        raise RuntimeError("the server did not start: " + self.log.read().decode(errors="replace")[-500:])

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def ask(self, prompt, tokens=48, **more):
        body = dict(model="ringlet", prompt=prompt, max_tokens=tokens, temperature=0, **more)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["choices"][0]["text"]

    def worker(self):
        """The process id of its worker."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8") as file:
            for pid in map(int, file.read().split()):
                with open(f"/proc/{pid}/cmdline", "rb") as title:
                    if b"worker" in title.read():
                        return pid
        return None


def many_prompts():
    return [prompt + " " + "and so on " * (i % 7) for i, prompt in enumerate(PROMPTS * 8)]


def check_law1(check):
    """Sampled answers alone and beside forty others, with --deterministic."""
    with Server(check, "--device", check.device, "--deterministic") as server:
        ask = lambda pair: server.ask(pair[1], seed=pair[0], top_p=0.95)  # noqa: E731
        pairs = list(enumerate(many_prompts()))
        alone = [ask(pair) for pair in pairs]
        with concurrent.futures.ThreadPoolExecutor(len(pairs)) as pool:
            together = list(pool.map(ask, pairs))
    same = sum(a == b for a, b in zip(alone, together))
    return [("answers alone and together", f"{same} of {len(pairs)}", same == len(pairs))]


def check_ranks(check):
    """Two ranks on one GPU, through NCCL."""
    with Server(check, "--device", check.device) as one:
        wanted = [one.ask(prompt) for prompt in PROMPTS]
    with Server(check, "--device", "cuda:0,0", "--tensor-parallel", "2") as two:
        got = [two.ask(prompt) for prompt in PROMPTS]
    same = sum(a == b for a, b in zip(wanted, got))
    return [("answers of two ranks", f"{same} of {len(PROMPTS)}", same == len(PROMPTS))]


def check_kill(check):
    """Streams outlive their worker."""
    with Server(check, "--device", check.device, "--deterministic") as server:
        wanted = [server.ask(prompt, 200, ignore_eos=True) for prompt in PROMPTS]
        with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as pool:
            answers = [pool.submit(server.ask, prompt, 200, ignore_eos=True) for prompt in PROMPTS]
            time.sleep(0.05)
            os.kill(server.worker(), signal.SIGKILL)
            got = [answer.result() for answer in answers]
    same = sum(a == b for a, b in zip(wanted, got))
    return [("answers over a killed worker", f"{same} of {len(PROMPTS)}", same == len(PROMPTS))]


# --- speed ---------------------------------------------------------------------------------------------------------


def ceilings():
    """Copy bandwidth and bf16 peak of this GPU, by PyTorch where it is installed."""
    try:
        import torch
    except ImportError:
        return {}
    def best(run, amount):
        times = []
        for _ in range(12):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return amount / min(times)
    x, y = torch.empty(1 << 30, dtype=torch.uint8, device="cuda"), torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    found = {"copy_bytes_per_s": best(lambda: y.copy_(x), 2 << 30), "bf16_flops": best(lambda: a @ b, 2 * 8192 ** 3)}
    del x, y, a, b
    torch.cuda.empty_cache()
    return found


CASES = {
    "qwen3-0.6b": dict(body=0.44e9, head=151936 * 1024),
    "llama3-8b": dict(body=6.98e9, head=128256 * 4096),
}


def measure(check, shape, folder, limits, flags=()):
    arguments = ["bench", folder, "--device", check.device, "--json", "--input-len", "512,2048,7000", "--batch-size",
                 "1,8,64,256", "--context-len", "512", "--output-len", "64", "--repeat", "3", *flags]
    code, out, err = check.run("tokenring", *arguments, timeout=400)
    if code != 0:
        return [(f"{shape} {' '.join(flags)}", report(code, out, err), False)], []
    rows, figures = [], []
    for line in out.splitlines():
        if not line.startswith("{"):
            continue
        figure = dict(json.loads(line), shape=shape, flags=list(flags))
        rate = max(figure["tokens_per_s"])
        weights = CASES[shape]["body"] + CASES[shape]["head"]
        share = None
        if limits and figure["kind"] == "decode":
            share = rate / figure["sequences"] * 2 * weights / limits["copy_bytes_per_s"]
        elif limits:
            share = rate * 2 * CASES[shape]["body"] / limits["bf16_flops"]
        figure["share_of_limit"] = share
        figures.append(figure)
        words = f"{shape} {figure['kind']} {figure['sequences'] if figure['kind'] == 'decode' else figure['prompt_len']}"
        rows.append((words + (" " + " ".join(flags) if flags else ""),
                     f"{rate:,.0f} tokens/s" + (f", {100 * share:.0f} % of the weights' limit" if share else ""), None))
    return rows, figures


def check_speed(check):
    limits = ceilings()
    rows = [(name, f"{value:.3g}", None) for name, value in limits.items()]
    check.figures = [dict(limits, kind="ceilings")]
    for shape in CASES:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            subprocess.run([sys.executable, os.path.join(HERE, "random_model.py"), shape, folder], check=True)
            for name in glob.glob(os.path.join(check.bundle, "models", "ringlet", "tokenizer*")):
                shutil.copy(name, folder)
            for flags in ((), ("--deterministic",)):
                found, figures = measure(check, shape, folder, limits, flags)
                rows += found
                check.figures += figures
    return rows


PARTS = dict(ops=check_ops, models=check_models, text=check_text, law1=check_law1, ranks=check_ranks, kill=check_kill,
             sanitizer=check_sanitizer, speed=check_speed)


def run_part(name, check):
    begin = time.monotonic()
    try:
        rows = PARTS[name](check)
    except Exception as error:  # a part that fails is a row, and the others go on
        rows = [(name, f"{type(error).__name__}: {error}", False)]
    return [dict(part=name, what=what, figure=figure, well=well) for what, figure, well in rows], \
        round(time.monotonic() - begin, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--json", default="gpu-check.json")
    options = parser.parse_args()
    check = Check(options.bundle, options.device)
    check.figures = []
    rows, seconds = [], {}
    for name in options.parts or PARTS:
        found, seconds[name] = run_part(name, check)
        rows += found
    with open(os.path.join(check.bundle, "commit"), encoding="utf-8") as file:
        commit = file.read().strip()
    gpu = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True,
                         text=True, check=False).stdout.strip() if shutil.which("nvidia-smi") else "none"
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(dict(date=time.strftime("%Y-%m-%d"), gpu=gpu, commit=commit, seconds=seconds, rows=rows,
                       figures=check.figures), file, indent=1)
    for row in rows:
        mark = {True: "ok", False: "WRONG", None: ""}[row["well"]]
        print(f"{row['part']:10} {row['what']:44} {row['figure'][:90]:40} {mark}")
    print(f"{gpu}, {sum(seconds.values()):.0f} s; figures in {options.json}")
    return 1 if any(row["well"] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
