"""`tokenring generate`: a prompt, a pipe, a chat on a terminal; and the installed program."""

import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest

from server import PATIENCE, SOURCE, program

FRANCE = "What is the capital of France?"
PARIS = "The capital of France is Paris."


def run(*args, text=None, command=None):
    r = subprocess.run([command or program(), "generate", *args], capture_output=True, text=True, timeout=2 * PATIENCE,
                       input=text, stdin=None if text is not None else subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def test_a_prompt_is_continued_and_counted():
    code, out, err = run("-p", "The capital of France is", "--max-tokens", "5", "--temperature", "0")
    assert code == 0 and out.strip()
    assert "5 tokens" in err and "tokens/s" in err


def test_a_chat_prompt_from_a_pipe():
    code, out, _ = run("--chat", "--temperature", "0", text=FRANCE)
    assert code == 0 and out.strip() == PARIS


def test_a_seed_repeats():
    args = ("--chat", "-p", "Tell me a story.", "--temperature", "1", "--seed", "5", "--max-tokens", "30")
    assert run(*args)[1] == run(*args)[1]
    assert run(*args)[1] != run(*args[:-3], "6", *args[-2:])[1]


def test_stop_strings_and_json():
    code, out, _ = run("--chat", "-p", FRANCE, "--temperature", "0", "--stop", " of France", "--json")
    answer = json.loads(out)
    assert code == 0 and answer["text"] == "The capital" and answer["finish_reason"] == "stop"


def test_what_cannot_be_is_said_in_a_sentence():
    for args, code, words in ((("-p", "x " * 5000), 1, "maximum context length is 2048"),
                              (("/nonexistent", "-p", "x"), 2, "no such directory"),
                              (("-p", "x", "--temperature", "3"), 1, "--temperature")):
        found, _, err = run(*args)
        assert found == code and words in err and err.count("\n") == 1, err


def test_a_terminal_without_a_prompt_gets_a_chat():
    leader, follower = pty.openpty()
    process = subprocess.Popen([program(), "generate", "--temperature", "0"], stdin=follower, stdout=follower,
                               stderr=follower, close_fds=True)
    os.close(follower)
    shown = b""

    def read_until(words):
        nonlocal shown
        deadline = time.monotonic() + PATIENCE
        while words not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([leader], [], [], 0.2)[0]:
                shown += os.read(leader, 4096)

    try:
        read_until(b"> ")
        os.write(leader, FRANCE.encode() + b"\n")
        read_until(PARIS.encode())
        read_until(b"tokens/s")
        os.write(leader, b"And of Spain?\n")
        os.write(leader, b"\n")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)


@pytest.mark.skipif(shutil.which("meson") is None, reason="meson is not installed")
def test_the_installed_program_finds_its_model(tmp_path):
    build = os.path.dirname(program())
    if not os.path.exists(os.path.join(build, "build.ninja")):
        pytest.skip("the program does not lie in a build folder")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", str(tmp_path)], check=True,
                   capture_output=True, cwd=SOURCE)
    installed = next(tmp_path.rglob("bin/tokenring"))
    moved = tmp_path / "elsewhere"
    shutil.move(installed.parent.parent, moved)
    code, out, err = run("--chat", "-p", FRANCE, "--temperature", "0", command=str(moved / "bin" / "tokenring"))
    assert code == 0 and out.strip() == PARIS, err
