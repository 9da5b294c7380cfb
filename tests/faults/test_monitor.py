"""The monitor under attack: workers and brokers that are killed, again and again, and the counts that a batch computation says."""

import hashlib
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from streams.avro.encode import encode_one
from streams.dev import Stack
from streams.errors import Unreachable
from streams.kafka.admin import Admin
from streams.monitor.features import is_seen
from streams.monitor.labels import NOTHING, Known, Prediction, label, labelled, predicted, withdrawal
from streams.monitor.reading import subject_key
from streams.monitor.score_keys import to_keys
from streams.monitor.state import TALLY, Subject, unchunked
from streams.monitor.tasks import Binary, Row
from streams.monitor.windows import added, contribution
from streams.monitored import Subject as Settled
from streams.parts import read_parts
from streams.performance import read
from streams.records import TP
from streams.slots import slots_dir
from streams.verify.monitoring import verify_labels
from tests.faults.attack import arm, kill, right, sizes, taken
from tests.faults.instruments import POINTS, STARTING_POINTS
from tests.integration.application import Place, produce_all, until
from tests.integration.monitored import LABEL, Monitored, Predicted, Said

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
        {key[:16] + within: row for within, row in unchunked(part["rows"]) if not is_seen(key[:16] + within)}
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


class Storm(NamedTuple):
    """How hard it blows."""

    requests: int
    rate: int
    faults: int


