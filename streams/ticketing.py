"""The desk: follows what all partitions of the monitor publish, and decides about tickets."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import structlog

from streams.config import Settings
from streams.errors import ConfigError, SetupError, Stop
from streams.kafka.admin import Admin
from streams.kafka.tail import Record, Tail
from streams.models.packages import describe
from streams.models.store import open_store
from streams.monitor.drift.episodes import Memo
from streams.monitor.state import Subject as Named
from streams.monitor.summary import Published, Summaries
from streams.monitor.ticket import Ticket, of_record
from streams.monitor.verdicts import Asked, Package, Verdict, due, verdicts
from streams.monitored import Subject
from streams.parts import readers
from streams.records import TP

log = structlog.get_logger()

LOOK_S, REST, FAILED_S = 2.0, 10.0, 60.0
"""How often it looks, at most; so many times as long as that took, it rests; and after a failure for so long."""
AT_ONCE, MOMENT_S = 100, 0.02
"""So many parts are read between two batches; and windows are summarised for so long."""
MARKER, STANDS_S = 1, 30.0
"""What the end of a transaction takes up; and a group that stands still for so long has read what there is."""
QUIET_S = 60.0
"""Labels of which none has met a prediction for so long may have stopped."""
PACKAGE_S = 60.0
"""How long it is remembered that a package could not be read."""


class Packages:
    """The packages of model versions, as the store has them."""

    def __init__(self, settings: Settings) -> None:
        self._store = settings.model.store
        self._known: dict[Named, tuple[Package | str, float]] = {}

    def of(self, subject: Named) -> Package | str:
        """Return a model version's package, or why there is none."""
        known, until = self._known.get(subject, ("", 0.0))
        if time.monotonic() < until:
            return known
        try:
            manifest, _, reference = describe(open_store(self._store), subject.model, subject.version)
        except (ConfigError, SetupError) as error:
            log.warning("package not read", model=subject.model, version=subject.version, error=str(error))
            known, until = f"its package is not to be had: {error}", time.monotonic() + PACKAGE_S
        else:
            known, until = Package(manifest, reference), float("inf")
        self._known[subject] = known, until
        return known

    def every(self, subjects: Iterable[Named]) -> dict[Named, Package | str]:
        """Return the packages of some."""
        return {subject: self.of(subject) for subject in subjects}


def asked(subject: Subject) -> Asked:
    """Return how an application's windows are compared with training."""
    settings, monitor = subject.settings, subject.settings.monitor
    if monitor.drift_ms is not None and monitor.drift_ms % monitor.grain_ms:
        raise ConfigError(
            f"[monitor] drift_hours ({monitor.drift_hours:g}) is no multiple of grain_hours ({monitor.grain_hours:g})"
        )
    return Asked(subject.rules, settings.partitions, monitor.false_ticket_windows, monitor.drift_ms, subject.absence)


class Judged(NamedTuple):
    """What is to be said, what it was made of, and how long that took."""

    published: Published
    verdicts: list[Verdict]
    took_s: float


