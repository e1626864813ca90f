"""A real `tokenring serve` under test: started, watched, ended by id."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

PROGRAM = os.environ.get("TOKENRING", "build/tokenring")
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program():
    return PROGRAM if os.path.isabs(PROGRAM) else os.path.join(SOURCE, PROGRAM)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def children(pid):
    """Process ids of the children of `pid`."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(word) for word in f.read().split()]


def title(pid):
    """What `ps` shows; empty for a process that is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().rstrip(b"\0").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


PATIENCE = 60  # seconds for what comes at once, on a machine however busy


def wait_until(condition, timeout=PATIENCE, step=0.01):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(step)
    raise AssertionError(f"not so after {timeout} s: {condition}")


def kill_with_nothing_left(server):
    """kill -9 of a supervisor: its three children end by themselves."""
    pids = children(server.pid)
    assert len(pids) == 3
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(is_alive(p) for p in pids))


class Server:
    def __init__(self, *args, ready=True, env=None, log=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = log
        self.log_file = open(log, "ab") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            [program(), "serve", "--port", str(self.port), *args],
            stdin=subprocess.DEVNULL, stdout=self.log_file, stderr=self.log_file,
            env={**os.environ, **(env or {})})
        if ready:
            try:
                self.wait_ready()
            except AssertionError:
                self.kill()
                raise

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def get(self, path, timeout=PATIENCE, headers=None):
        """Status, headers and body, also of an error."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as r:
                return r.status, r.headers, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read()

    def post(self, path, body, timeout=2 * PATIENCE, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, headers={"content-type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as r:
                return r.status, r.headers, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read()

    def post_admitted(self, path, body):
        """As post(), and again while nobody is ready to take it: each frontend learns of an engine by itself."""
        answers = []

        def is_taken():
            answers.append(self.post(path, body))
            return answers[-1][0] != 503

        wait_until(is_taken)
        return answers[-1]

    def stats(self):
        return json.loads(self.get("/stats")[2])

    def blocks_used(self):
        return self.stats()["kv"]["blocks_used"]

    def wait_idle(self, timeout=PATIENCE):
        wait_until(lambda: self.blocks_used() == 0 and self.stats()["requests"]["running"] == 0, timeout)

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log() if self.log_path else ''}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self, timeout=PATIENCE):
        wait_until(self.is_ready, timeout)

    def child(self, name):
        """Process id of the child whose title ends in `name`, as "worker 0.0"."""
        for pid in children(self.pid):
            if title(pid) == f"tokenring: {name}":
                return pid
        return None

    def stop(self, timeout=2 * PATIENCE):
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        finally:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


CHAT = "/v1/chat/completions"


def ask(text, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def streamed_text(body):
    """The content of all chunks of a streamed chat, put together."""
    text = ""
    for line in body.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
    return text
