import openai
import pytest

from server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for the tests that leave it as they found it."""
    s = Server("--frontends", "2", log=str(tmp_path_factory.mktemp("server") / "log"))
    yield s
    code = s.stop()
    assert code == 0, s.log()
    assert "AddressSanitizer" not in s.log() and "runtime error" not in s.log(), s.log()


@pytest.fixture(scope="session")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0, timeout=60)


@pytest.fixture
def own_server(tmp_path):
    """A function that starts servers for one test and ends them with it."""
    started = []

    def start(*args, **options):
        s = Server(*args, log=str(tmp_path / f"log{len(started)}"), **options)
        started.append(s)
        return s

    yield start
    for s in started:
        s.stop()
        assert "AddressSanitizer" not in s.log() and "runtime error" not in s.log(), s.log()
