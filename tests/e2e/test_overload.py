"""Ten times what the server can do: ./dev overload in short."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chaos"))
import load  # noqa: E402
import overload  # noqa: E402


def test_what_is_admitted_ends_in_time_and_what_is_not_is_told_when_to_come(own_server, capsys):
    s = own_server(*overload.OPTIONS)
    rows, wrong = overload.overload(s, 20)
    with capsys.disabled():  # how fast it was depends on who else is here: told, not judged
        load.print_table(rows, [], sys.stdout, sys.stderr)
    assert not wrong, wrong
