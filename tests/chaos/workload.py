"""Requests of every kind, run side by side, and what their clients saw.

An answer is compared whole: text, log-probabilities, finish reasons and usage of each choice. How
it was cut into events does not matter; when the events came is kept for the gaps.
"""

import http.client
import json
import threading
import time

STORY = "Tell me a story."
PATIENCE = 60  # seconds for what comes at once, on a machine however busy
ASK = "What is the capital of France?"


def chat(text, **more):
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more}


def completion(text, **more):
    return "/v1/completions", {"prompt": text, **more}


def request(i, tokens):
    """The i-th request: a kind of its own, and a seed."""
    free = {"temperature": 0.8, "seed": 1000 + i, "max_tokens": tokens, "ignore_eos": True}
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    kinds = [
        lambda: chat(STORY, **{**free, "temperature": 0}, **stream),
        lambda: chat(STORY, **free, **stream),
        lambda: chat(STORY, **free, n=2, **stream),
        lambda: completion("Once upon a time", **free, logprobs=3, **stream),
        lambda: chat(STORY, **free, stop=["\n\n\n", "zebra", " and then the"], **stream),
        lambda: chat(STORY, **free, n=2, logprobs=True, top_logprobs=2),
        lambda: chat(STORY, **free, presence_penalty=0.5, frequency_penalty=0.3, repetition_penalty=1.1,
                     min_tokens=tokens // 2, **stream),
        lambda: completion(["One day", "Two birds"], **free, n=2, echo=True, logprobs=1, **stream),
        lambda: chat(STORY, **{**free, "ignore_eos": False}, **stream),
    ]
    path, body = kinds[i % len(kinds)]()
    return path, body


class Answer:
    def __init__(self):
        self.status = None
        self.times = []   # of events, monotonic
        self.comments = 0
        self.choices = {}  # index -> {"text", "logprobs", "finish"}
        self.usage = None
        self.error = None
        self.done = False
        self.has_event_per_token = False  # others say nothing while tokens have no text: that is no pause

    def choice(self, index):
        return self.choices.setdefault(index, {"text": "", "logprobs": [], "finish": None})

    def take_choice(self, c):
        mine = self.choice(c["index"])
        part = c.get("delta") or c.get("message") or {}
        mine["text"] += part.get("content") or c.get("text") or ""
        mine["finish"] = c.get("finish_reason") or mine["finish"]
        logprobs = c.get("logprobs") or {}
        if logprobs.get("content"):
            mine["logprobs"] += logprobs["content"]
        elif logprobs.get("tokens"):
            mine["logprobs"] += list(zip(logprobs["tokens"], logprobs["token_logprobs"],
                                         logprobs["text_offset"],
                                         [json.dumps(t) for t in logprobs["top_logprobs"] or []]))

    def take(self, value):
        if "error" in value:
            self.error = value["error"]
        for c in value.get("choices") or []:
            self.take_choice(c)
        if value.get("usage"):  # how much of the prompt was found cached is no part of the answer
            self.usage = {k: v for k, v in value["usage"].items() if k != "prompt_tokens_details"}

    def take_line(self, line):
        line = line.rstrip(b"\r\n")
        if line.startswith(b":"):
            self.comments += 1
        elif line == b"data: [DONE]":
            self.done = True
        elif line.startswith(b"data: "):
            self.times.append(time.monotonic())
            self.take(json.loads(line[6:]))

    def same_as(self, other):
        return (self.status, self.choices, self.usage, self.error, self.done) == \
               (other.status, other.choices, other.usage, other.error, other.done)

    def difference(self, other):
        for name in ("status", "error", "done", "usage"):
            if getattr(self, name) != getattr(other, name):
                return f"{name}: {getattr(self, name)!r}, expected {getattr(other, name)!r}"
        for index, c in other.choices.items():
            mine = self.choices.get(index, {})
            for key, wanted in c.items():
                if mine.get(key) != wanted:
                    return f"choice {index} {key}: {mine.get(key)!r:.300}, expected {wanted!r:.300}"
        return "nothing"

    def gaps(self, moments):
        """Of each pause between two events in which some of the moments lie: its seconds, and how many do."""
        found = []
        for before, behind in zip(self.times, self.times[1:]):
            inside = sum(1 for when in moments if before < when <= behind)
            if inside:
                found.append((behind - before, inside))
        return found


def run_one(port, path, body, answer):
    answer.has_event_per_token = bool(body.get("stream") and body.get("logprobs"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5 * PATIENCE)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        answer.status = response.status
        if response.status == 200 and body.get("stream"):
            for line in response:
                answer.take_line(line)
        else:
            answer.take(json.loads(response.read()))
            answer.done = True
    except (OSError, http.client.HTTPException, ValueError) as error:
        answer.error = repr(error)
    finally:
        connection.close()


def run_admitted(port, path, body, answer):
    """As run_one(), and asks again while nobody is ready to take it: each frontend learns of an engine by itself."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        run_one(port, path, body, answer)
        if answer.status != 503:
            return
        answer.__init__()
        time.sleep(0.05)


def received(answers):
    return sum(len(c["text"]) for a in answers for c in list(a.choices.values()))


class Run:
    """Requests in threads of their own: start, disturb, join."""

    def __init__(self, port, requests):
        self.answers = [Answer() for _ in requests]
        self.threads = [threading.Thread(target=run_admitted, args=(port, *r, a), daemon=True)
                        for r, a in zip(requests, self.answers)]
        for thread in self.threads:
            thread.start()

    def is_over(self):
        return not any(t.is_alive() for t in self.threads)

    def received(self):
        """Characters of text that have come."""
        return received(self.answers)

    def wait_received(self, characters=1, timeout=2 * PATIENCE):
        """Until that much text has come, and requests still run: a moment to disturb them."""
        deadline = time.monotonic() + timeout
        while self.received() < characters:
            assert not self.is_over() and time.monotonic() < deadline, "no moment to disturb the requests"
            time.sleep(0.002)
        assert not self.is_over(), "the requests ended before they could be disturbed"

    def join(self, timeout=5 * PATIENCE):
        deadline = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.01, deadline - time.monotonic()))
        assert self.is_over(), "requests hang"
        return self.answers


def differences(answers, expected):
    return [f"request {i}: {a.difference(e)}" for i, (a, e) in enumerate(zip(answers, expected)) if not a.same_as(e)]
