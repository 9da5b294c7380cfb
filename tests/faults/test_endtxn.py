"""The late EndTxn: a commit or an abort that was cut off, tried again, and arrives when the next transaction is open.

No client without KIP-890's second part can tell it from the next transaction's own (Jepsen on Bufstream 0.1.0;
librdkafka #5423). The defence is the sink's: a new epoch before the next transaction, so that the broker fences what is
late. Each attack here runs with the defence and, by a patch that only tests have, without it.
"""

import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streams.dev import Stack
from streams.kafka.sink import KafkaSink
from streams.records import Outcome, Step
from tests.faults.attack import Feeder, Reader, sizes
from tests.faults.mutants import no_renewal
from tests.faults.oracle import judge
from tests.faults.proxy import Api, Frame, Harm, Proxy, Rule
from tests.integration.application import QUICK, Application, until
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


class Volley(NamedTuple):
    """How much is late, of how many requests."""

    late: int
    requests: int
    rate: int


CI = Volley(40, 6_000, 300)
LONG = Volley(500, 50_000, 150)


@sizes("volley", CI, LONG, 900)
@pytest.mark.parametrize("defence", [True, False], ids=["defended", "undefended"])
def test_an_application_under_late_endtxns(
    defence: bool,
    volley: Volley,
    stack: Stack,
    proxy: Proxy,
    unique: str,
    tmp_path: Path,
    seed: int,
    result: Callable[..., None],
) -> None:
    """Commits and aborts are cut off, tried again, and arrive late: in the middle of the next transaction, or some time.

    With the defence nothing is wrong; without it the judge names what is.
    """
    app = Application(
        stack,
        unique,
        tmp_path,
        partitions=4,
        more=f"{QUICK}[batch]\nrecords = 50\n",
        client='"reconnect.backoff.max.ms" = 100\n',
        bootstrap=proxy.bootstrap,
    )
    try:
        attack = Attack(proxy, app.settings.group, volley.late, random.Random(seed))
        reader, feeder = Reader(app), Feeder(app, volley.requests, volley.rate, seed)
        workers = app.supervise(1, mutant="marks,aborts" if defence else "marks,aborts,late-endtxn-accepted")
        with contextlib.nullcontext() if defence else contextlib.suppress(AssertionError):
            until(
                lambda: attack.arrived() >= volley.late or workers.poll() is not None,
                600 if volley is LONG else 60,
                what="the last late EndTxn",
            )
        reader.fault()
        proxy.clear()
        feeder.hurry()
        feeder.done()
        if defence:
            app.drained(300)
        else:  # a worker that finds its offsets put back ends for good, and perhaps only now
            with contextlib.suppress(AssertionError):
                until(lambda: workers.poll() is not None or app.is_drained(), 45, what="the drain, or the end")
        verdict = judge(app, seed, reader=reader, feeder=feeder)
    finally:
        app.stop()
    codes = Counter(code for rule in attack.late for _, code in rule.answers)
    if defence:
        verdict.right()
        assert volley.late <= codes.total()
        assert set(codes) <= FENCED | {0}, "0: it came before anything else did"
        found = f"0 violations; {codes.total() - codes[0]} were fenced, {codes[0]} changed nothing any more"
    else:
        # offsets that went back are a transaction torn in two, too: where they come first, the worker stops before worse happens
        names = ("TORN", "LOST", "ABORTED_READ", "OFFSETS_WENT_BACK")
        texts = [text for name in names for text in verdict.violations.get(name, ())]
        assert texts, str(verdict)
        assert all(unique in text or "s-00." in text for text in texts if text != "…"), "coordinates are missing"
        found = f"seen, as it must be: { {name: len(texts) for name, texts in sorted(verdict.violations.items())} }"
    result(
        "a commit or an abort arrives late" + ("" if defence else ", and the defence is off"),
        f"{feeder.count:,} requests, 1 worker, 4 partitions, {verdict.counts['attempts']:,} transactions",
        f"{codes.total()} EndTxn cut off, tried again by the client, and delivered late",
        found,
    )


class Attack:
    """Makes EndTxns late: a third of them, half of them to arrive when the next transaction has sent all but its offsets."""

    def __init__(self, proxy: Proxy, group: str, count: int, chance: random.Random) -> None:
        self._proxy, self._group, self._count, self._chance = proxy, group.encode(), count, chance
        self.late: list[Rule] = []
        proxy.add(Rule(Harm.HOLD, self._meet, times=None))

    def arrived(self) -> int:
        """Return how many late ones have reached the broker."""
        return sum(len(rule.answers) for rule in self.late)

    def _meet(self, frame: Frame) -> bool:
        """Choose; what is wanted is said by the rules that are added, so this one takes nothing itself."""
        if frame.api != Api.END_TXN or self._group not in frame.raw or len(self.late) >= self._count:
            return False
        if self._chance.random() > 0.35:
            return False
        release = threading.Event()
        soon = self._chance.random() < 0.5
        delay = self._chance.choice([0.01, 0.05, 0.2, 1.0, 4.0]) * self._chance.random()
        late = Rule(Harm.LATE, lambda other: other is frame, delay=release if soon else lambda: delay)
        self.late.append(self._proxy.add(late))
        if soon:
            name = frame.ends[0].encode()
            self._proxy.add(until_late(late, release, lambda f: f.api == Api.ADD_OFFSETS_TO_TXN and name in f.raw))
        return False


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


EPOCH_MAX = 32_767


@pytest.mark.long
@pytest.mark.timeout(900)
def test_epochs_roll_over(application: Application, seed: int, result: Callable[..., None]) -> None:
    """An epoch has 15 bits, and each renewal takes one: at the limit the coordinator hands out another producer id."""
    app = application
    app.ask(["before"])
    first = app.start()
    app.drained()
    first.terminate()
    first.wait(15)
    name = f"{app.settings.group}.t-00"
    producer, epoch = advance(app.stack.bootstrap, name, EPOCH_MAX - 10)
    app.start(mutant="marks,aborts")  # every abort is followed by a renewal
    for number in range(80):
        app.ask([f"r{number}-{more}" for more in range(20)])
        app.drained()
    app.stop()
    after, _ = advance(app.stack.bootstrap, name, 0)
    assert after != producer, "the limit was not reached"
    judge(app, seed).right()
    result(
        "a producer epoch runs out",
        "1,601 requests, 1 worker",
        f"epoch {epoch:,} of {EPOCH_MAX:,} to begin with, a renewal after every fourth transaction",
        f"0 violations; producer id {producer} became {after}",
    )


def advance(bootstrap: str, name: str, epoch: int) -> tuple[int, int]:
    """Send InitProducerId until the epoch is at least so high; return producer id and epoch."""
    host, port = bootstrap.split(":")
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rb") as answers:
        while True:
            body = struct.pack(f">hhih1sh{len(name)}si", 22, 1, 0, 1, b"t", len(name), name.encode(), 10_000)
            connection.sendall(struct.pack(">i", len(body)) + body)
            (size,) = struct.unpack(">i", answers.read(4))
            _, _, error, producer, now = struct.unpack(">iihqh", answers.read(size))
            if error == 51:  # CONCURRENT_TRANSACTIONS: the last one is still being ended
                continue
            assert error == 0, f"error code {error}"
            if now >= epoch:
                return producer, now
