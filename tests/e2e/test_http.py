"""Transport: HTTP/2, TLS, keys, CORS, headers, probes, clients that leave or do not read."""

import json
import signal
import socket
import ssl
import struct
import subprocess
import warnings

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from server import CHAT, PATIENCE, ask, streamed_text, wait_until

FRANCE = ask("What is the capital of France?")
PARIS = "The capital of France is Paris."
CHOICES = 8
LONG = ask("Tell me a story.", stream=True, max_tokens=1900, ignore_eos=True, n=CHOICES)


def request_bytes(body, path=CHAT, more=b""):
    data = json.dumps(body).encode()
    return (b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
            % (path.encode(), more, len(data), data))


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=2 * PATIENCE)


def curl(*args):
    return subprocess.run(["curl", "-sS", "-m", str(PATIENCE), *args], capture_output=True, timeout=2 * PATIENCE)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
    return cert, key


def test_http2_prior_knowledge(server):
    r = curl("--http2-prior-knowledge", server.url + CHAT, "-H", "content-type: application/json", "-d",
             json.dumps({**FRANCE, "stream": True}), "-w", "%{http_version}")
    assert r.returncode == 0 and r.stdout.endswith(b"2") and b"data: [DONE]" in r.stdout
    assert streamed_text(r.stdout[:-1].decode()) == PARIS


def test_tls_speaks_both_versions(own_server, certificate):
    s = own_server("--ssl-certfile", certificate[0], "--ssl-keyfile", certificate[1], ready=False)
    url = s.url.replace("http:", "https:")
    wait_until(lambda: curl("-k", url + "/readyz", "-o", "/dev/null", "-w", "%{http_code}").stdout == b"200")
    for flag, version in (("--http1.1", b"1.1"), ("--http2", b"2")):
        r = curl("-k", flag, url + CHAT, "-H", "content-type: application/json", "-d", json.dumps(FRANCE), "-w",
                 "%{http_version}")
        assert PARIS.encode() in r.stdout and r.stdout.endswith(version)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(connect(s))


def test_a_certificate_is_read_again_on_sighup(own_server, certificate, tmp_path):
    """A new one is served to new connections; a broken one is not, and the old connections go on."""
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")

    def install(name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={name}"], check=True, capture_output=True)

    def served(s):
        out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}"], stdin=subprocess.DEVNULL,
                             capture_output=True, timeout=PATIENCE).stdout.decode()
        return "CN = second" in out or "CN=second" in out

    install("first")
    s = own_server("--ssl-certfile", cert, "--ssl-keyfile", key, ready=False)
    wait_until(lambda: "is ready" in s.log())
    assert not served(s)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    old = context.wrap_socket(connect(s))
    install("second")
    s.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "certificate was read again" in s.log())
    assert served(s)
    with open(cert, "w") as f:
        f.write("no certificate\n")
    s.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the old certificate stays: " + cert in s.log())
    assert served(s)
    old.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert old.recv(12) == b"HTTP/1.1 200"
    old.close()


def test_an_unreadable_certificate_ends_the_start(tmp_path):
    from test_processes import run
    (tmp_path / "bad.pem").write_text("nothing")
    code, _, err = run("serve", "--port", "1", "--ssl-certfile", str(tmp_path / "bad.pem"), "--ssl-keyfile", "/nonexistent")
    assert code in (1, 5) and err.count("\n") == 1


def test_keys(own_server):
    s = own_server("--api-key", "secret-one-123,secret-two-456")
    for path in ("/livez", "/readyz", "/health", "/version", "/metrics"):
        assert s.get(path)[0] == 200, path
    for path in ("/v1/models", "/stats", "/", "/v1/models/ringlet"):
        status, headers, body = s.get(path)
        error = json.loads(body)["error"]
        assert status == 401 and headers["www-authenticate"] == "Bearer", path
        assert error["code"] == "invalid_api_key" and "Incorrect API key provided" in error["message"]
    for headers in ({"authorization": "Bearer secret-one-123"}, {"authorization": "bearer secret-two-456"},
                    {"x-api-key": "secret-one-123"}, {"api-key": "secret-two-456"}):
        assert s.get("/v1/models", headers=headers)[0] == 200
    for headers in ({"authorization": "Bearer secret-one-12"}, {"authorization": "Bearer secret-one-1234"},
                    {"authorization": "secret-one-123"}, {"x-api-key": ""}):
        assert s.get("/v1/models", headers=headers)[0] == 401
    assert "secret" not in s.log()


