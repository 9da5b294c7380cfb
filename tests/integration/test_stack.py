"""The local stack is what it says: a broker that knows transactions, a registry that keeps its word, both ended by pid."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.dev import Stack, down, state, status, up
from streams.dev.ports import HOST, free_ports
from streams.dev.processes import start_mark
from streams.errors import SetupError

pytestmark = pytest.mark.kafka  # those with a stack of their own, too


def make_topic(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(30)


def read_to_end(bootstrap: str, topic: str, isolation: str) -> list[bytes]:
    """Return all values of partition 0 up to the end that this isolation level may see."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reads-without-a-group",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            consumer.close()
            return values
        value = message.value()
        assert value is not None
        values.append(value)
    raise AssertionError(f"no end of {topic} within 30 s; read {values}")


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while start_mark(pid) is not None:
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_an_aborted_record_is_visible_to_uncommitted_readers_only(bootstrap: str, unique: str) -> None:
    """The broker keeps the law that everything else stands on: what was aborted was never said."""
    make_topic(bootstrap, unique)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": unique})
    producer.init_transactions()
    for value, end in ((b"first", "commit"), (b"withdrawn", "abort"), (b"last", "commit")):
        producer.begin_transaction()
        producer.produce(unique, value, partition=0)
        assert 0 == producer.flush(30)
        if end == "commit":
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    assert [b"first", b"last"] == read_to_end(bootstrap, unique, "read_committed")
    assert [b"first", b"withdrawn", b"last"] == read_to_end(bootstrap, unique, "read_uncommitted")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_broker_comes_back_with_its_data_and_its_port(stack: Stack, unique: str, end: str) -> None:
    """Acknowledged records survive SIGTERM and SIGKILL, and clients find the broker where it was."""
    make_topic(stack.bootstrap, unique)
    bootstrap, pid = stack.bootstrap, stack.pid("broker")
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(unique, b"kept", partition=0)
    assert 0 == producer.flush(30)
    if end == "stop":
        stack.stop_broker()
    else:
        stack.kill_broker()
    assert start_mark(pid) is None
    assert ["registry"] == [part.name for part in status(stack.directory)]
    stack.start_broker()
    assert bootstrap == stack.bootstrap
    assert pid != stack.pid("broker")
    assert [b"kept"] == read_to_end(bootstrap, unique, "read_committed")


def test_a_killed_registry_keeps_every_schema_it_acknowledged(stack: Stack, unique: str) -> None:
    """kill -9 right behind the answer: the id is still that schema. H2's default would lose it."""
    schema = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]})
    given = ask(f"{stack.registry_url}/subjects/{unique}-value/versions", {"schema": schema})["id"]
    stack.kill_registry()
    with pytest.raises(urllib.error.URLError):
        ask(f"{stack.registry_url}/subjects")
    stack.start_registry()
    assert json.loads(schema) == json.loads(ask(f"{stack.registry_url}/schemas/ids/{given}")["schema"])


def test_what_a_test_left_behind_is_started_again(stack: Stack) -> None:
    """What the suite does after every test, lest one failure become a hundred; what runs is left alone."""
    registry = stack.pid("registry")
    stack.kill_broker()
    stack.start_missing()
    assert registry == stack.pid("registry")
    assert all(part.up for part in status(stack.directory))
    stack.kill_registry()
    broker = stack.pid("broker")
    stack.start_missing()
    assert broker == stack.pid("broker")
    assert ["broker", "registry"] == [part.name for part in status(stack.directory) if part.up]


