"""What somebody with Kafka's own tools, or a registry, can do to an application that runs."""

import http.server
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # re-exported
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from streams.dev import Stack
from streams.errors import OffsetsError, SetupError
from streams.records import TP
from tests.faults.attack import right
from tests.integration.application import QUICK, Application, Place, documented, until
from tests.models import small_packages

NOTICED_S = 30.0
ALERT = '"topic.metadata.refresh.interval.ms" = 1000\n'
"""The client's default is to look every five minutes."""


@pytest.fixture
def alert(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application that looks at its topics every second, with 200 requests answered by one worker."""
    app = Application(stack, unique, tmp_path, partitions=4, client=ALERT, more=QUICK)
    try:
        app.ask(f"r{number}" for number in range(200))
        app.start(mutant="marks")
        app.drained()
        yield app
    finally:
        app.stop()


def tools(app: Application) -> AdminClient:
    """Return what an operator has; its answers come only while it is there."""
    return AdminClient({"bootstrap.servers": app.stack.bootstrap})


def recreate(app: Application, topic: str) -> None:
    """Delete a topic and create it again as it was."""
    admin, configs = tools(app), app.admin.topics([topic])[topic].configs
    admin.delete_topics([topic], request_timeout=10)[topic].result(20)
    until(lambda: topic not in app.admin.topics([topic]), 20, what="the deletion")
    kept = {key: configs[key] for key in ("cleanup.policy", "message.timestamp.type", "retention.ms")}
    app.admin.create(topic, app.settings.partitions, 1, kept)


def test_partitions_that_are_added(alert: Application) -> None:
    """Producers send keys elsewhere from then on: no repeat becomes a new request, and the worker stops and says why."""
    app = alert
    admin = tools(app)
    admin.create_partitions([NewPartitions(app.lanes[0], 6)])[app.lanes[0]].result(20)
    app.ask(f"r{number}" for number in range(200))
    assert SetupError.code == app.workers[0].wait(NOTICED_S)
    assert "somebody added some" in app.log()
    kinds = app.kinds()
    assert 200 == kinds.pop("SCORED")
    assert set(kinds) <= {"DUPLICATE", "MISPARTITIONED"}


def test_a_request_topic_that_is_deleted_and_created_again(alert: Application) -> None:
    """Its offsets mean nothing any more: not one of its records is read, although there are as many as before, and more."""
    app = alert
    recreate(app, app.lanes[0])
    app.ask(f"s{number}" for number in range(500))
    assert app.workers[0].wait(NOTICED_S) in (OffsetsError.code, SetupError.code)
    again = app.start("t-01")
    assert OffsetsError.code == again.wait(NOTICED_S)
    assert "TOPIC_RECREATED" in app.log("t-01")
    assert dict(app.kinds()) == {"SCORED": 200}


def test_a_changelog_that_is_deleted_and_created_again(alert: Application) -> None:
    """The worker that is there knows what was answered, and goes on; none that is not there any more can: the next one stops."""
    app = alert
    recreate(app, app.settings.changelog)
    app.ask(f"{letter}{number}" for letter in "rs" for number in range(200))
    until(lambda: app.lag() == 0 or app.workers[0].poll() is not None, NOTICED_S, what="answers, or an end")
    app.workers[0].kill()
    app.workers[0].wait()
    again = app.start("t-01")
    assert OffsetsError.code == again.wait(NOTICED_S)
    assert "CHANGELOG_RECREATED" in app.log("t-01")
    assert app.kinds()["SCORED"] <= 400
    assert set(app.kinds()) <= {"SCORED", "DUPLICATE"}


def test_a_changelog_whose_records_are_deleted(alert: Application) -> None:
    """What is on the disk still stands: a worker that comes back after kill -9 knows every request."""
    app = alert
    logs = [TP(app.settings.changelog, partition) for partition in range(app.settings.partitions)]
    ends = app.admin.offsets(logs, "stable")
    cut = [TopicPartition(log.topic, log.partition, ends[log]) for log in logs]
    admin = tools(app)
    for future in admin.delete_records(cut).values():
        future.result(20)
    app.ask(f"r{number}" for number in range(100))
    app.drained()
    app.workers[0].kill()
    app.workers[0].wait()
    app.start(mutant="marks")
    app.ask(f"r{number}" for number in range(100, 200))
    app.drained()
    assert dict(app.kinds()) == {"SCORED": 200, "DUPLICATE": 200}
    right(app)


class Liar(http.server.BaseHTTPRequestHandler):
    """Passes questions on to a registry; while it lies, it gives the schema of one id for another's."""

    registry = ""
    lie: tuple[int, int] | None = None
    told = 0

    def do_GET(self) -> None:
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


def of_other_names(app: Application) -> int:
    """Register a schema that reads every byte of a request, and gives its values other names; return its id."""
    schema = documented(small_packages.CONTRACT)
    schema["fields"][-1]["name"] = "something_else"
    client = SchemaRegistryClient({"url": app.stack.registry_url})
    return int(client.register_schema(f"{app.name}.other-value", Schema(json.dumps(schema), "AVRO")))


def test_a_registry_that_lies(stack: Stack, unique: str, tmp_path: Path) -> None:
    """Another schema under an id: who knows the id is not moved; who asks gets a contract that the model never accepted,
    and refuses. Nothing is scored by a wrong schema; told the truth again, the next one answers again.
    """
    address = urllib.parse.urlsplit(stack.registry_url)

    class Here(Liar):
        registry = f"http://{address.netloc}"

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = Place(stack.bootstrap, f"http://127.0.0.1:{server.server_port}{address.path}")
        app = Application(where, unique, tmp_path, partitions=4, more=QUICK)
        try:
            worker = app.start()
            app.ask(f"r{number}" for number in range(100))
            app.drained()
            Here.lie = (app.schema_id, of_other_names(app))
            app.ask(f"s{number}" for number in range(100))
            app.drained()
            assert (0, {"SCORED": 200}) == (Here.told, dict(app.kinds()))
            worker.terminate()
            worker.wait(15)
            worker = app.start()
            app.ask(f"t{number}" for number in range(100))
            app.drained()
            assert Here.told > 0
            assert dict(app.kinds()) == {"SCORED": 200, "NOT_ACCEPTED": 100}
            Here.lie = None
            worker.terminate()
            worker.wait(15)
            app.start()
            app.ask(f"t{number}" for number in range(100))
            app.drained()
            assert dict(app.kinds()) == {"SCORED": 300, "NOT_ACCEPTED": 100}
            right(app)
        finally:
            app.stop()
            server.shutdown()
