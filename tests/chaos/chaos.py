#!/usr/bin/env python3
"""chaos.py [--minutes N] [--streams N] [--tokens N] [--every SECONDS] [--ranks N]: a server whose worker is killed again and again.

Clients keep streams of every kind running; a random rank of their engine is killed, one is stopped, and a frontend is killed
at the end. Each answer is compared with that of an undisturbed run. Prints a table; exits with 1 when an answer differs,
a stream breaks, or something is left behind.
"""

import argparse
import gc
import os
import random
import signal
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
sys.path.insert(0, HERE)
from server import Server, children, wait_until  # noqa: E402
from workload import Answer, Run, differences, request, run_one  # noqa: E402


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(p * len(ordered)))] if ordered else float("nan")


class Clients:
    """Threads that ask again as soon as they are answered."""

    def __init__(self, port, requests, expected):
        self.port, self.requests, self.expected = port, requests, expected
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.answers, self.bad, self.refused = [], [], 0
        self.threads = [threading.Thread(target=self.loop, args=(i,), daemon=True) for i in range(len(requests))]
        for thread in self.threads:
            thread.start()

    def loop(self, i):
        while not self.over.is_set():
            answer = Answer()
            run_one(self.port, *self.requests[i], answer)
            if answer.status in (429, 503):  # nobody is ready to take it: come again
                self.refused += 1
                time.sleep(0.05)
                continue
            with self.lock:
                self.answers.append(answer)
                if not answer.same_as(self.expected[i]):
                    self.bad.append(f"request {i}: {answer.difference(self.expected[i])}")

    def join(self, timeout=300):
        self.over.set()
        deadline = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.01, deadline - time.monotonic()))
        assert not any(t.is_alive() for t in self.threads), "clients hang"


class Kills:
    def __init__(self, server, ranks):
        self.server = server
        self.names = [f"worker 0.{rank}" for rank in range(ranks)]
        self.moments, self.restarts = [], []

    def engine(self):
        """Process ids of all ranks, or None while one is missing."""
        pids = [self.server.child(name) for name in self.names]
        return pids if all(pids) else None

    def strike(self, rank, signum=signal.SIGKILL):
        """Signal a rank; returns when the next engine is ready."""
        old = wait_until(self.engine)
        when = time.monotonic()
        os.kill(old[rank], signum)
        wait_until(lambda: (new := self.engine()) and not set(new) & set(old), step=0.002)
        wait_until(self.server.is_ready, step=0.002)
        self.moments.append(when)
        self.restarts.append(time.monotonic() - when)


def footprint(server):
    """Memory (MiB; what is shared counts once) and open files of all processes together."""
    kib = files = 0
    for pid in [server.pid, *children(server.pid)]:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            kib += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        files += len(os.listdir(f"/proc/{pid}/fd"))
    return round(kib / 1024), files


def kill_a_frontend(server, requests, expected):
    """Its own connections break; nobody else's, and nothing of them stays. Returns how many, and what was wrong."""
    run = Run(server.port, requests)
    run.wait_received()
    os.kill(server.child("frontend 0"), signal.SIGKILL)
    answers = run.join()
    wrong = [f"after a frontend's death: {d}" for a, e in zip(answers, expected) if a.done
             for d in differences([a], [e])]
    server.wait_ready()
    server.wait_idle()
    return sum(1 for a in answers if not a.done), wrong


def chaos(server, seconds, streams=64, every=1.0, tokens=400, ranks=1, seed=1, kills=1):
    """For so long, and so many kills at least. Returns (table rows, what was wrong)."""
    draw = random.Random(seed)
    requests = [request(i, tokens) for i in range(streams)]
    expected = Run(server.port, requests).join()
    wrong = [f"undisturbed request {i}: {a.error}" for i, a in enumerate(expected) if a.error]
    server.wait_idle()
    wait_until(lambda: sum(f["connections"] for f in server.stats()["fronts"]) == 1)  # that of this question
    before = footprint(server)
    clients, killer = Clients(server.port, requests, expected), Kills(server, ranks)
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(killer.moments) < kills:
        time.sleep(every * draw.uniform(0.5, 1.5))
        killer.strike(draw.randrange(ranks))
    num_kills = len(killer.moments)
    stopped_from = time.monotonic()
    killer.strike(draw.randrange(ranks), signal.SIGSTOP)
    stopped = time.monotonic() - stopped_from
    clients.join()
    wrong += clients.bad
    broken, more = kill_a_frontend(server, requests, expected)
    wrong += more
    gc.collect()  # connections that a client's exception still holds
    try:  # what is lost is lost with each kill; before them one may not have been open yet
        wait_until(lambda: footprint(server)[1] <= before[1] + 1, step=0.1)
    except AssertionError:
        wrong.append(f"open files: {footprint(server)[1]}, {before[1]} before")
    after = footprint(server)

    gaps = [g for a in clients.answers if a.has_event_per_token for g in a.gaps(killer.moments[:num_kills])]
    single, all_gaps = [g for g, n in gaps if n == 1], [g for g, _ in gaps]
    rows = [
        ("worker kills", num_kills),
        ("answers compared", len(clients.answers)),
        ("answers that differ", len(clients.bad)),
        ("refused meanwhile and asked again", clients.refused),
        ("pauses over one kill", len(single)),
        ("  p50", f"{percentile(single, 0.5):.3f} s"),
        ("  p99", f"{percentile(single, 0.99):.3f} s"),
        ("pauses over any number of kills", len(all_gaps)),
        ("  p50", f"{percentile(all_gaps, 0.5):.3f} s"),
        ("  p99", f"{percentile(all_gaps, 0.99):.3f} s"),
        ("restart p50", f"{statistics.median(killer.restarts[:num_kills]):.3f} s"),
        ("restart p99", f"{percentile(killer.restarts[:num_kills], 0.99):.3f} s"),
        ("SIGSTOP until ready again", f"{stopped:.3f} s"),
        ("streams broken by a frontend's death", f"{broken} of {streams}"),
        ("memory before and after", f"{before[0]}, {after[0]} MiB"),
        ("open files before and after", f"{before[1]}, {after[1]}"),
    ]
    return rows, wrong


def frontend_restarts(num):
    """Seconds from the death of the only frontend until its successor answers who connected meanwhile."""
    server, seconds = Server("--frontends", "1", "--log-level", "error"), []
    try:
        for _ in range(num):
            when = time.monotonic()
            os.kill(server.child("frontend 0"), signal.SIGKILL)
            wait_until(server.is_ready, step=0.001)
            seconds.append(time.monotonic() - when)
            time.sleep(0.1)
    finally:
        server.kill()
    return [("frontend killed until it answers, p50", f"{statistics.median(seconds):.3f} s"),
            ("  worst of", f"{num}: {max(seconds):.3f} s")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=400, help="output tokens of a choice")
    parser.add_argument("--every", type=float, default=1.0, help="mean seconds between an engine's start and its end")
    parser.add_argument("--ranks", "--tensor-parallel", type=int, default=1)
    options = parser.parse_args()
    server = Server("--frontends", "2", "--stall-kill", "2", "--log-level", "error", "--tensor-parallel", str(options.ranks))
    try:
        rows, wrong = chaos(server, options.minutes * 60, options.streams, options.every, options.tokens, options.ranks)
        code = server.stop()
    finally:
        server.kill()
    if code != 0:
        wrong.append(f"the server ended with {code}")
    rows += frontend_restarts(20) + [("load average (1 min)", f"{os.getloadavg()[0]:.1f}")]
    for name, value in rows:
        print(f"{name:<40}{value:>16}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
