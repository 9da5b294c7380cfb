"""What somebody with Kafka's own tools, or a registry, can do to an application that runs."""

import json
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
from tests.faults.registries import between
from tests.integration.application import QUICK, Application, documented, until
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
    with between(stack) as (registry, where):
        app = Application(where, unique, tmp_path, partitions=4, more=QUICK)
        try:
            worker = app.start()
            app.ask(f"r{number}" for number in range(100))
            app.drained()
            registry.lie = (app.schema_id, of_other_names(app))
            app.ask(f"s{number}" for number in range(100))
            app.drained()
            assert (0, {"SCORED": 200}) == (registry.told, dict(app.kinds()))
            worker.terminate()
            worker.wait(15)
            worker = app.start()
            app.ask(f"t{number}" for number in range(100))
            app.drained()
            assert registry.told > 0
            assert dict(app.kinds()) == {"SCORED": 200, "NOT_ACCEPTED": 100}
            registry.lie = None
            worker.terminate()
            worker.wait(15)
            app.start()
            app.ask(f"t{number}" for number in range(100))
            app.drained()
            assert dict(app.kinds()) == {"SCORED": 300, "NOT_ACCEPTED": 100}
            right(app)
        finally:
            app.stop()
