"""A running server asked for what a model thinks of given tokens; used by comparisons and by perplexity."""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import server as e2e  # noqa: E402


def conversations():
    """What Ringlet is compared on: texts of its own world that it was not trained on as they stand."""
    return (ROOT / "tests" / "golden" / "ringlet" / "conversations.txt").read_text().split("\n\n")


class Scorer:
    """One model, served; a context manager."""

    def __init__(self, model, *args):
        self.server = e2e.Server("--model", str(model), "--max-num-seqs", "4", "--max-model-len", "0", "--log-level",
                                 "error", *args, ready=False)
        self.server.wait_ready(600)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()

    def complete(self, **fields):
        status, _, body = self.server.post("/v1/completions", {"temperature": 0, **fields}, timeout=600)
        answer = json.loads(body)
        if status != 200:
            raise RuntimeError(answer["error"]["message"])
        return answer["choices"][0]

    def tokens(self, text):
        return self.complete(prompt=text, max_tokens=1, return_token_ids=True)["prompt_token_ids"]

    def greedy(self, ids, num):
        return self.complete(prompt=ids, max_tokens=num, ignore_eos=True, return_token_ids=True)["token_ids"]

    def scores(self, ids):
        """Of each position but the last: the likeliest next token, and the log-probability of the next in the text."""
        listed = self.complete(prompt=ids, max_tokens=1, prompt_logprobs=1)["prompt_logprobs"]
        best, own = [], []
        for token, entry in zip(ids[1:], listed[1:]):
            own.append(entry[str(token)]["logprob"])
            best.append(next(int(i) for i, value in entry.items() if value["rank"] == 1))
        return best, own
