"""Bad requests: each has its status, its code and its param; none is a 5xx."""

import json
import socket

import pytest

from server import CHAT, ask, program, wait_until

COMPLETIONS = "/v1/completions"
HI = [{"role": "user", "content": "hi"}]


def chat(**fields):
    return {"messages": HI, "max_tokens": 1, **fields}


def text(**fields):
    return {"prompt": "hi", "max_tokens": 1, **fields}


CASES = [
    # path, body, status, code, param
    (CHAT, b"", 400, "invalid_json", None),
    (CHAT, b"{", 400, "invalid_json", None),
    (CHAT, b"[1,2]", 400, None, None),
    (CHAT, b"null", 400, None, None),
    (CHAT, b'{"messages":[],"messages":[]}', 400, "invalid_json", None),
    (CHAT, b'{"messages":[]} x', 400, "invalid_json", None),
    (CHAT, b'{"temperature":NaN}', 400, "invalid_json", None),
    (CHAT, b'{"a":"\xff"}', 400, "invalid_utf8", None),
    (CHAT, b'{"a":"\\ud800"}', 400, "invalid_utf8", None),
    (CHAT, b"[" * 70 + b"]" * 70, 400, "invalid_json", None),
    (CHAT, b"[" * 100000, 400, "invalid_json", None),
    (CHAT, b'{"temperature":' + b"1" * 100 + b"}", 400, "invalid_json", None),
    (CHAT, {}, 400, "missing_required_parameter", "messages"),
    (CHAT, {"messages": None}, 400, "missing_required_parameter", "messages"),
    (CHAT, {"messages": []}, 400, "empty_array", "messages"),
    (CHAT, {"messages": "hi"}, 400, "invalid_type", "messages"),
    (CHAT, {"messages": [1]}, 400, "invalid_type", "messages[0]"),
    (CHAT, {"messages": [{}]}, 400, "missing_required_parameter", "messages[0].role"),
    (CHAT, {"messages": [{"role": 5, "content": "x"}]}, 400, "invalid_type", "messages[0].role"),
    (CHAT, {"messages": [{"role": "user", "content": 5}]}, 400, "invalid_type", "messages[0].content"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
     400, "unsupported_content_part", "messages[0].content[0]"),
    (CHAT, chat(model=5), 400, "invalid_type", "model"),
    (CHAT, chat(model="gpt-4"), 404, "model_not_found", "model"),
    (CHAT, chat(temperature=-0.1), 400, "decimal_below_min_value", "temperature"),
    (CHAT, chat(temperature=2.1), 400, "decimal_above_max_value", "temperature"),
    (CHAT, chat(temperature="hot"), 400, "invalid_type", "temperature"),
    (CHAT, chat(temperature=True), 400, "invalid_type", "temperature"),
    (CHAT, chat(top_p=0), 400, None, "top_p"),
    (CHAT, chat(top_p=1.1), 400, "decimal_above_max_value", "top_p"),
    (CHAT, chat(top_k=-2), 400, "integer_below_min_value", "top_k"),
    (CHAT, chat(top_k=1.5), 400, "invalid_type", "top_k"),
    (CHAT, chat(min_p=2), 400, "decimal_above_max_value", "min_p"),
    (CHAT, chat(max_tokens=0), 400, "integer_below_min_value", "max_tokens"),
    (CHAT, chat(max_tokens=-5), 400, "integer_below_min_value", "max_tokens"),
    (CHAT, chat(max_tokens="5"), 400, "invalid_type", "max_tokens"),
    (CHAT, chat(max_completion_tokens=5.5), 400, "invalid_type", "max_completion_tokens"),
    (CHAT, chat(n=0), 400, "integer_below_min_value", "n"),
    (CHAT, chat(n=129), 400, "integer_above_max_value", "n"),
    (CHAT, chat(seed="x"), 400, "invalid_type", "seed"),
    (CHAT, chat(stop=5), 400, "invalid_type", "stop"),
    (CHAT, chat(stop=""), 400, None, "stop"),
    (CHAT, chat(stop=["a", 5]), 400, "invalid_type", "stop[1]"),
    (CHAT, chat(stop=["a"] * 65), 400, "array_above_max_length", "stop"),
    (CHAT, chat(stop=["x" * 1025]), 400, "string_above_max_length", "stop[0]"),
    (CHAT, chat(stream="yes"), 400, "invalid_type", "stream"),
    (CHAT, chat(stream_options={"include_usage": True}), 400, None, "stream_options"),
    (CHAT, chat(presence_penalty=3), 400, "decimal_above_max_value", "presence_penalty"),
    (CHAT, chat(frequency_penalty=-3), 400, "decimal_below_min_value", "frequency_penalty"),
    (CHAT, chat(repetition_penalty=0), 400, None, "repetition_penalty"),
    (CHAT, chat(logit_bias=[1]), 400, "invalid_type", "logit_bias"),
    (CHAT, chat(logit_bias={"x": 1}), 400, "invalid_value", "logit_bias"),
    (CHAT, chat(logit_bias={"99999": 1}), 400, "invalid_value", "logit_bias"),
    (CHAT, chat(logit_bias={"5": 101}), 400, "decimal_above_max_value", "logit_bias.5"),
    (CHAT, chat(logprobs=5), 400, "invalid_type", "logprobs"),
    (CHAT, chat(top_logprobs=3), 400, None, "top_logprobs"),
    (CHAT, chat(logprobs=True, top_logprobs=21), 400, "integer_above_max_value", "top_logprobs"),
    (CHAT, chat(tools=[{"type": "function", "function": {"name": "f"}}]), 400, "unsupported_parameter", "tools"),
    (CHAT, chat(response_format={"type": "json_object"}), 400, "unsupported_parameter", "response_format"),
    (CHAT, chat(audio={"voice": "x"}), 400, "unsupported_parameter", "audio"),
    (CHAT, chat(use_beam_search=True), 400, "unsupported_parameter", "use_beam_search"),
    (CHAT, chat(guided_json={}), 400, "unsupported_parameter", "guided_json"),
    (CHAT, chat(user=5), 400, "invalid_type", "user"),
    (CHAT, chat(metadata=5), 400, "invalid_type", "metadata"),
    (CHAT, chat(messages=[{"role": "user", "content": "word " * 4000}]), 400, "context_length_exceeded", "messages"),
    (COMPLETIONS, {}, 400, "missing_required_parameter", "prompt"),
    (COMPLETIONS, text(prompt=[]), 400, "empty_array", "prompt"),
    (COMPLETIONS, text(prompt=""), 400, "empty_prompt", "prompt"),
    (COMPLETIONS, text(prompt=["a", 5]), 400, None, None),
    (COMPLETIONS, text(prompt=[1, 99999]), 400, None, None),
    (COMPLETIONS, text(prompt=[-1]), 400, None, None),
    (COMPLETIONS, text(prompt=["x"] * 257), 400, "array_above_max_length", "prompt"),
    (COMPLETIONS, text(prompt=["x"] * 100, n=3), 400, None, None),
    (COMPLETIONS, text(max_tokens=0), 400, None, "max_tokens"),
    (COMPLETIONS, text(best_of=3), 400, "unsupported_parameter", "best_of"),
    (COMPLETIONS, text(suffix="x"), 400, "unsupported_parameter", "suffix"),
    (COMPLETIONS, text(logprobs=True), 400, "invalid_type", "logprobs"),
    (COMPLETIONS, text(echo="x"), 400, "invalid_type", "echo"),
    (COMPLETIONS, text(prompt="word " * 4000), 400, "context_length_exceeded", "prompt"),
]


