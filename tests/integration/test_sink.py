"""The transactional sink on the real broker: how transactions end, and when the producer is renewed."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from structlog.contextvars import bound_contextvars, get_contextvars

from streams.dev import Stack
from streams.errors import Fenced
from streams.kafka.admin import Admin
from streams.kafka.changelog import KafkaChangelog
from streams.kafka.sink import KafkaSink
from streams.records import TP, Block, Ended, Lease, Outcome, Step
from tests.integration.application import until


class World:
    """Three topics, a consumer that owns the input, and sinks."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack, self.name = stack, name
        self.client: dict[str, str | int | float | bool] = {"bootstrap.servers": stack.bootstrap}
        self.admin = Admin(self.client)
        for topic in ("in", "out", "log"):
            self.admin.create(f"{name}.{topic}", 1, 1, {})
        self.consumer = self.member()

    def member(self) -> Consumer:
        """Return a member of the group that owns the input."""
        consumer = Consumer({**self.client, "group.id": self.name, "auto.offset.reset": "earliest"})
        consumer.subscribe([f"{self.name}.in"])
        deadline = threading.Event()
        for _ in range(200):
            consumer.poll(0.1)
            if consumer.assignment():
                return consumer
            deadline.wait(0)
        raise AssertionError("no assignment")

    def sink(self, *, slow_commit_ms: int = 10_000, message_bytes: int = 2_000_000, name: str = "0") -> KafkaSink:
        """Return an open sink."""
        sink = KafkaSink(
            self.client,
            transactional_id=f"{self.name}.{name}",
            changelog=f"{self.name}.log",
            transaction_ms=10_000,
            slow_commit_ms=slow_commit_ms,
            message_bytes=message_bytes,
            batch_bytes=1_000_000,
        )
        sink.open()
        return sink

    def step(self, offset: int, values: Sequence[bytes] = (b"answer",), consumer: Consumer | None = None) -> Step:
        """Return a step that answers up to an offset."""
        block = Block(f"{self.name}.out", [0] * len(values), [None] * len(values), values)
        puts = [(b"d1", b"x"), (b"f", b"frame")]
        lease = Lease(1, (consumer or self.consumer).consumer_group_metadata())
        return Step(lease, [block], {0: puts}, {TP(f"{self.name}.in", 0): offset}, {})

    def seen(self) -> list[bytes | None]:
        """Return what a read_committed reader sees of the output."""
        reader = Consumer(
            {**self.client, "group.id": "r", "isolation.level": "read_committed", "enable.partition.eof": True}
        )
        reader.assign([TopicPartition(f"{self.name}.out", 0, 0)])
        values: list[bytes | None] = []
        while (message := reader.poll(10)) is not None and not message.error():
            values.append(message.value())
        reader.close()
        return values

    def committed(self) -> int | None:
        """Return the group's committed offset."""
        tp = TP(f"{self.name}.in", 0)
        return Admin(self.client).committed(self.name, [tp])[tp]


@pytest.fixture
def world(stack: Stack, unique: str) -> Iterator[World]:
    """A fresh world."""
    world = World(stack, unique)
    yield world
    world.consumer.close()


def outcome(ended: Ended) -> tuple[Outcome, bool]:
    """How it ended, and whether a record is blamed."""
    return ended.outcome, ended.blames_record


def test_a_step_is_seen_whole_with_its_offset_and_its_checkpoint(world: World) -> None:
    """Records, changelog and offset in one transaction; the offset of the last pack is the checkpoint."""
    sink = world.sink()
    first, second = sink.transact(world.step(1)), sink.transact(world.step(2))
    assert [Outcome.COMMITTED] * 2 == [first.outcome, second.outcome]
    assert ({0: 0}, {0: 2}) == (first.checkpoints, second.checkpoints)  # each: a pack, a marker
    assert [b"answer"] * 2 == world.seen()
    assert world.committed() == 2
    assert sink.renewals == 0


