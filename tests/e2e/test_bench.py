"""`tokenring bench`: what it measures, and what it refuses."""

import json
import subprocess

from server import program


def run(*args):
    r = subprocess.run([program(), "bench", *args], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def test_each_load_gets_its_rates():
    code, out, err = run("--json", "--input-len", "32,100", "--batch-size", "1,4", "--output-len", "16", "--repeat", "2")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(r["kind"], r["prompt_len"], r["sequences"]) for r in rows] == [
        ("prefill", 32, 1), ("prefill", 100, 1), ("decode", 16, 1), ("decode", 16, 4)]
    assert all(len(r["tokens_per_s"]) == 2 and min(r["tokens_per_s"]) > 0 for r in rows)


def test_a_table_for_people_and_no_prompts():
    code, out, _ = run("--input-len", "0", "--batch-size", "2", "--output-len", "8", "--repeat", "1")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 2 and lines[1].split()[:3] == ["decode", "16", "2"]


def test_what_cannot_be_is_said_in_a_sentence():
    for args, words in ((("--input-len", "12,x"), "--input-len: x"), (("--batch-size", "9999"), "--batch-size: 9999"),
                        (("--output-len", "4000"), "maximum context length is 2048"),
                        (("--prompt", "x"), "--prompt")):
        code, out, err = run(*args)
        assert code == 1 and words in err and not out, err
