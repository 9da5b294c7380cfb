"""Three real brokers that are their own controllers: replication 3, two in sync to write, as in production."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from unittest.mock import patch

from confluent_kafka.admin import AdminClient

from streams.dev import Stack, broker
from streams.dev.ports import HOST
from tests.integration.application import until

NODES = (1, 2, 3)
REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "replica.lag.time.max.ms": "3000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
}


class Cluster:
    """Three brokers on loopback, and the registry of another stack. A context manager; ends with its process."""

    def __init__(self, folder: Path, registry_url: str) -> None:
        self._registry_url = registry_url
        self.nodes: dict[int, Stack] = {}
        for number in NODES:
            settings = self._settings_of(number)
            self.nodes[number] = Stack(folder / f"node-{number}", registry=False, broker_settings=settings)
        self._voters = ",".join(f"{n}@{HOST}:{node._controller_port}" for n, node in self.nodes.items())

    @property
    def bootstrap(self) -> str:
        """What `bootstrap.servers` is set to."""
        return ",".join(node.bootstrap for node in self.nodes.values())

    @property
    def registry_url(self) -> str:
        """What `schema.registry.url` is set to."""
        return self._registry_url

    def _settings_of(self, number: int) -> Callable[[dict[str, str]], dict[str, str]]:
        def settings_of(settings: dict[str, str]) -> dict[str, str]:
            # the authorizer lets nobody vote before it has read the log that needs a vote to be read
            alone = {key: value for key, value in settings.items() if key != "authorizer.class.name"}
            return alone | REPLICATED | {"node.id": str(number), "controller.quorum.voters": self._voters}

        return settings_of

    def kill(self, *numbers: int) -> None:
        """End brokers with SIGKILL."""
        for number in numbers:
            self.nodes[number].kill_broker()

    def stop(self, *numbers: int) -> None:
        """End brokers in order, as SIGTERM does."""
        together([self.nodes[number].stop_broker for number in numbers])

    def start(self, *numbers: int) -> None:
        """Start brokers again; return when each serves and every replica is in sync."""
        together([self.nodes[number].start_broker for number in numbers])
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        until(lambda: in_sync(admin), 60, what="replicas in sync")

    def __enter__(self) -> Self:
        with patch.object(broker, "cluster_id", return_value="one-cluster-of-three-A"):
            together([node.__enter__ for node in self.nodes.values()])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill(*NODES)  # in order they would wait for the quorum that the first took away
        together([lambda node=node: node.__exit__(kind, error, at) for node in self.nodes.values()])  # type: ignore[misc]


def in_sync(admin: AdminClient) -> bool:
    """Return whether every partition has a leader, and all its replicas in sync."""
    topics = admin.list_topics(timeout=10).topics.values()
    return all(
        part.leader >= 0 and len(part.isrs) == len(part.replicas)
        for topic in topics
        for part in topic.partitions.values()
    )


def together(calls: list[Callable[[], object]]) -> None:
    """Make calls at the same time; raise what the first failed one raised."""
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
