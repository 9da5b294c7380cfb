"""A registry that lies, or is slow: something that stands between it and who asks."""

import http.server
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from streams.dev import Stack
from tests.integration.application import Place


class Between(http.server.BaseHTTPRequestHandler):
    """Passes questions on to a registry, slowly if need be; while it lies, it gives the schema of one id for another's."""

    registry = ""
    lie: tuple[int, int] | None = None
    told = 0
    slow_s = 0.0
    """So long it takes for an answer."""

    def do_GET(self) -> None:
        time.sleep(self.slow_s)
        path, (asked, given) = self.path, self.lie or (0, 0)
        if asked and path.split("?")[0].endswith(f"/schemas/ids/{asked}"):
            path = path.replace(f"/schemas/ids/{asked}", f"/schemas/ids/{given}")
            type(self).told += 1
        self._pass(urllib.request.Request(self.registry + path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = {"Content-Type": self.headers["Content-Type"]}
        self._pass(urllib.request.Request(self.registry + self.path, body, kind, method=self.command))

    do_PUT = do_POST

    def _pass(self, question: urllib.request.Request) -> None:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(question, timeout=10) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def between(stack: Stack) -> Iterator[tuple[type[Between], Place]]:
    """Stand between a stack's registry and who asks; yield what can be told to lie, and where to ask."""
    address = urllib.parse.urlsplit(stack.registry_url)

    class Here(Between):
        registry = f"http://{address.netloc}"

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Here, Place(stack.bootstrap, f"http://127.0.0.1:{server.server_port}{address.path}")
        finally:
            server.shutdown()
