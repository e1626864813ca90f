"""From the command to the first token.

    ./dev bench load [--starts N] [--model FILE]

Ringlet: from `tokenring serve` to the answer 200 of /readyz. A Q8_0 file of 1 GB (random weights, made once in
build/bench) in the page cache: from `tokenring generate` to the first byte of its answer; wall time, and the CPU time of
all its processes until they ended.
"""

import argparse
import os
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import time

import gguf_random

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import server as e2e  # noqa: E402


def is_ready(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
            s.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return s.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def time_to_ready(*args):
    begin = time.monotonic()
    server = e2e.Server(*args, ready=False)
    while not is_ready(server.port):
        time.sleep(0.001)
    seconds = time.monotonic() - begin
    server.stop()
    return seconds


def time_to_first_token(path, *args):
    """Wall time to the first byte, CPU time of everything."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    run = subprocess.Popen([e2e.program(), "generate", str(path), "-p", "ab", "-n", "2", "--temperature", "0", *args],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    run.stdout.read(1)
    seconds = time.monotonic() - begin
    run.stdout.read()
    run.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def warm(path):
    """Into the page cache."""
    with open(path, "rb") as f:
        while f.read(1 << 22):
            pass


def spread(values, unit=1000):
    return f"{unit * min(values):.0f} ms best, {unit * statistics.median(values):.0f} median, {unit * max(values):.0f} worst"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build" / "bench" / "llama-1gb-q8_0.gguf")
    chosen = parser.parse_args()
    print(f"Ringlet to ready, {chosen.starts} starts: {spread([time_to_ready() for _ in range(chosen.starts)])}", flush=True)
    if not chosen.model.exists():
        chosen.model.parent.mkdir(parents=True, exist_ok=True)
        gguf_random.write_model(chosen.model, "llama-1gb", "q8_0")
    warm(chosen.model)
    size = os.stat(chosen.model).st_size
    trials = [time_to_first_token(chosen.model, "--max-model-len", "4096") for _ in range(chosen.starts)]
    print(f"{chosen.model.name}, {size / 1e9:.2f} GB, to the first token: {spread([wall for wall, _ in trials])}; "
          f"CPU {spread([cpu for _, cpu in trials])}")


if __name__ == "__main__":
    main()
