"""Who is refused, in which words, and when to come again: full queues, limits of keys, deadlines, the end."""

import json
import math
import signal
import socket
import subprocess
import threading
import time

import pytest

from server import CHAT, PATIENCE, ask, program, wait_until

STORY = ask("Tell me a story.", max_tokens=1500, ignore_eos=True)
SEATS = 64
HOG = {**STORY, "n": SEATS}  # takes all seats, for some seconds: with one thread, whatever the machine
ONE_THREAD = ("--threads", "1")
SHORT = ask("What is the capital of France?", max_tokens=4)


class Stream:
    """A request on a connection of its own that is not waited for."""

    def __init__(self, server, body, **headers):
        data = json.dumps({**body, "stream": True}).encode()
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items()).encode()
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=5 * PATIENCE)
        self.socket.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
                            % (CHAT.encode(), lines, len(data), data))

    def head(self):
        return self.socket.recv(12).decode()

    def rest(self):
        data = b""
        while part := self.socket.recv(65536):
            data += part
            if data.endswith(b"0\r\n\r\n"):
                break
        return data.decode()

    def close(self):
        self.socket.close()


def error_of(answer):
    status, headers, body = answer
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error["code"], headers


def retry_ms(headers):
    """What both headers say, which must agree."""
    ms = int(headers["retry-after-ms"])
    assert int(headers["retry-after"]) == math.ceil(ms / 1000)
    assert 1 <= ms <= 60000
    return ms


def requests(server):
    return server.stats()["requests"]


def fill(server, waiting, hog=HOG, **headers):
    """All seats are taken, and so many wait."""
    streams = [Stream(server, hog, **headers)]
    wait_until(lambda: requests(server)["running"] == SEATS)
    for i in range(waiting):
        streams.append(Stream(server, STORY, **headers))
        wait_until(lambda: requests(server)["waiting"] == i + 1)
    return streams


def test_a_full_queue_says_when_to_come_again_and_says_less_as_it_drains(own_server):
    s = own_server(*ONE_THREAD, "--max-num-seqs", str(SEATS), "--max-num-queued-reqs", "4")
    for _ in range(3):  # how fast requests end is measured
        assert s.post(CHAT, SHORT)[0] == 200
    streams = fill(s, 4)
    told = requests(s)["retry_after_ms"]
    status, code, headers = error_of(s.post(CHAT, SHORT))
    behind = requests(s)["retry_after_ms"]
    assert (status, code) == (429, "queue_full")
    assert 0.8 * told - 1 <= retry_ms(headers) <= 1.2 * behind + 1
    assert s.get("/readyz")[0] == 503 and s.get("/livez")[0] == 200
    seen = [behind]
    for left in (3, 2, 1):
        streams.pop().close()
        wait_until(lambda: requests(s)["waiting"] == left)
        seen.append(requests(s)["retry_after_ms"] / left * 4)  # as if the queue were full still
    assert all(ms > 0 for ms in seen)
    while streams:
        streams.pop().close()
    s.wait_idle()
    assert requests(s)["retry_after_ms"] == 0
    assert s.post(CHAT, SHORT)[0] == 200


def test_too_many_waiting_tokens_are_refused_by_the_engine_with_both_headers(own_server):
    s = own_server(*ONE_THREAD, "--max-num-seqs", str(SEATS), "--max-num-queued-tokens", "40")
    assert s.post(CHAT, SHORT)[0] == 200
    streams = fill(s, 1)
    long = ask("word " * 60, max_tokens=4)
    status, code, headers = error_of(s.post(CHAT, long))
    assert (status, code) == (429, "queued_tokens_exceeded") and retry_ms(headers)
    for stream in streams:
        stream.close()
    s.wait_idle()
    assert s.post(CHAT, long)[0] == 200  # alone it may


KEYS = """
alice=alice-key-1 concurrent=2
alice=alice-key-2
bob=bob-key-1
"""


def with_key(key):
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(KEYS)
    return path


