"""`streams verify`: read what lies in the logs, up to the offsets that are committed when it starts, and judge it.

`reading` turns records into the columns of `book`; `conservation` and `identities` judge them, and know no Kafka.
"""

import time
from collections.abc import Callable, Mapping

from streams.config import Settings
from streams.errors import SetupError
from streams.kafka.admin import Admin, Found
from streams.kafka.scan import scan
from streams.records import TP
from streams.topics import names
from streams.verify.book import Partition, Range
from streams.verify.conservation import judge
from streams.verify.reading import Reading
from streams.verify.report import Report

__all__ = ["Report", "verify"]

SAY_S = 2.0
"""How often the progress of a long reading is said."""
Say = Callable[[str], None]


def verify(settings: Settings, *, say: Say | None = None, shown: int = 20, at_rest: bool = False) -> Report:
    """Check conservation from START, and at most one SCORED an identity, on the topics themselves. Changes nothing.

    Reads every request topic up to the group's committed offsets, and every answer topic up to its end a moment later;
    it may run beside the workers. It needs about 100 bytes of memory a record.

    Args:
        settings: the application.
        say: told, every two seconds, how far the reading is.
        shown: how many examples of each violation the report keeps.
        at_rest: no worker runs and no producer is at work, so nothing may be unanswered, and no transaction open.
    Raises: SetupError if a topic is missing; Unreachable if broker or registry do not answer.
    """
    admin = Admin(settings.kafka)
    found = admin.topics(names(settings))
    missing = [name for name in names(settings) if name not in found]
    if missing:
        raise SetupError(f"{', '.join(missing)}: no such topic. `streams topics apply` creates it.")
    sources = [TP(lane.topic, part) for lane in settings.requests for part in range(found[lane.topic].partitions)]
    answers = [
        TP(name, part)
        for name in (settings.results, settings.outcomes, *(settings.dlq(lane.topic) for lane in settings.requests))
        for part in range(found[name].partitions)
    ]
    # in this order: a terminal record of what is committed now lies below the ends that are taken after it
    committed = admin.committed(settings.group, sources)
    ends = admin.offsets(answers, "latest")
    starts = admin.offsets([*sources, *answers], "earliest")
    hidden = _hidden(admin, found) if at_rest else None
    heads = admin.offsets(sources, "stable") if at_rest else {tp: committed[tp] or 0 for tp in sources}
    ranges = {tp: (starts[tp], heads[tp]) for tp in sources}
    ranges |= {tp: (starts[tp], ends[tp]) for tp in answers}
    reading = Reading(settings)
    progress = _Progress(sum(max(0, end - begin) for begin, end in ranges.values()), say)
    for part in scan(settings.kafka, ranges, progress=progress.tell):
        reading.take(part)
    # retention may have moved meanwhile, and requests may have come and been answered
    starts = admin.offsets([*sources, *answers], "earliest")
    after = admin.committed(settings.group, sources)
    ends = admin.offsets(sources, "latest")
    partitions = [
        Partition(tp, found[tp.topic].topic_id, starts[tp], committed[tp], ends[tp], reading.requests_of(tp), after[tp])
        for tp in sources
    ]
    cut = frozenset(tp for tp in answers if starts[tp] > 0)
    return judge(reading.book(partitions, cut, hidden), settings.dedupe.window_ms, shown)


def _hidden(admin: Admin, found: Mapping[str, Found]) -> dict[TP, Range]:
    """Return what open transactions keep from read_committed readers, of each log that has one."""
    tps = [TP(name, partition) for name, topic in found.items() for partition in range(topic.partitions)]
    stable, ends = admin.offsets(tps, "stable"), admin.offsets(tps, "latest")
    return {tp: Range(stable[tp], ends[tp]) for tp in tps if stable[tp] < ends[tp]}


class _Progress:
    """Says how far a reading is, now and then."""

    def __init__(self, total: int, say: Say | None) -> None:
        self._total = total
        self._say = say
        self._next = time.monotonic() + SAY_S

    def tell(self, records: int) -> None:
        if self._say is not None and time.monotonic() >= self._next:
            self._say(f"read {records:,} records of about {self._total:,}")
            self._next = time.monotonic() + SAY_S
