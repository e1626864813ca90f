#!/usr/bin/env python3
"""overload.py [--seconds N] [--times N]: a server that is asked for ten times what it can do.

Measures first how many requests a second the server answers when clients wait for each other, then sends ten times as
many, whatever becomes of them. What is admitted must end within its deadline, what is refused must be told when to come
again, at once, and memory must not grow. Prints a table; exits with 1 when one of them is not so. How fast refusals are
is printed beside its goal and fails nothing: the machine may be busy with others.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
sys.path.insert(0, HERE)
from load import CHAT, Watch, connect, encode, fault, growth, judge, percentile  # noqa: E402
from server import Server, wait_until  # noqa: E402

SEATS, QUEUE = 32, 64
OPTIONS = ("--max-num-seqs", str(SEATS), "--max-num-queued-reqs", str(QUEUE), "--kv-cache-memory", "16M", "--log-level", "error")
MOST_CONNECTIONS = 4 * (SEATS + QUEUE)
REFUSAL_GOAL_MS = 20


def make_body(i, deadline):
    return {"messages": [{"role": "user", "content": f"Tell me story {i}."}], "max_tokens": 200, "ignore_eos": True,
            "temperature": 0.8, "seed": i, "timeout": deadline, "stream": i % 2 == 0}


class Tally:
    def __init__(self, deadline):
        self.deadline = deadline
        self.offered = self.skipped = 0
        self.admitted, self.refused, self.told, self.wrong = [], [], [], []
        self.codes = {}

    def take(self, reply, body):
        if reply.status == 200:
            self.admitted.append(reply.seconds())
            what = fault(reply, body)
            if what is None and reply.seconds() > self.deadline + 5:  # the client is slow, too
                what = f"an answer took {reply.seconds():.1f} s, its deadline was {self.deadline} s"
        elif reply.status == 429:
            self.refused.append(reply.seconds())
            self.told.append(reply.retry_after_ms() or 0)
            self.codes[reply.error_code()] = self.codes.get(reply.error_code(), 0) + 1
            what = None if reply.retry_after_ms() else f"a refusal that does not say when to come again: {reply.headers}"
        else:
            what = f"status {reply.status} {reply.error_code()}"
        if what is not None:
            self.wrong.append(what)


async def measure(port, seconds):
    """Requests a second, with as many clients as there are seats and half as many more; not before each had an answer."""
    clients, start, ends = SEATS * 3 // 2, time.monotonic(), []

    async def client(i):
        connection = await connect(port)
        while time.monotonic() - start < seconds or len(ends) < clients:
            reply = await connection.ask(encode(CHAT, make_body(i, 0)))
            assert reply.status == 200, reply.body
            ends.append(reply.ended)
        connection.leave()

    await asyncio.gather(*(client(i) for i in range(clients)))
    until = max(start + seconds, sorted(ends)[clients - 1])
    return sum(1 for t in ends if t <= until) / (until - start)


class Flood:
    """Requests at an even rate, on as many connections as it takes up to a limit."""

    def __init__(self, port, rate, tally):
        self.port, self.rate, self.tally = port, rate, tally
        self.idle, self.num_open, self.tasks = [], 0, set()

    async def one(self, i, connection):
        body = make_body(i, self.tally.deadline)
        if connection is None:
            connection = await connect(self.port)
        self.tally.take(await connection.ask(encode(CHAT, body)), body)
        if connection.is_open:
            self.idle.append(connection)
        else:
            self.num_open -= 1

    def send(self, i):
        connection = None
        while self.idle and connection is None:
            connection = self.idle.pop()
            if not connection.is_open:
                connection, self.num_open = None, self.num_open - 1
        if connection is None and self.num_open >= MOST_CONNECTIONS:
            self.tally.skipped += 1
            return
        self.num_open += connection is None
        self.tally.offered += 1
        task = asyncio.ensure_future(self.one(i, connection))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self, seconds, each_second):
        start = last = time.monotonic()
        sent = 0
        while (now := time.monotonic()) - start < seconds:
            due = int((now - start) * self.rate)
            for i in range(sent, due):
                self.send(i)
            sent = due
            if now - last >= 1:
                last = now
                each_second(now - start)
            await asyncio.sleep(0.002)
        await asyncio.wait_for(asyncio.gather(*self.tasks), self.tally.deadline + 30)
        for connection in self.idle:
            connection.leave()


def overload(server, seconds, times=10):
    """Returns (table rows, what was wrong)."""
    watch = Watch(server)
    files = watch.files()
    capacity = asyncio.run(measure(server.port, max(2, seconds / 10)))
    deadline = max(10, round(5 * (SEATS + QUEUE) / capacity))  # seats and queue, five times over: the machine may be busy
    tally = Tally(deadline)
    memory = []
    flood = Flood(server.port, times * capacity, tally)
    asyncio.run(flood.run(seconds, lambda at: memory.append((at, watch.memory()))))
    wait_until(lambda: server.blocks_used() == 0 and server.stats()["requests"]["running"] == 0)
    wait_until(lambda: watch.has_no_more_files(files))
    settled = [m for at, m in memory if at >= seconds / 4] or [watch.memory()]
    more, grown = growth(settled[0], settled[-1])
    wrong = tally.wrong + grown
    if not tally.admitted or not tally.refused:
        wrong.append(f"{len(tally.admitted)} were admitted and {len(tally.refused)} refused: that is no overload")
    refusal = [1000 * percentile(tally.refused, p) for p in (0.5, 0.99)]
    rows = [("capacity, requests per second", f"{capacity:.1f}"), ("offered per second", f"{tally.offered / seconds:.1f}"),
            ("  not offered, the clients being too slow", tally.skipped), ("admitted", len(tally.admitted)),
            ("  per second", f"{len(tally.admitted) / seconds:.1f}"),
            ("  time of the whole answer p50", f"{percentile(tally.admitted, 0.5):.2f} s"),
            ("  p99, with a deadline of " + f"{deadline} s", f"{percentile(tally.admitted, 0.99):.2f} s"),
            ("refused", len(tally.refused)), *((f"  {code}", num) for code, num in sorted(tally.codes.items())),
            ("  time of a refusal p50", f"{refusal[0]:.1f} ms"),
            (f"  p99, goal {REFUSAL_GOAL_MS} ms", f"{refusal[1]:.1f} ms"),
            ("  told to come again after, least", f"{min(tally.told, default=0) / 1000:.2f} s"),
            ("    median", f"{statistics.median(tally.told or [0]) / 1000:.2f} s"),
            ("    most", f"{max(tally.told, default=0) / 1000:.2f} s"),
            ("answers that are wrong, or late", len(tally.wrong)),
            *((f"memory of {n}: {settled[0][n]} KiB", f"{more[n]:+} KiB") for n in more)]
    return rows, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--times", type=float, default=10, help="of the capacity")
    options = parser.parse_args()
    return judge(Server(*OPTIONS), lambda server: overload(server, options.seconds, options.times))


if __name__ == "__main__":
    sys.exit(main())
