"""The late EndTxn: a commit or an abort that was cut off, tried again, and arrives when the next transaction is open.

No client without KIP-890's second part can tell it from the next transaction's own (Jepsen on Bufstream 0.1.0;
librdkafka #5423). The defence is the sink's: a new epoch before the next transaction, so that the broker fences what is
late. Each attack here runs with the defence and, by a patch that only tests have, without it.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streams.dev import Stack
from streams.kafka.sink import KafkaSink
from streams.records import Outcome, Step
from tests.faults.mutants import no_renewal
from tests.faults.proxy import Api, Frame, Harm, Proxy, Rule
from tests.integration.test_sink import World

FENCED = {47, 51, 90}
"""INVALID_PRODUCER_EPOCH, CONCURRENT_TRANSACTIONS and PRODUCER_FENCED: what the broker says to what comes too late."""


class Died(Exception):
    """The process ended here."""


@pytest.fixture
def world(stack: Stack, proxy: Proxy, unique: str) -> Iterator[World]:
    """A world whose sinks reach the broker through the proxy."""
    world = World(stack, unique)
    world.client = {**world.client, "bootstrap.servers": proxy.bootstrap}
    yield world
    world.consumer.close()


@pytest.fixture(params=[True, False], ids=["defended", "undefended"])
def defended(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the defence, and without it."""
    if not request.param:
        monkeypatch.setattr(KafkaSink, "_renew", no_renewal)
    return bool(request.param)


def ends(world: World, *, commit: bool) -> Callable[[Frame], bool]:
    """Whether a request is a commit (or an abort) of this world's."""
    return lambda frame: frame.api == Api.END_TXN and world.name in frame.ends[0] and frame.ends[3] is commit


def sent(world: World, api: Api) -> Callable[[Frame], bool]:
    """Whether a request of this kind names this world's producer or group."""
    return lambda frame: frame.api == api and world.name.encode() in frame.raw


def until_late(late: Rule, release: threading.Event, wants: Callable[[Frame], bool]) -> Rule:
    """Let what is late go when the wanted request comes by, and hold that one until the broker has answered the late one."""

    def let_go(frame: Frame) -> bool:
        if wants(frame):
            release.set()
            return True
        return False

    return Rule(Harm.HOLD, let_go, delay=late.arrived)


def test_a_late_commit(world: World, proxy: Proxy, defended: bool) -> None:
    """It would commit the answers of the next transaction before its offsets are sent; a crash then leaves it torn."""
    release = threading.Event()
    sink = world.sink(slow_commit_ms=75)
    late = proxy.add(Rule(Harm.LATE, ends(world, commit=True), delay=release))
    assert Outcome.COMMITTED is sink.transact(world.step(1)).outcome
    proxy.add(until_late(late, release, sent(world, Api.ADD_OFFSETS_TO_TXN)))
    with pytest.raises(Died):
        crash_before_commit(sink, world.step(2))
    world.sink()  # the next process in this slot
    ((_, code),) = late.answers
    seen, committed = len(world.seen()), world.committed()
    if defended:
        assert code in FENCED
        assert (1, 1) == (seen, committed)
    else:
        assert code == 0
        assert (2, 1) == (seen, committed), "TORN: the answer is there, its offset is not"


def test_a_client_that_was_told_to_be_hasty(world: World, proxy: Proxy) -> None:
    """A retry sooner than a commit counts as slow would go unnoticed; the sink's client waits, whatever its settings say."""
    world.client |= {"retry.backoff.ms": 5, "reconnect.backoff.ms": 1}
    sink, seen = world.sink(slow_commit_ms=75), []
    sink.transact(world.step(1))
    for number in range(2, 12):
        proxy.add(Rule(Harm.LATE, ends(world, commit=True)))
        renewals = sink.renewals
        assert Outcome.COMMITTED is sink.transact(world.step(number)).outcome
        assert Outcome.COMMITTED is sink.transact(world.step(number)).outcome
        seen.append(sink.renewals - renewals)
    assert [1] * 10 == seen


def test_a_late_abort(world: World, proxy: Proxy, defended: bool) -> None:
    """It would abort the answers of the next transaction, whose offsets are committed: they are lost."""
    release = threading.Event()
    sink = world.sink(slow_commit_ms=75)
    sink.transact(world.step(1))
    of_the_past = world.step(2)
    world.consumer.close()
    world.consumer = world.member()
    late = proxy.add(Rule(Harm.LATE, ends(world, commit=False), delay=release))
    assert Outcome.ABORTED is sink.transact(of_the_past).outcome
    proxy.add(until_late(late, release, sent(world, Api.ADD_OFFSETS_TO_TXN)))
    assert Outcome.COMMITTED is sink.transact(world.step(2)).outcome
    ((_, code),) = late.answers
    seen, committed = len(world.seen()), world.committed()
    if defended:
        assert code in FENCED
        assert (2, 2) == (seen, committed)
    else:
        assert code == 0
        assert (1, 2) == (seen, committed), "LOST: the offset is there, the answer is not"


def test_late_offsets(world: World, proxy: Proxy, defended: bool) -> None:
    """They would put the next transaction's offsets back, and its answers would be given again."""
    release = threading.Event()
    sink = world.sink(slow_commit_ms=75)
    late = proxy.add(Rule(Harm.LATE, sent(world, Api.TXN_OFFSET_COMMIT), delay=release))
    assert Outcome.COMMITTED is sink.transact(world.step(1)).outcome
    proxy.add(until_late(late, release, ends(world, commit=True)))
    assert Outcome.COMMITTED is sink.transact(world.step(2)).outcome
    assert 2 == len(world.seen())
    assert (2 if defended else 1) == world.committed()


def crash_before_commit(sink: KafkaSink, step: Step) -> None:
    """Do all of a step but the commit, and die. Raises: Died."""

    class Deadly:
        def __init__(self, producer: Any) -> None:
            self._producer = producer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._producer, name)

        def commit_transaction(self) -> None:
            raise Died

    def deadly() -> None:
        sink._producer = Deadly(sink._producer)  # type: ignore[assignment]

    def renewed() -> None:
        open_()
        deadly()

    open_, sink.open = sink.open, renewed  # type: ignore[method-assign]
    deadly()
    sink.transact(step)
