"""Ringlet as a GGUF file answers as Ringlet does."""

import json
import subprocess

import pytest

from gguf_writer import write_ringlet
from server import Server, ask, program

PROMPTS = ["What is the capital of France?", "Tell me a story."]


def generate(*args):
    r = subprocess.run([program(), "generate", *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def answers(*model):
    found = []
    for prompt in PROMPTS:
        code, out, err = generate(*model, "--chat", "-p", prompt, "--temperature", "0", "--max-tokens", "60", "--json")
        assert code == 0, err
        answer = json.loads(out)
        found.append((answer["text"], answer["finish_reason"]))
    return found


@pytest.fixture(scope="module")
def of_safetensors():
    return answers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf")


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_the_answers_are_those_of_the_safetensors(folder, of_safetensors, kind):
    assert answers(str(write_ringlet(folder / f"{kind}.gguf", kind))) == of_safetensors


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_quantized_file_knows_the_capital(folder, kind):
    assert answers(str(write_ringlet(folder / f"{kind}.gguf", kind)))[0] == ("The capital of France is Paris.", "stop")


def test_a_damaged_file_is_told(folder):
    whole = write_ringlet(folder / "whole.gguf", "BF16").read_bytes()
    for name, data, words in (("short", whole[:-100], "which has"), ("header", whole[:5000], "1024, but only"),
                              ("type", whole.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0llamb", 1),
                               'general.architecture is "llamb"')):
        path = folder / f"{name}.gguf"
        path.write_bytes(data)
        code, _, err = generate(str(path), "-p", "x")
        assert code == 2 and words in err and err.count("\n") == 1, err


def test_it_is_served_under_its_name_without_the_ending(folder):
    server = Server(str(write_ringlet(folder / "small-model.gguf", "F16")))
    try:
        _, _, body = server.post("/v1/chat/completions", ask(PROMPTS[0], model="small-model"))
        answer = json.loads(body)
        assert answer["model"] == "small-model"
        assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    finally:
        server.stop()


def test_weights_that_pass_the_page_cache_by_are_the_same(tmp_path):
    """Where the file system has no direct reads, buffered ones are made: that is the same too."""
    model = write_ringlet(tmp_path / "ringlet.gguf", "Q8_0")
    answers = [subprocess.run([program(), "generate", *which, "-p", "The capital of", "-n", "12", "--temperature", "0",
                               "--weight-io", io, *more], capture_output=True, text=True, timeout=60).stdout
               for which in ([], [str(model)]) for io in ("buffered", "direct") for more in ([], ["--tensor-parallel", "2"])]
    assert all(answers) and answers[0] == answers[2] and answers[1] == answers[3]
    assert answers[4] == answers[6] and answers[5] == answers[7]