def test_a_child_that_runs_is_not_started_twice(stack: Stack) -> None:
    """A second broker on the same data would be refused by the lock of the first, but only after a start."""
    with pytest.raises(SetupError, match=r"The broker runs already, as process \d+\."):
        stack.start_broker()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose stack, if any, is ended afterwards. Its name holds what usually breaks quoting."""
    folder = tmp_path / "a folder, with; odd = characters"
    yield folder
    down(folder)


def test_up_stays_up_status_sees_it_and_down_ends_it(folder: Path) -> None:
    """`up` in one process, `status` and `down` in others: only the folder connects them."""
    broker_port, registry_port = free_ports(2)
    script = "import sys; from pathlib import Path; from streams.dev import up; " + (
        f"print(up(Path(sys.argv[1]), {broker_port}, {registry_port}, say=print).bootstrap)"
    )
    command = [sys.executable, "-c", script, str(folder)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert f"{HOST}:{broker_port}" == first.stdout.splitlines()[-1]
    assert first.stdout.splitlines()[-2].startswith("Ready after ")
    parts = {part.name: part for part in status(folder)}
    assert {"broker": True, "registry": True} == {name: part.up for name, part in parts.items()}
    assert [] == ask(f"{parts['registry'].address}/subjects")
    topics = AdminClient({"bootstrap.servers": parts["broker"].address}).list_topics(timeout=10).topics
    assert ["__transaction_state"] == list(topics), "nobody must be the first to wait for the transaction log"

    said: list[str] = []
    again = up(folder, *free_ports(2), say=said.append)
    assert (f"{HOST}:{broker_port}", parts["registry"].address) == (again.bootstrap, again.registry_url)
    ending = f"streams dev down --dir {quote(str(folder))}"
    assert [f"Already up in {folder}, on the ports it was started with; `{ending}` ends it."] == said
    assert parts == {part.name: part for part in status(folder)}

    assert down(folder)
    assert [None, None] == [start_mark(part.pid) for part in parts.values()]
    assert () == status(folder)
    assert not down(folder)


def test_a_stack_whose_broker_died_is_made_whole_by_up(folder: Path) -> None:
    """A stale state file costs nothing: what is left is ended, and all is started on the same data."""
    ports = free_ports(2)
    started = up(folder, *ports, registry=False)
    make_topic(started.bootstrap, "before")
    (broker,) = status(folder)
    os.kill(broker.pid, signal.SIGKILL)
    wait_until_gone(broker.pid)
    assert [False] == [part.up for part in status(folder)]
    assert started == up(folder, *ports, registry=False)
    assert "before" in AdminClient({"bootstrap.servers": started.bootstrap}).list_topics(timeout=10).topics


def test_a_recycled_pid_is_not_ended(folder: Path) -> None:
    """The state file names this very test's pid with another start time: `down` must leave it alone."""
    folder.mkdir()
    state.write(folder, {"broker": state.Recorded(os.getpid(), "another life", f"{HOST}:1", "4.4.0")})
    assert not down(folder)
    assert () == status(folder)


def test_the_owner_may_be_killed_and_nothing_is_left(folder: Path) -> None:
    """No `finally` runs after SIGKILL: the guard ends the children of a stack whose owner is gone."""
    script = (
        "import sys; from pathlib import Path; from streams.dev import Stack\n"
        "with Stack(Path(sys.argv[1]), registry=False):\n    print('started', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert "started\n" == owner.stdout.readline()
        (broker,) = status(folder)
        owner.kill()
    wait_until_gone(broker.pid)


def test_a_port_in_use_is_said_before_anything_starts(folder: Path) -> None:
    """The message names the port, how to see its owner, and the flag that chooses another."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError) as refused:
            up(folder, broker_port=free_ports(1)[0], registry_port=port)
    assert f"Port {port}, where the registry should listen, is in use on {HOST}." in str(refused.value)
    assert f"lsof -nP -iTCP:{port}" in str(refused.value)
    assert "--registry-port" in str(refused.value)
    assert () == status(folder)


def test_a_child_that_ends_during_the_start_is_quoted_and_the_other_is_ended(folder: Path) -> None:
    """A broker on the data of another node: its last words, and no registry left behind."""
    (folder / "broker" / "data").mkdir(parents=True)
    (folder / "broker" / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")
    stack = Stack(folder)
    with pytest.raises(
        SetupError, match=r"(?s)^The broker ended by itself, exit code 1\. .*Stored node id 7 doesn't match"
    ):
        stack.start()
    assert () == status(folder)
    with pytest.raises(KeyError):
        stack.pid("registry")
