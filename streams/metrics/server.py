"""The port: a few pages over HTTP, from threads of their own, so that nobody who asks can hold up the loop.

A connection has PATIENCE_S in all, however slowly it speaks, and there are at most CONNECTIONS of them: the oldest makes room.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import NamedTuple

import structlog

from streams.errors import ConfigError

log = structlog.get_logger()

PATIENCE_S = 5.0
CONNECTIONS = 8
PLAIN = "text/plain; charset=utf-8"


class Page(NamedTuple):
    """What one path says."""

    status: int
    body: bytes
    kind: str = PLAIN


Pages = Mapping[str, Callable[[], Page]]


def serve(host: str, port: int, pages: Pages) -> "Server":
    """Serve some pages until the process ends, and return what serves them.

    Raises: ConfigError if the address cannot be had.
    """
    try:
        server = Server(host, port, pages)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"[metrics]: cannot listen on {host} port {port} ({error}). Worker n of a host listens on `port` + n: is another "
            "application there? Nothing was read; set another `host` or `port`"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class Server(ThreadingMixIn, TCPServer):
    """Listens, and keeps the time of every connection."""

    allow_reuse_address = True  # a worker that starts again does not wait for its predecessor's connections
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self.pages = pages
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, address = found[0][0], found[0][4]
        super().__init__((str(address[0]), int(address[1])), _Answer)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Answer in a thread of its own, and make room for it."""
        assert isinstance(request, socket.socket), "this is TCP"
        with self._lock:
            self._open[request] = time.monotonic()
            if len(self._open) > CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _cut(oldest)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Cut what has had its time; called twice a second."""
        late = time.monotonic() - PATIENCE_S
        with self._lock:
            for connection, begun in self._open.items():
                if begun < late:
                    _cut(connection)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Forget a connection that has ended."""
        assert isinstance(request, socket.socket), "this is TCP"
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, _request: object, client_address: object) -> None:
        """Tell of a page that failed, which is a fault of ours; whoever asked may go away unmentioned."""
        if not isinstance(sys.exception(), OSError):
            log.exception("a page failed", client=str(client_address))


def _cut(connection: socket.socket) -> None:
    """End a connection under its thread, which then ends by itself."""
    with contextlib.suppress(OSError):  # it has just ended
        connection.shutdown(socket.SHUT_RDWR)


class _Answer(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "answeronce", ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        page = self.server.pages.get(path, self._missing)
        self._say(page())

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, *_: object, **__: object) -> None:
        """Answer what the base class will not: a method that it does not know, or what is no HTTP at all."""
        self.close_connection = True
        self._say(
            Page(405, b"GET and HEAD only\n") if code == 501 else Page(code, f"{HTTPStatus(code).phrase}\n".encode())
        )

    def _missing(self) -> Page:
        return Page(404, f"no such page; there are {', '.join(self.server.pages)}\n".encode())

    def _say(self, page: Page) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.body)))
        if page.status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
