"""A topic of tickets on the real broker, whoever writes them, and whoever receives them."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Producer

from streams import schemas_dir
from streams.avro.registry import framed
from streams.avro.registry_client import RegistryClient
from streams.avro.write import Writer
from streams.config import Settings, load
from streams.dev import Stack
from streams.edge.delivery import Counts, run
from streams.edge.insisting import Patience
from streams.edge.targets import Target
from streams.kafka.admin import Admin
from streams.kafka.made import QUIET
from streams.records import TP
from tests.integration.application import until

SCHEMA = (schemas_dir() / "ticket.avsc").read_text("utf-8")
SOON = Patience(first_s=0.01, longest_s=0.05, tries=5, timeout_s=5.0)
EPOCH_MS = 1_790_000_000_000


def ticket_id(number: int) -> str:
    """Return an id."""
    return f"{number:016x}"


def record(number: int, revision: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a ticket's fields."""
    kept = {"id": ticket_id(number), "revision": revision, "state": "OPEN", "kind": "DRIFT", "severity": "TICKET"}
    told = {"model_name": "late", "model_version": "1", "metric": "delay", "sentence": f"ticket {number}, {revision}"}
    when = {"window_ms": 3_600_000, "first_seen": EPOCH_MS, "opened": EPOCH_MS, "newest": EPOCH_MS}
    nulls = {one["name"]: None for one in json.loads(SCHEMA)["fields"]}
    return nulls | kept | told | when | {"path": [], "bins": [], "notes": []} | fields


class Desk:
    """One application's tickets."""

    def __init__(self, stack: Stack, name: str, home: Path) -> None:
        self.config = home / "app.toml"
        self.config.write_text(
            f'[app]\nid = "{name}"\nstate_dir = "state"\n[kafka]\n"bootstrap.servers" = "{stack.bootstrap}"\n'
            f'[schema_registry]\nurl = "{stack.registry_url}"\n[[requests]]\ntopic = "{name}.requests"\ncontract = "a.avsc"\n'
            '[model]\nstore = "file:store"\nname = "late"\nversion = "1"\n'
        )
        self.settings: Settings = load(self.config)
        self.admin = Admin(self.settings.kafka)
        self.admin.create(self.settings.tickets, 1, 1, {"cleanup.policy": "compact"})
        registry, subject = RegistryClient(self.settings.schema_registry), f"{self.settings.tickets}-value"
        registry.register(subject, SCHEMA)
        found = registry.lookup(subject, SCHEMA)
        assert found is not None
        self.schema_id = found[0]
        self._writer = Writer(SCHEMA, framed(self.schema_id, b""))
        client = {"bootstrap.servers": stack.bootstrap, "compression.type": "lz4", "logger": QUIET}
        self._producer = Producer({**client, "transactional.id": f"{name}.tickets"})
        self._producer.init_transactions(30)

    def write(self, *records: dict[str, Any], commit: bool = True) -> None:
        """Write tickets in one transaction; lz4, as producers are told to."""
        self.write_raw(*((one["id"].encode(), self._writer.write(one)) for one in records), commit=commit)

    def write_raw(self, *pairs: tuple[bytes, bytes | None], commit: bool = True) -> None:
        """Write keys and values in one transaction."""
        self._producer.begin_transaction()
        for key, value in pairs:
            self._producer.produce(self.settings.tickets, value, key, 0)
        self._producer.flush(30)
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.abort_transaction(30)

    @property
    def committed(self) -> int | None:
        """The offset that the delivering group would go on at."""
        tp = TP(self.settings.tickets, 0)
        return self.admin.committed(f"{self.settings.app.id}.tickets.delivery", [tp])[tp]

    def delivering(self, target: Target, patience: Patience = SOON) -> "Delivering":
        """Return what delivers while it is entered."""
        return Delivering(self.settings, target, patience)


class Delivering:
    """Delivers in a thread of this process, until it is left."""

    def __init__(self, settings: Settings, target: Target, patience: Patience) -> None:
        self._stopping = threading.Event()
        self._went: list[Counts] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(settings, target, patience))

    def _run(self, settings: Settings, target: Target, patience: Patience) -> None:
        try:
            self._went.append(run(settings, target, self._stopping, patience))
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            self._error = error.with_traceback(None)  # its frames hold the slot's lock

    def ended(self) -> Counts:
        """Wait for the end; return the counts, or raise why."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "it does not end"
        if self._error is not None:
            raise self._error
        return self._went[0]

    def stop(self) -> Counts:
        """Ask for the end, and wait for it."""
        self._stopping.set()
        return self.ended()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(30)


class Request(NamedTuple):
    """What a webhook was sent."""

    key: str
    kind: str
    body: dict[str, Any]
    status: int


class Receiver:
    """A webhook on 127.0.0.1. `answers`: which status the n-th try (from 0) of a key gets."""

    def __init__(self, answers: Callable[[str, int], int] = lambda key, tries: 200) -> None:
        self.requests: list[Request] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers["Idempotency-Key"]
                with lock:
                    status = answers(key, sum(one.key == key for one in outer.requests))
                    outer.requests.append(Request(key, self.headers["Content-Type"], body, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that was killed is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook?secret=canary"

    @property
    def taken(self) -> list[str]:
        """The keys of what was answered with 2xx, in order."""
        return [one.key for one in self.requests if one.status < 300]

    def wait_for(self, taken: int) -> None:
        """Wait until so many were taken."""
        until(lambda: len(self.taken) >= taken, 20, what=f"taking {taken} tickets")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file that may be written to."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def keys(path: Path) -> list[str]:
    """Return `<id>:<revision>` of each line."""
    return [f"{one['id']}:{one['revision']}" for one in lines(path)]


def keys_of(records: list[dict[str, Any]]) -> list[str]:
    """Return `<id>:<revision>` of each ticket."""
    return [f"{one['id']}:{one['revision']}" for one in records]
