"""Models, flags and memory that cannot work: the exit code, and one sentence that says why."""

import json
import os
import shutil
import struct

import pytest

from server import SOURCE, free_port
from test_processes import run

RINGLET = os.path.join(SOURCE, "models", "ringlet")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model"
    shutil.copytree(RINGLET, path, ignore=shutil.ignore_patterns("*.py", "README*"))
    return path


def fails(code, *wanted, args):
    found, _, err = run("serve", "--port", str(free_port()), *map(str, args))
    assert found == code, err
    lines = [x for x in err.splitlines() if x.strip()]
    assert len(lines) == 1, err
    for word in wanted:
        assert word in lines[0], lines[0]




def edit(path, **changes):
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps(config))


def test_a_missing_directory():
    fails(2, "/nonexistent/model", "no such directory", args=["/nonexistent/model"])


def test_a_hub_id_is_told_how_to_download():
    fails(2, "hf download Qwen/Qwen3-0.6B", args=["Qwen/Qwen3-0.6B"])


def test_an_empty_directory(tmp_path):
    fails(2, str(tmp_path), args=[tmp_path])


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file(model, name):
    (model / name).unlink()
    fails(2, name.removeprefix("model"), args=[model])


def test_config_that_is_no_json(model):
    (model / "config.json").write_text("{")
    fails(2, "config.json", args=[model])


def test_an_unsupported_architecture(model):
    edit(model / "config.json", model_type="mamba", architectures=["MambaForCausalLM"])
    fails(2, "mamba", "llama", args=[model])


def test_heads_that_do_not_divide(model):
    edit(model / "config.json", num_attention_heads=7)
    fails(2, "config.json", "num_attention_heads", args=[model])


def test_weights_of_another_shape(model):
    edit(model / "config.json", intermediate_size=640)
    fails(2, "512", "640", args=[model])


def test_truncated_safetensors(model):
    with open(model / "model.safetensors", "r+b") as f:
        f.truncate(1000000)
    fails(2, "model.safetensors", args=[model])


def test_safetensors_header_of_garbage(model):
    with open(model / "model.safetensors", "r+b") as f:
        f.write(struct.pack("<Q", 1 << 40))
    fails(2, "model.safetensors", args=[model])


def test_an_unreadable_template(model):
    edit(model / "tokenizer_config.json", chat_template="{% if %}")
    fails(2, "template", args=[model])


def test_a_tokenizer_of_an_unknown_kind(model):
    edit(model / "tokenizer.json", model={"type": "Mystery"})
    fails(2, "tokenizer.json", "Mystery", args=[model])


def test_too_little_memory_for_the_kv_pool():
    fails(3, "kv-cache-memory", args=["--kv-cache-memory", "100K"])


def test_more_memory_for_the_kv_pool_than_there_is():
    fails(3, "kv", args=["--kv-cache-memory", "900000G"])