def case_name(case):
    path, body = case[:2]
    return f"{path.rsplit('/', 1)[1]}-{str(body)[:50]}"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_status_code_and_param(server, case):
    path, body, status, code, param = case
    found, headers, answer = server.post(path, body)
    error = json.loads(answer)["error"]
    assert found == status, answer
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"] and "\n" not in error["message"] and len(error["message"]) < 400
    assert headers["content-type"].startswith("application/json") and headers["x-request-id"]
    if code:
        assert error["code"] == code, error
    if param:
        assert error["param"] == param, error


def test_wrong_content_type_is_415(server):
    status, _, body = server.post(CHAT, b"{}", headers={"content-type": "text/plain"})
    assert status == 415 and json.loads(body)["error"]["code"] == "unsupported_media_type"


def test_headers_above_64_kib_are_431(server):
    head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: " + b"a" * 70000 + b"\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 431")


def test_unknown_paths_and_methods(server):
    for path in ("/nothing", "/v1/chat/completions/foo", "/v1/", "/v1/audio/speech"):
        status, _, body = server.get(path)
        assert status == 404 and json.loads(body)["error"]["code"] == "not_found", path
    status, headers, body = server.get(CHAT)
    assert status == 405 and "POST" in headers["allow"]
    assert json.loads(body)["error"]["code"] == "method_not_allowed"
    assert server.post("/v1/models", {})[0] == 405


