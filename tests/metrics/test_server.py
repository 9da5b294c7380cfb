"""The port: its pages, and what it does with those who are slow, many, or wrong."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from streams.errors import ConfigError
from streams.metrics import server
from streams.metrics.server import CONNECTIONS, PATIENCE_S, Page, Server, serve


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _broken() -> Page:
    raise ZeroDivisionError


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port with two pages."""
    number = free_port()
    pages = {"/good": lambda: Page(200, b"yes\n"), "/bad": lambda: Page(503, b"no\n"), "/broken": _broken}
    running = serve("127.0.0.1", number, pages)
    yield number
    running.shutdown()
    running.server_close()


def ask(port: int, path: str, method: str = "GET", data: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages(port: int) -> None:
    """Status and one line; what is not there names what is."""
    assert (200, "yes\n") == ask(port, "/good")
    assert (200, "yes\n") == ask(port, "/good?verbose=1")
    assert (503, "no\n") == ask(port, "/bad")
    assert (404, "no such page; there are /good, /bad, /broken\n") == ask(port, "/")
    assert (200, "") == ask(port, "/good", "HEAD")
    for method in ("POST", "PUT", "DELETE", "NONSENSE"):
        assert (405, "GET and HEAD only\n") == ask(port, "/good", method)


def test_what_is_no_http_is_answered_and_cut(port: int) -> None:
    """Garbage, an endless line, and nothing at all."""
    for sent in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"G" * 100_000, b""):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            with contextlib.suppress(OSError):  # it may be cut while it still speaks
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
    assert (200, "yes\n") == ask(port, "/good")


def test_a_slow_connection_is_cut_however_often_it_speaks(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One letter now and then would keep a time-out for each read from ever firing."""
    monkeypatch.setattr(server, "PATIENCE_S", 1.0)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(0.2)
        while time.monotonic() - begun < 10:
            try:
                connection.sendall(b"G")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert 0.9 < time.monotonic() - begun < 5


def test_many_slow_connections_do_not_keep_a_probe_out(port: int) -> None:
    """The oldest makes room, so what is asked now is answered now."""
    crowd = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(5 * CONNECTIONS)]
    begun = time.monotonic()
    assert (200, "yes\n") == ask(port, "/good")
    assert time.monotonic() - begun < 2
    assert b"" == crowd[0].recv(1)
    assert time.monotonic() - begun < PATIENCE_S, "cut because it was late, not because it was the oldest"
    for connection in crowd:
        connection.close()


def test_a_page_that_fails_is_told_in_the_log(port: int) -> None:
    """A fault of ours is not dropped, and the next page is served."""
    with capture_logs() as said:
        with pytest.raises(OSError, match="closed connection"):
            ask(port, "/broken")
        deadline, wait = time.monotonic() + 5, threading.Event()
        while not said and time.monotonic() < deadline:
            wait.wait(0.01)
    assert ["a page failed"] == [line["event"] for line in said]
    assert (200, "yes\n") == ask(port, "/good")


def test_a_taken_port_is_a_configuration_error() -> None:
    """It says which, and whose it should be; so does a host that is not ours, or none."""
    number = free_port()
    running = Server("127.0.0.1", number, {})
    with pytest.raises(ConfigError, match=rf"\[metrics\]: cannot listen on 127.0.0.1 port {number}"):
        serve("127.0.0.1", number, {})
    running.server_close()
    for host in ("192.0.2.1", "no.such.host.invalid", "." * 300):
        with pytest.raises(ConfigError, match="cannot listen"):
            serve(host, number, {})


def test_a_port_is_free_as_soon_as_its_process_is_gone() -> None:
    """Killed in the middle of an answer, with a connection that is still open: the next one listens at once."""
    number = free_port()
    script = (
        "import sys, time; from streams.metrics.server import Page, serve\n"
        f"serve('127.0.0.1', {number}, {{'/': lambda: Page(200, b'x' * 50_000_000)}}); print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"up\n" == process.stdout.readline()
        with socket.create_connection(("127.0.0.1", number), 10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(100)
            process.kill()
            process.wait()
            Server("127.0.0.1", number, {}).server_close()


def test_an_address_of_the_newer_kind() -> None:
    """`::1` is an address like any other, where the machine has it."""
    try:
        running = Server("::1", free_port(), {})
    except OSError:
        pytest.skip("no IPv6 here")
    assert socket.AF_INET6 == running.address_family
    running.server_close()
