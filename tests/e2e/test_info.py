"""`tokenring info`: what a model is, what it needs, whether it fits."""

import json
import pathlib
import subprocess

import pytest
from server import SOURCE, program

FAMILIES = pathlib.Path(SOURCE) / "tests/golden/families"


def run(*args):
    r = subprocess.run([program(), "info", *map(str, args)], capture_output=True, text=True, timeout=60,
                       stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def test_the_embedded_model_is_told_and_fits():
    code, out, err = run()
    assert code == 0 and err == ""
    assert "llama: 4 layers of 256, vocabulary of 1024, tied" in out
    assert "8 heads of 32, 4 of keys and values" in out
    assert "4.0 MiB for 2048 tokens" in out and "fits         yes" in out


def test_what_does_not_fit_has_its_exit_code():
    code, out, _ = run("--kv-cache-memory", "1M")
    assert code == 3 and "fits         no: KV cache" in out
    assert run("--kv-cache-memory", "1M", "--max-model-len", "256")[0] == 0


def test_smaller_types_of_the_cache_are_counted_and_answer():
    sizes = {"f32": "8.0 MiB", "bf16": "4.0 MiB", "fp8": "2.0 MiB", "fp8_e4m3": "2.0 MiB", "q8_0": "2.1 MiB"}
    for name, size in sizes.items():
        code, out, _ = run("--kv-cache-dtype", name)
        assert code == 0 and f"in {name.split('_e')[0]}, {size} for 2048 tokens" in out
        r = subprocess.run([program(), "generate", "--chat", "-p", "What is the capital of France?", "--temperature", "0",
                            "--kv-cache-dtype", name], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert r.stdout.strip() == "The capital of France is Paris.", name
    assert run("--kv-cache-dtype", "q4_0")[0] == 1


def test_windows_and_ranks_are_told():
    code, out, _ = run(FAMILIES / "gemma3_two_ropes", "--tensor-parallel", "2")
    assert code == 0
    assert "12 positions, in 5 of 7 layers" in out and "2 ranks" in out and "in each rank" in out


def fields(out):
    return {line[2:13].strip(): line[15:] for line in out.splitlines() if line.startswith("  ")}


def test_experts_and_latents_are_told_and_counted():
    code, out, _ = run(FAMILIES / "qwen2_moe_sparse_step")
    told = fields(out)
    assert code == 0 and told["experts"] == "6 of 24, 2 for each token" and told["fits"].startswith("yes")
    # Two KV heads of 8, keys and values in f16, three layers.
    assert told["KV cache"].startswith("192 B a token in f16")

    code, out, _ = run(FAMILIES / "deepseek_v3", "--kv-cache-dtype", "f32")
    told = fields(out)
    assert code == 0 and told["attention"] == "4 heads over latents of 32 + 8"
    assert told["experts"] == "8 of 20, 3 for each token"
    # One latent and its key in each of three layers, whatever the number of heads.
    assert told["KV cache"].startswith("480 B a token in f32")


@pytest.mark.parametrize("name", ["qwen2_moe_sparse_step", "deepseek_v3", "gemma3_two_ropes"])
def test_what_does_not_fit_is_told_of_every_kind(name):
    code, out, err = run(FAMILIES / name, "--kv-cache-memory", "4K")
    assert code == 3 and fields(out)["fits"].startswith("no: KV cache") and err == ""


def test_a_model_that_lies_is_refused_in_one_sentence(tmp_path):
    source = FAMILIES / "qwen3_linear"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    for change, words in (({"hidden_size": 48}, "tensor model.embed_tokens.weight"),
                          ({"num_hidden_layers": 5}, "tensor model.layers.4."),
                          ({"hidden_act": "relu"}, "hidden_act is \"relu\""),
                          ({"rms_norm_eps": float("nan")}, "rms_norm_eps is not a number")):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        code, out, err = run(tmp_path)
        assert code == 2 and out == "" and words in err and err.count("\n") == 1
