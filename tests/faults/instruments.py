"""What a worker under test tells of itself, and where it may be made to die. Nothing here can be reached from the product.

`marks`: every record carries the attempt that wrote it, and a journal says of each attempt how much it wrote and how it
ended for the worker. `points`: a file named after a crash point, in the folder `points` beside the config, kills the next
worker that comes there, once (see `attack.arm`); with "freeze" in it, stops it there until somebody lets it go on; with "nap", kills it a
second later.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from streams.kafka import sink as sink_room
from streams.kafka.changelog import KafkaChangelog
from streams.kafka.sink import KafkaSink
from streams.kafka.source import KafkaSource
from streams.loop import Loop
from streams.records import Ended, Step
from streams.state.rocks import RocksStore

MARK = "x-attempt"
"""Header that names the attempt: incarnation, assignment epoch, number; separated by `/`."""


def home() -> Path:
    """Return the folder of the config that this worker runs on."""
    return Path(sys.argv[2]).parent


# --- marks


class Attempt(NamedTuple):
    """What the journals say of one attempt."""

    sent: int | None
    """Records that were handed over when the offsets were sent; None: it did not come so far."""
    ended: str | None
    """How it ended for the worker; None: the worker died."""


def marks() -> None:
    """Mark every record with its attempt, and keep a journal."""
    folder = home() / "journal"
    folder.mkdir(exist_ok=True)
    incarnation = f"{sys.argv[3]}.{time.time_ns()}"
    journal = (folder / incarnation).open("a", buffering=1)
    numbers, written = itertools.count(), Counter[str]()
    transact, send, now = KafkaSink.transact, sink_room._send, [""]

    def marked(producer: Any, topic: str, records: Any, on_delivery: Any, headers: Any = None) -> None:
        for record in records:
            written[now[0]] += 1
            send(producer, topic, [record], on_delivery, [*(headers or ()), (MARK, now[0].encode())])

    def journalled(self: KafkaSink, step: Step, *more: Any, **named: Any) -> Ended:
        now[0] = f"{incarnation}/{step.lease.epoch}/{next(numbers)}"
        ended = transact(self, step, *more, **named)
        journal.write(json.dumps({"attempt": now[0], "ended": ended.outcome.value}) + "\n")
        del written[now[0]]
        return ended

    class Journalling(sink_room.Producer):  # type: ignore[name-defined,misc]
        def send_offsets_to_transaction(self, *args: Any) -> None:
            journal.write(json.dumps({"attempt": now[0], "sent": written[now[0]]}) + "\n")
            super().send_offsets_to_transaction(*args)

    sink_room._send = marked
    sink_room.Producer = Journalling  # type: ignore[attr-defined]
    KafkaSink.transact = journalled  # type: ignore[method-assign]


def journals(folder: Path) -> dict[str, Attempt]:
    """Return what the journals in `folder` say; the last line of one that was killed may be torn."""
    attempts: dict[str, Attempt] = {}
    for path in folder.glob("*"):
        for line in path.read_text().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            known = attempts.get(said["attempt"], Attempt(None, None))
            attempts[said["attempt"]] = known._replace(**{key: said[key] for key in ("sent", "ended") if key in said})
    return attempts


# --- crash points

POINTS = (
    "polled",
    "read",
    "decided",
    "begun",
    "first-produce",
    "produced",
    "offsets-sent",
    "commit-sent",
    "committed",
    "applying",
    "applied",
    "looked-up-committed",
    "restoring",
    "recovered",
    "fenced-predecessor",
)
"""Between every two durable steps."""
STARTING_POINTS = ("looked-up-committed", "restoring", "recovered", "fenced-predecessor")
"""Those that a worker comes by when it begins."""
MOVING_POINTS = ("assigned", "revoked", "leaving")
"""Further points, which a worker comes by when another one comes or goes, or it goes itself."""


def points() -> None:
    """Come by the crash points."""
    folder = home() / "points"
    folder.mkdir(exist_ok=True)

    def at(point: str) -> None:
        taken = folder / f"{point}.{time.time_ns()}.taken"
        try:
            (folder / point).rename(taken)
        except FileNotFoundError:
            return
        fate = taken.read_text()
        if fate == "nap":
            time.sleep(1.0)
        if fate == "freeze":
            (folder / "frozen").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP if fate == "freeze" else signal.SIGKILL)

    def before(owner: Any, name: str, point: str) -> None:
        call = getattr(owner, name)

        def called(*args: Any, **named: Any) -> Any:
            at(point)
            return call(*args, **named)

        setattr(owner, name, called)

    def after(owner: Any, name: str, point: str) -> None:
        call = getattr(owner, name)

        def called(*args: Any, **named: Any) -> Any:
            returned = call(*args, **named)
            at(point)
            return returned

        setattr(owner, name, called)

    def restoring(self: KafkaChangelog, *args: Any) -> Iterator[Any]:
        for chunk in read(self, *args):
            yield chunk
            at("restoring")

    class Dying(sink_room.Producer):  # type: ignore[name-defined,misc]
        produced = 0

        def begin_transaction(self) -> None:
            super().begin_transaction()
            self.produced = 0
            at("begun")

        def produce(self, *args: Any, **named: Any) -> None:
            super().produce(*args, **named)
            self.produced += 1
            if self.produced == 1 and (folder / "first-produce").exists():
                self.flush(1.0)
                at("first-produce")

        def send_offsets_to_transaction(self, *args: Any) -> None:
            at("produced")
            super().send_offsets_to_transaction(*args)
            at("offsets-sent")

        def commit_transaction(self, *args: Any) -> None:
            if (folder / "commit-sent").exists():
                threading.Timer(0.001, at, ["commit-sent"]).start()
            super().commit_transaction(*args)

    read: Any = KafkaChangelog.read
    KafkaChangelog.read = restoring  # type: ignore[method-assign,assignment]
    sink_room.Producer = Dying  # type: ignore[attr-defined]
    before(Loop, "_read", "polled")
    after(Loop, "_read", "read")
    before(Loop, "_finish", "decided")
    before(Loop, "_apply", "committed")
    after(RocksStore, "apply", "applying")
    after(Loop, "_apply", "applied")
    after(KafkaSource, "committed", "looked-up-committed")
    before(KafkaSource, "start", "recovered")
    after(KafkaSink, "open", "fenced-predecessor")
    after(KafkaSource, "_on_assign", "assigned")
    before(KafkaSource, "_on_revoke", "revoked")
    before(KafkaSource, "close", "leaving")


def aborts() -> None:
    """Every fourth transaction is told to abort when its offsets have been sent, as in a rebalance."""
    sends = itertools.count(1)

    class Refusing(sink_room.Producer):  # type: ignore[name-defined,misc]
        def send_offsets_to_transaction(self, *args: Any) -> None:
            super().send_offsets_to_transaction(*args)
            if next(sends) % 4 == 0:
                raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, "made up", txn_requires_abort=True))

    sink_room.Producer = Refusing  # type: ignore[attr-defined]


INSTRUMENTS = {"marks": marks, "points": points, "aborts": aborts}
