"""Parts of gpu_check.py that say right or wrong: each takes a Check and returns rows (what, figure, well or not)."""
import concurrent.futures
import os
import re
import shutil
import signal
import tempfile

from check_run import last_line, wait_until

PROMPTS = ["What is the capital of France?", "Count from 3 to 9.", "Spell the word river.", "What is 17 + 25?",
           "Tell me a short story."]
STORIES = ["Once upon a time", "One day", "Two birds", "There was a little", "The old man"]
HOOK_ADDRESS = 474  # of tests/e2e/hooks.h: a kernel writes where nothing is, once


def report(code, out, err):
    """Lines that say what is wrong, or the last one."""
    lines = [line.strip() for line in (out + err).splitlines() if "WRONG" in line or "DIFFER" in line]
    if code == 0:
        return "well"
    return "; ".join(lines[:4]) or last_line(err) or last_line(out) or f"exit code {code}"


def same(wanted, got, what):
    """A row that counts equal answers; those that differ are printed."""
    num = sum(a == b for a, b in zip(wanted, got))
    for a, b in zip(wanted, got):
        if a != b:
            print(f"{what}: {a!r} became {b!r}")
    return (what, f"{num} of {len(wanted)}", num == len(wanted) and num > 0)


def check_ops(check):
    """Each operation against the CPU's, with cuBLASLt and without."""
    rows = []
    for words, flags in (("operations", []), ("operations, deterministic", ["--deterministic"])):
        seeds = 1 if check.rehearse else 5
        code, out, err = check.run("gpu_ops", "cpu", check.device, "--seeds", seeds, *flags)
        print(out, end="")
        num = len(re.findall(r"values, worst", out))
        rows.append((f"{words}: {num} kinds", report(code, out, err), code == 0))
    return rows


def check_models(check):
    """Every golden family and format, whole."""
    rows = []
    paths = check.golden("families/*", "quantized/*", "gguf/*.gguf")
    rounded = check.golden("quantized/fp8_*")
    for words, flags, some in (("families and formats", [], paths), ("the same, law 1", ["--deterministic"], paths),
                               ("inputs in FP8", ["--rounded"], rounded)):
        chosen = some[:2] if check.rehearse else some
        code, out, err = check.run("gpu_models", "cuda" if check.is_cuda else "cpu", *flags, *chosen)
        print(out, end="")
        num = out.count(" off ")
        rows.append((f"{words}: {num} models", report(code, out, err), code == 0 and num == len(chosen)))
    return rows


def check_text(check):
    """Ringlet's greedy answers, the CPU's and the GPU's."""
    wanted, got = [], []
    for prompt in PROMPTS[:2] if check.rehearse else PROMPTS:
        arguments = ["generate", check.ringlet, "--chat", "-p", prompt, "--max-tokens", 8 if check.rehearse else 48,
                     "--temperature", 0, *check.serve_flags]
        for device, answers in (("cpu", wanted), (check.device, got)):
            code, out, err = check.run("tokenring", *arguments, "--device", device, timeout=120)
            answers.append(out if code == 0 else f"exit code {code}: {last_line(err)} on {device}")
    return [same(wanted, got, "Ringlet's answers as the CPU's")]


# --- sanitizer -----------------------------------------------------------------------------------------------


def find_sanitizer():
    places = [shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer",
              "/usr/local/cuda/compute-sanitizer/compute-sanitizer"]
    return next((place for place in places if place and os.path.exists(place)), None)


def sanitized(check, tool, name, seconds):
    """One tool over all operations: its errors are a failure, and so is a comparison that fails under it."""
    code, out, err = check.run("gpu_ops", "cpu", check.device, "--seeds", 1, timeout=seconds,
                               env=dict(TOKENRING_GPU_EXACT="1"),  # each piece of memory is an allocation
                               prefix=[tool, "--tool", name, "--error-exitcode", "9", "--print-limit", "20"])
    text = out + err
    print("\n".join(line for line in text.splitlines() if line.startswith("=========")))
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", text)
    if "not supported" in text or "Device not supported" in text:
        return (name, "the tool refuses this device", None)
    return (name, summary.group(1) if summary else report(code, out, err), code == 0 and summary is not None)


def check_sanitizer(check):
    """memcheck (bad addresses) and racecheck (shared memory without a barrier) over the operations."""
    tool = find_sanitizer()
    if tool is None or not check.is_cuda:
        return [("compute-sanitizer", "not there", None)]
    share = max(30.0, check.left() / 2 - 10)
    return [sanitized(check, tool, "memcheck", share), sanitized(check, tool, "racecheck", share)]