def test_keys_of_a_file(own_server, tmp_path):
    path = tmp_path / "keys"
    path.write_text("# ours\nalice=key-of-alice\nplain-key-99\n")
    s = own_server("--api-key-file", str(path))
    assert s.get("/v1/models", headers={"authorization": "Bearer key-of-alice"})[0] == 200
    assert s.get("/v1/models", headers={"authorization": "Bearer plain-key-99"})[0] == 200
    assert s.get("/v1/models", headers={"authorization": "Bearer alice=key-of-alice"})[0] == 401


def test_cors(server):
    r = httpx.options(server.url + CHAT, headers={"origin": "http://a.example", "access-control-request-method": "POST",
                                                  "access-control-request-headers": "content-type,x-stainless-os"})
    assert r.status_code == 204
    assert r.headers["access-control-allow-origin"] == "*"
    assert r.headers["access-control-allow-headers"] == "content-type,x-stainless-os"
    assert r.headers["access-control-max-age"] == "86400"
    r = httpx.get(server.url + "/v1/models", headers={"origin": "http://a.example"})
    assert r.headers["access-control-allow-origin"] == "*"
    assert "x-request-id" in r.headers["access-control-expose-headers"]


def test_request_ids_come_back(server):
    assert server.get("/v1/models", headers={"x-request-id": "my-id-1"})[1]["x-request-id"] == "my-id-1"
    made = server.get("/v1/models")[1]["x-request-id"]
    assert made and made != server.get("/v1/models")[1]["x-request-id"]
    assert server.get("/v1/models", headers={"x-request-id": "x" * 200})[1]["x-request-id"] != "x" * 200


def test_probes_metrics_stats_and_pages(server):
    assert json.loads(server.get("/health")[2])["model_loaded"] is True
    for path in ("/livez", "/readyz", "/startupz", "/health/live", "/health/ready", "/health/startup", "/ping"):
        assert server.get(path)[0] == 200, path
    assert json.loads(server.get("/version")[2])["version"]
    metrics = server.get("/metrics")[2].decode()
    for name in ("vllm:num_requests_running", "vllm:kv_cache_usage_perc", "vllm:prompt_tokens_total",
                 "vllm:time_to_first_token_seconds_bucket", "vllm:request_success_total", "tokenring_build_info"):
        assert name in metrics, name
    stats = server.stats()
    for key in ("version", "uptime_seconds", "model", "requests", "tokens", "latency", "kv", "fronts", "workers"):
        assert key in stats, key
    page = server.get("/", headers={"accept": "text/html"})
    assert page[1]["content-type"].startswith("text/html") and b"ringlet" in page[2] and b"curl" in page[2]
    assert json.loads(server.get("/", headers={"accept": "*/*"})[2])
    assert httpx.head(server.url + "/health").status_code == 200
    assert server.get("/v1/models/")[0] == 200


def test_counters_add_up_whichever_frontend_answers(server):
    def total():
        line = [x for x in server.get("/metrics")[2].decode().splitlines() if x.startswith("vllm:generation_tokens_total")]
        assert len(line) == 1
        return float(line[0].split()[-1])

    before = total()
    tokens = sum(json.loads(server.post(CHAT, FRANCE)[2])["usage"]["completion_tokens"] for _ in range(6))
    wait_until(lambda: total() == before + tokens)


def running(s):
    return s.stats()["requests"]["running"]


