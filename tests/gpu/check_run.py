"""The bundle, its programs and servers, for gpu_check.py and its parts."""
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))


class Check:
    """What is checked: a bundle, a device, how much time is left, and figures so far."""

    def __init__(self, bundle, device, limit=3600.0, rehearse=False, modules=None, libraries=None):
        self.bundle, self.device, self.rehearse = os.path.abspath(bundle), device, rehearse
        self.bin = os.path.join(self.bundle, "bin")
        self.ringlet = os.path.join(self.bundle, "models", "ringlet")
        self.until = time.monotonic() + limit
        self.figures = []
        self.env = dict(os.environ, TOKENRING_MODULES=os.path.abspath(modules or self.bin))
        self.env.setdefault("VIRTUAL_ENV", sys.prefix)  # whose packages may have NVIDIA's libraries
        paths = [os.path.join(self.bundle, "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        self.env["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
        # A rehearsal's device computes a thousand times slower.
        self.serve_flags = ["--max-num-batched-tokens", "32", "--max-num-seqs", "8"] if rehearse else []
        self.serve_flags += ["--cuda-libs", libraries] if libraries else []
        self.is_cuda = device.startswith("cuda")

    def left(self):
        return self.until - time.monotonic()

    def run(self, program, *arguments, timeout=480, prefix=(), env=None):
        """(exit code, output, errors); 124 when it took longer than `timeout`, or than there is time."""
        command = [*prefix, os.path.join(self.bin, program), *map(str, arguments)]
        timeout = max(1.0, min(timeout, self.left()))
        try:
            done = subprocess.run(command, env=dict(self.env, **(env or {})), capture_output=True, text=True,
                                  errors="replace", timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            out = error.stdout.decode(errors="replace") if error.stdout else ""
            return 124, out, f"{program}: not over after {timeout:.0f} s"
        return done.returncode, done.stdout, done.stderr

    def golden(self, *patterns):
        found = [path for pattern in patterns for path in glob.glob(os.path.join(self.bundle, "golden", pattern))]
        return sorted(found)

    def server(self, *arguments, **more):
        return Server(self, *arguments, *self.serve_flags, **more)


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


class Stream:
    """A completion as it comes, in a thread of its own: text, when its parts came, what was wrong."""

    def __init__(self, port, body):
        self.text, self.times, self.error, self.is_done, self.tokens = "", [], None, False, 0
        self.is_left = False
        self.begun = time.monotonic()
        self.thread = threading.Thread(target=self.follow, args=(port, body), daemon=True)
        self.thread.start()

    def follow(self, port, body):
        body = dict(body, stream=True, stream_options=dict(include_usage=True))
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                for line in answer:
                    if self.is_left:
                        return
                    self.take(line.rstrip(b"\r\n"))
        except (OSError, ValueError) as error:
            self.error = repr(error)

    def take(self, line):
        if line == b"data: [DONE]":
            self.is_done = True
        elif line.startswith(b"data: "):
            part = json.loads(line[6:])
            if "error" in part:
                self.error = json.dumps(part["error"])
            if part.get("usage"):
                self.tokens = part["usage"]["completion_tokens"]
            if part.get("choices"):
                self.text += part["choices"][0].get("text") or ""
                self.times.append(time.monotonic() - self.begun)

    def join(self, timeout=300):
        self.thread.join(timeout)
        return self

    def leave(self):
        """Its client goes, at the next thing that comes."""
        self.is_left = True


class Server:
    """`tokenring serve` until the with block ends."""

    def __init__(self, check, *arguments, program="tokenring", model=None, env=None):
        self.check = check
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        command = [os.path.join(check.bin, program), "serve", model or check.ringlet, "--port", str(self.port),
                   "--served-model-name", "model", *map(str, arguments)]
        self.started = time.monotonic()
        self.ready_s = None
        self.process = subprocess.Popen(command, env=dict(check.env, **(env or {})), stdout=self.log, stderr=self.log)

    def __enter__(self):
        if self.await_health(max(10.0, min(240.0, self.check.left()))):
            self.ready_s = time.monotonic() - self.started
            return self
        text = self.logged()[-800:]
        self.__exit__()
        raise RuntimeError("the server did not start: " + text)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def await_health(self, timeout):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return True
            except OSError:
                time.sleep(0.02)
        return False

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def stats(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as answer:
            return json.load(answer)

    def body(self, prompt, tokens, **more):
        return dict(dict(model="model", prompt=prompt, max_tokens=tokens, temperature=0), **more)

    def stream(self, prompt, tokens, **more):
        return Stream(self.port, self.body(prompt, tokens, **more))

    def ask(self, prompt, tokens=48, **more):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions",
                                         json.dumps(self.body(prompt, tokens, **more)).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["choices"][0]["text"]

    def workers(self):
        """Process ids of its workers, those that have not ended."""
        found = []
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8") as file:
            children = list(map(int, file.read().split()))
        for pid in children:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as title:
                    if b"worker" in title.read():
                        found.append(pid)
            except OSError:
                continue
        return found

    def loaded(self):
        """(bytes, seconds, by what) of its first start, as the banner says, or None."""
        found = re.search(r"loaded +([\d.]+) GB in ([\d.]+) s, [\d.]+ GB/s (.*)", self.logged())
        return (float(found.group(1)) * 1e9, float(found.group(2)), found.group(3)) if found else None

    def loaded_ways(self):
        """How many of the GPU's bytes were copied from where they were read, and how the others came; "" on the CPU."""
        found = re.search(r"weights of rank 0: .*?; (copied .*)", self.logged())
        return found.group(1) if found else ""


def wait_until(condition, timeout, what):
    """Until it holds, looked at often."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {timeout:.0f} s in vain until {what}")
        time.sleep(0.005)


def prompt_ids(num, salt, vocab=900):
    """Token ids without structure: no two prompts begin alike."""
    state, ids = 0x9e3779b97f4a7c15 ^ salt * 0x2545f4914f6cdd1d & (1 << 64) - 1, []
    for _ in range(num):
        state ^= state << 13 & (1 << 64) - 1
        state ^= state >> 7
        state ^= state << 17 & (1 << 64) - 1
        ids.append(state % vocab)
    return ids
