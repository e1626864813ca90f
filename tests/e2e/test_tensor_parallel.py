"""An engine of several ranks: the same tokens, one life, clear refusals."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from server import CHAT, PATIENCE, SOURCE, ask, children, is_alive, kill_with_nothing_left, program, title, wait_until

sys.path.insert(0, os.path.join(SOURCE, "tests", "chaos"))
from workload import Run, differences, received, request  # noqa: E402

PROMPTS = ("What is the capital of France?", "Tell me a story.", "Count from 1 to 12.")


def generate(*args):
    r = subprocess.run([program(), "generate", *args], capture_output=True, text=True, timeout=2 * PATIENCE,
                       stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


@pytest.mark.parametrize("ranks", ["2", "4"])
def test_ranks_write_token_for_token_what_one_writes(ranks):
    for prompt in PROMPTS:
        args = ("--chat", "-p", prompt, "--temperature", "0", "--max-tokens", "200", "--kv-cache-dtype", "f32")
        one = generate(*args)
        assert one[0] == 0 and one[1].strip()
        assert generate("--tensor-parallel", ranks, *args)[:2] == one[:2]


def with_tokenizer(name, folder):
    """A golden model in a folder of its own, with a character for each token."""
    model = os.path.join(folder, name)
    shutil.copytree(os.path.join(SOURCE, "tests", "golden", "families", name), model)
    with open(os.path.join(model, "config.json")) as f:
        size = json.load(f)["vocab_size"]
    with open(os.path.join(model, "tokenizer.json"), "w") as f:
        json.dump({"added_tokens": [], "decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}]},
                   "model": {"type": "BPE", "vocab": {chr(0x4e00 + i): i for i in range(size)}, "merges": []}}, f)
    return model


def ids_written(server):
    """Of a short prompt and one of several windows, asked for together: token ids of each answer."""
    bodies = [{"prompt": prompt, "max_tokens": 190, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
              for prompt in ([5, 9, 31, 7, 40, 2, 18], [(7 * i + 3) % 70 for i in range(60)])]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda body: server.post("/v1/completions", body), bodies))
    assert [status for status, _, _ in answers] == [200, 200], answers
    return [json.loads(data)["choices"][0]["token_ids"] for _, _, data in answers]


@pytest.mark.parametrize("name", ["mistral_window", "qwen2_window"])  # 24 positions in all layers, 16 in some
def test_ranks_write_far_beyond_a_window_what_one_writes(own_server, tmp_path, name):
    options = (with_tokenizer(name, tmp_path), "--kv-cache-dtype", "f32", "--tensor-parallel")
    found = []
    for ranks in ("1", "2"):
        s = own_server(*options, ranks)
        found.append(ids_written(s))
        s.wait_idle()
        assert s.stop() == 0
    assert found[0] == found[1] and all(len(ids) == 190 for ids in found[0])


def test_titles_and_the_fingerprint_name_the_ranks(own_server):
    s = own_server("-tp", "2")
    titles = sorted(title(pid) for pid in children(s.pid))
    assert titles == ["tokenring: frontend 0", "tokenring: worker 0.0", "tokenring: worker 0.1"]
    assert b"-tp2-" in s.post(CHAT, ask(PROMPTS[0]))[2]


def test_threads_are_shared_out(own_server):
    s = own_server("--tp-size", "2", "--threads", "4")

    def threads(name):
        with open(f"/proc/{s.child(name)}/status") as f:
            return int(re.search(r"Threads:\s*(\d+)", f.read())[1])

    assert threads("worker 0.0") == threads("worker 0.1") == 4 // 2 + 2  # the pool, main and the inbox


def test_answers_in_company_are_those_given_alone(own_server):
    s = own_server("--tensor-parallel", "2")
    requests = [request(i, 60) for i in range(16)]
    together = Run(s.port, requests).join()
    assert not [a.error for a in together if a.error]
    alone = [Run(s.port, [r]).join()[0] for r in requests]
    assert not differences(together, alone)
    s.wait_idle()
    assert s.stop() == 0


@pytest.mark.parametrize("victim", ["worker 0.1", "worker 0.0"])
def test_a_rank_takes_its_engine_along_and_streams_go_on(own_server, victim):
    s = own_server("--tensor-parallel", "2")
    requests = [request(i, 1000) for i in range(8)]
    expected = Run(s.port, requests).join()
    run = Run(s.port, requests)
    for share in (0, 0.1):
        run.wait_received(share * received(expected))
        ranks = [s.child("worker 0.0"), s.child("worker 0.1")]
        os.kill(s.child(victim), signal.SIGKILL)
        wait_until(lambda: not any(is_alive(p) for p in ranks))
        wait_until(lambda: s.child("worker 0.0") and s.child("worker 0.1"))
    assert not differences(run.join(), expected)
    s.wait_ready()
    s.wait_idle()
    assert b"tokenring_worker_restarts_total 2" in s.get("/metrics")[2]


# Kernels of the CUDA backend that the host runs, and an NCCL between processes that do so: steps are sent ahead.
EMULATED = os.path.join(os.path.dirname(program()), "tests", "gpu")


@pytest.mark.skipif(not os.path.exists(os.path.join(EMULATED, "tokenring-cuda.so")), reason="not built with an emulator")
def test_streams_outlive_a_rank_whose_device_had_two_steps(own_server):
    s = own_server("--tensor-parallel", "2", "--device", "cuda:0,0", "--cuda-libs", EMULATED, "--deterministic",
                   "--max-num-batched-tokens", "16", "--max-num-seqs", "2", env={"TOKENRING_MODULES": EMULATED})
    requests = [request(i, 8) for i in (1, 6)]  # the second with penalties
    expected = Run(s.port, requests).join()
    run = Run(s.port, requests)
    run.wait_received(0.3 * received(expected))
    ranks = [s.child("worker 0.0"), s.child("worker 0.1")]
    os.kill(ranks[1], signal.SIGKILL)
    assert not differences(run.join(), expected)
    assert not any(is_alive(pid) for pid in ranks)
    s.wait_ready()
    s.wait_idle()
    assert b"tokenring_worker_restarts_total 1" in s.get("/metrics")[2]


def test_a_follower_that_hangs_does_not_hang_the_engine_for_ever(own_server):
    s = own_server("--tensor-parallel", "2")
    old = s.child("worker 0.1")
    os.kill(old, signal.SIGSTOP)
    wait_until(lambda: s.child("worker 0.1") not in (None, old), 2 * PATIENCE)
    s.wait_ready()
    assert s.post_admitted(CHAT, ask(PROMPTS[0]))[0] == 200


def test_nothing_is_left_after_kill_9_of_the_supervisor_of_ranks(own_server):
    kill_with_nothing_left(own_server("--tensor-parallel", "2"))


def test_a_model_that_cannot_be_cut_is_refused_in_a_sentence():
    code, _, err = generate("--tensor-parallel", "3", "-p", "x")
    assert code == 1 and "num_attention_heads is 8" in err and err.count("\n") == 1
