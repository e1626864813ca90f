"""The processes: what they are called, what happens when one is killed, how the server ends."""

import json
import os
import signal
import socket
import subprocess
import threading

from server import CHAT, PATIENCE, Server, ask, children, kill_with_nothing_left, program, streamed_text, title, wait_until

STORY = "Tell me a story."


def run(*args, timeout=PATIENCE):
    r = subprocess.run([program(), *args], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout, r.stderr


def open_stream(server, **more):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=2 * PATIENCE)
    body = json.dumps(ask(STORY, stream=True, **more)).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
              b"content-length: %d\r\n\r\n%s" % (len(body), body))
    return s


def read_all(s):
    data = b""
    while True:
        try:
            part = s.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part
        if data.endswith(b"0\r\n\r\n"):
            return data


def test_titles(own_server):
    s = own_server("--frontends", "2")
    assert title(s.pid) == "tokenring: supervisor"
    titles = sorted(title(pid) for pid in children(s.pid))
    assert titles == ["tokenring: frontend 0", "tokenring: frontend 1", "tokenring: worker 0.0"]


def test_the_terminal_shows_what_was_started_and_a_line_per_request(own_server):
    s = own_server()
    wait_until(lambda: all(wanted in s.log() for wanted in ("ringlet", "context", "2048", "kv cache", s.url, "curl", "}'\n\n")))
    log = s.log()
    curl = log[log.index("curl "):].split("\n\n")[0]
    out = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, timeout=PATIENCE).stdout
    assert streamed_text(out) == "The capital of France is Paris." and out.rstrip().endswith("data: [DONE]")
    wait_until(lambda: any("prompt" in line and "ttft" in line for line in s.log().splitlines()))


def test_sigterm_when_idle_exits_0_at_once(own_server):
    s = own_server("--shutdown-timeout", "3600")
    assert s.stop() == 0


def test_sigterm_finishes_running_streams(own_server):
    s = own_server()
    stream = open_stream(s, max_tokens=400, ignore_eos=True, n=8)
    assert stream.recv(1)
    s.process.send_signal(signal.SIGTERM)
    wait_until(lambda: (try_get(s, "/readyz") or [503])[0] == 503)
    body = read_all(stream)
    assert b"data: [DONE]" in body and body.count(b'"finish_reason":"length"') == 8
    assert s.process.wait(PATIENCE) == 0


ENDLESS = {"max_tokens": 1900, "ignore_eos": True, "n": 64}  # one after the other, far longer than any of these tests


def was_cut(stream):
    return read_all(stream).count(b'"finish_reason":"length"') < ENDLESS["n"]


def test_a_second_sigterm_stops_at_once(own_server):
    s = own_server("--max-num-seqs", "1", "--shutdown-timeout", "3600")
    stream = open_stream(s, **ENDLESS)
    assert stream.recv(1)
    s.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining" in s.log())
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(PATIENCE) in (0, 143) and was_cut(stream)


def test_sigint_stops_at_once(own_server):
    s = own_server("--max-num-seqs", "1", "--shutdown-timeout", "3600")
    stream = open_stream(s, **ENDLESS)
    assert stream.recv(1)
    s.process.send_signal(signal.SIGINT)
    s.process.wait(PATIENCE)
    assert was_cut(stream)


def test_a_killed_worker_is_replaced_and_its_streams_go_on(own_server):
    s = own_server()
    stream = open_stream(s, max_tokens=1500, ignore_eos=True)
    assert stream.recv(1)
    old = s.child("worker 0.0")
    os.kill(old, signal.SIGKILL)
    body = read_all(stream)
    assert b'"error":' not in body and b'"finish_reason":"length"' in body
    assert b"data: [DONE]" in body
    wait_until(lambda: s.child("worker 0.0") not in (None, old))
    s.wait_ready()
    status, _, body = s.post_admitted(CHAT, ask("What is the capital of France?"))
    assert status == 200 and b"Paris" in body


def test_a_killed_frontend_is_restarted_and_the_other_goes_on(own_server):
    s = own_server("--frontends", "2")
    old = s.child("frontend 0")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: s.child("frontend 0") not in (None, old))
    s.wait_ready()
    for _ in range(10):
        assert s.post_admitted(CHAT, ask("What is the capital of France?"))[0] == 200
    s.wait_idle()


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_nothing_is_left_after_kill_9_of_the_supervisor(own_server):
    s = own_server("--frontends", "2")
    kill_with_nothing_left(s)
    wait_until(lambda: port_is_free(s.port))  # a process of threads is shown as gone a moment before its files are
    assert not [n for n in os.listdir("/dev/shm") if "tokenring" in n]


def test_a_second_server_on_the_port_says_so(own_server):
    s = own_server()
    code, _, err = run("serve", "--port", str(s.port))
    assert code == 5
    assert err.count("\n") == 1 and str(s.port) in err and "in use" in err


def test_the_port_opens_before_the_model_is_there(tmp_path):
    """A worker held while it loads: a fifo in place of the weights' pages would never end, so the
    worker is stopped by a signal instead."""
    s = Server(ready=False, log=str(tmp_path / "log"))
    try:
        worker = wait_until(lambda: s.child("worker 0.0"), step=0.0005)
        os.kill(worker, signal.SIGSTOP)
        status = wait_until(lambda: try_get(s, "/livez"))
        assert status[0] == 200
        code, _, body = s.get("/health")
        if code == 503:  # the worker was caught before it was ready
            health = json.loads(body)
            assert health["status"] == "loading" and health["model_loaded"] is False
            code, headers, body = s.post(CHAT, ask("hi"))
            assert code == 503 and int(headers["retry-after"]) >= 1
            assert json.loads(body)["error"]["code"] == "model_loading"
            assert s.get("/v1/models")[0] == 200
        os.kill(worker, signal.SIGCONT)
        s.wait_ready()
        assert json.loads(s.get("/health")[2])["status"] == "ok"
    finally:
        assert s.stop() == 0


def try_get(s, path):
    try:
        return s.get(path)
    except OSError:
        return None


def test_help_and_wrong_words():
    code, out, _ = run("serve", "--help")
    assert code == 0 and len(out.splitlines()) <= 40 and max(map(len, out.splitlines())) <= 140
    code, out, _ = run("serve", "--help=all")
    assert code == 0 and "--slow-client-timeout" in out
    code, _, err = run("serve", "--max-num-seq", "5")
    assert code == 1 and "did you mean --max-num-seqs?" in err and err.count("\n") == 1
    code, _, err = run("serv")
    assert code == 1 and "did you mean serve" in err
    code, _, err = run("serve", "--port", "99999")
    assert code == 1 and "--port" in err
    code, _, err = run("serve", "--ssl-certfile", "/x")
    assert code == 1 and "--ssl-keyfile" in err



def test_many_threads_of_clients_share_both_frontends(server):
    """Connections spread over the processes; all answers are right."""
    bad = []

    def loop():
        for _ in range(5):
            status, _, body = server.post(CHAT, ask("What is the capital of France?"))
            if status != 200 or b"Paris" not in body:
                bad.append((status, body))

    threads = [threading.Thread(target=loop) for _ in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not bad