def test_a_body_above_the_limit_is_413(own_server):
    s = own_server("--max-body-size", "20000")
    status, _, body = s.post(CHAT, ask("x" * 21000))
    assert status == 413 and json.loads(body)["error"]["code"] == "request_too_large"
    assert s.post(CHAT, ask("x " * 500, max_tokens=1))[0] == 200


def raw(server, data):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while part := s.recv(65536):
            answer += part
        return answer


TWO_LENGTHS = "The request has two Content-Length headers."


@pytest.mark.parametrize("lines,message", [
    ("content-length: 5\r\nContent-Length: {n}\r\n", TWO_LENGTHS),
    ("content-length: {n}\r\ncontent-length: {n}\r\n", TWO_LENGTHS),
    ("content-length: {n}\r\nx-a: b\n", "A line of the request's head ends in LF alone."),
    ("content-length: {n}\r\nx-a: b\r\n c\r\n", "A header is continued on another line."),
])
def test_a_head_that_can_be_read_in_two_ways_is_refused(server, lines, message):
    body = json.dumps(ask("hi", max_tokens=1))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{lines.format(n=len(body))}\r\n{body}".encode())
        data = b""
        while part := s.recv(65536):  # and the connection is closed
            data += part
    assert data.startswith(b"HTTP/1.1 400 ")
    error = json.loads(data.split(b"\r\n\r\n")[1])["error"]
    assert error["message"] == message and error["code"] == "invalid_value"


def test_a_length_beside_chunks_is_refused_and_chunks_alone_are_not(server):
    body = json.dumps(ask("hi", max_tokens=1)).encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for more, status in ((b"content-length: %d\r\n" % len(body), b"400"), (b"", b"200")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\n%stransfer-encoding: chunked\r\n\r\n%s" % (CHAT.encode(), more, chunks))
            assert s.recv(65536).startswith(b"HTTP/1.1 " + status)


@pytest.mark.skipif("asan" in program(), reason="a sanitizer's allocator does not say what is in use")
def test_bodies_that_wait_for_their_end_take_a_bounded_memory(own_server):
    s = own_server("--max-frontend-memory", "64M")
    hoarders = []
    for _ in range(8):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=30)
        c.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 16000000\r\n\r\n" % CHAT.encode())
        hoarders.append(c)
    cut = 0
    for c in hoarders:
        try:
            c.sendall(b" " * 15000000)
        except OSError:
            cut += 1
    wait_until(lambda: "connections are not accepted" in s.log() or cut == 8)
    wait_until(lambda: "connections are accepted again" in s.log())
    status, _, body = s.post(CHAT, ask("What is the capital of France?"))
    assert status == 200 and b"Paris" in body
    for c in hoarders:
        c.close()


def test_garbage_on_the_socket_harms_nobody(server):
    for data in (b"\0" * 100, b"GET\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
                 b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"):
        answer = raw(server, data)
        assert not answer.startswith(b"HTTP/1.1 5")
    assert server.post(CHAT, ask("What is the capital of France?"))[0] == 200


def test_unknown_fields_are_ignored_or_refused_when_strict(server, own_server):
    assert server.post(CHAT, ask("hi", max_tokens=1, never_heard_of=5))[0] == 200
    s = own_server("--strict-requests")
    status, _, body = s.post(CHAT, ask("hi", max_tokens=1, never_heard_of=5))
    error = json.loads(body)["error"]
    assert status == 400 and error["code"] == "unknown_parameter" and error["param"] == "never_heard_of"


def test_null_means_absent(server):
    body = ask("What is the capital of France?", top_p=None, stop=None, tools=None, response_format=None, n=None,
               stream=None, logit_bias=None, seed=None, max_tokens=None, user=None)
    assert server.post(CHAT, body)[0] == 200