def test_who_waits_for_the_end_of_a_transaction_says_for_which_slot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged there, in another thread, is logged as ours."""
    sink, said, done = world.sink(), list[object](), list[str]()
    end = sink._end

    def told(producer: Producer, step: Step) -> Ended:
        said.append(get_contextvars())
        return end(producer, step)

    monkeypatch.setattr(sink, "_end", told)
    with bound_contextvars(slot="a-00"):
        sink.transact(world.step(1), lambda: done.append("meanwhile"), beside=True)
    assert (["meanwhile"], [{"slot": "a-00"}]) == (done, said)


def test_a_large_step_is_several_packs_and_the_last_is_the_checkpoint(world: World) -> None:
    """What was put is read back from the changelog in its order, and the checkpoint says that all of it was."""
    puts = [(b"d%d" % number, bytes(1_000)) for number in range(500)] + [(b"f", b"frame")]
    ended = world.sink().transact(world.step(1)._replace(puts={0: puts}))
    assert Outcome.COMMITTED is ended.outcome
    changelog = KafkaChangelog(world.client, f"{world.name}.log")
    end = ended.checkpoints[0] + 2
    until(lambda: changelog.bounds([0])[0][1] == end, what="the marker, which is behind the checkpoint")
    begin, _ = changelog.bounds([0])[0]
    assert 1 < end - begin < 20
    assert puts == [put for part, _ in changelog.read(0, begin, end) for put in part]


def test_a_commit_made_slow_renews_the_producer(world: World) -> None:
    """The broker stalls while the commit is on its way: its EndTxn may have been repeated, so the epoch is bumped."""
    sink = world.sink(slow_commit_ms=400)
    sink.transact(world.step(1))
    before = sink.renewals
    broker = world.stack.pid("broker")
    assert broker is not None
    thaw = threading.Timer(1.0, os.kill, (broker, signal.SIGCONT))
    commit = sink._producer.commit_transaction if sink._producer else None

    def frozen(*args: Any) -> Any:
        os.kill(broker, signal.SIGSTOP)
        until(lambda: stands(broker), what="every thread of the broker to stop")
        thaw.start()
        assert commit is not None
        return commit(*args)

    ended = sink.transact(world.step(2)) if commit is None else _with_commit(sink, frozen, world.step(2))
    thaw.join()
    assert Outcome.COMMITTED is ended.outcome
    assert before == sink.renewals
    assert Outcome.COMMITTED is sink.transact(world.step(3)).outcome
    assert before + 1 == sink.renewals
    assert [b"answer"] * 3 == world.seen()


class _Slow:
    """The sink's own producer, with one call made slow from outside."""

    def __init__(self, producer: Any, commit: Any) -> None:
        self._producer, self.commit_transaction = producer, commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


def stands(pid: int) -> bool:
    """Return whether all threads of a process are stopped: on a busy machine some run on for a while."""
    states = {task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").glob("*/stat")}
    return states == {"T"}


def _with_commit(sink: KafkaSink, commit: Any, step: Step) -> Ended:
    producer = sink._producer
    sink._producer = _Slow(producer, commit)  # type: ignore[assignment]
    try:
        return sink.transact(step)
    finally:
        sink._producer = producer


def test_a_connection_that_was_cut_renews_the_producer(world: World) -> None:
    """A disconnect beside a transaction may leave a request on its way."""
    sink = world.sink()
    sink.transact(world.step(1))
    world.stack.stop_broker()
    world.stack.start_broker()
    assert world.committed() == 1
    ended = sink.transact(world.step(2))
    assert sink.renewals >= 1
    assert Outcome.COMMITTED is ended.outcome
    assert [b"answer"] * 2 == world.seen()


def test_a_second_live_owner_of_the_id_fences_the_first(world: World) -> None:
    """The first is told so at once, and writes nothing more."""
    first = world.sink()
    first.transact(world.step(1))
    second = world.sink()
    with pytest.raises(Fenced, match="--instance"):
        first.transact(world.step(2, [b"of the fenced one"]))
    assert Outcome.COMMITTED is second.transact(world.step(2)).outcome
    assert [b"answer"] * 2 == world.seen()


def test_a_lease_of_the_past_is_aborted(world: World) -> None:
    """The group has moved on since the batch was polled: nothing of the step is seen."""
    sink, stale = world.sink(), world.step(5, [b"stale"])
    world.consumer.close()
    world.consumer = world.member()
    assert (Outcome.ABORTED, False) == outcome(sink.transact(stale))
    assert Outcome.COMMITTED is sink.transact(world.step(1)).outcome
    assert ([b"answer"], 1) == (world.seen(), world.committed())


def test_a_record_that_the_client_refuses_is_blamed(world: World) -> None:
    """Larger than any topic takes: aborted, and it is said that a record is the cause."""
    sink = world.sink(message_bytes=100_000)
    assert (Outcome.ABORTED, True) == outcome(sink.transact(world.step(1, [b"ok", b"x" * 200_000])))
    assert Outcome.COMMITTED is sink.transact(world.step(1)).outcome
    assert [b"answer"] == world.seen()


def test_a_record_that_the_broker_refuses_is_blamed_by_the_second_try(world: World) -> None:
    """Deliveries report only when they are asked to: if the first abort does not know the cause, the second does."""
    world.admin.alter(f"{world.name}.out", {"max.message.bytes": "10000"})
    sink = world.sink()
    big = os.urandom(50_000)
    ends = [outcome(sink.transact(world.step(1, [big]))) for _ in range(2)]
    assert {Outcome.ABORTED} == {how for how, _ in ends}
    assert ends[1][1]
    assert Outcome.COMMITTED is sink.transact(world.step(1)).outcome
    assert ([b"answer"], 1) == (world.seen(), world.committed())
