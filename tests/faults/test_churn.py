"""Workers that come and go all the time, in the middle of batches, scores and restores."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin import AdminClient

from streams.dev import Stack
from tests.faults.attack import Feeder, Reader, answers_everywhere, quantile, sizes
from tests.faults.oracle import survived
from tests.integration.application import QUICK, Application, until


class Churn(NamedTuple):
    """How many come or go, and under how much load."""

    moves: int
    requests: int
    rate: int


CI = Churn(6, 15_000, 800)
LONG = Churn(100, 300_000, 1_000)


@sizes("churn", CI, LONG, 1_800)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_churn(
    stack: Stack, unique: str, tmp_path: Path, protocol: str, churn: Churn, seed: int, result: Callable[..., None]
) -> None:
    """One to four workers; each move is a newcomer, one who leaves in order, or one who is killed and not replaced."""
    app = Application(
        stack,
        unique,
        tmp_path,
        lanes=("live", "bulk"),
        partitions=4,
        more=f"{QUICK}[batch]\nage_ms = 150\n",
        client=f'"group.protocol" = "{protocol}"\n',
    )
    try:
        come_and_go(app, protocol, churn, seed, result)
    finally:
        app.stop()


def group_type(app: Application) -> str:
    """Return the protocol that the group really speaks."""
    admin = AdminClient({"bootstrap.servers": app.stack.bootstrap})  # its answers come only while it is there
    groups = admin.describe_consumer_groups([app.settings.group], request_timeout=10)
    return str(groups[app.settings.group].result(20).type.name).lower()


def come_and_go(app: Application, protocol: str, churn: Churn, seed: int, result: Callable[..., None]) -> None:
    """Attack an application, and judge it."""
    chance = random.Random(seed)
    reader, feeder = Reader(app), Feeder(app, churn.requests, churn.rate, seed, storm=True)
    workers = [app.start("c-000", "marks,slow-scores")]
    until(lambda: all(reader.moments.values()), 60, what="answers on every partition")
    kinds = {"joined": 0, "left": 0, "killed": 0}
    for move in range(churn.moves):
        reader.fault()
        if len(workers) == 1 or (len(workers) < 4 and chance.random() < 0.5):
            workers.append(app.start(f"c-{move + 1:03d}", "marks,slow-scores"))
            kinds["joined"] += 1
            until(lambda: len(app.admin.assigned(app.settings.group)) >= len(workers), 30, what="the newcomer")
        elif chance.random() < 0.7:
            workers.pop(chance.randrange(len(workers))).terminate()
            kinds["left"] += 1
        else:
            workers.pop(chance.randrange(len(workers))).kill()
            kinds["killed"] += 1
        answers_everywhere(reader, feeder)
    reader.half(feeder)
    assert group_type(app) == protocol
    verdict = survived(app, seed, reader, feeder)
    silences = reader.silences()
    result(
        "workers come and go",
        f"{feeder.count:,} requests, 1 to 4 workers, 4 partitions of 2 lanes, the {protocol} protocol, polls of 150 ms, scores "
        "of up to 0.3 s",
        ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
        f"0 violations; {verdict.transactions}; answers on every partition after {quantile(silences, 0.5):.1f} s (median), {silences[-1]:.1f} s (longest)",
    )