# --- servers -------------------------------------------------------------------------------------------------


def many_prompts(num):
    return [PROMPTS[i % len(PROMPTS)] + " " + "and so on " * (i % 7) for i in range(num)]


def together(server, pairs, **more):
    with concurrent.futures.ThreadPoolExecutor(len(pairs)) as pool:
        return list(pool.map(lambda pair: server.ask(pair[1], seed=pair[0], **more), pairs))


def check_law1(check):
    """Sampled answers alone and beside others, with --deterministic."""
    tokens = 3 if check.rehearse else 48
    pairs = list(enumerate(many_prompts(4 if check.rehearse else 40)))
    more = dict(tokens=tokens, top_p=0.95, temperature=0.8)
    with check.server("--device", check.device, "--deterministic") as server:
        alone = [server.ask(prompt, seed=seed, **more) for seed, prompt in pairs]
        beside = together(server, pairs, **more)
    return [same(alone, beside, "answers alone and together")]


def check_ranks(check):
    """Two ranks on one GPU, through NCCL: more than one prompt at once, and alone."""
    device = check.device.split(":")[0] + (":0,0" if check.is_cuda else "")
    prompts, tokens = PROMPTS[:2] if check.rehearse else PROMPTS, 4 if check.rehearse else 24
    with check.server("--device", check.device) as one:
        wanted = [one.ask(prompt, tokens) for prompt in prompts]
    with check.server("--device", device, "--tensor-parallel", "2") as two:
        got = [two.ask(prompt, tokens) for prompt in prompts]
        beside = together(two, list(enumerate(prompts)), tokens=tokens)
        num = len(two.workers())
    return [same(wanted, got, "answers of two ranks"), same(wanted, beside, "the same at once"),
            ("ranks that ran", str(num), num == 2)]


def undisturbed(check, server, prompts, tokens):
    return [server.stream(prompt, tokens, ignore_eos=True).join().text for prompt in prompts]


def begun(streams):
    """Something has come of each."""
    return all(s.times or s.is_done or s.error for s in streams)


def check_kill(check):
    """Streams outlive their worker, killed while all of them run."""
    prompts, tokens = STORIES[:2] if check.rehearse else STORIES, 24 if check.rehearse else 1200
    with check.server("--device", check.device, "--deterministic") as server:
        wanted = undisturbed(check, server, prompts, tokens)
        streams = [server.stream(prompt, tokens, ignore_eos=True) for prompt in prompts]
        wait_until(lambda: begun(streams), 120, "every stream has begun")
        before = [s.text for s in streams]
        victims = server.workers()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        got = [s.join().text for s in streams]
        await_another(server, victims)
    return [same(wanted, got, "answers over a killed worker"), unfinished(check, before, wanted)]


def await_another(server, victims):
    wait_until(lambda: server.workers() and not set(server.workers()) & set(victims), 120, "another worker is there")


def unfinished(check, before, wanted):
    """Of how many streams there was more to come; a rehearsal's may be as short as they like."""
    num = sum(len(a) < len(b) for a, b in zip(before, wanted))
    return ("of them unfinished when it came", str(num), None if check.rehearse else num > 0)


def check_address(check):
    """A kernel writes to a bad address: the context is lost, the worker with it, and the streams go on."""
    prompts, tokens = STORIES[:2] if check.rehearse else STORIES, 24 if check.rehearse else 1200
    with tempfile.NamedTemporaryFile(delete=False) as flag, \
            check.server("--device", check.device, "--deterministic", program="tokenring_hooked",
                         env=dict(TOKENRING_HOOK_ONCE=flag.name)) as server:
        wanted = undisturbed(check, server, prompts, tokens)
        victims = server.workers()
        streams = [server.stream(prompt, tokens, ignore_eos=True) for prompt in prompts]
        trigger = server.stream(STORIES[-1], HOOK_ADDRESS, ignore_eos=True)
        wait_until(lambda: not os.path.exists(flag.name), 120, "the kernel was launched")
        before = [s.text for s in streams]
        got = [s.join().text for s in streams]
        await_another(server, victims)
        said = [line for line in server.logged().splitlines() if "worker" in line and "ready" not in line]
        if not check.rehearse:
            trigger.join()
        trigger.leave()
    print("\n".join(said[:6]))
    rows = [same(wanted, got, "answers over an illegal address"), unfinished(check, before, wanted)]
    if not check.rehearse:
        rows.append(("the request that did it", f"{trigger.tokens} tokens", trigger.tokens == HOOK_ADDRESS))
    return rows
