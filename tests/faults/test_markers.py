"""A broker that is killed while it commits, again and again: every marker is written in the end.

Not ours to mend, but ours to know: from 4.3.0 on Kafka forgets markers here (KAFKA-20734), and a committed transaction is there
in part, or hangs. To be run before the stack takes another Kafka.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer

from streams.config import Client
from streams.dev import Stack, broker
from streams.kafka.admin import Admin
from streams.records import TP
from tests.integration.application import until

KILLS, PRODUCERS, PARTITIONS = 12, 8, 12
DELETED = "likely deleted already"
"""What the coordinator says of a partition that it passes over."""


def _ended(admin: Admin, tps: list[TP]) -> bool:
    return admin.offsets(tps, "stable") == admin.offsets(tps, "latest")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_marker_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, result: Callable[..., None]
) -> None:
    """Eight producers commit to twelve partitions as fast as they can."""
    told = "-Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction=info"
    monkeypatch.setattr(broker, "OPTIONS", (*broker.OPTIONS, told))
    skipped, folder, silent = 0, tmp_path / "stack", logging.getLogger("tests.silent")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    with Stack(folder, registry=False) as stack:
        client: Client = {"bootstrap.servers": stack.bootstrap}
        Admin(client).create("written", PARTITIONS, 1, {})

        def commit(name: str, over: threading.Event) -> None:
            producer = Producer(
                {**client, "transactional.id": name, "transaction.timeout.ms": 10_000, "logger": silent}
            )
            with suppress(KafkaException):  # the broker is being killed
                producer.init_transactions(30)
                while not over.is_set():
                    producer.begin_transaction()
                    for partition in range(PARTITIONS):
                        producer.produce("written", b"x", partition=partition)
                    producer.commit_transaction(30)

        tps = [TP("written", partition) for partition in range(PARTITIONS)]
        for kill in range(KILLS):
            over = threading.Event()
            threads = [threading.Thread(target=commit, args=(f"{kill}-{n}", over)) for n in range(PRODUCERS)]
            for thread in threads:
                thread.start()
            threading.Event().wait(3.0)  # the load itself
            stack.kill_broker()
            over.set()
            stack.start_broker()
            for thread in threads:
                thread.join(60)
            admin = Admin(client)
            until(partial(_ended, admin, tps), 30, what="the end of every transaction")
            skipped += (folder / "broker.log").read_text().count(DELETED)
    assert not skipped, f"{skipped} transactions were called complete without all of their markers"
    result(
        "every marker is written",
        f"{PRODUCERS} producers that commit to {PARTITIONS} partitions",
        f"{KILLS} kill -9 of the only broker",
        "no partition passed over, no transaction hangs",
    )