class TicketDesk:
    """A `Desk` on the real topic."""

    def __init__(self, subject: Subject) -> None:
        self._settings, self._subject, self._asked = subject.settings, subject, asked(subject)
        self._packages = Packages(subject.settings)
        self._admin, numbers = Admin(self._settings.kafka), range(self._settings.partitions)
        self._requests = [TP(lane.topic, number) for lane in self._settings.requests for number in numbers]
        read = (self._settings.features, self._settings.results, self._settings.labels_read)
        self._counted = [TP(topic, number) for topic in read for number in numbers]
        self._readers = readers(self._settings)
        self._tail: Tail | None = None
        self._thread = ThreadPoolExecutor(1, "tickets")
        self._begin()

    def _begin(self) -> None:
        self._summaries = Summaries(self._subject.rules, self._subject.absence)
        self._memory: dict[Named, Memo] = {}
        self._tickets: dict[str, Ticket] = {}
        """Those of the topic: the state may have forgotten some, whose changelog has a retention, or was begun anew."""
        self._ends: Mapping[TP, int] | None = {}
        """Up to where everything must be read before anything is decided; None: it is."""
        self._stood: Mapping[TP, int | None] = {}
        """How far a group had come where it was not past the ends, when it was last seen to move there; and when that was."""
        self._stands = time.monotonic()
        self._unanswered: Mapping[TP, int] = {}
        self._uncounted: Mapping[TP, int] | None = None
        self._news, self._next = False, 0.0
        self._asking: Future[bool] | None = None
        self._judging: Future[Judged | None] | None = None
        """What goes on in the thread; one that is forgotten is not asked."""
        self._met: int | None = None
        """How many labels had met a prediction; when that was last found to be more; and whether that was after the first look."""
        self._met_at, self._meets = time.monotonic(), False

    def open(self) -> None:
        """Begin to read, from the first part on."""
        self.close()
        tps = [TP(self._settings.parts, partition) for partition in range(self._settings.partitions)]
        tps.append(TP(self._settings.tickets, 0))
        self._ends = self._admin.offsets(tps, "stable")
        self._tail = Tail(self._settings.kafka, tps)

    def _caught_up(self) -> bool:
        """Return whether everything that lay in the topics some looks ago is answered, and counted with the labels that were there.

        While there is a backlog, one partition may be months ahead of another, and no window is whole: nothing is decided then.
        """
        settings = self._settings
        if not self._unanswered:
            self._unanswered = self._admin.offsets(self._requests, "latest")
        if self._uncounted is None:
            if not self._past(settings.group, self._unanswered):
                return False
            self._uncounted = self._admin.offsets(self._counted, "latest")
        if not self._past(settings.monitor_group, self._uncounted):
            return False
        self._unanswered, self._uncounted = {}, None
        return True

    def _past(self, group: str, ends: Mapping[TP, int]) -> bool:
        """Return whether a group has read up to these ends, or to where it can: behind its last record lie markers of
        transactions, and records that were taken back.
        """
        found, now = self._admin.committed(group, [*ends]), time.monotonic()
        short = {tp: found.get(tp) for tp, end in ends.items() if (found.get(tp) or 0) < end - MARKER}
        if short != self._stood:
            self._stood, self._stands = short, now
        return not short or now - self._stands > STANDS_S

    def close(self) -> None:
        """Forget what was read."""
        if self._tail is not None:
            self._tail.close()
        self._tail = None
        self._begin()

    def ready(self) -> bool:
        """Read on for a moment, and return whether there is anything new to decide about."""
        if self._tail is None:
            return False
        begun = time.monotonic()
        if not self._summaries.waiting:
            for record in self._tail.read(0.0, AT_ONCE):
                self._take(record)
        if self._ends is not None and self._tail.has_reached(self._ends):
            self._ends = None
        while more := self._refresh():
            if time.monotonic() - begun > MOMENT_S:
                break
        if self._judging is not None:
            return self._judging.done()
        if self._asking is None:
            if self._news and begun >= self._next:
                self._asking = self._thread.submit(self._ask)
        elif self._asking.done() and not more and self._ends is None:
            caught_up, self._asking, self._next = self._asking.result(), None, begun + LOOK_S
            if caught_up:
                self._news = False
                self._judging = self._thread.submit(self._judge, self._summaries.published(), self._memory)
        return False

    def _refresh(self) -> bool:
        """Go on with what was read, and return whether there was anything."""
        try:
            return self._summaries.refresh()
        except ValueError as error:
            log.error("a part cannot be read", error=str(error))
            return True

    def _ask(self) -> bool:
        """Return whether everything is counted; False, too, if nobody can say. In the thread: a group's offsets may be told only when a
        transaction of a scorer that has died is over.
        """
        try:
            return self._caught_up()
        except Stop as error:
            log.warning("no tickets are decided about for the moment", error=str(error))
            return False

    def _judge(self, published: Published, memory: dict[Named, Memo]) -> Judged | None:
        """Return what is to be said; None if that failed. In a thread: the first time it may take seconds, for hundreds of features
        a minute, and labels must not wait for it.
        """
        begun = time.monotonic()
        try:
            found = verdicts(published, self._packages.every(published.subjects), self._asked, memory)
        except Exception:  # a package or a part that nobody thought of must not end the join of labels
            log.exception("no tickets can be decided about; it is tried again", again_s=FAILED_S)
            return None
        return Judged(published, found, time.monotonic() - begun)

    def _take(self, record: Record) -> None:
        """Go on with a part or a ticket; one that cannot be read is passed over."""
        if record.key is None:
            return
        try:
            found = None if record.value is None else self._readers[record.tp.topic].read(record.value, skip=5)
        except ValueError as error:
            log.error("a record cannot be read", at=f"{record.tp} {record.offset}", error=str(error))
            return
        if record.tp.topic == self._settings.parts:
            self._news = True
            self._summaries.take(record.key, found)
        elif found is not None:
            ticket = of_record(found)
            self._tickets[ticket.id] = ticket

    def due(self, existing: Mapping[str, Ticket]) -> list[Ticket]:
        """Return the tickets to be written now."""
        assert self._judging is not None, "it is ready"
        begun, judged, self._judging = time.monotonic(), self._judging.result(), None
        existing = {**self._tickets, **existing}
        try:
            return self._due(judged, existing, begun) if judged is not None else self._later(begun)
        except Exception:
            log.exception("no tickets can be written; it is tried again", again_s=FAILED_S)
            return self._later(begun)

    def _later(self, now: float) -> list[Ticket]:
        self._news, self._next = True, now + FAILED_S
        return []

    def _due(self, judged: Judged, existing: Mapping[str, Ticket], begun: float) -> list[Ticket]:
        self._next = begun + max(LOOK_S, REST * judged.took_s)
        published = judged.published
        met = published.tally.get("labels.applied", 0)
        if met != self._met:
            self._met, self._met_at, self._meets = met, begun, self._met is not None
        quiet = True if begun - self._met_at >= QUIET_S else False if self._meets else None
        written = due(judged.verdicts, published, existing, self._asked, quiet=quiet)
        for ticket in written:
            log.info("ticket", id=ticket.id, state=ticket.state.value, metric=ticket.metric, sentence=ticket.sentence)
        return written