def leave(s, how):
    if how == "reset":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        s.shutdown(socket.SHUT_WR)
        return s
    s.close()
    return None


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_pages(own_server, how, stream):
    s = own_server()
    for i in range(3):
        c = connect(s)
        c.sendall(request_bytes({**LONG, "stream": stream}))
        wait_until(lambda: running(s) == CHOICES)
        kept = leave(c, how)
        s.wait_idle()
        wait_until(lambda: s.stats()["requests"]["aborted"] == i + 1)
        del kept


def test_a_queued_request_whose_client_leaves_is_forgotten(own_server):
    s = own_server("--max-num-seqs", str(CHOICES))
    first = connect(s)
    first.sendall(request_bytes(LONG))
    wait_until(lambda: running(s) == CHOICES)
    second = connect(s)
    second.sendall(request_bytes(LONG))
    wait_until(lambda: s.stats()["requests"]["waiting"] == 1)
    second.close()
    wait_until(lambda: s.stats()["requests"]["waiting"] == 0)
    assert running(s) == CHOICES
    first.close()
    s.wait_idle()
    assert s.stats()["requests"]["aborted"] == 2


def test_a_slow_reader_stops_nobody_and_gets_everything(own_server):
    s = own_server()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.settimeout(2 * PATIENCE)
    slow.connect(("127.0.0.1", s.port))
    slow.sendall(request_bytes({**LONG, "temperature": 1}))
    wait_until(lambda: running(s) == CHOICES)
    for _ in range(5):
        assert PARIS in s.post(CHAT, FRANCE)[2].decode()
    wait_until(lambda: running(s) == 0)  # nothing was read so far, and all is computed
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        part = slow.recv(65536)
        assert part
        data += part
    assert b"data: [DONE]" in data and data.count(b'"finish_reason":"length"') == CHOICES


def h2_connect(server):
    sock = connect(server)
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    conn.initiate_connection()
    sock.sendall(conn.data_to_send())
    return sock, conn


def h2_headers(length):
    return [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", CHAT),
            ("content-type", "application/json"), ("content-length", str(length))]


def test_a_reset_http2_stream_frees_its_pages_and_the_others_go_on(own_server):
    s = own_server()
    sock, conn = h2_connect(s)
    body = json.dumps(LONG).encode()
    for stream in (1, 3):
        conn.send_headers(stream, h2_headers(len(body)))
        conn.send_data(stream, body, end_stream=True)
    sock.sendall(conn.data_to_send())
    wait_until(lambda: running(s) == 2 * CHOICES)
    conn.reset_stream(1)
    sock.sendall(conn.data_to_send())
    wait_until(lambda: running(s) == CHOICES)
    assert s.stats()["requests"]["aborted"] == 1
    sock.close()
    s.wait_idle()
    wait_until(lambda: s.stats()["requests"]["aborted"] == 2)


def test_20000_reset_pairs_submit_at_most_300(own_server):
    s = own_server()
    body = json.dumps(ask("hi", max_tokens=5)).encode()
    pairs = 0
    for _ in range(400):
        sock, conn = h2_connect(s)
        try:
            for stream in range(1, 20001, 2):
                conn.send_headers(stream, h2_headers(len(body)))
                conn.send_data(stream, body, end_stream=True)
                conn.reset_stream(stream)
                pairs += 1
                if stream % 100 == 1:
                    sock.sendall(conn.data_to_send())
                    # open windows as a client does that reads
                    sock.setblocking(False)
                    try:
                        conn.receive_data(sock.recv(65536))
                    except BlockingIOError:
                        pass
                    sock.setblocking(True)
                if pairs >= 20000:
                    break
            sock.sendall(conn.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            pass
        sock.close()
        if pairs >= 20000:
            break
    assert pairs >= 20000
    assert PARIS in s.post(CHAT, FRANCE)[2].decode()
    metrics = s.get("/metrics")[2].decode()
    submits = [x for x in metrics.splitlines() if x.startswith("tokenring_engine_submits_total")]
    assert submits and float(submits[0].split()[-1]) <= 300
    s.wait_idle()