class Asking(threading.Thread):
    """Sends requests and what came true of them, some early, doubled, corrected or withdrawn, while a storm lasts."""

    def __init__(self, app: Monitored, storm: Storm, seed: int) -> None:
        super().__init__(daemon=True)
        self.app, self.storm, self.said = app, storm, list[Said]()
        self.over, self.count = threading.Event(), 0
        self._chance = random.Random(seed)
        self.start()

    def run(self) -> None:
        """Send a tenth of a second's worth at a time."""
        begun, step, waiting = time.monotonic(), self.storm.rate // 10, list[Said]()
        producer, labels = self.app.producer(), self.app.producer(partitioner="consistent")
        while not self.app.over.is_set() and (self.count < self.storm.requests or not self.over.is_set()):
            names = [f"r{number}" for number in range(self.count, self.count + step)]
            waiting += [one for name in names for one in self._truths(name)]
            self._chance.shuffle(waiting)
            records = [(name.encode(), self.app.value(name, delay=self._chance.uniform(-20, 60))) for name in names]
            produce_all(producer, self.app.lanes[0], [*records, *self._chance.sample(records, step // 10)])
            self._label(labels, waiting[step:])
            del waiting[step:]
            self.count += step
            self.over.wait(max(0.0, begun + self.count / self.storm.rate - time.monotonic()))
        self._label(labels, waiting)

    def _label(self, producer: Producer, some: Sequence[Said]) -> None:
        self.said += some
        prefix = b"\0" + self.app.registered[f"{self.app.labels}-value"].to_bytes(4, "big")
        records = ((None, prefix + encode_one(LABEL, one._asdict())) for one in some)
        produce_all(producer, self.app.labels, records)

    def _truths(self, name: str) -> list[Said]:
        chance, known_at = self._chance, int(time.time() * 1_000)
        said = [Said(name, chance.random() < 0.4, known_at, 1)] * chance.choice([0, 1, 1, 1, 2])
        if said and chance.random() < 0.1:
            said.append(Said(name, chance.random() < 0.4, known_at + 5, 2))
        if said and chance.random() < 0.05:
            said.append(Said(name, None, known_at + 9, 3, withdrawn=True))
        return said


@sizes("storm", Storm(3_000, 300, 6), Storm(200_000, 400, 120), 1_800)
def test_a_storm_over_scorer_and_monitor(
    stack: Stack, storm: Storm, unique: str, tmp_path: Path, seed: int, result: Callable[..., None]
) -> None:
    """Workers of both are killed, those that copy labels, and the broker: each request is answered once, and what is counted of
    answers and labels is what a batch computation over the topics says.
    """
    chance = random.Random(seed)
    with Stack(tmp_path / "stack", registry=False) as own:
        place = Place(own.bootstrap, stack.registry_url)
        more = "transaction_ms = 10000\n[batch]\nrecords = 500\n"
        app = Monitored(place, unique, tmp_path, partitions=4, rekey=3, more=more)
        try:
            app.supervise(2)
            app.monitor(2)
            asking = Asking(app, storm, seed)
            until(lambda: tallied(read(app.settings).tally) > 0, 60, what="the first counts")
            faults: Counter[str] = Counter()
            for number in range(storm.faults):
                faults[strike(app, own, chance, number)] += 1
                goes_on(app)
            asking.over.set()
            asking.join(storm.requests / storm.rate + 60)
            assert not asking.is_alive()
            app.admin = Admin(app.settings.kafka)
            app.drained(90)
            scored = [one for one in app.terminals() if one["kind"] == "SCORED"]
            assert len(scored) == asking.count
            counted = len(scored) + len(asking.said)
            until(lambda: tallied(read(app.settings).tally) == counted, 120, what=f"{counted} counts")
            until(lambda: tallied(read(app.settings).tally, "seen") == len(scored), 60, what="all that was seen")
            app.stop()
            right(app)
            told(app, [*map(predicted_by, scored), *asking.said])
        finally:
            app.stop()
    result(
        "scorer and monitor under kills",
        f"{asking.count:,} requests and {len(asking.said):,} labels of other keys, 2 + 2 workers and one that copies, 4 partitions",
        ", ".join(f"{count} × kill -9 of {what}" for what, count in sorted(faults.items())),
        "0 violations; windows equal a batch computation over the topics, every label counted once",
    )


def strike(app: Monitored, own: Stack, chance: random.Random, number: int) -> str:
    """Break something; return what."""
    if number % 6 == 5:
        own.kill_broker()
        own.start_broker()
        return "the broker"
    kind = chance.choice(["scorer", "monitor", "monitor", "rekeyer"])
    slots = {"scorer": app.slots(2), "monitor": app.slots(2, "m"), "rekeyer": ["m-rekey-02"]}[kind]

    kill(app, slots, chance, kind, 60)
    return f"a {kind}"


def goes_on(app: Monitored) -> None:
    """Wait until more of the answers is counted."""
    tps, group = [TP(app.settings.results, at) for at in range(app.settings.partitions)], app.settings.monitor_group

    def standing() -> int:
        with suppress(Unreachable):
            return sum(offset or 0 for offset in Admin(app.settings.kafka).committed(group, tps).values())
        return 0

    until(lambda: standing() > 0, 60, what="a look")
    was = standing()
    until(lambda: standing() > was, 60, what="more counts")


def predicted_by(answer: dict[str, Any]) -> Predicted:
    """Return a result as the batch computation takes it."""
    at = answer["event_time"] or answer["append_time"]
    return Predicted(
        answer["request_id"], answer["score"], int(at.timestamp() * 1_000), answer["label"], answer["model_version"]
    )


def tallied(tally: Mapping[str, int], *of: str) -> int:
    """Return how many results and labels are counted, or how much of something else."""
    return sum(n for name, n in tally.items() if name.split(".")[0] in (of or ("results", "labels")))


def told(app: Monitored, said: list[Predicted | Said]) -> None:
    """The windows are what a batch computation says, and everything is counted once."""
    app.stop()
    app.monitor(1, instance="next")  # older windows are published once a minute; who begins publishes what has changed
    settled = Settled(app.settings)
    expected = digest(in_a_batch(said, settled))
    until(lambda: digest(published(app)) == expected, 30, what=f"the digest {expected}")
    report = verify_labels(app.settings, settled.rules)
    assert report.exit_code == 0, "\n".join(report.lines())
    assert tallied(report.tally) == len(said)


def begin_anew(app: Monitored, *slots: str) -> None:
    """Kill workers; the first of them comes back without its disk."""
    slots = slots or ("m-00", "m-01")
    for slot in slots:
        pid = app.pid(slot, "monitor")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(slots_dir(app.settings.app.state_dir, "monitor") / slots[0] / "store", ignore_errors=True)
