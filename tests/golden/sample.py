"""What HF transformers' logits processors leave to draw from, for random rows of logits.

    python tests/golden/sample.py            (torch, transformers)

Writes sample/cases.f32, little endian float: for each case
    repetition_penalty, temperature, top_k, typical_p, top_p, min_p    [6]
    logits    [64]
    probability of each token, 0 for those filtered    [64]
The tokens that the repetition penalty counts as seen are 0, 3, 6 ... 63 in every case.
"""

import itertools
import pathlib

import numpy as np
import torch
from transformers.generation import logits_process as hf

VOCAB = 64
SEEN = torch.arange(0, VOCAB, 3)[None]
FOLDER = pathlib.Path(__file__).resolve().parent / "sample"


def probabilities(logits, repetition, temperature, top_k, typical_p, top_p, min_p):
    chain = [hf.RepetitionPenaltyLogitsProcessor(repetition),
             hf.TemperatureLogitsWarper(temperature)]
    if top_k > 0:
        chain.append(hf.TopKLogitsWarper(top_k))
    if typical_p < 1:
        chain.append(hf.TypicalLogitsWarper(typical_p))
    if top_p < 1:
        chain.append(hf.TopPLogitsWarper(top_p))
    if min_p > 0:
        chain.append(hf.MinPLogitsWarper(min_p))
    scores = logits[None].double()
    for process in chain:
        scores = process(SEEN, scores)
    return torch.softmax(scores, -1)[0]


if __name__ == "__main__":
    torch.manual_seed(3)
    FOLDER.mkdir(exist_ok=True)
    settings = itertools.product([1.0, 1.3], [0.5, 1.0, 1.75], [0, 12], [1.0, 0.6], [1.0, 0.8],
                                 [0.0, 0.08])
    rows = []
    for case in settings:
        logits = torch.randn(VOCAB) * 2.5
        kept = probabilities(logits, *case)
        rows.append(np.concatenate([np.array(case), logits.numpy(), kept.numpy()]))
        print(case, int((kept > 0).sum()))
    np.array(rows, dtype="<f4").tofile(FOLDER / "cases.f32")
