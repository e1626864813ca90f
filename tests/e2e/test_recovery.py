"""Streams outlive their worker: whatever kills it, every answer is the one of an undisturbed run."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import server
from server import CHAT, PATIENCE, SOURCE, ask, children, program, title, wait_until

sys.path.insert(0, os.path.join(SOURCE, "tests", "chaos"))
from chaos import chaos  # noqa: E402
from workload import Run, chat, differences, received, request  # noqa: E402

STORY = "Tell me a story."


def kill(s, signum=signal.SIGKILL):
    """Kill the worker and wait for the next one to be started."""
    old = wait_until(lambda: s.child("worker 0.0"))
    os.kill(old, signum)
    wait_until(lambda: s.child("worker 0.0") not in (None, old))


def test_every_answer_equals_the_undisturbed_one(own_server):
    s = own_server("--frontends", "2")
    requests = [request(i, 800) for i in range(16)]
    expected = Run(s.port, requests).join()
    assert not [a.error for a in expected if a.error]
    run = Run(s.port, requests)
    for share in (0.1, 0.2, 0.4):
        run.wait_received(share * received(expected))
        kill(s)
    answers = run.join()
    assert not differences(answers, expected)
    s.wait_ready()
    s.wait_idle()
    assert s.get("/metrics")[2].count(b"tokenring_worker_restarts_total 3") == 1


def test_a_worker_that_dies_while_it_loads_costs_only_time(own_server):
    s = own_server()
    requests = [request(i, 800) for i in range(4)]
    expected = Run(s.port, requests).join()
    run = Run(s.port, requests)
    run.wait_received()
    for _ in range(3):
        kill(s)
    assert not differences(run.join(), expected)


def weights(pid):
    """Device and inode of the memory file of weights, which nobody can write; none where there is none."""
    with open(f"/proc/{pid}/maps") as f:
        lines = [line.split() for line in f if "tokenring-weights" in line]
    assert all(fields[1] == "r--s" for fields in lines)
    return {(fields[3], fields[4]) for fields in lines}


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_next_worker_attaches_the_weights_of_the_first(own_server, ranks):
    s = own_server("--tensor-parallel", str(ranks))
    names = [f"worker 0.{rank}" for rank in range(ranks)]
    before = [weights(s.child(name)) for name in names]
    assert all(before)
    assert len(set(map(frozenset, before))) == ranks  # each rank has its own part
    blocks = s.stats()["kv"]["blocks_total"]
    for _ in range(3):
        kill(s)
        s.wait_ready()
        after = [wait_until(lambda: weights(wait_until(lambda: s.child(name)))) for name in names]
        assert after == before
    assert s.stats()["kv"]["blocks_total"] == blocks
    assert not any("tokenring-weights" in open(f"/proc/{pid}/maps").read() for pid in
                   (s.pid, s.child("frontend 0")))


def test_a_model_that_changed_does_not_go_on_with_the_old_ones_text(own_server, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(os.path.join(SOURCE, "models", "ringlet"), model)
    s = own_server(str(model))
    run = Run(s.port, [request(i, 1500) for i in range(2)])
    wait_until(lambda: all(received([a]) > 0 for a in run.answers), 60)
    assert not run.is_over()
    os.kill(s.child("worker 0.0"), signal.SIGSTOP)
    os.utime(model / "model.safetensors", (1000, 1000))
    os.kill(s.child("worker 0.0"), signal.SIGKILL)
    assert s.process.wait(PATIENCE) == 6
    answers = run.join()
    assert [a.error["code"] for a in answers] == ["model_changed"] * 2
    assert "not those that were loaded at first" in s.log()


def test_a_frontend_does_not_come_back_with_another_tokenizer(own_server, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(os.path.join(SOURCE, "models", "ringlet"), model)
    s = own_server(str(model))
    before = s.child("frontend 0")
    os.utime(model / "tokenizer.json", (1000, 1000))  # the same bytes
    os.kill(before, signal.SIGKILL)
    assert wait_until(lambda: s.child("frontend 0") not in (None, before))
    s.wait_ready()
    with open(model / "tokenizer.json", "a") as f:
        f.write("\n")
    os.kill(s.child("frontend 0"), signal.SIGKILL)
    assert s.process.wait(PATIENCE) == 6
    assert "not those that were loaded at first" in s.log()


def test_new_requests_meanwhile_are_told_to_come_again(own_server):
    s = own_server()
    run = Run(s.port, [chat(STORY, stream=True, temperature=0, max_tokens=1500, ignore_eos=True)])
    run.wait_received()
    os.kill(s.child("worker 0.0"), signal.SIGKILL)
    refused = None
    while refused is None:
        status, headers, body = s.post(CHAT, ask("hi", max_tokens=1))
        if status == 503:
            refused = headers, json.loads(body)
        elif s.get("/readyz")[0] == 200:
            break  # it came back before we asked
    if refused is not None:
        assert int(refused[0]["retry-after"]) >= 1 and refused[1]["error"]["code"] == "no_worker"
    assert run.join()[0].error is None


def test_a_client_that_leaves_while_the_engine_is_down_leaves_nothing_behind(own_server):
    s = own_server()
    run = Run(s.port, [request(i, 1500) for i in range(2)])
    body = json.dumps(ask(STORY, stream=True, max_tokens=1900, ignore_eos=True)).encode()
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
              b"content-length: %d\r\n\r\n%s" % (len(body), body))
    assert c.recv(1)
    os.kill(s.child("worker 0.0"), signal.SIGKILL)
    c.close()
    assert not [a.error for a in run.join() if a.error]
    s.wait_ready()
    s.wait_idle()


def test_generate_goes_on_too():
    """`tokenring generate` sits in a frontend's seat: its worker may be killed as well."""
    args = [program(), "generate", "--chat", "-p", STORY, "-n", "900", "--temperature", "0.8", "--seed", "7"]
    expected = subprocess.run(args, capture_output=True, stdin=subprocess.DEVNULL, timeout=2 * PATIENCE).stdout
    p = subprocess.Popen(args, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    first = p.stdout.read(1)
    for pid in children(p.pid):
        if title(pid).endswith("worker 0.0"):
            os.kill(pid, signal.SIGKILL)
    out, err = p.communicate(timeout=2 * PATIENCE)
    assert p.returncode == 0, err
    assert first + out == expected


@pytest.fixture
def hooked(own_server, monkeypatch):
    """A function that starts servers whose engine crashes or hangs on request, by its max_tokens (hooks.h)."""
    path = os.path.join(os.path.dirname(program()), "tests", "e2e", "tokenring_hooked")
    if not os.path.exists(path):
        pytest.skip(f"{path} is not built")
    monkeypatch.setattr(server, "PROGRAM", path)
    return lambda *args: own_server(os.path.join(SOURCE, "models", "ringlet"), *args)


CRASH, CRASH_LATE, HANG = 471, 472, 473


@pytest.mark.parametrize("max_tokens", [CRASH, CRASH_LATE])
def test_a_deadly_request_fails_alone_and_is_not_taken_again(hooked, max_tokens):
    s = hooked("--frontends", "2")
    requests = [request(i, 300) for i in range(8)]
    expected = Run(s.port, requests).join()
    assert not [a.error for a in expected if a.error]
    poison = chat(STORY, temperature=0, max_tokens=max_tokens, ignore_eos=True)
    run = Run(s.port, requests)
    run.wait_received()
    deadly = Run(s.port, [poison]).join()[0]
    assert deadly.status == 500 and deadly.error["code"] == "worker_failed"
    assert not differences(run.join(), expected)
    s.wait_ready()
    assert s.get("/metrics")[2].count(b"tokenring_worker_restarts_total 3") == 1
    for _ in range(8):  # at both frontends
        again = Run(s.port, [poison]).join()[0]
        assert again.status == 500 and again.error["code"] == "worker_failed"
    assert s.get("/metrics")[2].count(b"tokenring_worker_restarts_total 3") == 1
    s.wait_idle()


def test_a_request_that_hangs_its_engine_is_convicted_too(hooked):
    s = hooked("--stall-kill", "1")
    deadly = Run(s.port, [chat(STORY, temperature=0, max_tokens=HANG, ignore_eos=True)])
    run = Run(s.port, [request(i, 100) for i in range(3)])
    assert deadly.join()[0].error["code"] == "worker_failed"
    assert not [a.error for a in run.join() if a.error]


def test_who_is_stopped_from_outside_is_replaced_and_blames_nobody(own_server):
    s = own_server("--stall-kill", "1")
    requests = [request(i, 1500) for i in range(4)]
    expected = Run(s.port, requests).join()
    run = Run(s.port, requests)
    for share in (0, 0.1, 0.2, 0.3):
        run.wait_received(share * received(expected))
        old = wait_until(lambda: s.child("worker 0.0"))
        os.kill(old, signal.SIGSTOP)
        wait_until(lambda: s.child("worker 0.0") not in (None, old))
        s.wait_ready()
    assert not differences(run.join(), expected)
    assert "was stopped by somebody" in s.log()


def test_chaos_in_short(own_server):
    """64 streams, a random rank killed every second for 20 s, one stopped, a frontend killed: see tests/chaos."""
    s = own_server("--frontends", "2", "--stall-kill", "2", "--tensor-parallel", "2")
    rows, wrong = chaos(s, seconds=20, streams=64, every=1.0, tokens=60, ranks=2, kills=4)
    assert not wrong, wrong[:5]
    assert dict(rows)["answers compared"] >= 64
