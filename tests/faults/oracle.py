"""One judge for every attack: what must hold whatever was done, with names, coordinates, seed and versions.

It begins with `streams verify --at-rest`, which users have, and adds what only a test can know: what each attempt wrote
and how it ended for its worker, what a reader saw while things broke, what lies on the workers' disks, and what a fold
of the requests without any fault gives. Its violations, beside those of `verify`:

    TORN            of one attempt some records are committed and some are not
    ABORTED_READ    a record that a reader saw, or can see, of an attempt that ended as aborted or was never finished
    UNSEEN          a record that a reader during the faults never saw
    LOST_WRITE      an attempt that ended as committed, of which nothing is committed
    ZOMBIE          a record of a worker, in a partition, after its successor's there
    STATE_DIVERGED  a local store that is not the fold of the changelog up to its checkpoint, or a changelog that is not
                    the fold of the requests
    ANSWER_DIFFERS  a terminal record that differs, in any byte, from what the fold of the requests gives: scores too
"""

import os
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from streams import __version__
from streams.assembly import application, contracts
from streams.dev.artifacts import KAFKA_VERSION
from streams.frames import is_frame
from streams.kafka import client_version
from streams.kafka.source import _batch
from streams.models.packages import load
from streams.models.store import open_store
from streams.packs import unpack
from streams.pipeline import Refused, plan, read, settle
from streams.records import TP, Lease
from streams.state.rocks import RocksStore
from streams.topics import names
from streams.verify import verify
from tests.faults.attack import Feeder, Reader
from tests.faults.instruments import MARK, Attempt, journals
from tests.integration.application import Application

SHOWN = 5
CHUNK = 2_000
"""Requests that the fold takes at once; outcomes do not depend on it."""


class Verdict(NamedTuple):
    """What was found, and what was looked at."""

    violations: Mapping[str, list[str]]
    counts: Mapping[str, int]
    context: str

    def __str__(self) -> str:
        lines = [
            f"{name}: {len(texts)}" + "".join(f"\n    {text}" for text in texts[:SHOWN])
            for name, texts in sorted(self.violations.items())
        ]
        return "\n".join([self.context, f"looked at: {dict(self.counts)}", *(lines or ["no violation"])])

    @property
    def transactions(self) -> str:
        """How many attempts there were, and how many of them were not committed, in words."""
        return f"{self.counts['attempts not committed']} of {self.counts['attempts']:,} transactions not committed"

    def right(self) -> None:
        """Assert that nothing was found."""
        assert not self.violations, str(self)


class Committed(NamedTuple):
    """Everything that a read_committed reader sees of an application, by topic."""

    requests: dict[TP, list[Any]]
    answers: list[Any]
    changelog: dict[int, list[Any]]


