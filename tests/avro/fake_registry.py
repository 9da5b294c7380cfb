"""A schema registry that speaks the Confluent API on a real socket and answers as it is told to; and it counts."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class FakeRegistry:
    """`schemas` and `subjects` by id; `broken` answers every request with that HTTP status and no registry's words."""

    def __init__(self) -> None:
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[int, set[str]] = {}
        self.broken: int | None = None
        self.stalled = threading.Event()
        self.stalled.set()
        self.requests: list[str] = []
        self.authorization: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def keys(self) -> dict[str, str | int | float | bool]:
        return {"url": f"http://{self.address}"}

    def add(self, schema_id: int, schema: str, *subjects: str, **more: Any) -> None:
        self.schemas[schema_id] = {"schema": schema, **more}
        self.subjects[schema_id] = set(subjects)

    def stall(self) -> None:
        """Accept requests and do not answer until `stalled` is set again."""
        self.stalled.clear()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stalled.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> tuple[int, Any]:
        parts = path.partition("?")[0].strip("/").split("/")
        schema_id = int(parts[2])
        if schema_id not in self.schemas:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        if parts[3:] == ["versions"]:
            return 200, [{"subject": subject, "version": 1} for subject in sorted(self.subjects[schema_id])]
        return 200, self.schemas[schema_id]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.requests.append(self.path)
                fake.authorization.append(self.headers.get("Authorization"))
                fake.stalled.wait(30)
                if fake.broken is not None:
                    status, body = fake.broken, b"<html>not a registry</html>"
                else:
                    status, tree = fake._answer(self.path)
                    body = json.dumps(tree).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler
