"""The monitor under attack: workers that are killed, again and again, and the counts that a batch computation says."""

import hashlib
import os
import random
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from streams.dev import Stack
from streams.kafka.admin import Admin
from streams.monitor.labels import NOTHING, Known, Prediction, label, labelled, predicted, withdrawal
from streams.monitor.reading import subject_key
from streams.monitor.score_keys import to_keys
from streams.monitor.state import TALLY, Subject, unchunked
from streams.monitor.tasks import Binary, Row
from streams.monitor.windows import added, contribution
from streams.monitor_assembly import Subject as Settled
from streams.parts import read_parts
from streams.performance import read
from streams.slots import slots_dir
from streams.verify.monitoring import verify_labels
from tests.faults.attack import arm, taken
from tests.faults.instruments import POINTS, STARTING_POINTS
from tests.integration.application import until
from tests.integration.monitored import Monitored, Predicted, Said

HOUR_MS = 3_600_000
SEED = 20_130_301
"""The same history for any number of partitions: the digest must be the same, too."""
REQUESTS = 600


def history() -> list[Predicted | Said]:
    """Return predictions and labels in a mixed order: doubled, corrected, withdrawn, early, late, of nobody."""
    chance = random.Random(SEED)
    said: list[Predicted | Said] = []
    for number in range(REQUESTS):
        name, event_ms = f"r{number}", chance.randrange(80) * HOUR_MS // 4
        score = round(chance.random(), 3)
        if chance.random() < 0.95:
            one = Predicted(name, score, event_ms, "late" if score >= 0.5 else "on_time", chance.choice("12"))
            said += [one] * chance.choice([1, 1, 1, 2])
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            known_at = event_ms + chance.randrange(-2, 60) * HOUR_MS
            gone = chance.random() < 0.1
            truth = None if gone else chance.random() < 0.4
            said += [Said(name, truth, known_at, chance.choice([None, 1, 2, 3]), gone)] * chance.choice([1, 1, 2])
    said.append(Said("r1", True, 4_070_908_800_000))  # the year 2099
    chance.shuffle(said)
    return said


def in_a_batch(said: list[Predicted | Said], settled: Settled) -> dict[bytes, Row]:
    """Return the rows of all windows, computed at once."""
    known: dict[str, Known] = {}
    rules, task = settled.rules, settled.task
    assert isinstance(task, Binary)
    for one in said:
        before = known.get(one.request_id, NOTHING)
        if isinstance(one, Predicted):
            (key,) = to_keys([one.score], [one.label == "late"]).tolist()  # type: ignore[arg-type]  # lists will do
            subject = subject_key(Subject("late", one.model_version, None))
            known[one.request_id] = predicted(
                before, Prediction(one.event_time, subject, task.said(key)), rules.horizon_ms
            )
        else:
            truth = task.positive if one.late else task.negative
            new = withdrawal(one.known_at, one.version) if one.withdrawn else label(truth, one.known_at, one.version)
            known[one.request_id] = labelled(before, new, rules.horizon_ms)[0]
    return added(contribution(one, rules) for one in known.values())


def digest(rows: Mapping[bytes, Row]) -> str:
    """Return the SHA-256 of rows, in the order of their keys."""
    return hashlib.sha256("".join(f"{key.hex()} {row}\n" for key, row in sorted(rows.items())).encode()).hexdigest()


def published(app: Monitored) -> dict[bytes, Row]:
    """Return the rows of all windows, as they are published."""
    parts = read_parts(app.settings, Admin(app.settings.kafka))
    return added(
        {key[:16] + within: row for within, row in unchunked(part["rows"])}
        for key, part in parts.items()
        if key[:8] != TALLY
    )


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_one_digest_for_any_partitioning_under_kills(
    stack: Stack, unique: str, tmp_path: Path, partitions: int
) -> None:
    """Two workers, of which one dies at a crash point, and at the next, while predictions and labels come.

    Each number of partitions has a third of the points.
    """
    said = history()
    points = POINTS[(1, 3, 7).index(partitions) :: 3]
    app = Monitored(stack, unique, tmp_path, partitions=partitions)
    try:
        app.monitor(2, mutant="points")
        size = -(-len(said) // len(points))
        for at, point in enumerate(points):
            chunk = said[at * size : (at + 1) * size]
            arm(app, point)
            app.predict(one for one in chunk if isinstance(one, Predicted))
            app.label(one for one in chunk if isinstance(one, Said))
            if point in STARTING_POINTS:
                begin_anew(app)
            until(partial(taken, app, point), 60, what=f"a worker at {point}")
        until(lambda: app.monitor_lag() == 0, 60, what="the end of the topics")
        told(app, said)
    finally:
        app.stop()


def test_labels_that_are_keyed_otherwise_give_the_same_digest_under_kills(
    stack: Stack, unique: str, tmp_path: Path
) -> None:
    """Labels of keys of somebody else's, in partitions that are cut otherwise: copied by two workers, of which one dies at
    each third crash point.
    """
    said, points = history(), POINTS[::3]
    app = Monitored(stack, unique, tmp_path, partitions=3, rekey=4)
    try:
        app.start("m-00", kind="monitor")
        app.rekeyers(2, mutant="points")
        app.predict(one for one in said if isinstance(one, Predicted))
        labels = [one for one in said if isinstance(one, Said)]
        size = -(-len(labels) // len(points))
        for at, point in enumerate(points):
            arm(app, point)
            app.label(labels[at * size : (at + 1) * size])
            if point in STARTING_POINTS:
                begin_anew(app, "r-00", "r-01")
            until(partial(taken, app, point), 60, what=f"a worker at {point}")
        until(lambda: app.rekey_lag() == 0, 60, what="the end of the labels")
        until(lambda: sum(read(app.settings).tally.values()) == len(said), 60, what="the end of their copies")
        told(app, said)
    finally:
        app.stop()


def told(app: Monitored, said: list[Predicted | Said]) -> None:
    """The windows are what a batch computation says, and everything is counted once."""
    app.stop()
    app.monitor(1, instance="next")  # older windows are published once a minute; who begins publishes what has changed
    settled = Settled(app.settings)
    expected = digest(in_a_batch(said, settled))
    until(lambda: digest(published(app)) == expected, 30, what=f"the digest {expected}")
    report = verify_labels(app.settings, settled.rules)
    assert report.exit_code == 0, "\n".join(report.lines())
    assert sum(report.tally.values()) == len(said)


def begin_anew(app: Monitored, *slots: str) -> None:
    """Kill workers; the first of them comes back without its disk."""
    slots = slots or ("m-00", "m-01")
    for slot in slots:
        pid = app.pid(slot, "monitor")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(slots_dir(app.settings.app.state_dir, "monitor") / slots[0] / "store", ignore_errors=True)
