"""Nothing of a request stays behind, whatever becomes of its client: ./dev soak in short."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chaos"))
import soak  # noqa: E402
from load import draw_seed  # noqa: E402


def test_a_thousand_requests_leave_nothing_behind(own_server):
    s = own_server(*soak.OPTIONS)
    seed = draw_seed()
    rows, wrong = soak.soak(s, 1000, seed=seed)
    assert not wrong, (seed, wrong)
    assert dict(rows)["answered whole"] > 300