def judge(app: Application, seed: int, *, reader: Reader | None = None, feeder: Feeder | None = None) -> Verdict:
    """End the application's workers, and judge everything that they left behind."""
    app.stop()
    found: dict[str, list[str]] = defaultdict(list)
    report = verify(app.settings, at_rest=True, shown=SHOWN)
    for name, count in report.violations.items():
        texts = [text for text in report.examples if text.startswith(f"{name} ")]
        found[name] += texts + ["…"] * (count - len(texts))
    seen = committed(app)
    if reader is not None:
        _reader(reader, seen.answers, found)
    attempts = journals(app.home / "journal")
    if attempts:
        _attempts(attempts, [*seen.answers, *(one for log in seen.changelog.values() for one in log)], found)
    _fold(app, seen, found)
    _disks(app, seen.changelog, found)
    counts = {
        "requests": sum(map(len, seen.requests.values())),
        "terminal records": len(seen.answers),
        "attempts": len(attempts),
        "attempts not committed": sum(attempt.ended != "committed" for attempt in attempts.values()),
    }
    if reader is not None:
        counts["seen during the faults"] = reader.early
    if feeder is not None:
        kinds = {name: count for name, count in report.kinds.items() if name != "START"}
        if kinds != {"SCORED": feeder.fresh, "DUPLICATE": feeder.count - feeder.fresh}:
            found["ANSWER_DIFFERS"].append(f"{kinds}, of {feeder.count} requests with {feeder.fresh} identities")
    context = (
        f"seed {seed}; answeronce {__version__}, Kafka {KAFKA_VERSION}, {client_version()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    return Verdict(found, counts, context)


def survived(app: Application, seed: int, reader: Reader, feeder: Feeder, *, seconds: float = 120.0) -> Verdict:
    """Wait until everything is sent and answered, and assert that nothing is wrong with it."""
    feeder.done()
    app.drained(seconds)
    verdict = judge(app, seed, reader=reader, feeder=feeder)
    verdict.right()
    return verdict


def committed(app: Application) -> Committed:
    """Return everything that a read_committed reader sees of an application."""
    settings = app.settings
    requests, answers, changelog = defaultdict(list), [], defaultdict(list)
    for message in app.read(names(settings)):
        topic = message.topic()
        if topic in app.lanes:
            requests[TP(topic, message.partition())].append(message)
        elif topic == settings.changelog:
            changelog[message.partition()].append(message)
        else:
            answers.append(message)
    return Committed(requests, answers, changelog)


def _reader(reader: Reader, answers: Iterable[Any], found: dict[str, list[str]]) -> None:
    """Who read during the faults saw the same as who reads afterwards, each record once."""
    after = Counter((one.topic(), one.partition(), one.offset()) for one in answers if one.topic() in reader.topics)
    reader.stop(after.total())
    for at, times in (reader.seen - after).items():
        found["ABORTED_READ"].append(f"{TP(*at[:2])}@{at[2]} was seen {times} times more than it is there")
    for at in after - reader.seen:
        found["UNSEEN"].append(f"{TP(*at[:2])}@{at[2]} was never seen by the reader")


def _attempts(attempts: Mapping[str, Attempt], records: Iterable[Any], found: dict[str, list[str]]) -> None:
    """Each attempt is there whole or not at all, as it ended; nobody writes after his successor."""
    visible: Counter[str] = Counter()
    where: dict[str, str] = {}
    writers: dict[TP, list[str]] = defaultdict(list)
    for one in records:
        mark = dict(one.headers() or ()).get(MARK)
        if mark is None:  # START, and the first frames
            continue
        attempt, tp = mark.decode(), TP(one.topic(), one.partition())
        visible[attempt] += 1
        where.setdefault(attempt, f"{tp}@{one.offset()}")
        writer = attempt.rpartition("/")[0]
        if not writers[tp] or writers[tp][-1] != writer:
            if writer in writers[tp]:
                found["ZOMBIE"].append(f"{tp}@{one.offset()}: {attempt} after {writers[tp][-1]}, which came after it")
            writers[tp].append(writer)
    for name in attempts.keys() | visible.keys():
        sent, ended = attempts.get(name, Attempt(None, None))
        count, text = (
            visible[name],
            f"{name}: {visible[name]} of {sent} are there, e.g. {where.get(name)}; it ended: {ended}",
        )
        if ended == "committed" and not count:
            found["LOST_WRITE"].append(text)
        elif count and (sent is None or ended == "aborted"):
            found["ABORTED_READ"].append(text)
        elif count and count != sent:
            found["TORN"].append(text)


def _fold(app: Application, seen: Committed, found: dict[str, list[str]]) -> None:
    """The answers and the changelog are, byte for byte, what the requests give when nothing goes wrong."""
    settings = app.settings
    pure = application(settings, app.admin.topics(names(settings)))
    model = load(open_store(settings.model.store), settings.model.name, settings.model.version)
    registry = contracts(settings, model)
    one_lane = len({tp.topic for tp in seen.requests}) <= 1
    expected: Counter[tuple[Any, ...]] = Counter()
    for tp, messages in seen.requests.items():
        state: dict[bytes, bytes] = {}
        for begin in range(0, len(messages), CHUNK):
            batch = _batch(Lease(0, None), messages[begin : begin + CHUNK])
            rows = read(batch, registry.snapshot(), pure)
            if rows.unknown and registry.resolve(rows.unknown):
                rows = read(batch, registry.snapshot(), pure)
            looked_up = {row: state[identity] for row, identity in enumerate(rows.identity) if identity in state}
            planned = plan(rows, looked_up, model, pure, Refused())
            scores = model.score(planned.matrix) if len(planned.matrix) else np.empty(0)
            step = settle(planned, scores, model, pure)
            for block in step.emits:
                expected.update(
                    zip([block.topic] * len(block.values), block.partitions, block.keys, block.values, strict=True)
                )
            for puts in step.puts.values():
                state |= dict(puts)
        if one_lane:  # else the order in which the lanes were read decides which of two is the repeat
            written = folded(seen.changelog[tp.partition])
            if entries(state) != entries(written):
                found["STATE_DIVERGED"].append(f"changelog {tp.partition}: {_differences(state, written)}")
    if one_lane:
        actual = Counter(
            (one.topic(), one.partition(), one.key(), one.value()) for one in seen.answers if one.key() is not None
        )
        for topic, partition, key, _ in (actual - expected).keys() | (expected - actual).keys():
            found["ANSWER_DIFFERS"].append(f"{topic}[{partition}], key {key!r}")


def _disks(app: Application, changelog: Mapping[int, list[Any]], found: dict[str, list[str]]) -> None:
    """Each store on a disk is the fold of the changelog up to its checkpoint."""
    for folder in sorted(app.settings.app.state_dir.glob("*/store")):
        store = RocksStore(folder)
        for path in sorted(folder.glob("p?????")):
            partition = int(path.name[1:])
            checkpoint = store.open(partition)
            upto = -1 if checkpoint is None else checkpoint.offset
            log = [one for one in changelog.get(partition, []) if one.offset() <= upto]
            local, logged = store.items(partition), folded(log)
            if local != logged:
                found["STATE_DIVERGED"].append(f"{path} at {upto}: {_differences(local, logged)}")
            store.close(partition)


def folded(log: Iterable[Any]) -> dict[bytes, bytes]:
    """Return the state that the records of a changelog partition make."""
    return {key: value for one in log for key, value in unpack(one.value())}


def entries(state: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return a state without its frames."""
    return {key: value for key, value in state.items() if not is_frame(key)}


def _differences(one: Mapping[bytes, bytes], other: Mapping[bytes, bytes]) -> str:
    differ = sum(one[key] != other[key] for key in one.keys() & other.keys())
    return f"{len(one.keys() - other.keys())} too many, {len(other.keys() - one.keys())} missing, {differ} differ"
