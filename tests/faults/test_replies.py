"""Replies that never come, requests that never arrive: what a network does to a worker, one chosen message at a time."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.dev import Stack
from tests.faults.attack import Feeder, Reader
from tests.faults.oracle import judge
from tests.faults.proxy import Api, Frame, Harm, Proxy, Rule
from tests.integration.application import QUICK, Application, until


@pytest.fixture
def app(stack: Stack, proxy: Proxy, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application behind the proxy, with short transactions."""
    app = Application(
        stack,
        unique,
        tmp_path,
        partitions=4,
        more=f"{QUICK}transaction_ms = 3000\n[batch]\nrecords = 100\n",
        client='"reconnect.backoff.max.ms" = 100\n',
        bootstrap=proxy.bootstrap,
    )
    yield app
    app.stop()


def now_and_then(app: Application, api: Api, chance: random.Random, share: float) -> Callable[[Frame], bool]:
    """Whether a frame is one of this application's producer, of a kind, and drawn."""
    name = app.settings.group.encode()
    return lambda frame: frame.api == api and name in frame.raw and chance.random() < share


@pytest.mark.parametrize("api", [Api.END_TXN, Api.TXN_OFFSET_COMMIT, Api.ADD_OFFSETS_TO_TXN, Api.INIT_PRODUCER_ID])
def test_replies_are_cut_off(app: Application, proxy: Proxy, api: Api, seed: int) -> None:
    """What was asked for is done, and nobody hears of it: the client asks again, or the worker looks in the log."""
    share = 0.8 if api is Api.INIT_PRODUCER_ID else 0.4  # there are few of them
    rule = proxy.add(Rule(Harm.CUT, now_and_then(app, api, random.Random(seed), share), reply=True, times=8))
    if api is Api.INIT_PRODUCER_ID:  # asked for again after every slow commit
        proxy.add(Rule(Harm.CUT, now_and_then(app, Api.END_TXN, random.Random(seed), 0.4), reply=True, times=8))
    reader, feeder = Reader(app), Feeder(app, 2_000, 800, seed)
    app.supervise(1, mutant="marks")
    feeder.done()
    app.drained(90)
    assert rule.done >= 3
    judge(app, seed, reader=reader, feeder=feeder).right()


def test_writes_that_arrive_twice(app: Application, proxy: Proxy, seed: int) -> None:
    """The second comes up to 50 ms later, in another transaction perhaps: its numbers are old, and the broker drops it.

    Ends and offsets have no such numbers. A network brings those twice only if the client asks twice, and that the worker
    sees (`test_endtxn`).
    """
    chance = random.Random(seed)
    wants = now_and_then(app, Api.PRODUCE, chance, 0.05)
    rule = proxy.add(Rule(Harm.TWICE, wants, times=4, delay=lambda: chance.uniform(0.005, 0.05)))
    reader, feeder = Reader(app), Feeder(app, 4_000, 1_000, seed)
    app.supervise(1, mutant="marks")
    feeder.done()
    app.drained()
    assert len(rule.answers) >= 2
    judge(app, seed, reader=reader, feeder=feeder).right()


@pytest.mark.parametrize("reply", [True, False], ids=["reply", "request"])
def test_offsets_that_are_never_answered(app: Application, proxy: Proxy, reply: bool, seed: int) -> None:
    """`send_offsets_to_transaction` waits for ever, whatever time-out it is given (librdkafka #5456): the watchdog ends it."""
    reader, feeder = Reader(app), Feeder(app, 4_000, 800, seed)
    app.supervise(1, mutant="marks")
    until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
    wants = now_and_then(app, Api.TXN_OFFSET_COMMIT, random.Random(seed), 1.0)
    rule = proxy.add(Rule(Harm.DROP, wants, reply=reply, times=1))
    reader.fault()
    feeder.done()
    app.drained(60)
    assert rule.done == 1
    judge(app, seed, reader=reader, feeder=feeder).right()