def test_requests_at_once_are_counted_over_all_keys_of_a_name_and_all_frontends(own_server, key_file):
    s = own_server(*ONE_THREAD, "--frontends", "2", "--api-key-file", str(key_file))
    for round in range(3):
        streams = [Stream(s, {**STORY, "n": SEATS // 2}, authorization="Bearer alice-key-1") for _ in range(2)]
        wait_until(lambda: s.get("/stats", headers=with_key("bob-key-1"))[0] == 200 and
                   json.loads(s.get("/stats", headers=with_key("bob-key-1"))[2])["requests"]["running"] == SEATS)
        for _ in range(8):  # whichever frontend takes the connection
            status, code, headers = error_of(s.post(CHAT, SHORT, headers=with_key("alice-key-2")))
            assert (status, code) == (429, "key_concurrency_exceeded") and retry_ms(headers)
        assert s.post(CHAT, SHORT, headers=with_key("bob-key-1"))[0] == 200
        for stream in streams:
            stream.close()
        wait_until(lambda: s.post(CHAT, SHORT, headers=with_key("alice-key-2"))[0] == 200)
    # what a refusal is counted as, and what each name has used
    metrics = s.get("/metrics")[2].decode()
    assert 'tokenring_requests_rejected_total{reason="key_concurrency_exceeded"}' in metrics
    keys = {k["name"]: k for k in json.loads(s.get("/stats", headers=with_key("bob-key-1"))[2])["keys"]}
    assert keys["bob"]["requests"] == 3 and keys["bob"]["open"] == 0 and keys["bob"]["tokens"] >= 3 * 5


def test_requests_per_minute_are_exact_and_come_back_evenly(own_server):
    s = own_server("--frontends", "2", "--api-key", "a-key-of-mine,another-key", "--max-requests-per-minute-per-key", "30")
    start = time.monotonic()
    statuses = [s.post(CHAT, SHORT, headers=with_key("a-key-of-mine"))[0] for _ in range(40)]
    refused = error_of(s.post(CHAT, SHORT, headers=with_key("a-key-of-mine")))
    passed, seconds = statuses.count(200), time.monotonic() - start
    assert set(statuses) <= {200, 429} and 30 <= passed <= 30 + seconds / 2 + 2
    if refused[0] == 429:  # one comes back every two seconds
        assert refused[1] == "key_rate_exceeded" and retry_ms(refused[2]) <= 2.0 * 1000 * 1.5 + 1
        time.sleep(int(refused[2]["retry-after-ms"]) / 1000)
    assert s.post(CHAT, SHORT, headers=with_key("a-key-of-mine"))[0] == 200
    assert s.post(CHAT, SHORT, headers=with_key("another-key"))[0] == 200


def test_tokens_per_minute_are_those_of_prompt_and_answer(own_server):
    s = own_server("--api-key", "a-key-of-mine", "--max-tokens-per-minute-per-key", "100")
    status, _, body = s.post(CHAT, ask("Tell me a story.", max_tokens=150, ignore_eos=True), headers=with_key("a-key-of-mine"))
    assert status == 200
    used = json.loads(body)["usage"]["total_tokens"]
    status, code, headers = error_of(s.post(CHAT, SHORT, headers=with_key("a-key-of-mine")))
    assert (status, code) == (429, "key_rate_exceeded")
    wait = (used - 100) / 100 * 60000
    assert 0.5 * wait <= retry_ms(headers) <= min(60000, 1.6 * wait + 1000)


def test_limits_are_read_again_with_the_file(own_server, key_file):
    s = own_server("--api-key-file", str(key_file))
    assert s.post(CHAT, SHORT, headers=with_key("bob-key-1"))[0] == 200
    key_file.write_text("bob=bob-key-1 requests-per-minute=1\ncarol=carol-key\n")
    wait_until(lambda: s.post(CHAT, SHORT, headers=with_key("carol-key"))[0] == 200)
    assert s.post(CHAT, SHORT, headers=with_key("alice-key-1"))[0] == 401
    assert s.post(CHAT, SHORT, headers=with_key("bob-key-1"))[0] == 200
    assert error_of(s.post(CHAT, SHORT, headers=with_key("bob-key-1")))[:2] == (429, "key_rate_exceeded")
    key_file.write_text("bob=bob-key-1 requests-per-minute=lots\n")
    wait_until(lambda: "the old API keys stay" in s.log())
    assert s.post(CHAT, SHORT, headers=with_key("carol-key"))[0] == 200


def test_a_limit_without_keys_is_a_mistake_and_said_so():
    r = subprocess.run([program(), "serve", "--max-concurrent-requests-per-key", "3"], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and "--api-key" in r.stderr and r.stderr.count("\n") == 1


def test_one_name_cannot_fill_the_queue_for_the_others(own_server, key_file):
    key_file.write_text("alice=alice-key-1\nbob=bob-key-1\n")
    s = own_server(*ONE_THREAD, "--max-num-seqs", str(SEATS), "--max-num-queued-reqs", "8", "--api-key-file", str(key_file))
    stats = lambda: json.loads(s.get("/stats", headers=with_key("bob-key-1"))[2])["requests"]
    streams = [Stream(s, HOG, authorization="Bearer alice-key-1")]
    wait_until(lambda: stats()["running"] == SEATS)
    for i in range(2):
        streams.append(Stream(s, STORY, authorization="Bearer alice-key-1"))
        wait_until(lambda: stats()["waiting"] == i + 1)
    status, code, _ = error_of(s.post(CHAT, SHORT, headers=with_key("alice-key-1")))
    assert (status, code) == (429, "queue_full")
    done = []
    bob = threading.Thread(target=lambda: done.append(s.post(CHAT, SHORT, headers=with_key("bob-key-1"))))
    bob.start()
    wait_until(lambda: stats()["waiting"] == 3 or done)
    streams[0].close()  # a place: it is bob's, though alice's two were there before
    bob.join(PATIENCE)
    assert done and done[0][0] == 200
    for stream in streams:
        stream.close()


def test_a_deadline_that_the_queue_makes_impossible_is_refused_at_once(own_server):
    s = own_server(*ONE_THREAD, "--max-num-seqs", str(SEATS), "--max-num-queued-reqs", "64")
    assert s.post(CHAT, {**STORY, "max_tokens": 1000})[0] == 200  # an answer takes far more than a millisecond
    streams = fill(s, 8)
    for header in ("x-request-timeout-ms", "x-slo-ttft-ms", "x-llm-d-slo-ttft-ms"):
        status, code, headers = error_of(s.post(CHAT, SHORT, headers={header: "2"}))
        assert (status, code) in ((429, "deadline_unreachable"), (504, "deadline_exceeded"))
        if status == 429:
            retry_ms(headers)
    status, code, headers = error_of(s.post(CHAT, {**SHORT, "timeout": 0.01}))
    assert (status, code) in ((429, "deadline_unreachable"), (504, "deadline_exceeded"))
    assert requests(s)["waiting"] == 8  # none of them ever waited
    for stream in streams:
        stream.close()
    s.wait_idle()
    assert s.post(CHAT, SHORT, headers={"x-request-timeout-ms": "30000", "x-slo-ttft-ms": "30000"})[0] == 200


@pytest.mark.parametrize("header,value", [("x-request-timeout-ms", "soon"), ("x-request-timeout-ms", "-5"),
                                          ("x-slo-ttft-ms", "nan"), ("x-priority", "first"), ("x-priority", "99999999999")])
def test_a_header_that_is_no_number_is_named(server, header, value):
    status, _, body = server.post(CHAT, SHORT, headers={header: value})
    error = json.loads(body)["error"]
    assert status == 400 and error["code"] == "invalid_value" and error["param"] == header


def test_the_priority_of_a_header_is_that_of_the_field(own_server):
    s = own_server("--max-num-seqs", "1", "--scheduling-policy", "priority")
    first = Stream(s, {**HOG, "priority": -10})  # one choice after the other
    wait_until(lambda: requests(s)["running"] == 1)
    waiting, streams = requests(s)["waiting"], []
    for name, priority in (("later", 5), ("sooner", 1)):
        streams.append(Stream(s, SHORT, x_priority=priority, x_request_id=name))
        wait_until(lambda: requests(s)["waiting"] == waiting + len(streams))
    first.close()
    assert all("data: [DONE]" in stream.rest() for stream in streams)
    wait_until(lambda: "id=later" in s.log())
    assert s.log().index("id=sooner") < s.log().index("id=later")  # in the order in which they ended


def test_a_request_that_waits_too_long_is_refused(own_server):
    s = own_server(*ONE_THREAD, "--max-num-seqs", str(SEATS), "--queue-timeout", "1")
    streams = fill(s, 0)
    text = Stream(s, STORY)
    status, code, headers = error_of(s.post(CHAT, STORY))
    assert (status, code) == (429, "queue_full") and retry_ms(headers)
    body = text.rest()
    assert '"code":"queue_full"' in body and body.rstrip().endswith("0") and "data: [DONE]" in body
    wait_until(lambda: requests(s)["waiting"] == 0)
    streams[0].close()
    s.wait_idle()


def test_the_end_refuses_in_words_and_closes_connections(own_server):
    s = own_server("--shutdown-grace", "2", "--shutdown-timeout", "3600", "--max-num-seqs", "1")
    stream = Stream(s, HOG)
    assert stream.head() == "HTTP/1.1 200"
    start = time.monotonic()
    s.process.send_signal(signal.SIGTERM)
    wait_until(lambda: s.get("/readyz")[0] == 503)
    assert json.loads(s.get("/readyz")[2])["error"]["code"] == "draining"
    waits = Stream(s, SHORT)
    assert waits.head() == "HTTP/1.1 200" or time.monotonic() - start > 2  # within the grace all goes on
    refused = []

    def is_refused():
        refused.append(s.post(CHAT, {**SHORT, "timeout": 0.1}))
        return refused[-1][0] == 503

    wait_until(is_refused)
    status, code, headers = error_of(refused[-1])
    assert code == "draining" and headers["connection"] == "close" and retry_ms(headers)
    assert s.get("/livez")[0] == 200
    s.process.send_signal(signal.SIGTERM)
    for cut in (stream, waits):
        cut.rest()
    assert s.process.wait(PATIENCE) in (0, 143)


def test_what_the_end_cuts_off_is_told_so(own_server):
    s = own_server("--shutdown-timeout", "0", *ONE_THREAD, "--max-num-seqs", str(SEATS))
    streams = [Stream(s, {**HOG, "n": 8}) for _ in range(9)]
    assert all(x.head() == "HTTP/1.1 200" for x in streams)
    answers = []
    folded = threading.Thread(target=lambda: answers.append(s.post(CHAT, {**HOG, "n": 4})))
    folded.start()
    wait_until(lambda: requests(s)["running"] == SEATS and s.stats()["fronts"][0]["inflight"] >= 10)
    s.process.send_signal(signal.SIGTERM)
    for stream in streams:
        body = stream.rest()
        assert '"code":"draining"' in body and "data: [DONE]" in body
    folded.join(PATIENCE)
    status, code, headers = error_of(answers[0])
    assert (status, code) == (503, "draining") and retry_ms(headers)
    assert s.process.wait(PATIENCE) == 143
