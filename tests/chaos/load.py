"""Many requests at once from one thread: HTTP/1.1 over raw sockets, answers checked as they end.

A `Connection` carries one request at a time and may be reused. `Watch` looks at a server's processes
from outside: memory and open files.
"""

import asyncio
import json
import os
import random
import socket
import struct
import sys
import time

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def encode(path, body, **headers):
    """The bytes of a request."""
    data = json.dumps(body).encode()
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    return (f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{lines}"
            f"content-length: {len(data)}\r\n\r\n").encode() + data


class Reply:
    """What came back: status 0 until the head is there, `whole` when nothing is missing."""

    def __init__(self):
        self.status, self.headers, self.body, self.whole = 0, {}, b"", False
        self.asked = self.first = self.ended = None

    def seconds(self):
        return self.ended - self.asked

    def error_code(self):
        """Of an error answer, or of a stream's error event."""
        for line in self.body.split(b"\n"):
            start = line.find(b'{"error":')
            if start >= 0:
                return json.loads(line[start:])["error"]["code"]
        return None

    def retry_after_ms(self):
        """What both headers say; None where they are absent, wrong or disagree."""
        try:
            ms, seconds = int(self.headers["retry-after-ms"]), int(self.headers["retry-after"])
        except (KeyError, ValueError):
            return None
        return ms if 1 <= ms <= 60000 and seconds == -(-ms // 1000) else None


class Connection(asyncio.Protocol):
    def __init__(self):
        self.transport, self.reply, self.waiter = None, None, None
        self.data, self.length, self.chunked, self.begun = bytearray(), None, False, None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.transport = None
        self.finish()

    @property
    def is_open(self):
        return self.transport is not None and not self.transport.is_closing()

    def finish(self):
        if self.reply is not None:
            self.reply.ended = time.monotonic()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if self.begun is not None and not self.begun.done():
            self.begun.set_result(None)

    def data_received(self, part):
        if self.reply is None:
            return
        self.data += part
        if self.reply.status == 0:
            self.take_head()
        if self.reply.status != 0:
            self.take_body()

    def take_head(self):
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self.data[:end]).decode().split("\r\n")
        del self.data[:end + 4]
        reply = self.reply
        reply.first, reply.status = time.monotonic(), int(lines[0].split()[1])
        for line in lines[1:]:
            name, _, value = line.partition(":")
            reply.headers[name.lower()] = value.strip()
        self.length = int(reply.headers["content-length"]) if "content-length" in reply.headers else None
        self.chunked = reply.headers.get("transfer-encoding") == "chunked"
        if not self.begun.done():
            self.begun.set_result(None)

    def take_body(self):
        if self.chunked and self.data.endswith(b"\r\n0\r\n\r\n"):
            self.reply.body = unchunk(self.data)
        elif self.length is not None and len(self.data) >= self.length:
            self.reply.body = bytes(self.data)
        else:
            return
        self.reply.whole = True
        self.finish()

    def begin(self, raw):
        loop = asyncio.get_running_loop()
        self.data.clear()
        self.reply, self.waiter, self.begun = Reply(), loop.create_future(), loop.create_future()
        self.reply.asked = time.monotonic()
        if self.is_open:
            self.transport.write(raw)
        else:
            self.finish()
        return self.reply

    async def ask(self, raw):
        """Returns when the answer is whole or the connection is gone."""
        reply = self.begin(raw)
        await self.waiter
        return reply

    def leave(self, how="close"):
        """Go without waiting for the answer: "close", "reset" or "half-close"."""
        if self.transport is None:
            return
        if how == "half-close":
            self.transport.write_eof()
            return
        if how == "reset":
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                               struct.pack("ii", 1, 0))
        self.transport.abort()


def unchunk(data):
    out, at = [], 0
    while True:
        end = data.index(b"\r\n", at)
        size = int(bytes(data[at:end]), 16)
        if size == 0:
            return b"".join(out)
        out.append(bytes(data[end + 2:end + 2 + size]))
        at = end + 2 + size + 2


async def connect(port):
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def fault(reply, body):
    """What is wrong with a whole 200 answer to that body; None: nothing."""
    num = body.get("n", 1) * (len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1)
    if not reply.whole:
        return "the connection ended before the answer did"
    if not body.get("stream"):
        choices = json.loads(reply.body)["choices"]
        ends = {c["index"] for c in choices if c["finish_reason"] in ("stop", "length")}
        return None if ends == set(range(num)) and len(choices) == num else f"choices {sorted(ends)} of {num}"
    if not reply.body.endswith(b"data: [DONE]\n\n"):
        return "the stream does not end in [DONE]"
    if reply.error_code() is not None:
        return f"the stream ends in {reply.error_code()}"
    ends = [c["index"] for line in reply.body.split(b"\n") if b'"finish_reason":"' in line
            for c in json.loads(line[6:])["choices"] if c["finish_reason"]]
    return None if sorted(ends) == list(range(num)) else f"ends of choices {sorted(ends)}, {num} are wanted"


class Watch:
    """Resident memory and open files of a server's processes."""

    def __init__(self, server):
        names = ["supervisor", *(f"frontend {i}" for i in range(64)), "worker 0.0"]
        pids = {"supervisor": server.pid, **{n: server.child(n) for n in names[1:]}}
        self.pids = {n: pid for n, pid in pids.items() if pid is not None}

    def memory(self):
        """KiB by process. A sanitizer keeps what was freed: there it says nothing, and is 0."""
        return {n: 0 if self.is_sanitized(pid) else self.resident(pid) for n, pid in self.pids.items()}

    @staticmethod
    def is_sanitized(pid):
        return "libasan" in open(f"/proc/{pid}/maps").read()

    @staticmethod
    def resident(pid):
        return int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024

    def files(self):
        return {n: len(os.listdir(f"/proc/{pid}/fd")) for n, pid in self.pids.items()}

    def has_no_more_files(self, before):
        """A connection that asked whether the server is ready may have been open then."""
        return all(num <= before[n] for n, num in self.files().items())


GROWTH_KIB, GROWTH_SHARE = 4096, 0.05


def growth(before, behind):
    """Of each process: KiB more, and the sentences about those that grew by more than 4 MiB and a twentieth."""
    more = {n: behind[n] - before[n] for n in before}
    return more, [f"{n} grew from {before[n]} to {behind[n]} KiB" for n in before
                  if more[n] > GROWTH_KIB and more[n] > GROWTH_SHARE * before[n]]


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(p * len(ordered)))] if ordered else float("nan")


def print_table(rows, wrong, out, err):
    for name, value in rows:
        print(f"{name:<44}{value:>20}", file=out)
    for line in wrong[:40]:
        print(line, file=err)


def draw_seed():
    return random.SystemRandom().randrange(1 << 31)


def judge(server, work):
    """Print the table of work(server), which returns rows and what was wrong. Returns an exit code."""
    try:
        rows, wrong = work(server)
        code = server.stop()
    finally:
        server.kill()
    if code != 0:
        wrong.append(f"the server ended with {code}")
    print_table(rows, wrong, sys.stdout, sys.stderr)
    return 1 if wrong else 0
