#!/usr/bin/env python3
"""soak.py [--requests N] [--clients N] [--seed N]: requests of every kind, many of them left by their clients.

Each request goes its way: it is answered whole, or its client leaves at a random moment, by closing, resetting or
half-closing the connection. When all are over nothing may be left: no page, no request, no memory, no file. Prints a
table; exits with 1 when something is left or an answer is wrong.
"""

import argparse
import asyncio
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
sys.path.insert(0, HERE)
from load import CHAT, TEXT, Watch, connect, draw_seed, encode, fault, growth, judge, percentile  # noqa: E402
from server import Server, wait_until  # noqa: E402

PATIENCE = 120  # seconds for one request, on a machine however busy
SIDE_BYTES = 70000  # a body of this size is prepared on the side thread
OPTIONS = ("--frontends", "2", "--kv-cache-memory", "16M", "--max-num-seqs", "48", "--log-level", "error")

WORDS = "the cat sat on a red mat while seven small birds sang about rain and Paris in spring".split()


def sentence(draw):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 40)))


def make_body(draw):
    """A path and a body; most are good."""
    body = {"max_tokens": draw.choice((1, 2, 4, 8, 16, 32)), "seed": draw.randrange(1 << 30),
            "temperature": draw.choice((0, 0.7, 1.2)), "n": draw.choice((1, 1, 1, 2, 3))}
    if draw.random() < 0.6:
        body["stream"] = True
        if draw.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
    if draw.random() < 0.3:
        body["stop"] = draw.sample(["zebra", "the", ". ", "\n", "a", "rain and"], draw.randint(1, 3))
    if draw.random() < 0.3:
        body["ignore_eos"] = True
    if draw.random() < 0.1:
        body |= {"presence_penalty": 0.5, "repetition_penalty": 1.1}
    if draw.random() < 0.03:
        body["x_padding"] = "x" * SIDE_BYTES
    if draw.random() < 0.03:
        body["temperature"] = 7  # refused
    if draw.random() < 0.5:
        if draw.random() < 0.25:
            body |= {"logprobs": True, "top_logprobs": draw.randint(0, 5)}
        return CHAT, body | {"messages": [{"role": "user", "content": sentence(draw)}]}
    if draw.random() < 0.25:
        body["logprobs"] = draw.randint(0, 5)
    if draw.random() < 0.1:
        body["echo"] = True
    prompts = [sentence(draw) for _ in range(draw.choice((1, 1, 1, 3)))]
    return TEXT, body | {"prompt": prompts if len(prompts) > 1 else prompts[0]}


class Tally:
    def __init__(self):
        self.wrong, self.seconds = [], []
        self.counts = dict.fromkeys(("answered whole", "refused as asked (400)", "refused, queue full (429)", "left at once",
                                     "left while waiting", "left after the first byte"), 0)

    def check(self, reply, body):
        if reply.status == 200:
            self.counts["answered whole"] += 1
            self.seconds.append(reply.seconds())
            what = fault(reply, body)
        elif reply.status == 400 and body["temperature"] == 7:
            self.counts["refused as asked (400)"] += 1
            what = None if reply.error_code() else "a 400 without an error object"
        elif reply.status == 429:
            self.counts["refused, queue full (429)"] += 1
            what = None if reply.retry_after_ms() else "a 429 that does not say when to come again"
        else:
            what = f"status {reply.status} {reply.error_code()}"
        if what is not None:
            self.wrong.append(f"{what}: {str(body)[:200]}")


async def go(connection, draw, tally):
    """One request; returns the connection where it can be used again."""
    path, body = make_body(draw)
    raw, way = encode(path, body), draw.random()
    how = draw.choice(("close", "reset", "half-close"))
    if way < 0.6:
        tally.check(await connection.ask(raw), body)
        return connection if connection.is_open else None
    if way < 0.7:
        tally.counts["left at once"] += 1
        connection.begin(raw if draw.random() < 0.7 else raw[:draw.randrange(1, len(raw))])
        await asyncio.sleep(0)
    elif way < 0.85:
        tally.counts["left while waiting"] += 1
        connection.begin(raw)
        await asyncio.sleep(draw.uniform(0, 0.2))
    else:
        tally.counts["left after the first byte"] += 1
        connection.begin(raw)
        await connection.begun
        await asyncio.sleep(draw.uniform(0, 0.05))
    connection.leave(how)
    if how == "half-close":
        await connection.waiter  # the server takes it for a close and ends the connection
        connection.leave()
    return None


async def run(port, num, clients, draw, tally):
    left = [num]

    async def client():
        connection = None
        while left[0] > 0:
            left[0] -= 1
            if connection is None or not connection.is_open:
                connection = await connect(port)
            try:
                connection = await asyncio.wait_for(go(connection, draw, tally), PATIENCE)
            except asyncio.TimeoutError:
                tally.wrong.append(f"a request is stuck for {PATIENCE} s")
                connection.leave()
                connection = None
        if connection is not None:
            connection.leave()

    await asyncio.gather(*(client() for _ in range(clients)))


def leftovers(server):
    stats = server.stats()
    open_requests = sum(f["inflight"] for f in stats["fronts"]) - 1  # the one that asks
    return (stats["kv"]["blocks_used"], stats["requests"]["running"], stats["requests"]["waiting"], open_requests)


def settle(server, watch, files):
    """Wait until nothing is left of any request, and of connections no file."""
    wait_until(lambda: not any(leftovers(server)), PATIENCE)
    wait_until(lambda: watch.has_no_more_files(files))


def touch_cache(server, draw):
    """Prompts that fill the whole KV cache: the kernel gives memory to pages that were written."""
    for _ in range(6):
        prompt = [draw.randrange(100, 900) for _ in range(2000)]
        assert server.post(TEXT, {"prompt": prompt, "max_tokens": 1})[0] == 200


def soak(server, num, clients=64, seed=1):
    """Returns (table rows, what was wrong)."""
    draw, tally = random.Random(seed), Tally()
    watch = Watch(server)
    files = watch.files()
    touch_cache(server, draw)
    start = time.monotonic()
    asyncio.run(run(server.port, num // 4, clients, draw, tally))  # buffers and caches find their size
    settle(server, watch, files)
    before = watch.memory()
    asyncio.run(run(server.port, num - num // 4, clients, draw, tally))
    seconds = time.monotonic() - start
    settle(server, watch, files)
    more, grown = growth(before, watch.memory())
    wrong = tally.wrong + grown
    if not watch.has_no_more_files(files):
        wrong.append(f"open files: {files} before, {watch.files()} behind")
    used, running, waiting, open_requests = leftovers(server)
    rows = [("requests", num), ("seed", seed), *tally.counts.items(), ("answers that are wrong", len(tally.wrong)),
            ("requests per second", f"{num / seconds:.0f}"),
            ("time of a whole answer p50", f"{percentile(tally.seconds, 0.5):.3f} s"),
            ("time of a whole answer p99", f"{percentile(tally.seconds, 0.99):.3f} s"),
            ("pages in use at the end", used), ("requests at the end", running + waiting + open_requests),
            *((f"memory of {n}: {before[n]} KiB", f"{more[n]:+} KiB") for n in before),
            ("open files, before and at the end", f"{sum(files.values())} {sum(watch.files().values())}")]
    return rows, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=draw_seed())
    options = parser.parse_args()
    return judge(Server(*OPTIONS), lambda server: soak(server, options.requests, options.clients, options.seed))


if __name__ == "__main__":
    sys.exit(main())
