"""`tokenring quantize`: the file answers as the model does, and what is wrong is told."""

import json
import pathlib
import subprocess

import pytest

from server import Server, ask, program

RINGLET = pathlib.Path(__file__).resolve().parent.parent.parent / "models" / "ringlet"
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
TYPES = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "fp8"]


def run(*args):
    r = subprocess.run([program(), *map(str, args)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def answer(model, *options):
    code, out, err = run("generate", model, "--chat", "-p", QUESTION, "--temperature", "0", "--max-tokens", "30", "--json", *options)
    assert code == 0, err
    return json.loads(out)["text"]


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_answers(tmp_path, kind):
    path = tmp_path / ("fp8" if kind == "fp8" else "model.gguf")
    code, out, err = run("quantize", RINGLET, path, "--type", kind)
    assert code == 0, err
    assert "tensors" in out and "bits a weight" in out
    assert answer(path) == ANSWER
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_gguf_file_becomes_another(tmp_path):
    assert run("quantize", RINGLET, tmp_path / "a.gguf", "--type", "f16", "--quiet") == (0, "", "")
    assert run("quantize", tmp_path / "a.gguf", tmp_path / "b.gguf", "--type", "q4_k", "--threads", "1", "--quiet") == (0, "", "")
    assert (tmp_path / "b.gguf").stat().st_size < (tmp_path / "a.gguf").stat().st_size / 3
    assert answer(tmp_path / "b.gguf") == ANSWER


def test_a_mixture_is_told_and_is_made_while_loading_too(tmp_path):
    assert run("quantize", RINGLET, tmp_path / "a.gguf", "--type", "q4_k_m", "--quiet") == (0, "", "")
    assert answer(tmp_path / "a.gguf") == answer(RINGLET, "--quantization", "q4_k_m") == ANSWER
    told = [run("info", *args)[1] for args in ((tmp_path / "a.gguf",), (RINGLET, "--quantization", "q4_k_m"))]
    for out, stored in zip(told, ("q4_k 70 %, q6_k 30 %, f32 1 %", "bf16 100 %")):
        lines = {line[2:13].strip(): line for line in out.splitlines()}
        assert lines["checkpoint"].endswith(": " + stored)
        assert lines["weights"].endswith(": q4_k 70 %, q6_k 30 %, f32 1 %")


def test_what_is_wrong_is_told(tmp_path):
    (tmp_path / "there.gguf").write_bytes(b"mine")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 40)
    for args, code, words in (
        ((RINGLET,), 1, "two paths"),
        ((RINGLET, "a", "b"), 1, "third path"),
        ((RINGLET, tmp_path / "x.gguf", "--type", "q7"), 1, "q7"),
        ((RINGLET, tmp_path / "there.gguf"), 2, "there already"),
        ((tmp_path / "none", tmp_path / "x.gguf"), 2, "none"),
        ((tmp_path / "bad.gguf", tmp_path / "x.gguf"), 2, "big-endian"),
        ((RINGLET, tmp_path / "no" / "x.gguf"), 2, "No such file"),
    ):
        found, _, err = run("quantize", *args)
        assert found == code and words in err and err.count("\n") == 1, (args, found, err)
    assert (tmp_path / "there.gguf").read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.gguf", "there.gguf"]
    assert run("quantize", RINGLET, tmp_path / "there.gguf", "--force", "--quiet")[0] == 0
    assert answer(tmp_path / "there.gguf") == ANSWER


def test_rounded_while_loading_it_is_named_in_the_fingerprint():
    prints = set()
    for kind in ("auto", "q8_0", "fp8"):
        server = Server("--quantization", kind)
        try:
            _, _, body = server.post("/v1/chat/completions", ask(QUESTION, temperature=0))
            found = json.loads(body)
            assert found["choices"][0]["message"]["content"] == ANSWER
            prints.add(found["system_fingerprint"])
        finally:
            server.stop()
    assert len(prints) == 3
